//! Contiguous loads and stores, with and without tails.

use super::codes::{V, X};
use super::emit::{Src, Vx};
use super::resize::Lanes;
use crate::x86::mir::{Cond, Mem, Opnd, VReg};
use crate::x86::select::Part;
use iced_x86::Code;
use sinter_ir::tile::{Addr, BinOp, Buf, Elem, Reg, Ty};

/// Fewer than 16 bytes as moves of 8, 4, 2 and 1 bytes: size and place of each.
fn pieces(bytes: u32) -> Vec<(u32, u32)> {
    // What larger pieces there are lies before.
    let at = |size: u32| bytes & !(2 * size - 1);
    [8, 4, 2, 1].into_iter().filter(|size| bytes & size != 0).map(|size| (size, at(size))).collect()
}

impl Vx<'_, '_> {
    /// Exactly that many bytes (at most 64; below 16 any number) into the low end of a register, the rest of an xmm
    /// register zero or undefined.
    pub fn load_low(&mut self, d: VReg, m: Mem, bytes: u32) {
        if bytes >= 16 {
            return self.v1(V::Movdqu, bytes as u8, d, Src::Mem(m));
        }
        for (i, (size, at)) in pieces(bytes).into_iter().enumerate() {
            let from = Opnd::Mem(m.plus(at.into()));
            let index = Opnd::Imm((at / size).into());
            match (i, size) {
                (0, 8) => self.x(X::LoadQ, &[Opnd::Def(d, 16), from]),
                (0, 4) => self.x(X::LoadD, &[Opnd::Def(d, 16), from]),
                (0, _) => {
                    self.zero(16, d);
                    let op = if size == 2 { X::InsertW } else { X::InsertB };
                    self.x(op, &[Opnd::Def(d, 16), Opnd::Use(d, 16), from, index]);
                }
                _ => {
                    let op = match size {
                        4 => X::InsertD,
                        2 => X::InsertW,
                        _ => X::InsertB,
                    };
                    self.x(op, &[Opnd::Def(d, 16), Opnd::Use(d, 16), from, index]);
                }
            }
        }
    }
    /// Exactly that many bytes from the low end of a register.
    pub fn store_low(&mut self, m: Mem, r: VReg, bytes: u32) {
        if bytes >= 16 {
            let n = bytes as u8;
            return self.v(V::StoreMovdqu, n, &[Opnd::Mem(m), Opnd::Use(r, n)]);
        }
        for (size, at) in pieces(bytes) {
            let to = Opnd::Mem(m.plus(at.into()));
            let index = Opnd::Imm((at / size).into());
            match (at, size) {
                (0, 8) => self.x(X::StoreQ, &[to, Opnd::Use(r, 16)]),
                (0, 4) => self.x(X::StoreD, &[to, Opnd::Use(r, 16)]),
                (_, 4) => self.x(X::ExtractD, &[to, Opnd::Use(r, 16), index]),
                (_, 2) => self.x(X::ExtractW, &[to, Opnd::Use(r, 16), index]),
                _ => self.x(X::ExtractB, &[to, Opnd::Use(r, 16), index]),
            }
        }
    }
    /// All parts of a register from memory.
    pub fn load_parts(&mut self, ty: Ty, d: &[VReg], m: Mem) {
        for (p, &d) in self.layout(ty).iter().zip(d) {
            self.load_low(d, m.plus(p.at(ty.elem)), u32::from(p.lanes) * ty.elem.bytes());
        }
    }
    /// A contiguous load.
    pub fn load(&mut self, dst: Reg, buf: Buf, at: &Addr, tail: Option<Reg>) {
        let ty = self.ty(dst);
        let m = self.address(buf, at, ty.elem);
        let d = self.dst(dst);
        let tail = tail.filter(|t| !self.takes_all(*t, ty.lanes));
        let Some(tail) = tail else { return self.load_parts(ty, &d, m) };
        let parts = self.layout(ty);
        if self.isa.avx512 {
            let k = self.tail_truth(tail, ty.lanes);
            for (p, d) in parts.iter().zip(d) {
                let k = self.bits_at(&k, p.first);
                let code = self.masked_move(ty.elem, p.bytes, false);
                self.f.op_masked(code, &[Opnd::Def(d, p.bytes), Opnd::Mem(m.plus(p.at(ty.elem)))], k, true);
            }
        } else if ty.elem.bytes() >= 4 {
            let masks = self.tail_lanes(tail, ty);
            for ((p, d), k) in parts.iter().zip(d).zip(masks.regs) {
                let op = if ty.elem.bytes() == 4 { V::Maskloadd } else { V::Maskloadq };
                let m = m.plus(p.at(ty.elem));
                self.v(op, p.bytes, &[Opnd::Def(d, p.bytes), Opnd::Use(k, p.bytes), Opnd::Mem(m)]);
            }
        } else {
            self.load_bytes(ty, &parts, &d, m, tail);
        }
    }
    /// A contiguous store.
    pub fn store(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let ty = self.ty(value);
        let r = self.parts(value);
        let m = self.address(buf, at, ty.elem);
        let parts = self.layout(ty);
        let tail = tail.filter(|t| !self.takes_all(*t, ty.lanes));
        let Some(tail) = tail else {
            for (p, r) in parts.iter().zip(r) {
                self.store_low(m.plus(p.at(ty.elem)), r, u32::from(p.lanes) * ty.elem.bytes());
            }
            return;
        };
        if self.isa.avx512 {
            let k = self.tail_truth(tail, ty.lanes);
            for (p, r) in parts.iter().zip(r) {
                let k = self.bits_at(&k, p.first);
                let code = self.masked_move(ty.elem, p.bytes, true);
                self.f.op_masked(code, &[Opnd::Mem(m.plus(p.at(ty.elem))), Opnd::Use(r, p.bytes)], k, false);
            }
        } else if ty.elem.bytes() >= 4 {
            let masks = self.tail_lanes(tail, ty);
            for ((p, r), k) in parts.iter().zip(r).zip(masks.regs) {
                let op = if ty.elem.bytes() == 4 { V::Maskstored } else { V::Maskstoreq };
                let m = m.plus(p.at(ty.elem));
                self.v(op, p.bytes, &[Opnd::Mem(m), Opnd::Use(k, p.bytes), Opnd::Use(r, p.bytes)]);
            }
        } else {
            self.store_bytes(ty, &parts, &r, m, tail);
        }
    }
    /// A move of elements under a mask.
    fn masked_move(&self, e: Elem, n: u8, to_memory: bool) -> Code {
        let op = match (e.bytes(), to_memory) {
            (1, false) => V::Movdqu8,
            (2, false) => V::Movdqu16,
            (4, false) => V::Movdqu32,
            (_, false) => V::Movdqu,
            (1, true) => V::StoreMovdqu8,
            (2, true) => V::StoreMovdqu16,
            (4, true) => V::StoreMovdqu32,
            (_, true) => V::StoreMovdqu,
        };
        op.code(self.isa, n)
    }
    /// A tail as a number of lanes in `0..=most`.
    pub fn clamped(&mut self, tail: Reg, most: u16) -> VReg {
        let n = self.one(tail);
        let (t, zero) = (self.int(most.into()), self.int(0));
        self.op(Code::Cmp_r64_rm64, &[Opnd::Use(n, 8), Opnd::Use(t, 8)]);
        self.op(Code::Cmovl_r64_rm64, &[Opnd::UseDef(t, 8), Opnd::Use(n, 8)]);
        self.op(Code::Test_rm64_r64, &[Opnd::Use(t, 8), Opnd::Use(t, 8)]);
        self.op(Code::Cmovs_r64_rm64, &[Opnd::UseDef(t, 8), Opnd::Use(zero, 8)]);
        t
    }
    /// The lanes of a tail, as a truth vector that is not to be written.
    pub fn tail_truth(&mut self, tail: Reg, lanes: u16) -> Vec<VReg> {
        if let Some(known) = self.known_tail(tail, lanes) {
            return known;
        }
        let truth = match self.int_of(tail) {
            Some(n) => self.fixed_tail(n.clamp(0, lanes.into()) as u16, lanes),
            None => self.open_tail(tail, lanes),
        };
        self.keep_tail(tail, lanes, &truth);
        truth
    }
    /// The first `n` lanes.
    fn fixed_tail(&mut self, n: u16, lanes: u16) -> Vec<VReg> {
        let parts = self.layout(Ty { elem: Elem::B1, lanes });
        parts
            .iter()
            .map(|p| {
                let left = u32::from(n.saturating_sub(p.first).min(p.lanes));
                if self.isa.avx512 {
                    let bits = 1u64.checked_shl(left).map_or(u64::MAX, |b| b - 1);
                    let (x, k) = (self.int(bits as i64), self.mask());
                    self.op(Code::VEX_Kmovq_kr_r64, &[Opnd::Def(k, 8), Opnd::Use(x, 8)]);
                    return k;
                }
                let lane = |i| if i < left { u32::MAX } else { 0 };
                let bytes: Vec<u8> =
                    (0..u32::from(p.bytes) / 4).flat_map(|i| lane(i).to_le_bytes()).collect();
                let (m, k) = (self.f.pool(&bytes, bytes.len()), self.vec());
                self.v1(V::Movdqu, p.bytes, k, Src::Mem(m.into()));
                k
            })
            .collect()
    }
    fn open_tail(&mut self, tail: Reg, lanes: u16) -> Vec<VReg> {
        let ty = Ty { elem: Elem::B1, lanes };
        let parts = self.layout(ty);
        let n = self.clamped(tail, lanes);
        let mut out = Vec::new();
        if self.isa.avx512 {
            for p in &parts {
                let left = self.gpr();
                self.f.copy(left, n, 8);
                if p.first > 0 {
                    // Lanes before this part do not count; fewer than none are none.
                    let zero = self.int(0);
                    let first = i64::from(p.first);
                    self.op(Code::Sub_rm64_imm32, &[Opnd::UseDef(left, 8), Opnd::Imm(first)]);
                    self.op(Code::Cmovs_r64_rm64, &[Opnd::UseDef(left, 8), Opnd::Use(zero, 8)]);
                }
                let ones = self.int(-1);
                let (bits, k) = (self.gpr(), self.mask());
                self.op(
                    Code::VEX_Bzhi_r64_rm64_r64,
                    &[Opnd::Def(bits, 8), Opnd::Use(ones, 8), Opnd::Use(left, 8)],
                );
                self.op(Code::VEX_Kmovq_kr_r64, &[Opnd::Def(k, 8), Opnd::Use(bits, 8)]);
                out.push(k);
            }
            return out;
        }
        let x = self.of_gpr(n, 4);
        let n = self.vec();
        self.broadcast(4, 32, n, Src::Reg(x));
        for p in &parts {
            let iota: Vec<u8> =
                (0..u32::from(p.bytes) / 4).flat_map(|i| (u32::from(p.first) + i).to_le_bytes()).collect();
            let iota = self.pattern(&iota, p.bytes);
            out.push(self.new2(V::Gtd, p.bytes, n, iota));
        }
        out
    }
    /// The lanes of a tail as vector masks of the element's width, AVX2.
    fn tail_lanes(&mut self, tail: Reg, ty: Ty) -> Lanes {
        let t = self.tail_truth(tail, ty.lanes);
        self.truth_at(&t, ty.lanes, ty.elem.bytes())
    }
    /// Bytes of a frame slot for a value.
    pub fn slot_of(&mut self, parts: &[Part]) -> Mem {
        let bytes: u32 = parts.iter().map(|p| u32::from(p.bytes)).sum();
        self.f.slot(bytes, 32).into()
    }
    /// Bytes or words under a tail, AVX2: whole, or copied one by one through the frame.
    fn load_bytes(&mut self, ty: Ty, parts: &[Part], d: &[VReg], m: Mem, tail: Reg) {
        let (some, done) = (self.f.label(), self.f.label());
        let n = self.clamped(tail, ty.lanes);
        let from = self.lea(m);
        self.0.compare_imm(n, 8, ty.lanes.into());
        self.f.branch(Cond::L, some);
        self.load_parts(ty, d, Mem::reg(from));
        self.f.jump(done);
        self.f.bind(some);
        let slot = self.slot_of(parts);
        let zero = self.new_zero(32);
        for p in parts {
            let to = Opnd::Mem(slot.plus(p.at(ty.elem)));
            self.v(V::StoreMovdqu, p.bytes, &[to, Opnd::Use(zero, p.bytes)]);
        }
        let to = self.gpr();
        self.op(Code::Lea_r64_m, &[Opnd::Def(to, 8), Opnd::Mem(slot)]);
        self.copy_elements(ty.elem, to, from, n);
        for (p, &d) in parts.iter().zip(d) {
            self.v1(V::Movdqu, p.bytes, d, Src::Mem(slot.plus(p.at(ty.elem))));
        }
        self.f.bind(done);
    }
    fn store_bytes(&mut self, ty: Ty, parts: &[Part], r: &[VReg], m: Mem, tail: Reg) {
        let (some, done) = (self.f.label(), self.f.label());
        let n = self.clamped(tail, ty.lanes);
        let to = self.lea(m);
        self.0.compare_imm(n, 8, ty.lanes.into());
        self.f.branch(Cond::L, some);
        for (p, &r) in parts.iter().zip(r) {
            let m = Mem::reg(to).plus(p.at(ty.elem));
            self.store_low(m, r, u32::from(p.lanes) * ty.elem.bytes());
        }
        self.f.jump(done);
        self.f.bind(some);
        let slot = self.slot_of(parts);
        for (p, &r) in parts.iter().zip(r) {
            let to = Opnd::Mem(slot.plus(p.at(ty.elem)));
            self.v(V::StoreMovdqu, p.bytes, &[to, Opnd::Use(r, p.bytes)]);
        }
        let from = self.gpr();
        self.op(Code::Lea_r64_m, &[Opnd::Def(from, 8), Opnd::Mem(slot)]);
        self.copy_elements(ty.elem, to, from, n);
        self.f.bind(done);
    }
    /// Copies elements of 8 or 16 bits one by one.
    fn copy_elements(&mut self, e: Elem, to: VReg, from: VReg, n: VReg) {
        let (head, done) = (self.f.label(), self.f.label());
        let (i, x) = (self.gpr(), self.gpr());
        let size = e.bytes() as u8;
        let (load, store) = match size {
            1 => (Code::Movzx_r32_rm8, Code::Mov_rm8_r8),
            _ => (Code::Movzx_r32_rm16, Code::Mov_rm16_r16),
        };
        self.op(Code::Mov_r32_imm32, &[Opnd::Def(i, 4), Opnd::Imm(0)]);
        self.f.bind(head);
        self.op(Code::Cmp_r64_rm64, &[Opnd::Use(i, 8), Opnd::Use(n, 8)]);
        self.f.branch(Cond::GE, done);
        let at = |base| Opnd::Mem(Mem { index: Some((i, size)), ..Mem::reg(base) });
        self.op(load, &[Opnd::Def(x, 4), at(from)]);
        self.op(store, &[at(to), Opnd::Use(x, size)]);
        self.0.alu_imm(BinOp::Add, i, 8, 1);
        self.f.jump(head);
        self.f.bind(done);
    }
}

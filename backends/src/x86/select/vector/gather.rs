//! Loads of elements that lie anywhere.

use super::codes::{V, X};
use super::emit::Vx;
use super::resize::Lanes;
use crate::x86::mir::{Base, Cond, Label, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Ty};

/// The gather of 32- or 64-bit elements with indices of a type into a register of that many bytes.
fn code(avx512: bool, elem: u32, index: Elem, n: u8) -> Code {
    use Code::*;
    let i = usize::from(n > 16) + usize::from(n > 32);
    let vex = |c: [Code; 2]| c[i.min(1)];
    match (avx512, elem, index == Elem::I64) {
        (true, 4, false) => {
            [EVEX_Vpgatherdd_xmm_k1_vm32x, EVEX_Vpgatherdd_ymm_k1_vm32y, EVEX_Vpgatherdd_zmm_k1_vm32z][i]
        }
        (true, _, false) => {
            [EVEX_Vpgatherdq_xmm_k1_vm32x, EVEX_Vpgatherdq_ymm_k1_vm32x, EVEX_Vpgatherdq_zmm_k1_vm32y][i]
        }
        // Indices fill the register, results half of it.
        (true, 4, true) => {
            [EVEX_Vpgatherqd_xmm_k1_vm64x, EVEX_Vpgatherqd_xmm_k1_vm64y, EVEX_Vpgatherqd_ymm_k1_vm64z][i]
        }
        (true, _, true) => {
            [EVEX_Vpgatherqq_xmm_k1_vm64x, EVEX_Vpgatherqq_ymm_k1_vm64y, EVEX_Vpgatherqq_zmm_k1_vm64z][i]
        }
        (false, 4, false) => vex([VEX_Vpgatherdd_xmm_vm32x_xmm, VEX_Vpgatherdd_ymm_vm32y_ymm]),
        (false, _, false) => vex([VEX_Vpgatherdq_xmm_vm32x_xmm, VEX_Vpgatherdq_ymm_vm32x_ymm]),
        (false, 4, true) => vex([VEX_Vpgatherqd_xmm_vm64x_xmm, VEX_Vpgatherqd_xmm_vm64y_xmm]),
        (false, _, true) => vex([VEX_Vpgatherqq_xmm_vm64x_xmm, VEX_Vpgatherqq_ymm_vm64y_ymm]),
    }
}

impl Vx<'_, '_> {
    /// A gather.
    pub fn gather(&mut self, dst: Reg, buf: Buf, at: &Addr, index: Reg, tail: Option<Reg>) {
        let ty = self.ty(dst);
        let m = self.address(buf, at, ty.elem);
        let places = self.facts.patterns.places.get(&index).copied();
        if let Some(bytes) = places
            && self.isa.vbmi
            && tail.is_none()
            && self.is_table(buf, at)
        {
            return self.table(dst, m, bytes);
        }
        let base = self.lea(m);
        let index = places.unwrap_or(index);
        let ity = self.ty(index);
        let index = Lanes { width: ity.elem.bytes(), lanes: ity.lanes, regs: self.parts(index) };
        if ty.elem.bytes() < 4 {
            return self.gather_small(dst, base, (ity, index), tail);
        }
        // Lanes that take part: all of the result's, and no more where a register has room for more.
        let truth = match tail {
            Some(t) => self.tail_truth(t, ty.lanes),
            None => self.all_truth(ty.lanes),
        };
        let w = ty.elem.bytes();
        let d = self.dst(dst);
        let out: Vec<VReg> = if w == 4 && ity.elem == Elem::I64 {
            // As wide as the indices, then the halves joined.
            let parts = self.layout(ity);
            let mut got = Vec::new();
            for (p, &x) in parts.iter().zip(&index.regs) {
                got.push((*p, self.gather_part(ty, ity.elem, base, x, p.bytes, (&truth, p.first))));
            }
            let mut next = got.into_iter();
            let fallback = index.regs[0];
            self.narrow_by(&index, 4, &mut |_, _, _| next.next().map_or(fallback, |(_, r)| r)).regs
        } else {
            let parts = self.layout(ty);
            parts
                .iter()
                .map(|p| {
                    let x = self.piece(&index, p.first, p.lanes);
                    self.gather_part(ty, ity.elem, base, x, p.bytes, (&truth, p.first))
                })
                .collect()
        };
        let v = Lanes { width: w, lanes: ty.lanes, regs: out };
        self.put(&d, &v);
    }
    /// All lanes and none beyond.
    fn all_truth(&mut self, lanes: u16) -> Vec<VReg> {
        let parts = self.layout(Ty { elem: Elem::B1, lanes });
        let mut out = Vec::new();
        for p in parts {
            if self.isa.avx512 {
                let bits = self.int((u64::MAX >> (64 - p.lanes)) as i64);
                let k = self.mask();
                self.op(Code::VEX_Kmovq_kr_r64, &[Opnd::Def(k, 8), Opnd::Use(bits, 8)]);
                out.push(k);
            } else {
                let bytes: Vec<u8> =
                    (0..p.bytes).map(|i| if u16::from(i / 4) < p.lanes { 0xff } else { 0 }).collect();
                let m = self.pattern(&bytes, p.bytes);
                out.push(self.in_reg(m, 4, p.bytes));
            }
        }
        out
    }
    /// One instruction: `n` bytes of the wider of elements and indices.
    fn gather_part(
        &mut self,
        ty: Ty,
        index: Elem,
        base: VReg,
        x: VReg,
        n: u8,
        (truth, first): (&Vec<VReg>, u16),
    ) -> VReg {
        let w = ty.elem.bytes();
        let code = code(self.isa.avx512, w, index, n);
        let m = Opnd::Mem(Mem { base: Base::Reg(base), index: Some((x, w as u8)), disp: 0 });
        let out = if w == 4 && index == Elem::I64 { (n / 2).max(16) } else { n };
        let d = self.new_zero(out);
        if self.isa.avx512 {
            // The instruction clears its mask.
            let (k, own) = (self.bits_at(truth, first), self.mask());
            self.op(Code::VEX_Kmovq_kr_km64, &[Opnd::Def(own, 8), Opnd::Use(k, 8)]);
            self.f.op_masked(code, &[Opnd::UseDef(d, out), m], own, false);
            return d;
        }
        let lanes = n / 8 * if w == 8 || index == Elem::I64 { 1 } else { 2 };
        let t = Lanes { width: 4, lanes: ty.lanes, regs: truth.clone() };
        let t = self.resize(&t, w, true);
        let k = self.piece(&t, first, u16::from(lanes).min(ty.lanes - first));
        let own = self.vec();
        self.mov(own, k, out);
        self.op(code, &[Opnd::UseDef(d, out), m, Opnd::UseDef(own, out)]);
        d
    }
    /// Bytes or words, lane by lane.
    fn gather_small(&mut self, dst: Reg, base: VReg, (ity, index): (Ty, Lanes), tail: Option<Reg>) {
        let ty = self.ty(dst);
        let w = ty.elem.bytes();
        let n = tail.map(|t| self.clamped(t, ty.lanes));
        let done = self.f.label();
        // One xmm register for every 16 bytes.
        let per = (16 / w) as u16;
        let chunks: Vec<VReg> = (0..ty.lanes.div_ceil(per)).map(|_| self.new_zero(16)).collect();
        for i in 0..ty.lanes {
            if let Some(n) = n {
                self.lanes_left(n, i, done);
            }
            let x = self.index_lane(ity, &index, i);
            let m = Opnd::Mem(Mem { base: Base::Reg(base), index: Some((x, w as u8)), disp: 0 });
            let d = chunks[usize::from(i / per)];
            let op = if w == 1 { X::InsertB } else { X::InsertW };
            self.x(op, &[Opnd::Def(d, 16), Opnd::Use(d, 16), m, Opnd::Imm((i % per).into())]);
        }
        self.f.bind(done);
        let d = self.dst(dst);
        for (p, d) in self.layout(ty).iter().zip(d) {
            let at = usize::from(p.first / per);
            let mut own: Vec<VReg> = chunks[at..].iter().take(usize::from(p.bytes / 16)).copied().collect();
            let mut size = 16;
            while own.len() > 1 {
                own = own.chunks(2).map(|c| self.join(c[0], c[c.len() - 1], size)).collect();
                size *= 2;
            }
            // A part below 16 bytes may begin within a chunk.
            let r = self.low(own[0], 16, u32::from(p.first % per) * w, 1);
            self.mov(d, r, p.bytes);
        }
    }
    /// Jumps where fewer than `i + 1` lanes take part.
    fn lanes_left(&mut self, n: VReg, i: u16, done: Label) {
        self.0.compare_imm(n, 8, i.into());
        self.f.branch(Cond::LE, done);
    }
    /// Whether 256 bytes lie at an address.
    fn is_table(&self, buf: Buf, at: &Addr) -> bool {
        let bytes = self.k.bufs.get(buf.0 as usize).and_then(|b| b.bytes.as_const());
        at.terms.is_empty() && bytes.is_some_and(|n| at.offset >= 0 && n >= at.offset + 256)
    }
    /// Bytes from a table of 256 at the places that bytes say: each half is two registers, which one instruction
    /// permutes by the lower seven bits; the eighth chooses.
    fn table(&mut self, dst: Reg, table: Mem, places: Reg) {
        let parts = self.layout(self.ty(dst));
        let (x, d) = (self.parts(places), self.dst(dst));
        let half = |s: &mut Self, x: VReg, n: u8, from: Mem| {
            let (low, t) = (s.vec(), s.vec());
            s.v(V::Movdqu, 64, &[Opnd::Def(low, 64), Opnd::Mem(from)]);
            s.mov(t, x, n);
            let high = Opnd::Mem(from.plus(64));
            s.op(Code::EVEX_Vpermi2b_zmm_k1z_zmm_zmmm512, &[Opnd::UseDef(t, 64), Opnd::Use(low, 64), high]);
            t
        };
        for ((p, d), x) in parts.iter().zip(d).zip(x) {
            let n = p.bytes;
            let (low, high) = (half(self, x, n, table), half(self, x, n, table.plus(128)));
            let k = self.mask();
            self.v(V::Movb2m, n, &[Opnd::Def(k, 8), Opnd::Use(x, n)]);
            let code = V::Blendmb.code(self.isa, n);
            self.f.op_masked(code, &[Opnd::Def(d, n), Opnd::Use(low, n), Opnd::Use(high, n)], k, false);
        }
    }
    /// One index, sign-extended; of bytes, without a sign.
    fn index_lane(&mut self, ity: Ty, index: &Lanes, i: u16) -> VReg {
        let x = self.gpr();
        if ity.elem == Elem::I8 {
            let v = self.piece(index, i & !15, 16.min(ity.lanes - (i & !15)));
            self.x(X::ExtractB, &[Opnd::Def(x, 4), Opnd::Use(v, 16), Opnd::Imm((i & 15).into())]);
            return x;
        }
        let v = self.piece(index, i, 1);
        if ity.elem == Elem::I64 {
            self.x(X::ToGpr64, &[Opnd::Def(x, 8), Opnd::Use(v, 16)]);
            return x;
        }
        self.x(X::StoreD, &[Opnd::Def(x, 4), Opnd::Use(v, 16)]);
        let wide = self.gpr();
        self.op(Code::Movsxd_r64_rm32, &[Opnd::Def(wide, 8), Opnd::Use(x, 4)]);
        wide
    }
}

//! Constants, and values that go between scalars and lanes.

use super::codes::X;
use super::emit::{Src, Vx};
use super::resize::Lanes;
use crate::x86::mir::{Cond, Opnd, VReg};
use crate::x86::select::Pending;
use iced_x86::Code;
use sinter_ir::tile::{BinOp, Elem, Reg, Scalar};

impl Vx<'_, '_> {
    /// A constant in every lane.
    pub fn constant(&mut self, dst: Reg, s: Scalar) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        for (p, d) in parts.iter().zip(self.dst(dst)) {
            self.constant_part(d, ty.elem, p.bytes, s);
        }
    }
    /// One part of it, of `n` bytes.
    pub fn constant_part(&mut self, d: VReg, elem: Elem, n: u8, s: Scalar) {
        let (bits, width) = match s {
            Scalar::B1(v) if self.isa.avx512 => {
                let x = self.int(-i64::from(v));
                return self.op(Code::VEX_Kmovq_kr_r64, &[Opnd::Def(d, 8), Opnd::Use(x, 8)]);
            }
            Scalar::B1(v) => (if v { u64::MAX } else { 0 }, 4),
            Scalar::Int(v) => (v as u64, elem.bytes()),
            Scalar::F32(v) => (v.to_bits().into(), 4),
            Scalar::F64(v) => (v.to_bits(), 8),
        };
        let bytes = &bits.to_le_bytes()[..width as usize];
        if bytes.iter().all(|b| *b == 0) {
            self.zero(n, d);
        } else if bytes.iter().all(|b| *b == 0xff) {
            self.ones(n, d);
        } else {
            // At least 32 bits: broadcasts of those are loads and nothing else.
            let size = bytes.len().max(4);
            let full: Vec<u8> = bytes.iter().copied().cycle().take(size).collect();
            let m = self.f.pool(&full, size).into();
            self.broadcast(size as u32, n, d, Src::Mem(m));
        }
    }
    /// The same value.
    pub fn copy_all(&mut self, dst: Reg, a: Reg) {
        let parts = self.layout(self.ty(dst));
        let (a, d) = (self.parts(a), self.dst(dst));
        for ((p, d), a) in parts.iter().zip(d).zip(a) {
            self.mov(d, a, p.bytes);
        }
    }
    /// A Gpr in the low end of an xmm register.
    pub fn of_gpr(&mut self, x: VReg, bytes: u8) -> VReg {
        let d = self.vec();
        let op = if bytes == 8 { X::OfGpr64 } else { X::OfGpr32 };
        self.x(op, &[Opnd::Def(d, 16), Opnd::Use(x, bytes)]);
        d
    }
    /// A scalar in every lane.
    pub fn splat(&mut self, dst: Reg, a: Reg) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        let d = self.dst(dst);
        if ty.lanes == 1 {
            return self.copy_all(dst, a);
        }
        if ty.elem == Elem::B1 {
            let c = self.one(a);
            for (p, d) in parts.iter().zip(d) {
                self.splat_truth(d, c, p.bytes);
            }
            return;
        }
        let w = ty.elem.bytes();
        let src = match self.take_pending(a) {
            Some(Pending::Load(m) | Pending::Splat(m)) => Src::Mem(m),
            None => {
                let x = self.one(a);
                Src::Reg(if ty.elem.is_float() { x } else { self.of_gpr(x, if w == 8 { 8 } else { 4 }) })
            }
        };
        let mut first: Option<VReg> = None;
        for (p, &d) in parts.iter().zip(&d) {
            match first {
                Some(f) => self.mov(d, f, p.bytes),
                None => self.broadcast(w, p.bytes, d, src),
            }
            first = first.or(Some(d));
        }
    }
    /// One lane as a scalar.
    pub fn lane(&mut self, dst: Reg, a: Reg, i: u16) {
        let ty = self.ty(a);
        let d = self.dst(dst)[0];
        let regs = self.parts(a);
        if ty.elem == Elem::B1 && self.isa.avx512 {
            let k = self.bits_at(&regs, i);
            self.op(Code::VEX_Kmovd_r32_kr, &[Opnd::Def(d, 4), Opnd::Use(k, 8)]);
            return self.0.alu_imm(BinOp::And, d, 4, 1);
        }
        let width = if ty.elem == Elem::B1 { 4 } else { ty.elem.bytes() };
        let v = Lanes { width, lanes: ty.lanes, regs };
        let x = self.piece(&v, i, 1);
        self.scalar_of(ty.elem, d, x);
        if ty.elem == Elem::B1 {
            self.0.alu_imm(BinOp::And, d, 4, 1);
        }
    }
    /// The lowest lane as a scalar.
    pub fn scalar_of(&mut self, e: Elem, d: VReg, x: VReg) {
        match e {
            Elem::F32 | Elem::F64 => self.mov(d, x, 16),
            Elem::I64 => self.x(X::ToGpr64, &[Opnd::Def(d, 8), Opnd::Use(x, 16)]),
            _ => self.x(X::StoreD, &[Opnd::Def(d, 4), Opnd::Use(x, 16)]),
        }
    }
    /// 0, 1, 2, ...
    pub fn lane_index(&mut self, dst: Reg) {
        let ty = self.ty(dst);
        let w = ty.elem.bytes() as usize;
        for (p, d) in self.layout(ty).iter().zip(self.dst(dst)) {
            let n = usize::from(p.bytes) / w;
            let bytes: Vec<u8> =
                (0..n).flat_map(|i| (u64::from(p.first) + i as u64).to_le_bytes()[..w].to_vec()).collect();
            let m = self.pattern(&bytes, p.bytes);
            let Src::Mem(m) = m else { continue };
            self.v1(super::codes::V::Movdqu, p.bytes, d, Src::Mem(m));
        }
    }
    /// Truth of all lanes folded by And or Or.
    pub fn fold_truth(&mut self, op: BinOp, dst: Reg, a: Reg) {
        let ty = self.ty(a);
        let parts = self.layout(ty);
        let d = self.dst(dst)[0];
        let regs = self.parts(a);
        // All parts in one, then its bits.
        let mut all = regs[0];
        for &r in &regs[1..] {
            let t = self.temp(parts[0].class);
            self.logic_mask(op, t, all, r, parts[0].bytes);
            all = t;
        }
        let lanes = parts[0].lanes;
        let bits = self.gpr();
        if self.isa.avx512 {
            self.op(Code::VEX_Kmovq_r64_kr, &[Opnd::Def(bits, 8), Opnd::Use(all, 8)]);
        } else {
            let (code, n) = match parts[0].bytes {
                32 => (Code::VEX_Vmovmskps_r32_ymm, 32),
                _ => (Code::VEX_Vmovmskps_r32_xmm, 16),
            };
            self.op(code, &[Opnd::Def(bits, 4), Opnd::Use(all, n)]);
            let wide = self.gpr();
            self.op(Code::Mov_r32_rm32, &[Opnd::Def(wide, 4), Opnd::Use(bits, 4)]);
            self.op(Code::Mov_r64_rm64, &[Opnd::Def(bits, 8), Opnd::Use(wide, 8)]);
        }
        // The lanes as the upper bits, so that nothing else is left.
        let up = 64 - i64::from(lanes);
        let all_ones = (u64::MAX << up) as i64;
        if up > 0 {
            self.op(Code::Shl_rm64_imm8, &[Opnd::UseDef(bits, 8), Opnd::Imm(up)]);
        }
        let t = self.int(0);
        let one = self.int(1);
        let cond = if op == BinOp::And {
            let c = self.int(all_ones);
            self.op(Code::Cmp_r64_rm64, &[Opnd::Use(bits, 8), Opnd::Use(c, 8)]);
            Cond::E
        } else {
            self.op(Code::Test_rm64_r64, &[Opnd::Use(bits, 8), Opnd::Use(bits, 8)]);
            Cond::NE
        };
        self.op(cond.cmov(4), &[Opnd::UseDef(t, 4), Opnd::Use(one, 4)]);
        self.f.copy(d, t, 4);
    }
}

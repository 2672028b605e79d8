//! Integer division of lanes: by zero gives 0, the smallest by -1 gives itself.

use super::codes::V;
use super::emit::{Src, Vx};
use super::resize::Lanes;
use crate::x86::mir::{Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, Elem, Reg};

impl Vx<'_, '_> {
    /// Quotients or remainders.
    pub fn divide(&mut self, op: BinOp, dst: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        let signed = matches!(op, BinOp::DivS | BinOp::RemS);
        let w = ty.elem.bytes();
        if ty.elem == Elem::I64 {
            return self.divide_lanes(op, dst, a, b);
        }
        let of = |regs| Lanes { width: w, lanes: ty.lanes, regs };
        let (a, b) = (of(self.parts(a)), of(self.parts(b)));
        // Floats with more bits than the operands: a quotient that is not whole is too far from the next whole number
        // to be rounded there.
        let (x, y) = (self.resize(&a, 4, signed), self.resize(&b, 4, signed));
        let (div, float) = if w == 4 { (V::Divpd, Elem::F64) } else { (V::Divps, Elem::F32) };
        let signed_float = signed || w < 4;
        let (fx, fy) = (self.floats_of(&x, signed_float, float), self.floats_of(&y, signed_float, float));
        let parts = self.parts_of(fx.width, ty.lanes);
        let regs: Vec<VReg> =
            (0..parts.len()).map(|i| self.new2(div, parts[i].bytes, fx.regs[i], fy.regs[i])).collect();
        let q = Lanes { width: fx.width, lanes: ty.lanes, regs };
        let q = self.quotient(&q, signed_float);
        // Nothing where the divisor is zero.
        let parts = self.parts_of(4, ty.lanes);
        let regs: Vec<VReg> = (0..parts.len())
            .map(|i| {
                let n = parts[i].bytes;
                let q = self.not_by_zero(n, q.regs[i], y.regs[i]);
                if matches!(op, BinOp::DivS | BinOp::DivU) {
                    return q;
                }
                let p = self.new2(V::Muld, n, q, y.regs[i]);
                let r = self.new2(V::Subd, n, x.regs[i], p);
                self.not_by_zero(n, r, y.regs[i])
            })
            .collect();
        let out = self.resize(&Lanes { width: 4, lanes: ty.lanes, regs }, w, true);
        let d = self.dst(dst);
        self.put(&d, &out);
    }
    /// Truncated to 32 bits; what is out of range in a signed sense is the smallest number.
    fn quotient(&mut self, q: &Lanes, signed: bool) -> Lanes {
        match (q.width, signed) {
            (4, _) => self.each(q, &mut |s, n, r| s.new1(V::Cvttps2dq, n, r)),
            (_, true) => self.halved(V::Cvttpd2dq, q),
            _ if self.isa.avx512 => self.halved(V::Cvttpd2udq, q),
            _ => {
                let v = self.each(q, &mut |s, n, r| {
                    let r = s.new1i(V::Roundpd, n, r, 11);
                    let c = s.c(8, 2f64.powi(52).to_bits(), n);
                    s.new2(V::Addpd, n, r, c)
                });
                self.resize(&v, 4, false)
            }
        }
    }
    fn not_by_zero(&mut self, n: u8, q: VReg, y: VReg) -> VReg {
        let zero = self.new_zero(n);
        let d = self.vec();
        if self.isa.avx512 {
            let k = self.mask();
            self.v(V::Kcmpd, n, &[Opnd::Def(k, 8), Opnd::Use(y, n), Opnd::Use(zero, n), Opnd::Imm(4)]);
            let code = V::Movdqu32.code(self.isa, n);
            self.f.op_masked(code, &[Opnd::Def(d, n), Opnd::Use(q, n)], k, true);
            return d;
        }
        let none = self.new2(V::Eqd, n, y, zero);
        self.v2(V::Andn, n, d, none, q);
        d
    }
    /// Quadwords one by one, through the frame.
    fn divide_lanes(&mut self, op: BinOp, dst: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        let signed = matches!(op, BinOp::DivS | BinOp::RemS);
        let quotient = matches!(op, BinOp::DivS | BinOp::DivU);
        let (x, y) = (self.slot_of(&parts), self.slot_of(&parts));
        for (slot, regs) in [(x, self.parts(a)), (y, self.parts(b))] {
            for (p, r) in parts.iter().zip(regs) {
                let to = Opnd::Mem(slot.plus(p.at(ty.elem)));
                self.v(V::StoreMovdqu, p.bytes, &[to, Opnd::Use(r, p.bytes)]);
            }
        }
        for i in 0..i64::from(ty.lanes) {
            let at = |slot: Mem| Opnd::Mem(slot.plus(8 * i));
            let (p, q) = (self.gpr(), self.gpr());
            self.op(Code::Mov_r64_rm64, &[Opnd::Def(p, 8), at(x)]);
            self.op(Code::Mov_r64_rm64, &[Opnd::Def(q, 8), at(y)]);
            let r = self.0.divide_regs(p, q, 8, signed, quotient);
            self.op(Code::Mov_rm64_r64, &[at(x), Opnd::Use(r, 8)]);
        }
        for (p, d) in parts.iter().zip(self.dst(dst)) {
            self.v1(V::Movdqu, p.bytes, d, Src::Mem(x.plus(p.at(ty.elem))));
        }
    }
}

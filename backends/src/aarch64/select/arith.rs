//! Arithmetic: vector forms where there are any, lane by lane otherwise.

use super::vector::{by_size, log2};
use super::{Select, parts, used, wide, width};
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::VReg;
use sinter_ir::tile::{BinOp, Elem, Reg, Scalar, Ty, UnOp};

impl Select<'_> {
    /// An operation of one operand.
    pub(super) fn unary(&mut self, op: UnOp, ty: Ty, a: Reg) -> Vec<VReg> {
        let e = ty.elem;
        if matches!(op, UnOp::F16ToF32 | UnOp::F32ToF16) {
            return self.half(op, ty, a);
        }
        if ty.lanes == 1 {
            let x = self.one(a);
            return vec![if e.is_float() { self.float_un(op, e, x) } else { self.int_un(op, e, x) }];
        }
        let form = match (op, e.is_float()) {
            (UnOp::Neg, true) => form::FNEG,
            (UnOp::Abs, true) => form::FABS,
            (UnOp::Sqrt, _) => form::FSQRT,
            (UnOp::Ceil, _) => form::FRINTP,
            (UnOp::Floor, _) => form::FRINTM,
            (UnOp::Trunc, _) => form::FRINTZ,
            (UnOp::Nearest, _) => form::FRINTN,
            (UnOp::Neg, false) => form::NEG_V.lanes(log2(width(e))),
            (UnOp::Abs, false) => form::ABS_V.lanes(log2(width(e))),
            // Refused before, but for Not.
            _ => form::NOT,
        };
        let form = if e.is_float() { form.float(e.bytes()) } else { form };
        self.parts(a).into_iter().map(|x| self.v(form, &[x])).collect()
    }
    /// The vector form of an operation.
    pub(super) fn bin_form(&self, op: BinOp, e: Elem) -> Option<Form> {
        use BinOp::*;
        if e.is_float() {
            let form = match op {
                Add => form::FADD,
                Sub => form::FSUB,
                Mul => form::FMUL,
                Div => form::FDIV,
                Min => form::FMIN,
                Max => form::FMAX,
                _ => return None,
            };
            return Some(form.float(e.bytes()));
        }
        let size = log2(width(e));
        Some(match op {
            And => form::AND_V,
            Or => form::ORR_V,
            Xor => form::EOR_V,
            Add => form::ADD_V.lanes(size),
            Sub => form::SUB_V.lanes(size),
            // Of two lanes there are none.
            Mul | MinS | MaxS | MinU | MaxU if size == 3 => return None,
            Mul => form::MUL_V.lanes(size),
            MinS => form::SMIN.lanes(size),
            MaxS => form::SMAX.lanes(size),
            MinU => form::UMIN.lanes(size),
            MaxU => form::UMAX.lanes(size),
            _ => return None,
        })
    }
    /// An operation that has a vector form, on one part.
    pub(super) fn bin_part(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        match self.bin_form(op, e) {
            Some(form) => self.v(form, &[x, y]),
            None => x,
        }
    }
    /// An operation on scalars.
    pub(super) fn scalar_bin(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        if e.is_float() { self.float_bin(op, e, x, y) } else { self.int_bin(op, e, x, y) }
    }
    /// An operation of two operands.
    pub(super) fn binary(&mut self, op: BinOp, ty: Ty, a: Reg, b: Reg) -> Vec<VReg> {
        let e = ty.elem;
        if ty.lanes == 1 {
            if !e.is_float() {
                return vec![self.int_bin_reg(op, e, a, b)];
            }
            let (x, y) = (self.one(a), self.one(b));
            return vec![self.float_bin(op, e, x, y)];
        }
        if matches!(op, BinOp::Shl | BinOp::ShrS | BinOp::ShrU) {
            return self.shifts(op, ty, a, b);
        }
        if self.bin_form(op, e).is_some() {
            let (x, y) = (self.parts(a), self.parts(b));
            return x.into_iter().zip(y).map(|(x, y)| self.bin_part(op, e, x, y)).collect();
        }
        self.by_lanes(ty, &[a, b], |s, x| s.scalar_bin(op, e, x[0], x[1]))
    }
    fn shifts(&mut self, op: BinOp, ty: Ty, a: Reg, b: Reg) -> Vec<VReg> {
        let (x, bytes) = (self.parts(a), width(ty.elem));
        let bits = 8 * i64::from(bytes);
        if let Some(Scalar::Int(c)) = self.facts.consts.get(&b) {
            let by = c & (bits - 1);
            let forms = match op {
                BinOp::Shl => [form::SHL_B, form::SHL_H, form::SHL_S, form::SHL_D],
                BinOp::ShrS => [form::SSHR_B, form::SSHR_H, form::SSHR_S, form::SSHR_D],
                _ => [form::USHR_B, form::USHR_H, form::USHR_S, form::USHR_D],
            };
            if by == 0 {
                return x;
            }
            return x.into_iter().map(|x| self.vi(by_size(forms, bytes), &[x], by)).collect();
        }
        // To the right is to the left by a negative number.
        let mask = self.vector_const(Scalar::Int(bits - 1), ty.elem);
        let size = log2(bytes);
        let form = if op == BinOp::ShrS { form::SSHL } else { form::USHL }.lanes(size);
        let y = self.parts(b);
        let shift = |s: &mut Self, x: VReg, y: VReg| {
            let y = s.v(form::AND_V, &[y, mask]);
            let y = if op == BinOp::Shl { y } else { s.v(form::NEG_V.lanes(size), &[y]) };
            s.v(form, &[x, y])
        };
        x.into_iter().zip(y).map(|(x, y)| shift(self, x, y)).collect()
    }
    /// `a * b + c`.
    pub(super) fn mul_add(&mut self, dst: Reg, ty: Ty, a: Reg, b: Reg, c: Reg) -> Vec<VReg> {
        let e = ty.elem;
        if ty.lanes == 1 {
            let (x, y, z) = (self.one(a), self.one(b), self.one(c));
            return vec![match e.is_float() {
                true => self.fused(e, x, y, z),
                false => self.x(form::MADD.wide(wide(e)), &[x, y, z]),
            }];
        }
        if e == Elem::I64 {
            return self.by_lanes(ty, &[a, b, c], |s, x| s.x(form::MADD.wide(true), x));
        }
        // The lane goes last.
        let (a, b) = if self.factors.lane(a).is_some() { (b, a) } else { (a, b) };
        let (x, z) = (self.parts(a), self.parts(c));
        let form = if e.is_float() { form::FMLA.float(e.bytes()) } else { form::MLA_V.lanes(log2(width(e))) };
        let (form, y, lane) = match self.factors.lane(b) {
            Some((v, n)) => (form::FMLA_LANE, vec![self.parts(v)[0]; parts(ty)], Some(n)),
            None => (form, self.parts(b), None),
        };
        let old = self.dst(dst);
        (0..x.len()).map(|i| self.accumulate(form, old[i], z[i], x[i], y[i], lane)).collect()
    }
    /// `z` changed by a product: in place where it is the destination, which the factors are not.
    pub(super) fn accumulate(
        &mut self,
        form: Form,
        dst: VReg,
        z: VReg,
        x: VReg,
        y: VReg,
        lane: Option<u16>,
    ) -> VReg {
        let d = match z == dst && x != dst && y != dst {
            true => dst,
            false => {
                let d = self.vec();
                self.f.copy(d, z, super::VECTOR as u8);
                d
            }
        };
        match lane {
            Some(n) => self.change(form, d, &[used(x), used(y), super::Opnd::Imm(n.into())]),
            None => self.change(form, d, &[used(x), used(y)]),
        }
        d
    }
}

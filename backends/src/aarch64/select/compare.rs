//! Comparisons and what is chosen by them.

use super::vector::log2;
use super::{Select, used, width};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Cond, VReg};
use sinter_ir::tile::{CmpOp, Elem, Reg, Ty};

impl Select<'_> {
    /// Compares scalars; gives the condition that the flags hold then.
    pub(super) fn compare(&mut self, op: CmpOp, a: Reg, b: Reg) -> Cond {
        let e = self.ty(a).elem;
        if e.is_float() {
            let (x, y) = (self.one(a), self.one(b));
            self.op(form::FCMP.float(e.bytes()), &[used(x), used(y)]);
            // False where either is NaN, but for Ne.
            return match op {
                CmpOp::Eq => Cond::Eq,
                CmpOp::Ne => Cond::Ne,
                CmpOp::Lt | CmpOp::LtU => Cond::Mi,
                CmpOp::Le | CmpOp::LeU => Cond::Ls,
                CmpOp::Gt | CmpOp::GtU => Cond::Gt,
                CmpOp::Ge | CmpOp::GeU => Cond::Ge,
            };
        }
        let signed = !matches!(op, CmpOp::LtU | CmpOp::LeU | CmpOp::GtU | CmpOp::GeU);
        let wide = e == Elem::I64;
        let x = self.one(a);
        let x = self.extended(x, e, signed);
        match self.int_of(b).filter(|c| (0..=4095).contains(c) && e.bits() >= 32) {
            Some(c) => self.compare_imm(x, c, wide),
            None => {
                let y = self.one(b);
                let y = self.extended(y, e, signed);
                self.op(form::CMP.wide(wide), &[used(x), used(y)]);
            }
        }
        match op {
            CmpOp::Eq => Cond::Eq,
            CmpOp::Ne => Cond::Ne,
            CmpOp::Lt => Cond::Lt,
            CmpOp::Le => Cond::Le,
            CmpOp::Gt => Cond::Gt,
            CmpOp::Ge => Cond::Ge,
            CmpOp::LtU => Cond::Lo,
            CmpOp::LeU => Cond::Ls,
            CmpOp::GtU => Cond::Hi,
            CmpOp::GeU => Cond::Hs,
        }
    }
    /// Compares vectors; gives masks of 32-bit lanes.
    pub(super) fn compare_vectors(&mut self, op: CmpOp, a: Reg, b: Reg) -> Vec<VReg> {
        let ty = self.ty(a);
        let (x, y) = (self.parts(a), self.parts(b));
        let own: Vec<VReg> = x.iter().zip(&y).map(|(x, y)| self.compare_part(op, ty.elem, *x, *y)).collect();
        self.resized(own, width(ty.elem), 4, ty.lanes, true)
    }
    fn compare_part(&mut self, op: CmpOp, e: Elem, x: VReg, y: VReg) -> VReg {
        use CmpOp::*;
        let (x, y, op) = match op {
            Lt => (y, x, Gt),
            Le => (y, x, Ge),
            LtU => (y, x, GtU),
            LeU => (y, x, GeU),
            _ => (x, y, op),
        };
        let form = match (op, e.is_float()) {
            (Eq | Ne, true) => form::FCMEQ,
            (Gt | GtU, true) => form::FCMGT,
            (_, true) => form::FCMGE,
            (Eq | Ne, false) => form::CMEQ,
            (Gt, false) => form::CMGT,
            (GtU, false) => form::CMHI,
            (GeU, false) => form::CMHS,
            (_, false) => form::CMGE,
        };
        let form = if e.is_float() { form.float(e.bytes()) } else { form.lanes(log2(width(e))) };
        let r = self.v(form, &[x, y]);
        if op == Ne { self.v(form::NOT, &[r]) } else { r }
    }
    /// `cond ? a : b`.
    pub(super) fn choose(&mut self, ty: Ty, cond: Reg, a: Reg, b: Reg) -> Vec<VReg> {
        if ty.lanes == 1 {
            // In front of the comparison: constants are made where they are read.
            let (x, y) = (self.one(a), self.one(b));
            let c = self.test(cond);
            let (form, class) = match ty.elem.is_float() {
                true => (form::FCSEL.float(ty.elem.bytes()), Class::Vec),
                false => (form::CSEL.wide(true), Class::Gpr),
            };
            return vec![self.result(form, class, &[used(x), used(y), c.opnd()])];
        }
        let masks = match self.ty(cond).lanes {
            1 => {
                let c = self.one(cond);
                let all = self.x(form::NEG.wide(true), &[c]);
                vec![self.v(form::DUP_GD, &[all]); super::parts(ty)]
            }
            _ => {
                let m = self.parts(cond);
                self.resized(m, 4, width(ty.elem), ty.lanes, true)
            }
        };
        let (x, y) = (self.parts(a), self.parts(b));
        (0..x.len()).map(|i| self.changed(form::BSL, masks[i], &[used(x[i]), used(y[i])])).collect()
    }
}

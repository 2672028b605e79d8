//! Symbolic integers.

use super::{Select, used};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Cond, Mem, Opnd, VReg};
use crate::machine::expr::{Divisor, Integers};
use sinter_ir::Sym;

impl Integers for Select<'_> {
    fn number(&mut self, v: i64) -> VReg {
        self.int(v)
    }
    fn symbol(&mut self, s: Sym) -> VReg {
        let from = Mem::reg(self.syms).plus(8 * i64::from(s.0));
        self.load(form::LDR_X, Class::Gpr, from)
    }
    fn sum(&mut self, a: VReg, b: VReg) -> VReg {
        self.x(form::ADD.wide(true), &[a, b])
    }
    fn sum_imm(&mut self, a: VReg, by: i64) -> VReg {
        self.plus(a, by)
    }
    fn product(&mut self, a: VReg, b: VReg) -> VReg {
        self.x(form::MUL.wide(true), &[a, b])
    }
    fn product_imm(&mut self, a: VReg, by: i64) -> VReg {
        let c = self.int(by);
        self.product(a, c)
    }
    fn floor(&mut self, x: VReg, d: Divisor, quotient: bool) -> VReg {
        match d {
            Divisor::Const(d) if d & (d - 1) == 0 && quotient => {
                self.shift_right(x, i64::from(d.trailing_zeros()), true, true)
            }
            Divisor::Const(d) if d & (d - 1) == 0 => {
                let mask = self.int(d - 1);
                self.x(form::AND.wide(true), &[x, mask])
            }
            Divisor::Const(d) => {
                let d = self.int(d);
                self.floor_by(x, d, quotient)
            }
            Divisor::Reg(d) => {
                let r = self.floor_by(x, d, quotient);
                // By zero the quotient is 0 already, and the remainder all of x.
                let zero = self.int(0);
                self.compare_imm(d, 0, true);
                self.result(form::CSEL.wide(true), Class::Gpr, &[used(zero), used(r), Cond::Eq.opnd()])
            }
        }
    }
    fn extreme(&mut self, x: VReg, y: VReg, least: bool) -> VReg {
        self.pick(x, y, if least { Cond::Lt } else { Cond::Gt }, true)
    }
    fn by_sign(&mut self, c: VReg, x: VReg, y: VReg) -> VReg {
        self.compare_imm(c, 0, true);
        self.result(form::CSEL.wide(true), Class::Gpr, &[used(x), used(y), Cond::Ge.opnd()])
    }
}

impl Select<'_> {
    /// Floor quotient or remainder; by zero something.
    fn floor_by(&mut self, x: VReg, d: VReg, quotient: bool) -> VReg {
        let q = self.x(form::SDIV.wide(true), &[x, d]);
        let r = self.x(form::MSUB.wide(true), &[q, d, x]);
        // A remainder of another sign than the divisor takes one more.
        let signs = self.x(form::EOR.wide(true), &[r, d]);
        let (other, zero) = match quotient {
            true => (self.plus(q, -1), q),
            false => (self.x(form::ADD.wide(true), &[r, d]), r),
        };
        self.compare_imm(signs, 0, true);
        let out = self.result(form::CSEL.wide(true), Class::Gpr, &[used(other), used(zero), Cond::Lt.opnd()]);
        self.compare_imm(r, 0, true);
        let opnds = [used(zero), used(out), Cond::Eq.opnd()];
        self.result(form::CSEL.wide(true), Class::Gpr, &opnds[..])
    }
    /// `x >> by` of 32 or 64 bits.
    pub(super) fn shift_right(&mut self, x: VReg, by: i64, signed: bool, wide: bool) -> VReg {
        let form = match (signed, wide) {
            (true, true) => form::SBFM_X,
            (true, false) => form::SBFM,
            (false, true) => form::UBFM_X,
            (false, false) => form::UBFM,
        };
        let last = if wide { 63 } else { 31 };
        self.result(form, Class::Gpr, &[used(x), Opnd::Imm(by), Opnd::Imm(last)])
    }
    /// `x << by` of 32 or 64 bits.
    pub(super) fn shift_left(&mut self, x: VReg, by: i64, wide: bool) -> VReg {
        let (form, bits) = if wide { (form::UBFM_X, 64) } else { (form::UBFM, 32) };
        let from = (bits - by) % bits;
        self.result(form, Class::Gpr, &[used(x), Opnd::Imm(from), Opnd::Imm(bits - 1 - by)])
    }
}

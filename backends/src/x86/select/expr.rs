//! Symbolic integers.

use super::Select;
use crate::machine::expr::{Divisor, Integers};
use crate::x86::mir::{Class, Cond, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::Sym;
use sinter_ir::tile::BinOp;

impl Integers for Select<'_> {
    fn number(&mut self, v: i64) -> VReg {
        self.int(v, true)
    }
    fn symbol(&mut self, s: Sym) -> VReg {
        let t = self.temp(Class::Gpr);
        let from = Mem::reg(self.syms).plus(8 * i64::from(s.0));
        self.f.op(Code::Mov_r64_rm64, &[Opnd::Def(t, 8), Opnd::Mem(from)]);
        t
    }
    fn sum(&mut self, a: VReg, b: VReg) -> VReg {
        let t = self.fresh(a, 8);
        self.alu(BinOp::Add, t, 8, b);
        t
    }
    fn sum_imm(&mut self, a: VReg, by: i64) -> VReg {
        let t = self.fresh(a, 8);
        if by != 0 {
            self.add_imm(t, by);
        }
        t
    }
    fn product(&mut self, a: VReg, b: VReg) -> VReg {
        self.multiply(a, b, 8)
    }
    fn product_imm(&mut self, a: VReg, by: i64) -> VReg {
        self.times(a, by)
    }
    fn floor(&mut self, x: VReg, d: Divisor, quotient: bool) -> VReg {
        match d {
            Divisor::Const(d) => self.floor_const(x, d, quotient),
            Divisor::Reg(y) => self.floor_regs(x, y, quotient),
        }
    }
    fn extreme(&mut self, x: VReg, y: VReg, least: bool) -> VReg {
        let t = self.fresh(x, 8);
        self.f.op(Code::Cmp_r64_rm64, &[Opnd::Use(x, 8), Opnd::Use(y, 8)]);
        let when = if least { Cond::G } else { Cond::L };
        self.f.op(when.cmov(8), &[Opnd::UseDef(t, 8), Opnd::Use(y, 8)]);
        t
    }
    fn by_sign(&mut self, c: VReg, x: VReg, y: VReg) -> VReg {
        let t = self.fresh(y, 8);
        self.compare_imm(c, 8, 0);
        self.f.op(Cond::NS.cmov(8), &[Opnd::UseDef(t, 8), Opnd::Use(x, 8)]);
        t
    }
}

impl Select<'_> {
    /// Floor quotient or remainder by a positive constant.
    fn floor_const(&mut self, x: VReg, d: i64, quotient: bool) -> VReg {
        if d & (d - 1) == 0 {
            let t = self.fresh(x, 8);
            match quotient {
                true => self.shift_imm(BinOp::ShrS, t, 8, i64::from(d.trailing_zeros())),
                false => self.alu_imm(BinOp::And, t, 8, d - 1),
            }
            return t;
        }
        let Some(r) = self.divide_const(x, 8, d, true, false) else { return self.int(0, false) };
        // Negative remainders take one more divisor.
        let sign = self.fresh(r, 8);
        self.shift_imm(BinOp::ShrS, sign, 8, 63);
        if !quotient {
            self.alu_imm(BinOp::And, sign, 8, d);
            self.alu(BinOp::Add, sign, 8, r);
            return sign;
        }
        let q = self.divide_const(x, 8, d, true, true).map(|q| self.fresh(q, 8));
        q.inspect(|q| self.alu(BinOp::Add, *q, 8, sign)).unwrap_or(sign)
    }
    /// Floor quotient or remainder; 0 for a zero divisor.
    fn floor_regs(&mut self, x: VReg, y: VReg, quotient: bool) -> VReg {
        let q = self.divide_regs(x, y, 8, true, true);
        let back = self.multiply(q, y, 8);
        let r = self.fresh(x, 8);
        self.alu(BinOp::Sub, r, 8, back);
        let done = self.f.label();
        let out = self.temp(Class::Gpr);
        // By zero: q is 0, and so is the remainder.
        let zero = self.int(0, false);
        self.f.copy(out, if quotient { q } else { r }, 8);
        self.compare_imm(y, 8, 0);
        self.f.op(Cond::E.cmov(8), &[Opnd::UseDef(out, 8), Opnd::Use(zero, 8)]);
        self.f.branch(Cond::E, done);
        self.compare_imm(r, 8, 0);
        self.f.branch(Cond::E, done);
        let signs = self.fresh(r, 8);
        self.alu(BinOp::Xor, signs, 8, y);
        self.f.branch(Cond::NS, done);
        match quotient {
            true => self.add_imm(out, -1),
            false => self.alu(BinOp::Add, out, 8, y),
        }
        self.f.bind(done);
        out
    }
}

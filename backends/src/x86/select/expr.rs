//! Symbolic integers.

use super::Select;
use crate::x86::mir::{Class, Cond, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::Expr;
use sinter_ir::expr::Atom;
use sinter_ir::tile::BinOp;
use std::collections::BTreeMap;

/// Parts that were computed before; valid while no symbol changes and on every path from there.
pub type Memo = BTreeMap<Atom, VReg>;

impl Select<'_> {
    /// Computes an expression. Division by zero gives 0.
    pub(super) fn expr(&mut self, e: &Expr, memo: &mut Memo) -> VReg {
        let mut sum: Option<VReg> = None;
        for (atoms, c) in e.terms() {
            let mut product: Option<VReg> = None;
            for a in atoms {
                let v = match memo.get(a) {
                    Some(v) => *v,
                    None => {
                        let v = self.atom(a, memo);
                        memo.insert(a.clone(), v);
                        v
                    }
                };
                product = Some(match product {
                    Some(p) => self.multiply(p, v, 8),
                    None => v,
                });
            }
            let Some(p) = product else { continue };
            let p = if *c == 1 { p } else { self.times(p, *c) };
            sum = Some(match sum {
                Some(s) => {
                    let t = self.fresh(s, 8);
                    self.alu(BinOp::Add, t, 8, p);
                    t
                }
                None => p,
            });
        }
        let Some(sum) = sum else { return self.int(e.constant_term(), true) };
        let t = self.fresh(sum, 8);
        if e.constant_term() != 0 {
            self.add_imm(t, e.constant_term());
        }
        t
    }
    /// Computes an indivisible part.
    fn atom(&mut self, a: &Atom, memo: &mut Memo) -> VReg {
        match a {
            Atom::Sym(s) => {
                let t = self.temp(Class::Gpr);
                let from = Mem::reg(self.syms).plus(8 * i64::from(s.0));
                self.f.op(Code::Mov_r64_rm64, &[Opnd::Def(t, 8), Opnd::Mem(from)]);
                t
            }
            Atom::TooBig => self.int(0, false),
            Atom::Div(x, d) | Atom::Mod(x, d) => {
                let quotient = matches!(a, Atom::Div(..));
                let x = self.expr(x, memo);
                match d.as_const() {
                    Some(d) if d > 0 => self.floor_const(x, d, quotient),
                    _ => {
                        let y = self.expr(d, memo);
                        self.floor_regs(x, y, quotient)
                    }
                }
            }
            Atom::Min(x, y) | Atom::Max(x, y) => {
                let (x, y) = (self.expr(x, memo), self.expr(y, memo));
                let t = self.fresh(x, 8);
                self.f.op(Code::Cmp_r64_rm64, &[Opnd::Use(x, 8), Opnd::Use(y, 8)]);
                let when = if matches!(a, Atom::Min(..)) { Cond::G } else { Cond::L };
                self.f.op(when.cmov(8), &[Opnd::UseDef(t, 8), Opnd::Use(y, 8)]);
                t
            }
            Atom::Sel(c, x, y) => {
                let (c, x, y) = (self.expr(c, memo), self.expr(x, memo), self.expr(y, memo));
                let t = self.fresh(y, 8);
                self.compare_imm(c, 8, 0);
                self.f.op(Cond::NS.cmov(8), &[Opnd::UseDef(t, 8), Opnd::Use(x, 8)]);
                t
            }
        }
    }
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

//! Symbolic integers, made of the arithmetic that every instruction set has.

use super::mir::VReg;
use sinter_ir::expr::Atom;
use sinter_ir::{Expr, Sym};
use std::collections::BTreeMap;

/// Parts that were computed before; valid while no symbol changes and on every path from there.
pub type Memo = BTreeMap<Atom, VReg>;

/// Divisors.
#[derive(Debug, Clone, Copy)]
pub enum Divisor {
    /// A positive constant.
    Const(i64),
    /// Any number; division by zero gives 0.
    Reg(VReg),
}

/// Arithmetic on integers of 64 bits; results are fresh registers.
pub trait Integers {
    /// A constant.
    fn number(&mut self, v: i64) -> VReg;
    /// The value of a symbol.
    fn symbol(&mut self, s: Sym) -> VReg;
    /// `a + b`.
    fn sum(&mut self, a: VReg, b: VReg) -> VReg;
    /// `a + by`.
    fn sum_imm(&mut self, a: VReg, by: i64) -> VReg;
    /// `a * b`.
    fn product(&mut self, a: VReg, b: VReg) -> VReg;
    /// `a * by`.
    fn product_imm(&mut self, a: VReg, by: i64) -> VReg;
    /// Quotient rounded down, or the remainder that belongs to it.
    fn floor(&mut self, x: VReg, d: Divisor, quotient: bool) -> VReg;
    /// The smaller or the larger one.
    fn extreme(&mut self, x: VReg, y: VReg, least: bool) -> VReg;
    /// `x` where `c` is not negative, else `y`.
    fn by_sign(&mut self, c: VReg, x: VReg, y: VReg) -> VReg;
}

/// Computes an expression. Division by zero gives 0.
pub fn compute(s: &mut impl Integers, e: &Expr, memo: &mut Memo) -> VReg {
    let mut sum: Option<VReg> = None;
    for (atoms, c) in e.terms() {
        let mut product: Option<VReg> = None;
        for a in atoms {
            let v = match memo.get(a) {
                Some(v) => *v,
                None => {
                    let v = atom(s, a, memo);
                    memo.insert(a.clone(), v);
                    v
                }
            };
            product = Some(match product {
                Some(p) => s.product(p, v),
                None => v,
            });
        }
        let Some(p) = product else { continue };
        let p = if *c == 1 { p } else { s.product_imm(p, *c) };
        sum = Some(match sum {
            Some(t) => s.sum(t, p),
            None => p,
        });
    }
    match sum {
        Some(t) => s.sum_imm(t, e.constant_term()),
        None => s.number(e.constant_term()),
    }
}

/// Computes an indivisible part.
fn atom(s: &mut impl Integers, a: &Atom, memo: &mut Memo) -> VReg {
    match a {
        Atom::Sym(x) => s.symbol(*x),
        Atom::TooBig => s.number(0),
        Atom::Div(x, d) | Atom::Mod(x, d) => {
            let quotient = matches!(a, Atom::Div(..));
            let x = compute(s, x, memo);
            let d = match d.as_const() {
                Some(d) if d > 0 => Divisor::Const(d),
                _ => Divisor::Reg(compute(s, d, memo)),
            };
            s.floor(x, d, quotient)
        }
        Atom::Min(x, y) | Atom::Max(x, y) => {
            let (x, y) = (compute(s, x, memo), compute(s, y, memo));
            s.extreme(x, y, matches!(a, Atom::Min(..)))
        }
        Atom::Sel(c, x, y) => {
            let (c, x, y) = (compute(s, c, memo), compute(s, x, memo), compute(s, y, memo));
            s.by_sign(c, x, y)
        }
    }
}

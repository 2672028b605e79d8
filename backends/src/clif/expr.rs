//! Symbolic integers as machine code.

use super::known::Known;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types::I64};
use cranelift_frontend::FunctionBuilder;
use sinter_ir::expr::Atom;
use sinter_ir::{Expr, Sym};
use std::collections::BTreeMap;

/// Values emitted so far; valid while what follows is dominated by them and no symbol changes.
pub type Memo = BTreeMap<Atom, Value>;

/// Emits an expression over the symbol array at `syms`. Division by zero gives 0.
pub fn emit(b: &mut FunctionBuilder, syms: Value, e: &Expr) -> Value {
    emit_shared(b, syms, e, &mut Memo::new())
}

/// [`emit`], sharing parts with what was emitted before.
pub fn emit_shared(b: &mut FunctionBuilder, syms: Value, e: &Expr, memo: &mut Memo) -> Value {
    Scope { syms, known: None, memo }.expr(b, e)
}

/// [`emit`], loading the parts that symbols hold.
pub fn emit_known(b: &mut FunctionBuilder, syms: Value, e: &Expr, known: &Known) -> Value {
    Scope { syms, known: Some(known), memo: &mut Memo::new() }.expr(b, e)
}

/// Where an expression is emitted.
struct Scope<'a> {
    syms: Value,
    known: Option<&'a Known<'a>>,
    memo: &'a mut Memo,
}

impl Scope<'_> {
    fn load(&self, b: &mut FunctionBuilder, s: Sym) -> Value {
        b.ins().load(I64, MemFlagsData::trusted(), self.syms, 8 * s.0 as i32)
    }
    fn expr(&mut self, b: &mut FunctionBuilder, e: &Expr) -> Value {
        if let Some(s) = self.known.and_then(|k| k.get(e)) {
            return self.load(b, s);
        }
        let mut sum: Option<Value> = None;
        for (atoms, c) in e.terms() {
            let mut p: Option<Value> = None;
            for a in atoms {
                let v = match self.memo.get(a) {
                    Some(&v) => v,
                    None => {
                        let v = self.atom(b, a);
                        self.memo.insert(a.clone(), v);
                        v
                    }
                };
                p = Some(p.map_or(v, |p| b.ins().imul(p, v)));
            }
            let Some(mut p) = p else { continue };
            if *c != 1 {
                p = b.ins().imul_imm_s(p, *c);
            }
            sum = Some(sum.map_or(p, |s| b.ins().iadd(s, p)));
        }
        match (sum, e.constant_term()) {
            (None, c) => b.ins().iconst(I64, c),
            (Some(s), 0) => s,
            (Some(s), c) => b.ins().iadd_imm_s(s, c),
        }
    }
    fn atom(&mut self, b: &mut FunctionBuilder, a: &Atom) -> Value {
        if let Some(s) = self.known.and_then(|k| k.get(&a.clone().into())) {
            return self.load(b, s);
        }
        match a {
            Atom::Sym(s) => self.load(b, *s),
            Atom::TooBig => b.ins().iconst(I64, 0),
            Atom::Div(e, d) | Atom::Mod(e, d) => {
                let quotient = matches!(a, Atom::Div(..));
                let x = self.expr(b, e);
                if let Some(v) = by_power_of_two(b, x, d, quotient) {
                    return v;
                }
                let y = self.expr(b, d);
                if d.as_const().is_some_and(|d| d > 0) && self.known.is_some_and(|k| k.is_natural(e)) {
                    return if quotient { b.ins().udiv(x, y) } else { b.ins().urem(x, y) };
                }
                let (q, r) = floor_div_mod(b, x, y);
                if quotient { q } else { r }
            }
            Atom::Min(x, y) => {
                let (x, y) = (self.expr(b, x), self.expr(b, y));
                b.ins().smin(x, y)
            }
            Atom::Max(x, y) => {
                let (x, y) = (self.expr(b, x), self.expr(b, y));
                b.ins().smax(x, y)
            }
            Atom::Sel(c, x, y) => {
                let (c, x, y) = (self.expr(b, c), self.expr(b, x), self.expr(b, y));
                let yes = b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, c, 0);
                b.ins().select(yes, x, y)
            }
        }
    }
}

/// Floor quotient or remainder by a positive power of two: one instruction.
fn by_power_of_two(b: &mut FunctionBuilder, x: Value, d: &Expr, quotient: bool) -> Option<Value> {
    let d = d.as_const().filter(|d| *d > 0 && d & (d - 1) == 0)?;
    Some(if quotient {
        b.ins().sshr_imm_u(x, i64::from(d.trailing_zeros()))
    } else {
        b.ins().band_imm_s(x, d - 1)
    })
}

/// Floor quotient and remainder; both 0 for a zero divisor.
fn floor_div_mod(b: &mut FunctionBuilder, x: Value, y: Value) -> (Value, Value) {
    let zero = b.ins().iconst(I64, 0);
    let one = b.ins().iconst(I64, 1);
    let none = b.ins().icmp_imm_s(IntCC::Equal, y, 0);
    let minus = b.ins().icmp_imm_s(IntCC::Equal, y, -1);
    // Neither 0 nor -1 reaches the instruction, so that it cannot trap.
    let plain = b.ins().bor(none, minus);
    let safe = b.ins().select(plain, one, y);
    let q = b.ins().sdiv(x, safe);
    let back = b.ins().imul(q, safe);
    let r = b.ins().isub(x, back);
    let nonzero = b.ins().icmp_imm_s(IntCC::NotEqual, r, 0);
    let signs = b.ins().bxor(r, safe);
    let differ = b.ins().icmp_imm_s(IntCC::SignedLessThan, signs, 0);
    let adjust = b.ins().band(nonzero, differ);
    let q1 = b.ins().iadd_imm_s(q, -1);
    let r1 = b.ins().iadd(r, safe);
    let q = b.ins().select(adjust, q1, q);
    let r = b.ins().select(adjust, r1, r);
    let negated = b.ins().ineg(x);
    let q = b.ins().select(minus, negated, q);
    let r = b.ins().select(minus, zero, r);
    (b.ins().select(none, zero, q), b.ins().select(none, zero, r))
}

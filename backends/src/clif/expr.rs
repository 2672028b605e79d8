//! Symbolic integers as machine code.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types::I64};
use cranelift_frontend::FunctionBuilder;
use sinter_ir::Expr;
use sinter_ir::expr::Atom;
use std::collections::BTreeMap;

/// Values emitted so far; valid while what follows is dominated by them and no symbol changes.
pub type Memo = BTreeMap<Atom, Value>;

/// Emits an expression over the symbol array at `syms`. Division by zero gives 0.
pub fn emit(b: &mut FunctionBuilder, syms: Value, e: &Expr) -> Value {
    emit_shared(b, syms, e, &mut Memo::new())
}

/// [`emit`], sharing parts with what was emitted before.
pub fn emit_shared(b: &mut FunctionBuilder, syms: Value, e: &Expr, memo: &mut Memo) -> Value {
    let mut sum: Option<Value> = None;
    for (atoms, c) in e.terms() {
        let mut p: Option<Value> = None;
        for a in atoms {
            let v = match memo.get(a) {
                Some(&v) => v,
                None => {
                    let v = atom(b, syms, a, memo);
                    memo.insert(a.clone(), v);
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

fn atom(b: &mut FunctionBuilder, syms: Value, a: &Atom, memo: &mut Memo) -> Value {
    let mut of = |b: &mut FunctionBuilder, e: &Expr| emit_shared(b, syms, e, memo);
    match a {
        Atom::Sym(s) => b.ins().load(I64, MemFlagsData::trusted(), syms, 8 * s.0 as i32),
        Atom::TooBig => b.ins().iconst(I64, 0),
        Atom::Div(x, d) | Atom::Mod(x, d) => {
            let quotient = matches!(a, Atom::Div(..));
            let x = of(b, x);
            by_power_of_two(b, x, d, quotient).unwrap_or_else(|| {
                let y = of(b, d);
                let (q, r) = floor_div_mod(b, x, y);
                if quotient { q } else { r }
            })
        }
        Atom::Min(x, y) => {
            let (x, y) = (of(b, x), of(b, y));
            b.ins().smin(x, y)
        }
        Atom::Max(x, y) => {
            let (x, y) = (of(b, x), of(b, y));
            b.ins().smax(x, y)
        }
        Atom::Sel(c, x, y) => {
            let (c, x, y) = (of(b, c), of(b, x), of(b, y));
            let yes = b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, c, 0);
            b.ins().select(yes, x, y)
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

//! Symbolic integers: `i64` arithmetic over the symbol array, which lies at a fixed address.

use super::body::Body;
use super::module::Helper;
use super::scalar::memory;
use sinter_ir::Expr;
use sinter_ir::expr::Atom;
use std::collections::BTreeMap;
use wasm_encoder::{BlockType, Instruction as I, ValType};

/// Locals that hold what was computed before; valid while no symbol changes and what follows comes later on every path.
pub type Memo = BTreeMap<Atom, u32>;

/// Pushes the value of an expression. Division by zero gives 0.
pub fn push(f: &mut Body, syms: u32, e: &Expr, memo: &mut Memo) {
    let mut first = true;
    for (atoms, c) in e.terms() {
        let mut any = false;
        for a in atoms {
            let l = local(f, syms, a, memo);
            f.get(l);
            if any {
                f.op(I::I64Mul);
            }
            any = true;
        }
        if !any {
            continue;
        }
        if *c != 1 {
            f.i64(*c);
            f.op(I::I64Mul);
        }
        if !first {
            f.op(I::I64Add);
        }
        first = false;
    }
    match (first, e.constant_term()) {
        (true, c) => f.i64(c),
        (false, 0) => {}
        (false, c) => f.ops([I::I64Const(c), I::I64Add]),
    }
}

fn local(f: &mut Body, syms: u32, a: &Atom, memo: &mut Memo) -> u32 {
    if let Some(&l) = memo.get(a) {
        return l;
    }
    atom(f, syms, a, memo);
    let l = f.keep(ValType::I64);
    memo.insert(a.clone(), l);
    l
}

fn atom(f: &mut Body, syms: u32, a: &Atom, memo: &mut Memo) {
    // The halves of a choice are both computed: they cannot trap.
    match a {
        Atom::Sym(s) => {
            f.i32(0);
            f.op(I::I64Load(memory(u64::from(syms) + 8 * u64::from(s.0))));
        }
        Atom::TooBig => f.i64(0),
        Atom::Div(x, d) | Atom::Mod(x, d) => {
            let quotient = matches!(a, Atom::Div(..));
            push(f, syms, x, memo);
            match d.as_const().filter(|d| *d > 0 && d & (d - 1) == 0) {
                Some(d) if quotient => f.ops([I::I64Const(d.trailing_zeros().into()), I::I64ShrS]),
                Some(d) => f.ops([I::I64Const(d - 1), I::I64And]),
                None => {
                    push(f, syms, d, memo);
                    f.op(I::Call(if quotient { Helper::FloorDiv } else { Helper::FloorMod } as u32));
                }
            }
        }
        Atom::Min(x, y) | Atom::Max(x, y) => {
            push(f, syms, x, memo);
            let p = f.keep(ValType::I64);
            push(f, syms, y, memo);
            let q = f.keep(ValType::I64);
            let less = matches!(a, Atom::Min(..));
            let order = if less { I::I64LtS } else { I::I64GtS };
            f.ops([I::LocalGet(p), I::LocalGet(q), I::LocalGet(p), I::LocalGet(q), order, I::Select]);
        }
        Atom::Sel(c, x, y) => {
            push(f, syms, x, memo);
            let p = f.keep(ValType::I64);
            push(f, syms, y, memo);
            let q = f.keep(ValType::I64);
            f.ops([I::LocalGet(p), I::LocalGet(q)]);
            push(f, syms, c, memo);
            f.ops([I::I64Const(0), I::I64GeS, I::Select]);
        }
    }
}

/// `fn(x, y) -> floor(x / y)` or the remainder that belongs to it; both 0 for a zero divisor.
pub fn floor(quotient: bool) -> wasm_encoder::Function {
    let mut f = Body::new(&[ValType::I64; 2]);
    let (x, y) = (0, 1);
    // -1 and 0 would trap.
    f.ops([I::LocalGet(y), I::I64Const(1), I::I64Add, I::I64Const(2), I::I64LtU]);
    f.op(I::If(BlockType::Empty));
    match quotient {
        true => f.ops([I::LocalGet(x), I::LocalGet(y), I::I64Mul]),
        false => f.i64(0),
    }
    f.ops([I::Return, I::End]);
    f.ops([I::LocalGet(x), I::LocalGet(y), I::I64RemS]);
    let r = f.keep(ValType::I64);
    // The remainder must have the divisor's sign.
    f.ops([I::LocalGet(r), I::I64Const(0), I::I64Ne]);
    f.ops([I::LocalGet(r), I::LocalGet(y), I::I64Xor, I::I64Const(0), I::I64LtS, I::I32And]);
    f.op(I::I64ExtendI32U);
    let off = f.keep(ValType::I64);
    match quotient {
        true => f.ops([I::LocalGet(x), I::LocalGet(y), I::I64DivS, I::LocalGet(off), I::I64Sub]),
        false => f.ops([I::LocalGet(r), I::LocalGet(y), I::LocalGet(off), I::I64Mul, I::I64Add]),
    }
    f.finish()
}

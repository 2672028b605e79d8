//! Arithmetic, comparisons, selections.

use super::{FORMS, Form, LANES, check, check_with, kernel};
use crate::r#gen::NUMBERS;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Inst, Scalar, UnOp};

#[test]
fn unary() {
    use UnOp::*;
    let mut all = vec![];
    for e in NUMBERS.into_iter().chain([Elem::B1]) {
        let ops: &[UnOp] = match e {
            Elem::B1 => &[Not],
            Elem::F32 | Elem::F64 => &[Neg, Abs, Ceil, Floor, Trunc, Nearest, Sqrt],
            _ => &[Neg, Abs, Not],
        };
        for &op in ops {
            for form in [Form::Loaded, Form::Copied] {
                let k = kernel(format!("{op:?} {e:?} {form:?}"), form, &LANES, &mut |b, n| {
                    let x = b.operand(e, n);
                    let r = b.b.un(op, x);
                    b.keep(r);
                });
                all.push((e, k));
            }
        }
    }
    check(&all);
}

fn binary(ops_of: &dyn Fn(Elem) -> Vec<BinOp>) {
    let mut all = vec![];
    for e in NUMBERS.into_iter().chain([Elem::B1]) {
        for op in ops_of(e) {
            for form in FORMS {
                let k = kernel(format!("{op:?} {e:?} {form:?}"), form, &LANES, &mut |b, n| {
                    let x = if e == Elem::B1 { b.operand(e, n) } else { b.load(e, n) };
                    let y = b.operand(e, n);
                    // Both orders.
                    let (x, y) = if n % 2 == 0 { (x, y) } else { (y, x) };
                    let r = b.b.bin(op, x, y);
                    b.keep(r);
                });
                all.push((e, k));
            }
        }
    }
    check(&all);
}

#[test]
fn binary_arithmetic() {
    use BinOp::*;
    binary(&|e| match e {
        Elem::B1 => vec![And, Or, Xor],
        Elem::F32 | Elem::F64 => vec![Add, Sub, Mul, Div, Min, Max],
        _ => vec![Add, Sub, Mul, MinS, MaxS, MinU, MaxU, And, Or, Xor],
    });
}

#[test]
fn shifts_and_divisions() {
    use BinOp::*;
    binary(&|e| match e {
        Elem::B1 | Elem::F32 | Elem::F64 => vec![],
        _ => vec![Shl, ShrS, ShrU, DivS, DivU, RemS, RemU],
    });
}

#[test]
fn comparisons_and_selections() {
    use CmpOp::*;
    let mut all = vec![];
    for e in NUMBERS {
        let mut ops = vec![Eq, Ne, Lt, Le, Gt, Ge];
        if !e.is_float() {
            ops.extend([LtU, LeU, GtU, GeU]);
        }
        for op in ops {
            for form in FORMS {
                let k = kernel(format!("{op:?} {e:?} {form:?}"), form, &LANES, &mut |b, n| {
                    let (x, y) = (b.load(e, n), b.operand(e, n));
                    let (x, y) = if n % 2 == 0 { (x, y) } else { (y, x) };
                    let r = b.b.cmp(op, x, y);
                    b.keep(r);
                });
                all.push((e, k));
            }
        }
        for one in [true, false] {
            for form in FORMS {
                let k = kernel(format!("Select {e:?} {one} {form:?}"), form, &LANES, &mut |b, n| {
                    let c = b.operand(Elem::B1, if one { 1 } else { n });
                    let (x, y) = (b.load(e, n), b.operand(e, n));
                    let r = b.b.select(c, x, y);
                    b.keep(r);
                });
                all.push((e, k));
            }
        }
    }
    let truths = kernel("truths".into(), Form::Loaded, &LANES, &mut |b, n| {
        let (c, x, y) = (b.operand(Elem::B1, n), b.operand(Elem::B1, n), b.operand(Elem::B1, n));
        let r = b.b.select(c, x, y);
        b.keep(r);
        for v in [true, false] {
            let k = b.b.reg(Elem::B1, n);
            b.b.set(k, Inst::Const(Scalar::B1(v)));
            let r = b.b.bin(BinOp::Xor, k, x);
            b.keep(r);
        }
        let one = b.operand(Elem::B1, 1);
        let k = b.b.reg(Elem::B1, n);
        b.b.set(k, Inst::Splat(one));
        b.keep(k);
    });
    all.push((Elem::I8, truths));
    check(&all);
}

#[test]
fn multiply_and_add() {
    let mut all = vec![];
    for e in NUMBERS {
        for form in FORMS {
            // What is in a register, and whose register the result takes.
            for which in 0..6 {
                let k = kernel(format!("MulAdd {e:?} {form:?} {which}"), form, &LANES, &mut |b, n| {
                    let (x, y, z) = match which % 3 {
                        0 => (b.load(e, n), b.load(e, n), b.operand(e, n)),
                        1 => (b.load(e, n), b.operand(e, n), b.load(e, n)),
                        _ => (b.operand(e, n), b.load(e, n), b.load(e, n)),
                    };
                    let r = if which < 3 { b.b.reg(e, n) } else { [x, y, z][which % 3] };
                    b.b.set(r, Inst::MulAdd(x, y, z));
                    b.keep(r);
                });
                all.push((e, k));
            }
        }
    }
    check(&all);
}

#[test]
fn scaling_by_powers_of_two() {
    let mut all = vec![];
    for e in [Elem::F32, Elem::F64] {
        for form in FORMS {
            let lanes: Vec<u16> = [1].into_iter().chain(LANES).collect();
            let k = kernel(format!("Scale {e:?} {form:?}"), form, &lanes, &mut |b, n| {
                let (x, y) = (b.load(e, n), b.operand(e, n));
                // NaN times 2^inf is left open.
                let ok = b.b.cmp(CmpOp::Eq, x, x);
                let one = b.b.float(e, n, 1.0);
                let x = b.b.select(ok, x, one);
                let r = b.b.bin(BinOp::Scale, x, y);
                b.keep(r);
            });
            all.push((e, k));
        }
    }
    check_with("avx512f", &all);
}

//! Conversions, lanes, folds, memory.

use super::{Build, FORMS, Form, LANES, TAILS, check, check_on, check_with, kernel};
use crate::r#gen::NUMBERS;
use sinter_ir::tile::{Addr, BinOp, CmpOp, CvtOp, Elem, Inst, Kernel, Reg, Scalar, UnOp};

#[test]
fn conversions() {
    use CvtOp::*;
    let mut all = vec![];
    let int = |e: Elem| !e.is_float() && e != Elem::B1;
    for from in NUMBERS.into_iter().chain([Elem::B1]) {
        for to in NUMBERS {
            for op in [SExt, ZExt, Narrow, SToF, UToF, FToS, FToU, FToF, Bits] {
                let ok = match op {
                    SExt | ZExt => !from.is_float() && int(to) && from.bits() < to.bits(),
                    Narrow => int(from) && int(to) && from.bits() > to.bits(),
                    SToF | UToF => int(from) && to.is_float(),
                    FToS | FToU => from.is_float() && matches!(to, Elem::I32 | Elem::I64),
                    FToF => from.is_float() && to.is_float() && from != to,
                    Bits => from.bits() == to.bits() && from.is_float() != to.is_float(),
                };
                for form in if ok { &[Form::Loaded, Form::Copied][..] } else { &[] } {
                    let k = kernel(format!("{op:?} {from:?} {to:?} {form:?}"), *form, &LANES, &mut |b, n| {
                        let x = b.operand(from, n);
                        let r = b.b.cvt(op, to, x);
                        b.keep(r);
                    });
                    all.push((from, k));
                }
            }
        }
    }
    check(&all);
}

#[test]
fn scalars_and_lanes() {
    let mut all = vec![];
    for e in NUMBERS.into_iter().chain([Elem::B1]) {
        let k = kernel(format!("lanes {e:?}"), Form::Loaded, &LANES[..16], &mut |b, n| {
            let x = b.operand(e, n);
            for i in [0, n / 2, n - 1] {
                let r = b.b.reg(e, 1);
                b.b.set(r, Inst::Lane(x, i));
                let s = b.b.reg(e, n.min(12));
                b.b.set(s, Inst::Splat(r));
                b.keep(s);
            }
            if e != Elem::B1 && !e.is_float() {
                let r = b.b.reg(e, n);
                b.b.set(r, Inst::LaneIndex);
                b.keep(r);
            }
        });
        all.push((e, k));
        use BinOp::*;
        let folds: &[BinOp] = match e {
            Elem::B1 => &[And, Or],
            Elem::F32 | Elem::F64 => &[Add, Mul, Min, Max],
            _ => &[Add, Mul, MinS, MaxS, MinU, MaxU, And, Or],
        };
        for &op in folds {
            let k =
                kernel(format!("Fold {op:?} {e:?}"), Form::Loaded, &[2, 4, 8, 16, 32, 64], &mut |b, n| {
                    let x = b.operand(e, n);
                    let r = b.b.fold(op, x);
                    b.keep(r);
                    // Truths that are all the same.
                    if e == Elem::B1 {
                        let x = b.load(Elem::I8, n);
                        for c in [CmpOp::Eq, CmpOp::Ne] {
                            let same = b.b.cmp(c, x, x);
                            let r = b.b.fold(op, same);
                            b.keep(r);
                        }
                    }
                });
            all.push((e, k));
        }
    }
    check(&all);
}

#[test]
fn dot_products() {
    let mut all = vec![];
    for (a_signed, b_signed) in [(false, true), (true, false), (true, true), (false, false)] {
        for form in FORMS {
            for (own, words) in [(true, false), (false, false), (true, true), (false, true)] {
                let name = format!("Dot4 {a_signed} {b_signed} {form:?} {own} {words}");
                let k = kernel(name, form, &[1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32], &mut |b, n| {
                    let acc = b.load(Elem::I32, n);
                    let (e, bytes) = if words { (Elem::I32, n) } else { (Elem::I8, 4 * n) };
                    let (x, y) = (b.load(e, bytes), b.operand(e, bytes));
                    let r = if own { acc } else { b.b.reg(Elem::I32, n) };
                    b.b.set(r, Inst::Dot4 { acc, a: x, b: y, a_signed, b_signed, within: None });
                    b.keep(r);
                });
                all.push((Elem::I8, k));
            }
        }
    }
    check(&all);
}

/// Upper bits of every byte of words: some masks are those of a shift of bytes, others are not.
#[test]
fn fields_of_bytes() {
    let mut all = vec![];
    for by in [1, 3, 4, 7, 8] {
        for mask in [0x0101_0101i64 * (0xff >> by.min(7)), 0x0f0f_0f0f, 0x0707_0f0f] {
            let k = kernel(format!("bytes {by} {mask:x}"), Form::Loaded, &LANES, &mut |b, n| {
                let x = b.load(Elem::I32, n);
                let (by, mask) = (b.b.int(Elem::I32, n, by), b.b.int(Elem::I32, n, mask));
                let shifted = b.b.bin(BinOp::ShrU, x, by);
                let field = b.b.bin(BinOp::And, shifted, mask);
                b.keep(field);
                // Read twice: the shift stays.
                let shifted = b.b.bin(BinOp::ShrU, x, by);
                let field = b.b.bin(BinOp::And, shifted, mask);
                let sum = b.b.bin(BinOp::Add, shifted, field);
                b.keep(sum);
            });
            all.push((Elem::I32, k));
        }
    }
    check(&all);
}

/// Kernels of products, with sums in place and apart, and factors in both orders: `f` gets the registers of the result,
/// of the sum and of both factors. Inputs are random `data`.
fn products(
    name: &str,
    (data, sum): (Elem, Elem),
    lanes: &[u16],
    f: &mut dyn FnMut(&mut Build, u16, [Reg; 4]),
) -> Vec<(Elem, Kernel)> {
    let mut all = vec![];
    for form in FORMS {
        for (own, swapped) in [(true, false), (false, false), (true, true)] {
            let k = kernel(format!("{name} {form:?} {own} {swapped}"), form, lanes, &mut |b, n| {
                let acc = b.load(sum, n);
                let (x, y) = (b.load(Elem::I32, n), b.operand(Elem::I32, n));
                let (x, y) = if swapped { (y, x) } else { (x, y) };
                let r = if own { acc } else { b.b.reg(sum, n) };
                f(b, n, [r, acc, x, y]);
            });
            all.push((data, k));
        }
    }
    all
}

#[test]
fn products_of_matrices() {
    let of = |a_signed: bool| {
        let lanes = [4, 8, 12, 16, 32];
        products(&format!("Mat8 {a_signed}"), (Elem::I8, Elem::I32), &lanes, &mut |b, n, [r, acc, x, y]| {
            b.b.set(r, Inst::Mat8 { acc, a: x, b: y, a_signed });
            b.keep(r);
            for high in [false, true] {
                let row = b.b.reg(Elem::I32, n);
                b.b.set(row, Inst::Halves { a: r, b: y, high });
                b.keep(row);
                // The result is an operand.
                b.b.set(row, Inst::Halves { a: x, b: row, high });
                b.keep(row);
                b.b.set(row, Inst::Mat8 { acc: r, a: row, b: row, a_signed });
                b.keep(row);
            }
        })
    };
    check_with("i8mm", &[of(true), of(false)].concat());
}

#[test]
fn products_of_matrices_of_bf16() {
    let all = products("Mat4", (Elem::F32, Elem::F32), &[4, 8, 12, 16], &mut |b, n, [r, acc, x, y]| {
        b.b.set(r, Inst::Mat4 { acc, a: x, b: y });
        b.keep(r);
        for high in [false, true] {
            let row = b.b.reg(Elem::F32, n);
            b.b.set(row, Inst::Halves { a: r, b: acc, high });
            b.keep(row);
            // The result is an operand.
            b.b.set(row, Inst::Mat4 { acc: row, a: y, b: x });
            b.keep(row);
        }
    });
    check_with("bf16", &all);
}

#[test]
fn dot_products_of_pairs() {
    let all = products("Dot2", (Elem::F32, Elem::F32), &LANES, &mut |b, _, [r, acc, x, y]| {
        b.b.set(r, Inst::Dot2 { acc, a: x, b: y });
        b.keep(r);
    });
    check_with("avx512bf16", &all);
    // One operation after the other.
    check_on(&|t| t.has("sse4.2") && !t.has("avx2"), &all);
}

#[test]
fn dot_products_of_words() {
    let all = products("Dot2 I32", (Elem::I32, Elem::I32), &LANES, &mut |b, n, [r, acc, x, y]| {
        b.b.set(r, Inst::Dot2 { acc, a: x, b: y });
        b.keep(r);
        // Bytes of words in 16 bits.
        let [mask, by] = [0x00ff_00ff, 8].map(|v| b.b.int(Elem::I32, n, v));
        let odd = b.b.bin(BinOp::ShrU, x, by);
        for half in [x, odd] {
            let half = b.b.bin(BinOp::And, half, mask);
            b.b.set(r, Inst::Dot2 { acc: r, a: half, b: y });
        }
        b.keep(r);
    });
    check_on(&|t| t.has("sse4.2"), &all);
}

/// Codes of few bits by bytes: several products to one sum, which is read in between, in loops and behind branches.
#[test]
fn dot_products_of_codes() {
    let mut all = vec![];
    for (form, bits, swapped) in FORMS.into_iter().flat_map(|f| (1..=8).map(move |b| (f, b, b % 2 == 0))) {
        let k = kernel(format!("Dot4 {form:?} of {bits} bits"), form, &LANES, &mut |b, n| {
            let acc = b.load(Elem::I32, n);
            let (x, y) = (b.load(Elem::I32, n), b.operand(Elem::I32, n));
            let [mask, by, most] = [((1 << bits) - 1) * 0x0101_0101, 8 - bits, 0x8080_8080]
                .map(|v: i64| b.b.int(Elem::I32, n, i64::from(v as i32)));
            let low = b.b.bin(BinOp::And, x, mask);
            let high = b.b.bin(BinOp::ShrU, x, by);
            let high = b.b.bin(BinOp::And, high, mask);
            let full = b.b.bin(BinOp::Or, low, mask);
            let add = |b: &mut Build, to: Reg, acc: Reg, small: Reg, y: Reg| {
                let dot = match swapped {
                    true => Inst::Dot4 { acc, a: y, b: small, a_signed: true, b_signed: false, within: None },
                    false => {
                        Inst::Dot4 { acc, a: small, b: y, a_signed: false, b_signed: true, within: None }
                    }
                };
                b.b.set(to, dot);
            };
            for _ in 0..5 {
                add(b, acc, acc, low, y);
                add(b, acc, acc, high, y);
                // The largest codes by the smallest bytes.
                add(b, acc, acc, full, most);
            }
            let other = b.b.reg(Elem::I32, n);
            add(b, other, acc, low, y);
            b.keep(other);
            add(b, acc, acc, high, y);
            b.b.range(&3.into(), |b, _| {
                let twice = b.bin(BinOp::Add, acc, acc);
                b.copy_to(acc, twice);
                b.set(acc, Inst::Dot4 { acc, a: low, b: y, a_signed: false, b_signed: true, within: None });
            });
            add(b, acc, acc, high, y);
            b.keep(acc);
            // What was added goes with the old value.
            add(b, acc, acc, high, y);
            b.b.copy_to(acc, x);
            add(b, acc, acc, low, y);
            b.keep(acc);
        });
        all.push((Elem::I32, k));
    }
    check_on(&|t| t.has("avx2"), &all);
}

/// Products of neighbours that keep a promise, up to its very end: one of them to a sum of 16 bits, two, or none.
#[test]
fn dot_products_within() {
    let mut all = vec![];
    // Bytes up to the first number by those that two of one sign add up to 128 with.
    for (form, most, swapped) in
        FORMS.into_iter().flat_map(|f| [(127, false), (63, true), (255, false)].map(|(m, s)| (f, m, s)))
    {
        let k = kernel(format!("Dot4 {form:?} within {most}"), form, &LANES, &mut |b, n| {
            let acc = b.load(Elem::I32, n);
            let (x, y) = (b.load(Elem::I32, n), b.operand(Elem::I32, n));
            // Masks behind a sum: the promise alone says how small bytes are.
            let word = |b: &mut Build, v: i64| b.b.int(Elem::I32, n, i64::from((v * 0x0101_0101) as i32));
            let [mask, half, all] = [most, 63, most].map(|v| word(b, v));
            let x = b.b.bin(BinOp::And, x, mask);
            let none = b.b.sub(x, x);
            let x = b.b.add(x, none);
            let full = b.b.add(all, none);
            // Between 0 and 63, and the least of which two are -128; 64 twice is the most.
            let y = b.b.bin(BinOp::And, y, half);
            let (least, largest) = (word(b, 0xc0), word(b, 0x40));
            let within = Some(u16::try_from(128 * most).unwrap());
            for (x, y) in [(x, y), (full, largest), (full, least), (x, least), (full, largest), (full, y)] {
                let dot = match swapped {
                    true => Inst::Dot4 { acc, a: y, b: x, a_signed: true, b_signed: false, within },
                    false => Inst::Dot4 { acc, a: x, b: y, a_signed: false, b_signed: true, within },
                };
                b.b.set(acc, dot);
            }
            b.keep(acc);
        });
        all.push((Elem::I32, k));
    }
    check_on(&|t| t.has("avx2"), &all);
    check(&all);
}

/// Floats on their way to bytes: one bound or both, in both forms, rounded or not.
#[test]
fn clamped_floats() {
    let mut all = vec![];
    for (lo, hi) in [(-131072.0, 131072.0), (0.0, 255.0), (-0.0, 7.5), (-3e9, 3e9), (f64::NEG_INFINITY, 2.5)]
    {
        for nearest in [false, true] {
            let name = format!("clamp {lo} {hi} {nearest}");
            let k = kernel(name, Form::Loaded, &LANES, &mut |b, n| {
                let x = b.load(Elem::F32, n);
                let (lo, hi) = (b.b.float(Elem::F32, n, lo), b.b.float(Elem::F32, n, hi));
                let above = b.b.cmp(CmpOp::Gt, x, lo);
                let up = b.b.select(above, x, lo);
                b.keep(up);
                let mut v = b.b.bin(BinOp::Min, up, hi);
                if nearest {
                    v = b.b.un(UnOp::Nearest, v);
                }
                let i = b.b.cvt(CvtOp::FToS, Elem::I32, v);
                b.keep(i);
            });
            all.push((Elem::F32, k));
        }
    }
    check(&all);
}

/// Integers clamped to bytes, and to other ranges.
#[test]
fn clamped_integers() {
    let mut all = vec![];
    for (lo, hi, again) in [
        (0, 255, false),
        (-128, 127, false),
        (0, 255, true),
        (-3, 255, false),
        (0, 90, false),
        (0, 127, false),
        (-5, 9, false),
        (200, 250, false),
        (9, 3, false),
        (-9, 200, false),
    ] {
        let k = kernel(format!("pack {lo} {hi} {again}"), Form::Loaded, &LANES, &mut |b, n| {
            let x = b.load(Elem::I32, n);
            let bound = |b: &mut super::Build, v: i64| {
                let r = b.b.reg(Elem::I32, n);
                b.b.set(r, Inst::Const(Scalar::Int(v)));
                r
            };
            let (lo, hi) = (bound(b, lo), bound(b, hi));
            let x = b.b.bin(BinOp::MaxS, x, lo);
            let x = b.b.bin(BinOp::MinS, x, hi);
            let y = b.b.cvt(CvtOp::Narrow, Elem::I8, x);
            b.keep(y);
            if again {
                b.keep(x);
            }
        });
        all.push((Elem::I32, k));
    }
    check(&all);
}

/// Bytes as places in a table, with and without room for all of them.
#[test]
fn tables() {
    let mut all = vec![];
    for (place, tail) in [(0, false), (3, false), (3, true)] {
        let k = kernel(format!("table {place} {tail}"), Form::Loaded, &LANES, &mut |b, n| {
            let x = b.load(Elem::I8, n);
            let index = b.b.cvt(CvtOp::ZExt, Elem::I32, x);
            let y = b.b.reg(Elem::I8, n);
            let tail = tail.then(|| b.b.i64(i64::from(n) / 2));
            b.b.set(y, Inst::LoadGather { buf: b.input, at: Addr::at(place), index, tail });
            b.keep(y);
        });
        all.push((Elem::I8, k));
    }
    check(&all);
}

#[test]
fn memory_under_tails() {
    let mut all = vec![];
    for e in NUMBERS {
        for i in 0..TAILS.len() as i64 {
            let tail = |b: &mut Build| b.b.load(Elem::I64, 1, b.both, Addr::at(i), None);
            let loads =
                kernel(format!("load {e:?} {}", TAILS[i as usize]), Form::Loaded, &LANES, &mut |b, n| {
                    let t = tail(b);
                    let r = b.b.load(e, n, b.input, Addr::at(n.into()), Some(t));
                    b.keep(r);
                });
            let stores =
                kernel(format!("store {e:?} {}", TAILS[i as usize]), Form::Loaded, &LANES, &mut |b, n| {
                    let t = tail(b);
                    let x = b.load(e, n);
                    b.b.store(b.output, Addr::at(b.at / i64::from(e.bytes())), x, Some(t));
                    b.at += i64::from(n) * i64::from(e.bytes());
                });
            all.extend([(e, loads), (e, stores)]);
            for ie in [Elem::I32, Elem::I64] {
                let name = format!("gather {e:?} {ie:?} {}", TAILS[i as usize]);
                let gathers = kernel(name, Form::Loaded, &LANES[..14], &mut |b, n| {
                    let t = tail(b);
                    let x = b.load(ie, n);
                    let m = b.b.int(ie, n, 127);
                    let x = b.b.bin(BinOp::And, x, m);
                    let r = b.b.reg(e, n);
                    let tail = (i != 0).then_some(t);
                    b.b.set(r, Inst::LoadGather { buf: b.input, at: Addr::at(5), index: x, tail });
                    b.keep(r);
                });
                all.push((ie, gathers));
            }
        }
    }
    check(&all);
}

#[test]
fn half_floats() {
    let mut all = vec![];
    let lanes: Vec<u16> = [1].into_iter().chain(LANES).collect();
    for form in [Form::Loaded, Form::Copied] {
        let up = kernel(format!("F16ToF32 {form:?}"), form, &lanes, &mut |b, n| {
            let x = b.operand(Elem::I16, n);
            let r = b.b.un(UnOp::F16ToF32, x);
            b.keep(r);
        });
        let down = kernel(format!("F32ToF16 {form:?}"), form, &lanes, &mut |b, n| {
            let x = b.operand(Elem::F32, n);
            // Bits of NaNs may differ.
            let ok = b.b.cmp(CmpOp::Eq, x, x);
            let one = b.b.float(Elem::F32, n, 1.0);
            let x = b.b.select(ok, x, one);
            let r = b.b.un(UnOp::F32ToF16, x);
            b.keep(r);
        });
        all.extend([(Elem::I16, up.clone()), (Elem::I32, up), (Elem::F32, down.clone()), (Elem::I32, down)]);
    }
    check_on(&|t| t.has("f16c") || t.has("neon"), &all);
}

#[test]
fn rounding_to_bf16() {
    let mut all = vec![];
    let lanes: Vec<u16> = [1].into_iter().chain(LANES).collect();
    for form in [Form::Loaded, Form::Copied] {
        let down = kernel(format!("F32ToBf16Flush {form:?}"), form, &lanes, &mut |b, n| {
            let x = b.operand(Elem::F32, n);
            let r = b.b.un(UnOp::F32ToBf16Flush, x);
            b.keep(r);
        });
        all.extend([(Elem::F32, down.clone()), (Elem::I32, down)]);
    }
    check_with("avx512bf16", &all);
}

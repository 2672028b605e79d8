//! Element types: conversions, arithmetic and quantisation of every type against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::DType::{self, *};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{Tensor, dtype::DTYPES};

/// Vector widths in bits: none, and those of the common targets.
const WIDTHS: [u32; 3] = [32, 128, 512];

fn machine_types() -> Vec<DType> {
    DTYPES.iter().map(|d| d.0).filter(|d| !matches!(d, C64 | C128 | Str)).collect()
}

fn ints() -> Vec<DType> {
    machine_types().into_iter().filter(|d| d.is_int()).collect()
}

fn floats() -> Vec<DType> {
    machine_types().into_iter().filter(|d| d.is_float()).collect()
}

/// Every bit pattern of small types, random ones of others; interesting values in front.
fn any_bits(rng: &mut Rng, dtype: DType, n: usize) -> Tensor {
    let bytes = (n * dtype.bits()).div_ceil(8);
    let mut raw: Vec<u8> =
        (0..bytes).map(|i| if dtype.bits() <= 8 { i as u8 } else { rng.next() as u8 }).collect();
    if dtype == Bool {
        raw.iter_mut().for_each(|b| *b &= 1);
    }
    // Bits behind the last element are zero in every tensor.
    if let (Some(last), rest @ 1..) = (raw.last_mut(), n * dtype.bits() % 8) {
        *last &= (1 << rest) - 1;
    }
    Tensor::from_bytes(dtype, vec![n], raw).unwrap()
}

fn special_floats() -> Vec<f64> {
    let mut v = vec![
        0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.999_999, 127.5, 128.0, -128.5, 255.5, 256.0, -1.5,
    ];
    v.extend([
        448.0, 464.0, 480.0, 57344.0, 61440.0, 65504.0, 65519.0, 65520.0, 240.0, 248.0, 6.0, 5.0, 7.0, 0.25,
        0.75,
    ]);
    v.extend([
        2e9,
        3e9,
        -2e9,
        5e-8,
        6e-8,
        3e-5,
        1e-3,
        1.5e-2,
        2f64.powi(-9),
        2f64.powi(-10),
        3.0 * 2f64.powi(-11),
        2f64.powi(-16),
    ]);
    v.extend([
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e30,
        2f64.powi(-126),
        2f64.powi(-127),
        1.7e38,
        3.0e38,
    ]);
    v
}

#[test]
fn casts_between_all_types() {
    let mut rng = Rng::new(1);
    for from in machine_types() {
        for to in machine_types() {
            for saturate in [true, false] {
                let x = match from.is_float() {
                    // Values that every result type can hold in some way: what float to int does outside is below.
                    true => {
                        let v: Vec<f64> = (0..67).map(|_| (rng.below(4096) as f64 - 2048.0) / 16.0).collect();
                        let v: Vec<f64> =
                            v.into_iter().map(|v| if to.is_unsigned_int() { v.abs() } else { v }).collect();
                        Tensor::from_f64(from, vec![67], &v).unwrap()
                    }
                    false => any_bits(&mut rng, from, 67),
                };
                let mut c = Case::new(Cast { to, saturate }, vec![x]);
                c.target.vector_bits = rng.pick(&WIDTHS);
                c.tolerance = 0.0;
                c.check();
            }
        }
    }
}

#[test]
fn special_floats_in_every_float_type() {
    for from in [F16, BF16, F32, F64] {
        for to in floats() {
            for saturate in [true, false] {
                let v = special_floats();
                let x = Tensor::from_f64(from, vec![v.len()], &v).unwrap();
                let mut c = Case::new(Cast { to, saturate }, vec![x]);
                c.target.vector_bits = 256;
                c.exact = true;
                c.check();
            }
        }
    }
}

#[test]
fn every_code_of_small_floats() {
    let mut rng = Rng::new(2);
    for from in floats().into_iter().filter(|d| d.bits() <= 8) {
        for to in [F32, F64, F16, BF16, from] {
            let x = any_bits(&mut rng, from, 256);
            let mut c = Case::new(Cast { to, saturate: true }, vec![x]);
            c.exact = true;
            c.check();
        }
    }
}

#[test]
fn saturating_float_to_int() {
    for from in [F16, F32, F64] {
        for to in ints() {
            let v = special_floats();
            let x = Tensor::from_f64(from, vec![v.len()], &v).unwrap();
            for width in WIDTHS {
                let mut c = Case::new(Cast { to, saturate: true }, vec![x.clone()]);
                c.target.vector_bits = width;
                c.check();
            }
        }
    }
}

#[test]
fn bits_stay_under_bitcast() {
    let mut rng = Rng::new(3);
    for from in machine_types() {
        for to in machine_types().into_iter().filter(|t| t.bits() == from.bits() && *t != Bool) {
            let x = any_bits(&mut rng, from, 61);
            Case { exact: true, ..Case::new(Bitcast { to }, vec![x]) }.check();
        }
    }
}

#[test]
fn unary_functions() {
    let mut rng = Rng::new(4);
    use U::*;
    let real = [
        Neg, Abs, Ceil, Floor, Round, Trunc, Sqrt, Exp, Log, Sin, Cos, Tan, Asin, Acos, Atan, Sinh, Cosh,
        Tanh, Asinh, Acosh, Atanh, Erf, Sigmoid, Recip, Sign, IsNan, IsInf, IsInfPos, IsInfNeg,
    ];
    for dtype in [F16, BF16, F32, F64, F8E5M2, F8E4M3FN] {
        for kind in real {
            let mut v = [0.0, -0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].to_vec();
            v.extend((0..60).map(|_| (rng.below(4096) as f64 - 2048.0) / 512.0));
            let x = Tensor::from_f64(dtype, vec![v.len()], &v).unwrap();
            let mut c = Case::new(Unary { kind }, vec![x]);
            c.target.vector_bits = rng.pick(&WIDTHS);
            c.check();
        }
    }
    for dtype in ints() {
        for kind in [Neg, Abs, Sign, Not, Ceil, Floor, Round, Trunc] {
            let x = any_bits(&mut rng, dtype, 77);
            let mut c = Case::new(Unary { kind }, vec![x]);
            c.target.vector_bits = rng.pick(&WIDTHS);
            c.check();
        }
    }
    Case::new(Unary { kind: Not }, vec![any_bits(&mut rng, Bool, 33)]).check();
}

#[test]
fn binary_functions() {
    let mut rng = Rng::new(5);
    use B::*;
    for dtype in machine_types() {
        let kinds: &[B] = match dtype {
            Bool => &[And, Or, Xor, Min, Max],
            d if d.is_int() => &[Add, Sub, Mul, Div, Rem, Mod, Pow, Min, Max, And, Or, Xor, Shl, Shr],
            _ => &[Add, Sub, Mul, Div, Rem, Mod, Pow, Min, Max],
        };
        for &kind in kinds {
            for width in WIDTHS {
                let n = 1 + rng.below(67);
                let mut x = any_bits(&mut rng, dtype, n);
                let mut y = match kind {
                    Pow | Shl | Shr => rng.tensor(dtype, vec![n]),
                    _ => any_bits(&mut rng, dtype, n),
                };
                if dtype.is_float() {
                    let mut some = |zero: bool| {
                        let v: Vec<f64> = (0..n)
                            .map(|_| (rng.below(65) as f64 - if zero { 32.0 } else { 0.0 }) / 8.0)
                            .collect();
                        Tensor::from_f64(dtype, vec![n], &v).unwrap()
                    };
                    (x, y) = (some(kind != Pow), some(kind != Pow));
                }
                let mut c = Case::new(Binary { kind }, vec![x, y]);
                c.target.vector_bits = width;
                c.check();
            }
        }
    }
}

#[test]
fn comparisons_and_choice() {
    let mut rng = Rng::new(6);
    for dtype in machine_types() {
        for kind in [C::Eq, C::Ne, C::Lt, C::Le, C::Gt, C::Ge] {
            if dtype == Bool && !matches!(kind, C::Eq | C::Ne) {
                continue;
            }
            let (x, y) = (any_bits(&mut rng, dtype, 67), any_bits(&mut rng, dtype, 67));
            let y = y
                .pick(
                    vec![67],
                    &(0..67).map(|i| if i % 3 == 0 { i } else { (i * 7) % 67 }).collect::<Vec<_>>(),
                )
                .unwrap();
            for width in WIDTHS {
                let mut c = Case::new(Compare { kind }, vec![x.clone(), y.clone()]);
                c.target.vector_bits = width;
                c.check();
            }
        }
        let (x, y) = (any_bits(&mut rng, dtype, 33), any_bits(&mut rng, dtype, 33));
        let mut c = Case::new(Select {}, vec![any_bits(&mut rng, Bool, 33), x, y]);
        c.exact = true;
        c.target.vector_bits = 256;
        c.check();
    }
}

#[test]
fn quantisation() {
    let mut rng = Rng::new(7);
    for dtype in [U2, I2, U4, I4, U8, I8, U16, I16, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F4E2M1] {
        for form in 0..3 {
            let (rows, cols, block) = (1 + rng.below(5), 1 + rng.below(40), 1 + rng.below(9));
            let axis = rng.below(2);
            let (scale, block) = match form {
                0 => (vec![], 0),
                1 => (vec![[rows, cols][axis]], 0),
                _ => {
                    let mut s = vec![rows, cols];
                    s[axis] = s[axis].div_ceil(block);
                    (s, block)
                }
            };
            let n = scale.iter().product::<usize>();
            let s: Vec<f64> = (0..n).map(|_| f64::from(1u32 << rng.below(4)) / 8.0).collect();
            let s = Tensor::from_f64(F32, scale.clone(), &s).unwrap();
            let zero = match dtype.is_float() {
                true => Tensor::zeros(dtype, scale.clone()).unwrap(),
                false => {
                    let z: Vec<i64> = (0..n).map(|_| rng.below(4) as i64).collect();
                    Tensor::from_i64(dtype, scale, &z).unwrap()
                }
            };
            let x: Vec<f64> = (0..rows * cols).map(|_| (rng.below(4096) as f64 - 2048.0) / 64.0).collect();
            let x = Tensor::from_f64(F32, vec![rows, cols], &x).unwrap();
            for fixed in [false, true] {
                let mut c =
                    Case::new(Quantize { axis, block, top: None }, vec![x.clone(), s.clone(), zero.clone()]);
                c.fixed = vec![false, fixed, fixed];
                c.target.vector_bits = rng.pick(&WIDTHS);
                c.check();
            }
            let q = any_bits(&mut rng, dtype, rows * cols).reshaped(vec![rows, cols]).unwrap();
            for to in [F32, F16, BF16] {
                let s = Tensor::from_f64(to, s.shape().to_vec(), &s.to_f64().unwrap()).unwrap();
                let mut c = Case::new(Dequantize { axis, block, to }, vec![q.clone(), s, zero.clone()]);
                c.target.vector_bits = rng.pick(&WIDTHS);
                c.check();
            }
        }
    }
}

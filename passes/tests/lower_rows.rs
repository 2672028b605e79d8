//! Reductions, softmax, arg-reductions, running sums, scatters and random numbers against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::DType::{self, *};
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::scatter_elements::ScatterKind as S;
use sinter_ir::op::*;
use sinter_ir::{Expr, Op, Tensor};

const WIDTHS: [u32; 4] = [32, 128, 256, 512];

fn shape(rng: &mut Rng, rank: usize, lowest: usize) -> Vec<usize> {
    let most = [67, 67, 33, 12, 6][rank.min(4)];
    (0..rank).map(|_| if rng.below(6) == 0 { 1 } else { rng.dim(lowest, most) }).collect()
}

fn check(rng: &mut Rng, mut c: Case) {
    for axis in 0..c.types[0].dims.len() {
        if rng.below(3) == 0 && c.inputs.len() == 1 {
            c.free(&[(0, axis)]);
        }
    }
    c.target.vector_bits = rng.pick(&WIDTHS);
    c.check();
}

/// Quarters, so that sums are exact in every float type; ties are frequent.
fn tensor(rng: &mut Rng, dtype: DType, shape: Vec<usize>) -> Tensor {
    let n = shape.iter().product();
    let special = rng.below(8) == 0;
    let mut v: Vec<f64> = (0..n)
        .map(|_| (rng.below(17) as f64 - if dtype.is_unsigned_int() { 0.0 } else { 8.0 }) / 4.0)
        .collect();
    if !dtype.is_float() {
        v.iter_mut().for_each(|v| *v = (*v * 4.0).trunc());
    } else if special && n > 0 {
        v[rng.below(n)] = rng.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    }
    Tensor::from_f64(dtype, shape, &v).unwrap()
}

const NUMBERS: [DType; 15] = [F32, F32, F32, F64, F16, BF16, I64, I32, U8, I8, U32, U64, I16, U16, I4];

#[test]
fn reductions() {
    let mut rng = Rng::new(1);
    for _ in 0..500 {
        let rank = rng.dim(0, 4);
        let x = shape(&mut rng, rank, 0);
        let dtype = rng.pick(&NUMBERS);
        let kind = rng.pick(&[R::Sum, R::Prod, R::Max, R::Min, R::Mean]);
        let axes: Vec<usize> = (0..rank).filter(|_| rng.flip()).collect();
        let mut x = tensor(&mut rng, dtype, x);
        if kind == R::Prod && dtype.is_float() {
            // Powers of two: exact in any order.
            let v: Vec<f64> = x.to_f64().unwrap().iter().map(|v| if *v > 0.0 { 1.0 } else { -1.0 }).collect();
            x = Tensor::from_f64(dtype, x.shape().to_vec(), &v).unwrap();
        }
        let keepdims = rng.flip();
        check(&mut rng, Case::new(Reduce { kind, axes, keepdims }, vec![x]));
    }
}

#[test]
fn any_and_all() {
    let mut rng = Rng::new(2);
    for _ in 0..60 {
        let rank = rng.dim(1, 3);
        let s = shape(&mut rng, rank, 0);
        let v: Vec<i64> = (0..s.iter().product()).map(|_| i64::from(rng.below(20) > 0)).collect();
        let x = Tensor::from_i64(Bool, s, &v).unwrap();
        let axes: Vec<usize> = (0..rank).filter(|_| rng.flip()).collect();
        let kind = rng.pick(&[R::Max, R::Min]);
        check(&mut rng, Case::new(Reduce { kind, axes, keepdims: false }, vec![x]));
    }
}

#[test]
fn softmax() {
    let mut rng = Rng::new(3);
    for _ in 0..200 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 0);
        let dtype = rng.pick(&[F32, F32, F16, BF16, F64]);
        let n: usize = x.iter().product();
        let v: Vec<f64> = (0..n).map(|_| (rng.below(4096) as f64 - 2048.0) / 64.0).collect();
        let x = Tensor::from_f64(dtype, x, &v).unwrap();
        let op = Softmax { axis: rng.below(rank), log: rng.flip() };
        check(&mut rng, Case::new(op, vec![x]));
    }
}

#[test]
fn masked_softmax_rows_are_not_numbers_everywhere_or_nowhere() {
    let mut rng = Rng::new(4);
    for width in WIDTHS {
        for n in [1, 5, 8, 19] {
            let mut v = vec![f64::NEG_INFINITY; 3 * n];
            (0..n).for_each(|i| v[n + i] = if i % 2 == 0 { 1.0 } else { f64::NEG_INFINITY });
            v[2 * n] = f64::NAN;
            let x = Tensor::from_f64(F32, vec![3, n], &v).unwrap();
            let mut c = Case::new(Softmax { axis: 1, log: rng.flip() }, vec![x]);
            c.target.vector_bits = width;
            c.check();
        }
    }
}

#[test]
fn extreme_positions() {
    let mut rng = Rng::new(5);
    for _ in 0..300 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 1);
        let op =
            ArgReduce { largest: rng.flip(), axis: rng.below(rank), keepdims: rng.flip(), last: rng.flip() };
        let dtype = rng.pick(&NUMBERS);
        let mut x = tensor(&mut rng, dtype, x);
        if dtype.is_float() && rng.below(4) == 0 {
            let v: Vec<f64> =
                x.to_f64().unwrap().iter().map(|v| if *v == 1.0 { f64::NAN } else { *v }).collect();
            x = Tensor::from_f64(dtype, x.shape().to_vec(), &v).unwrap();
        }
        check(&mut rng, Case::new(op, vec![x]));
    }
}

#[test]
fn running_sums() {
    let mut rng = Rng::new(6);
    for _ in 0..200 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 0);
        let op = Cumulate {
            product: rng.below(4) == 0,
            axis: rng.below(rank),
            exclusive: rng.flip(),
            reverse: rng.flip(),
        };
        let dtype = rng.pick(&[F32, F32, F64, I32, I64, U8, F16, BF16]);
        let x = match op.product && dtype.is_float() {
            true => {
                let v: Vec<f64> =
                    (0..x.iter().product()).map(|_| if rng.flip() { -1.0 } else { 1.0 }).collect();
                Tensor::from_f64(dtype, x, &v).unwrap()
            }
            false => tensor(&mut rng, dtype, x),
        };
        check(&mut rng, Case::new(op, vec![x]));
    }
}

#[test]
fn scatters() {
    let mut rng = Rng::new(7);
    for round in 0..200 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 1);
        let dtype = rng.pick(&NUMBERS[..14]);
        let reduction = rng.pick(&[S::Set, S::Add, S::Mul, S::Max, S::Min]);
        let (op, at, u): (Op, Tensor, Vec<usize>) = if round % 2 == 0 {
            let axis = rng.below(rank);
            let mut at: Vec<usize> = x.iter().map(|&n| rng.dim(0, n)).collect();
            at[axis] = rng.dim(0, 9);
            let v: Vec<i64> =
                (0..at.iter().product()).map(|_| rng.below(2 * x[axis]) as i64 - x[axis] as i64).collect();
            (
                ScatterElements { axis, reduction }.into(),
                Tensor::from_i64(rng.pick(&[I32, I64]), at.clone(), &v).unwrap(),
                at,
            )
        } else {
            let depth = rng.dim(1, rank);
            let mut at: Vec<usize> = (0..rng.below(3)).map(|_| rng.dim(0, 5)).collect();
            let u = [&at[..], &x[depth..]].concat();
            at.push(depth);
            let v: Vec<i64> = (0..at.iter().product::<usize>())
                .map(|i| {
                    let n = x[i % depth];
                    rng.below(2 * n) as i64 - n as i64
                })
                .collect();
            (ScatterNd { reduction }.into(), Tensor::from_i64(I64, at, &v).unwrap(), u)
        };
        // Ones: products and sums stay exact however often an element is hit.
        let n: usize = u.iter().product();
        let v: Vec<f64> =
            (0..n).map(|_| if dtype.is_unsigned_int() || rng.flip() { 1.0 } else { -1.0 }).collect();
        let u = Tensor::from_f64(dtype, u, &v).unwrap();
        let data: Vec<f64> = (0..x.iter().product()).map(|_| rng.below(5) as f64).collect();
        let data = Tensor::from_f64(dtype, x, &data).unwrap();
        check(&mut rng, Case::new(op, vec![data, at, u]));
    }
}

#[test]
fn random_numbers() {
    let mut rng = Rng::new(8);
    for dtype in [F32, F64, F16, BF16] {
        for _ in 0..20 {
            let rank = rng.dim(0, 3);
            let mut c = Case::new(Identity {}, vec![]);
            let dims: Vec<Expr> = shape(&mut rng, rank, 0)
                .into_iter()
                .map(|d| if rng.flip() { c.symbol(d as i64, 80).into() } else { d.into() })
                .collect();
            c.op = Random {
                dtype,
                dims,
                normal: rng.flip(),
                a: -0.5,
                b: 2.0,
                seed: rng.next() << 32 | rng.next(),
            }
            .into();
            c.tolerance = 1e-6;
            c.target.vector_bits = rng.pick(&WIDTHS);
            c.check();
        }
    }
}

//! Matrix products against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng, size};
use sinter_ir::op::MatMul;
use sinter_ir::{DType, Tensor};

/// A random product; `batches` says how the batch dims of both operands relate.
fn product(rng: &mut Rng, dtype: DType, most: usize) -> Case {
    let (m, k, n) = (rng.dim(1, most), rng.dim(1, most), rng.dim(1, most));
    let (mut a, mut b) = (vec![m, k], vec![k, n]);
    match rng.below(5) {
        0 => a = vec![rng.dim(1, 3), m, k],
        1 => {
            let (x, y) = (rng.dim(1, 3), rng.dim(1, 2));
            a = vec![x, y, m, k];
            b = vec![y, k, n];
        }
        2 => {
            let (x, y) = (rng.dim(1, 3), rng.dim(2, 3));
            a = vec![x, 1, m, k];
            b = vec![1, y, k, n];
        }
        3 => b = vec![rng.dim(2, 3), k, n],
        _ => {}
    }
    let (a, b) = (rng.tensor(dtype, a), rng.tensor(dtype, b));
    Case::new(MatMul::default(), vec![a, b])
}

#[test]
fn float_products_of_any_shape() {
    let mut rng = Rng::new(1);
    for round in 0..120 {
        let mut c = product(&mut rng, DType::F32, if round % 4 == 0 { 67 } else { 20 });
        c.fixed[1] = rng.flip();
        c.on_any_target(&mut rng);
        let l = c.check();
        assert!(size(&l.calls[0].kernel) < 900, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn blocks_of_zeros_are_left_out() {
    let mut rng = Rng::new(11);
    let mut used = 0;
    for round in 0..120 {
        let (m, k, n) = (rng.dim(1, 30), rng.dim(1, 40), rng.dim(1, 150));
        let mut w = rng.tensor(DType::F32, vec![k, n]).to_f32().unwrap();
        let rows = [4, 8, 16, 32, 64][rng.below(5)];
        for (i, row) in w.chunks_mut(n).enumerate() {
            for (j, block) in row.chunks_mut(rows).enumerate() {
                // Sometimes none is left.
                if round % 10 == 0 || (i * 7 + j * 3 + round) % 3 > 0 {
                    block.fill(if (i + j) % 2 == 0 { 0.0 } else { -0.0 });
                }
            }
        }
        let dims = if rng.flip() { vec![m, k] } else { vec![2, m, k] };
        let a = rng.tensor(DType::F32, dims);
        let lead = a.rank() - 2;
        let mut c = Case::new(MatMul::default(), vec![a, Tensor::f32s(vec![k, n], &w).unwrap()]);
        c.fixed[1] = true;
        if rng.flip() {
            c.free(&[(0, lead)]);
        }
        c.on_any_target(&mut rng);
        used += usize::from(c.check().calls[0].kernel.name.contains("sparse"));
    }
    assert!(used > 60, "{used}");
    // Zeros that are not in blocks are weights like others.
    let mut w = rng.tensor(DType::F32, vec![64, 64]).to_f32().unwrap();
    w.iter_mut().enumerate().for_each(|(i, w)| *w = if i % 2 == 0 { 0.0 } else { 1.0 });
    let a = rng.tensor(DType::F32, vec![5, 64]);
    let mut c = Case::new(MatMul::default(), vec![a, Tensor::f32s(vec![64, 64], &w).unwrap()]);
    c.fixed[1] = true;
    assert!(!c.check().calls[0].kernel.name.contains("sparse"));
}

#[test]
fn every_dtype() {
    let mut rng = Rng::new(2);
    use DType::*;
    for dtype in [F16, BF16, F64, I8, U8, I16, U16, I32, U32, I64, U64] {
        for _ in 0..12 {
            let mut c = product(&mut rng, dtype, 23);
            c.fixed[1] = rng.flip();
            c.on_any_target(&mut rng);
            c.check();
        }
    }
}

#[test]
fn symbolic_dims() {
    let mut rng = Rng::new(3);
    for _ in 0..150 {
        let (m, k, n, batch) = (rng.dim(1, 40), rng.dim(1, 40), rng.dim(1, 40), rng.dim(1, 3));
        let a = rng.tensor(DType::F32, vec![batch, m, k]);
        let per_batch = rng.flip();
        let b = rng.tensor(DType::F32, if per_batch { vec![batch, k, n] } else { vec![k, n] });
        let mut c = Case::new(MatMul::default(), vec![a, b]);
        let lead = usize::from(per_batch);
        if rng.flip() {
            c.free(&[(0, 1)]);
        }
        match rng.below(3) {
            0 => c.fixed[1] = true,
            _ => {
                if rng.flip() {
                    c.free(&[(0, 2), (1, lead)]);
                }
                if rng.flip() {
                    c.free(&[(1, lead + 1)]);
                }
                if per_batch {
                    c.free(&[(0, 0), (1, 0)]);
                }
            }
        }
        c.on_any_target(&mut rng);
        c.check();
    }
}

#[test]
fn no_rows_no_columns_no_terms() {
    let mut rng = Rng::new(4);
    for (m, k, n) in [(0, 3, 4), (3, 0, 4), (3, 4, 0)] {
        let (a, b) = (rng.tensor(DType::F32, vec![m, k]), rng.tensor(DType::F32, vec![k, n]));
        Case::new(MatMul::default(), vec![a.clone(), b.clone()]).check();
        Case::new(MatMul::default(), vec![a, b]).fix(1).check();
    }
}

#[test]
fn narrow_and_wide_targets() {
    let mut rng = Rng::new(5);
    for (bits, registers) in [(256, 16), (512, 32), (32, 16), (64, 4)] {
        for _ in 0..15 {
            let mut c = product(&mut rng, DType::F32, 67);
            (c.target.vector_bits, c.target.vector_registers) = (bits, registers);
            c.target.cores = 4;
            c.fixed[1] = rng.flip();
            c.check();
        }
    }
}

#[test]
fn many_blocks_of_rows() {
    // Rows so long that a block of them does not fill the cache twice.
    let mut rng = Rng::new(6);
    for cores in [1, 3] {
        let (m, k, n) = (rng.dim(30, 60), 9000, rng.dim(1, 40));
        let (a, b) = (rng.tensor(DType::F32, vec![m, k]), rng.tensor(DType::F32, vec![k, n]));
        let mut c = Case::new(MatMul::default(), vec![a, b]).fix(1);
        c.target.cores = cores;
        c.check();
    }
}

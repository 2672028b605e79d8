//! Attention as one kernel, against the evaluator: sizes with tails, masks, broadcast and transposed operands.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::group::Body;
use kernels::{Rng, size};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::*;
use sinter_ir::{DType, Expr, Tensor, ValueId};
use sinter_passes::lower::Precision;

struct Sizes {
    batch: usize,
    heads: usize,
    rows: usize,
    keys: usize,
    depth: usize,
    width: usize,
}

/// `[batch, heads, n, w]`, from an operand that is like that, or has its heads behind the rows, or shares them.
fn heads(g: &mut Body, rng: &mut Rng, s: &Sizes, n: usize, n_dim: &Expr, w: usize) -> ValueId {
    let (b, h) = (s.batch, s.heads);
    let all: Vec<Expr> = vec![b.into(), h.into(), n_dim.clone(), w.into()];
    match rng.below(4) {
        0 => {
            let t = rng.tensor(DType::F32, vec![b, n, h, w]);
            let x = g.input_of(t, &[b.into(), n_dim.clone(), h.into(), w.into()]);
            g.add(Transpose { perm: vec![0, 2, 1, 3] }, &[x])
        }
        1 => {
            // Grouped queries: all heads share one.
            let t = rng.tensor(DType::F32, vec![b, 1, n, w]);
            let x = g.input_of(t, &[b.into(), 1.into(), n_dim.clone(), w.into()]);
            g.add(Broadcast { dims: all }, &[x])
        }
        2 => {
            let t = rng.tensor(DType::F32, vec![n, w]);
            let x = g.input_of(t, &[n_dim.clone(), w.into()]);
            let c = g.number(0.75, DType::F32);
            let x = g.bin(B::Mul, x, c);
            g.add(Broadcast { dims: all }, &[x])
        }
        _ => {
            let t = rng.tensor(DType::F32, vec![b, h, n, w]);
            g.input_of(t, &all)
        }
    }
}

/// Scale and a mask as exporters write them.
fn masked(g: &mut Body, rng: &mut Rng, s: &Sizes, x: ValueId, ends: &[Expr; 2]) -> ValueId {
    let scale = g.number(1.5, DType::F32);
    let x = g.bin(B::Mul, x, scale);
    match rng.below(4) {
        0 => {
            // Added, per key.
            let v: Vec<f64> = (0..s.batch * s.keys).map(|i| if i % 3 == 1 { -1e4 } else { 0.0 }).collect();
            let t = Tensor::from_f64(DType::F32, vec![s.batch, 1, 1, s.keys], &v).unwrap();
            let m = g.input_of(t, &[s.batch.into(), 1.into(), 1.into(), ends[1].clone()]);
            g.bin(B::Add, x, m)
        }
        1 => {
            // Causal, as truths; the last rows see everything.
            let (r, k) = (s.rows, s.keys);
            let v: Vec<i64> = (0..r * k).map(|i| i64::from(i % k <= i / k + k.saturating_sub(r))).collect();
            let t = Tensor::from_i64(DType::Bool, vec![1, 1, r, k], &v).unwrap();
            let m = g.input_of(t, &[1.into(), 1.into(), ends[0].clone(), ends[1].clone()]);
            let low = g.number(f64::NEG_INFINITY, DType::F32);
            g.add(Select {}, &[m, x, low])
        }
        2 => {
            let t = rng.tensor(DType::F32, vec![s.heads, s.rows, s.keys]);
            let m = g.input_of(t, &[s.heads.into(), ends[0].clone(), ends[1].clone()]);
            g.bin(B::Add, m, x)
        }
        _ => x,
    }
}

#[test]
fn products_with_a_softmax_between() {
    for seed in 0..160 {
        let mut rng = Rng::new(seed);
        let pick = |rng: &mut Rng, few: usize| rng.dim(1, few);
        let s = Sizes {
            batch: rng.dim(1, 2),
            heads: rng.dim(1, 3),
            rows: pick(&mut rng, 20),
            keys: pick(&mut rng, 75),
            depth: rng.pick(&[1, 5, 8, 16, 32]),
            width: rng.pick(&[1, 7, 8, 16, 33, 64]),
        };
        let mut g = Body::default();
        let mut end = |g: &mut Body, n: usize| if rng.flip() { g.dim(n, 96) } else { n.into() };
        let ends = [end(&mut g, s.rows), end(&mut g, s.keys)];
        let q = heads(&mut g, &mut rng, &s, s.rows, &ends[0], s.depth);
        let k = heads(&mut g, &mut rng, &s, s.keys, &ends[1], s.depth);
        let k = g.add(Transpose { perm: vec![0, 1, 3, 2] }, &[k]);
        let v = heads(&mut g, &mut rng, &s, s.keys, &ends[1], s.width);
        let mut x = g.add(MatMul::default(), &[q, k]);
        if rng.below(4) > 0 {
            x = masked(&mut g, &mut rng, &s, x, &ends);
        }
        let p = g.add(Softmax { axis: 3, log: false }, &[x]);
        let mut y = g.add(MatMul::default(), &[p, v]);
        if rng.flip() {
            y = g.add(Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
        }
        let bits = rng.pick(&[32, 128, 256, 512]);
        let mut c = g.case(&[y]);
        c.target.vector_bits = bits;
        c.target.vector_registers = if bits == 512 { 32 } else { 16 };
        c.target.cores = 1 + seed as u32 % 3;
        if seed % 3 == 0 {
            // Both products in pairs of bf16, which have 8 digits.
            c.precision = Precision::Bf16;
            c.target.features.push("avx512bf16".into());
            c.tolerance = 0.04;
        }
        let l = c.check();
        assert_eq!(l.calls.len(), 1);
        assert!(size(&l.calls[0].kernel) < 1600, "seed {seed}: {} statements", size(&l.calls[0].kernel));
    }
}

//! Products of bf16 against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::op::{Conv, MatMul};
use sinter_ir::tile::{Inst, Stmt};
use sinter_ir::{DType, Expr, Tensor};
use sinter_passes::lower::{Lowered, Precision};

/// Small whole numbers, exact in bf16; so are their sums in f32.
fn whole(rng: &mut Rng, dtype: DType, shape: Vec<usize>) -> Tensor {
    let n = shape.iter().product();
    let v: Vec<f32> = (0..n).map(|_| rng.below(17) as f32 - 8.0).collect();
    Tensor::from_f32(dtype, shape, &v).unwrap()
}

/// On a target that multiplies pairs.
fn paired(mut c: Case, rng: &mut Rng) -> Case {
    c.on_any_target(rng);
    c.target.features.push("avx512bf16".into());
    c.precision = Precision::Bf16;
    c.exact = true;
    c.fix(1)
}

/// Kernels with an instruction on pairs.
fn pairs(l: &Lowered) -> usize {
    fn any(body: &[Stmt]) -> bool {
        body.iter().any(|s| {
            matches!(s, Stmt::Let { inst: Inst::Dot2 { .. }, .. }) || s.blocks().into_iter().any(|b| any(b))
        })
    }
    l.calls.iter().filter(|c| any(&c.kernel.body)).count()
}

#[test]
fn matrix_products() {
    let mut rng = Rng::new(1);
    for round in 0..60 {
        let (m, k, n) = (rng.dim(1, 40), 2 * rng.dim(1, 30), rng.dim(1, 70));
        let (mut a, mut b) = (vec![m, k], vec![k, n]);
        match round % 3 {
            1 => a = vec![rng.dim(1, 3), m, k],
            2 => (a, b) = (vec![2, 3, m, k], vec![3, k, n]),
            _ => {}
        }
        let (a, b) = (whole(&mut rng, DType::F32, a), whole(&mut rng, DType::BF16, b));
        let mut c = paired(Case::new(MatMul::default(), vec![a, b]), &mut rng);
        if round % 4 == 0 && round % 3 == 0 {
            c.free(&[(0, 0)]);
        }
        assert_eq!(pairs(&c.check()), 1);
    }
}

#[test]
fn convolutions_with_channels_last() {
    let mut rng = Rng::new(2);
    for _ in 0..60 {
        let (h, w, c, o) = (rng.dim(3, 9), rng.dim(3, 12), 2 * rng.dim(1, 9), rng.dim(1, 40));
        let (kh, kw, pad, n) = (rng.dim(1, 3), rng.dim(1, 3), rng.below(2), rng.dim(1, 2));
        let op = Conv {
            strides: vec![rng.dim(1, 2), rng.dim(1, 2)],
            dilations: vec![1; 2],
            pads_before: vec![Expr::from(pad); 2],
            pads_after: vec![Expr::from(pad); 2],
            group: 1,
            channels_last: true,
            zero: None,
        };
        let x = whole(&mut rng, DType::F32, vec![n, h, w, c]);
        let w = whole(&mut rng, DType::BF16, vec![o, c, kh, kw]);
        assert_eq!(pairs(&paired(Case::new(op, vec![x, w]), &mut rng).check()), 1);
    }
}

#[test]
fn data_is_rounded_to_nearest() {
    // An eighth of a unit below the next bf16: cutting it off would be wrong by seven eighths.
    let x = Tensor::f32s(vec![1, 2], &[1.0 + 15.0 / 1024.0, -(1.0 + 15.0 / 1024.0)]).unwrap();
    let w = Tensor::from_f32(DType::BF16, vec![2, 2], &[1.0, 0.0, 0.0, 1.0]).unwrap();
    let mut c = paired(Case::new(MatMul::default(), vec![x, w]), &mut Rng::new(3));
    (c.exact, c.tolerance) = (false, 0.002);
    c.check();
}

#[test]
fn other_targets_compute_in_f32_with_narrow_weights() {
    let mut rng = Rng::new(4);
    let (a, b) = (rng.tensor(DType::F32, vec![7, 12]), whole(&mut rng, DType::BF16, vec![12, 33]));
    let mut c = Case::new(MatMul::default(), vec![a, b]).fix(1);
    c.precision = Precision::Bf16;
    assert_eq!(pairs(&c.check()), 0);
}

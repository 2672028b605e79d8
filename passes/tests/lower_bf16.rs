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
        let (a, b) = (whole(&mut rng, DType::BF16, a), whole(&mut rng, DType::BF16, b));
        let mut c = paired(Case::new(MatMul { wide: true, ..MatMul::default() }, vec![a, b]), &mut rng);
        if round % 4 == 0 && round % 3 == 0 {
            c.free(&[(0, 0)]);
        }
        assert_eq!(pairs(&c.check()), 1);
    }
}

/// A convolution of bf16 to f32 with channels last.
fn conv(strides: [usize; 2], pads: [usize; 2]) -> Conv {
    let pads = pads.map(Expr::from).to_vec();
    Conv {
        strides: strides.to_vec(),
        dilations: vec![1; 2],
        pads_before: pads.clone(),
        pads_after: pads,
        group: 1,
        channels_last: true,
        zero: None,
        largest: None,
        wide: true,
    }
}

#[test]
fn convolutions_with_channels_last() {
    let mut rng = Rng::new(2);
    for _ in 0..60 {
        let (h, w, c, o) = (rng.dim(3, 9), rng.dim(3, 12), 2 * rng.dim(1, 9), rng.dim(1, 40));
        let (kh, kw, pad, n) = (rng.dim(1, 3), rng.dim(1, 3), rng.below(2), rng.dim(1, 2));
        let op = conv([rng.dim(1, 2), rng.dim(1, 2)], [pad; 2]);
        let x = whole(&mut rng, DType::BF16, vec![n, h, w, c]);
        let w = whole(&mut rng, DType::BF16, vec![o, c, kh, kw]);
        let mut c = paired(Case::new(op, vec![x, w]), &mut rng);
        c.exact_convolutions = true;
        assert_eq!(pairs(&c.check()), 1);
    }
}

#[test]
fn convolutions_of_odd_channels() {
    let mut rng = Rng::new(6);
    for _ in 0..60 {
        let (h, w, c, o) = (rng.dim(7, 12), 2 * rng.dim(4, 12), 2 * rng.dim(0, 3) + 1, rng.dim(1, 40));
        let (kh, kw, n) = (rng.dim(1, 3), rng.dim(1, 7), rng.dim(1, 2));
        let pads = [rng.below(2), rng.below(4)];
        let op = conv([rng.dim(1, 2), 2 * rng.dim(1, 2)], pads);
        let x = whole(&mut rng, DType::BF16, vec![n, h, w, c]);
        let w = whole(&mut rng, DType::BF16, vec![o, c, kh, kw]);
        let mut c = paired(Case::new(op, vec![x, w]), &mut rng);
        if rng.flip() {
            c.free(&[(0, 1)]);
        }
        assert_eq!(pairs(&c.check()), 1);
    }
}

#[test]
fn winograd_rounds_what_it_transforms() {
    let (mut rng, mut seen) = (Rng::new(5), 0);
    for round in 0..40 {
        let (h, w, c, o) = (rng.dim(3, 19), rng.dim(3, 19), 2 * rng.dim(16, 40), rng.dim(33, 80));
        let pad = rng.below(2);
        let op = conv([1; 2], [pad; 2]);
        let (x, w) = (vec![rng.dim(1, 2), h, w, c], vec![o, c, 3, 3]);
        let exact = round % 2 == 0;
        let (x, w) = match exact {
            // Sums of four and quarters of sums of nine still have 8 bits.
            true => {
                let v: Vec<f32> = (0..o * c * 9).map(|_| 4.0 * (rng.below(3) as f32 - 1.0)).collect();
                (whole(&mut rng, DType::BF16, x), Tensor::from_f32(DType::BF16, w, &v).unwrap())
            }
            false => (rng.tensor(DType::BF16, x), rng.tensor(DType::BF16, w)),
        };
        let mut c = paired(Case::new(op, vec![x, w]), &mut rng);
        if rng.flip() {
            c.free(&[(0, 1)]);
        }
        (c.exact, c.tolerance) = (exact, 0.1);
        let lowered = c.check();
        assert_eq!(pairs(&lowered), 1);
        seen += usize::from(lowered.calls[0].kernel.name.starts_with("winograd2x2_bf16"));
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn other_targets_compute_in_f32_with_narrow_weights() {
    let mut rng = Rng::new(4);
    for (data, wide) in [(DType::F32, false), (DType::BF16, true)] {
        let (a, b) = (rng.tensor(data, vec![7, 12]), whole(&mut rng, DType::BF16, vec![12, 33]));
        let mut c = Case::new(MatMul { wide, ..MatMul::default() }, vec![a, b]).fix(1);
        c.precision = Precision::Bf16;
        assert_eq!(pairs(&c.check()), 0);
    }
}

/// f32 is rounded on its way into products of small matrices: odd numbers of rows and columns, open numbers of rows, and
/// points of an image.
#[test]
fn products_of_small_matrices() {
    fn any(body: &[Stmt]) -> bool {
        body.iter().any(|s| {
            matches!(s, Stmt::Let { inst: Inst::Mat4 { .. }, .. }) || s.blocks().into_iter().any(|b| any(b))
        })
    }
    let mut rng = Rng::new(8);
    for round in 0..60 {
        let (m, k, n) = (rng.dim(4, 27), 4 * rng.dim(1, 9), rng.dim(16, 45));
        let mut c = if round % 4 == 3 {
            let x = whole(&mut rng, DType::F32, vec![2, 3, m, k]);
            let w = whole(&mut rng, DType::BF16, vec![n, k, 1, 1]);
            Case::new(Conv { wide: false, ..conv([1, 1], [0, 0]) }, vec![x, w])
        } else {
            let a = if rng.flip() { vec![2, m, k] } else { vec![m, k] };
            let (a, b) = (whole(&mut rng, DType::F32, a), whole(&mut rng, DType::BF16, vec![k, n]));
            Case::new(MatMul::default(), vec![a, b])
        }
        .fix(1);
        c.on_any_target(&mut rng);
        c.target.features = ["bf16", "neon"].map(str::to_owned).to_vec();
        c.target.cost.uniform = round % 5 == 4;
        c.exact = true;
        if rng.below(3) == 0 {
            let axis = c.inputs[0].rank() - 2;
            c.free(&[(0, axis)]);
        }
        // Without leave to round, it is not rounded.
        for precision in [Precision::F32, Precision::Bf16] {
            c.precision = precision;
            let found = c.check().calls.iter().any(|c| any(&c.kernel.body));
            assert_eq!(found, precision == Precision::Bf16, "round {round}");
        }
    }
}

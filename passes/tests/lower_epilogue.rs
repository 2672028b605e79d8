//! Roots with element-wise consumers against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::group::Body;
use kernels::{Case, Rng, size};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::*;
use sinter_ir::{DType, Expr, Op, Tensor, ValueId};

/// One random element-wise step behind `v`.
fn step(g: &mut Body, rng: &mut Rng, v: ValueId) -> ValueId {
    let dims = g.dims(v);
    let all: Vec<Expr> = g.graph.ty(v).dims.clone();
    match rng.below(7) {
        0 => {
            // One value per channel, as a bias.
            let shape: Vec<usize> =
                (0..dims.len()).map(|i| if i == 1.min(dims.len() - 1) { dims[i] } else { 1 }).collect();
            let bias = g.input(rng.tensor(DType::F32, shape));
            let bias = g.add(Broadcast { dims: all }, &[bias]);
            g.add(Binary { kind: B::Add }, &[v, bias])
        }
        1 => {
            // Values along the last axis, which several axes taken as one cannot address.
            let row = g.input(rng.tensor(DType::F32, vec![dims[dims.len() - 1]]));
            let row = g.add(Broadcast { dims: all }, &[row]);
            g.add(Binary { kind: B::Mul }, &[v, row])
        }
        2 => {
            let other = g.input(rng.tensor(DType::F32, dims));
            g.add(Binary { kind: B::Add }, &[v, other])
        }
        3 => g.add(Unary { kind: U::Sigmoid }, &[v]),
        4 => {
            let s = g.add(Unary { kind: U::Sigmoid }, &[v]);
            g.add(Binary { kind: B::Mul }, &[v, s])
        }
        5 => {
            // A gate per image and channel, as squeeze-and-excite has.
            let shape: Vec<usize> =
                dims.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
            let gate = g.input(rng.tensor(DType::F32, shape));
            let gate = g.add(Broadcast { dims: all }, &[gate]);
            g.add(Binary { kind: B::Mul }, &[v, gate])
        }
        _ => {
            let zero = g.number(0.0, DType::F32);
            g.add(Binary { kind: B::Max }, &[v, zero])
        }
    }
}

fn case(rng: &mut Rng, root: impl Into<Op>, operands: Vec<Tensor>, fixed: usize) -> Case {
    let mut g = Body::default();
    let x: Vec<ValueId> = operands.into_iter().map(|t| g.input(t)).collect();
    let mut v = g.add(root, &x);
    for _ in 0..rng.dim(0, 4) {
        v = step(&mut g, rng, v);
    }
    let quantised = rng.below(3) == 0;
    if quantised {
        let (scale, zero) = (g.number(0.05, DType::F32), g.number(7.0, DType::U8));
        let q = g.add(Quantize { axis: 0, block: 0, top: None }, &[v, scale, zero]);
        v = if rng.flip() {
            q
        } else if rng.flip() {
            g.add(Lookup { to: DType::I8, table: (0..=255).rev().map(|b: u8| b / 2).collect() }, &[q])
        } else {
            g.add(Dequantize { axis: 0, block: 0, to: DType::F32 }, &[q, scale, zero])
        };
    }
    let mut c = g.case(&[v]);
    if fixed > 0 {
        c.fixed[fixed] = true;
    }
    if quantised {
        // Sums in another order may round to the next step.
        (c.slack, c.tolerance) = (1, 0.0501);
    }
    c
}

#[test]
fn products() {
    let mut rng = Rng::new(1);
    for _ in 0..80 {
        let (m, k, n) = (rng.dim(1, 17), rng.dim(1, 9), rng.dim(1, 19));
        let batch = if rng.flip() { vec![rng.dim(1, 3)] } else { vec![] };
        let (a, b) = (
            rng.tensor(DType::F32, [batch.as_slice(), &[m, k]].concat()),
            rng.tensor(DType::F32, vec![k, n]),
        );
        case(&mut rng, MatMul::default(), vec![a, b], 1).check();
    }
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(2);
    for _ in 0..150 {
        let k = rng.pick(&[1, 1, 3]);
        let group = rng.pick(&[1, 1, 4]);
        let (c, o) = (4, if group == 4 { 4 } else { rng.dim(1, 9) });
        let (n, h, w) = (rng.dim(1, 2), rng.dim(1, 9), rng.dim(1, 21));
        let op = Conv {
            strides: vec![1, if k == 1 { 1 } else { rng.dim(1, 2) }],
            dilations: vec![1, 1],
            pads_before: vec![(k / 2).into(); 2],
            pads_after: vec![(k / 2).into(); 2],
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let (x, w) =
            (rng.tensor(DType::F32, vec![n, c, h, w]), rng.tensor(DType::F32, vec![o, c / group, k, k]));
        let l = case(&mut rng, op, vec![x, w], 1).check();
        assert!(size(&l.calls[0].kernel) < 1500, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn transposed_convolutions_and_pools() {
    let mut rng = Rng::new(3);
    for _ in 0..60 {
        let (h, w) = (rng.dim(3, 8), rng.dim(3, 14));
        let x = rng.tensor(DType::F32, vec![1, 3, h, w]);
        if rng.flip() {
            let op = ConvTranspose {
                strides: vec![2, rng.dim(1, 2)],
                dilations: vec![1, 1],
                pads_before: vec![0.into(); 2],
                pads_after: vec![0.into(); 2],
                group: 1,
                channels_last: false,
            };
            let w = rng.tensor(DType::F32, vec![3, 5, 2, 3]);
            case(&mut rng, op, vec![x, w], 1).check();
            continue;
        }
        let op = Pool {
            kind: rng.pick(&[PoolKind::Max, PoolKind::Average]),
            kernel: vec![3.into(); 2],
            strides: vec![1, rng.dim(1, 2)],
            dilations: vec![1, 1],
            pads_before: vec![1.into(); 2],
            pads_after: vec![1.into(); 2],
            ceil_mode: false,
            count_include_pad: false,
            indices: false,
            column_major: false,
            channels_last: rng.flip(),
        };
        case(&mut rng, op, vec![x], 0).check();
    }
}

#[test]
fn resized_and_sampled_images() {
    use sinter_ir::op::grid_sample::GridPadding;
    use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
    let mut rng = Rng::new(4);
    for round in 0..80 {
        let (c, h, w) = (rng.dim(1, 5), rng.dim(2, 9), rng.dim(2, 9));
        let x = rng.tensor(DType::F32, vec![2, c, h, w]);
        let mode = rng.pick(&[ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic]);
        if round % 4 == 0 {
            let points = rng.dim(1, 7);
            let grid = rng.tensor(DType::F32, vec![2, points, 5, 2]);
            let op = GridSample { mode, padding: GridPadding::Border, align_corners: false };
            case(&mut rng, op, vec![x, grid], 0).check();
            continue;
        }
        // Columns last, or channels behind them.
        let sizes = match rng.below(3) {
            0 => vec![2, c, 2 * h, 2 * w],
            1 => vec![2, rng.dim(1, 9), rng.dim(1, 20), w],
            _ => vec![2, c, rng.dim(1, 20), rng.dim(1, 20)],
        };
        let op = Resize {
            dims: sizes.into_iter().map(Expr::from).collect(),
            scales: vec![None; 4],
            roi: vec![],
            mode,
            coordinate: rng.pick(&[Coordinate::HalfPixel, Coordinate::AlignCorners, Coordinate::Asymmetric]),
            nearest: NearestMode::Floor,
            cubic_a: -0.75,
            exclude_outside: false,
            extrapolation: 0.0,
            antialias: rng.flip(),
        };
        case(&mut rng, op, vec![x], 0).check();
    }
}

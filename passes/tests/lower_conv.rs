//! Convolutions and poolings against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng, size};
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::{Conv, ConvTranspose, Pool, Transpose, channels};
use sinter_ir::{DType, Expr, Op, Tensor};

fn ints(v: &[usize]) -> Vec<Expr> {
    v.iter().map(|&x| x.into()).collect()
}

/// Kernel, stride, dilation, padding in front and behind of one axis, and an input size that fits.
struct Axis {
    k: usize,
    s: usize,
    d: usize,
    before: usize,
    after: usize,
    n: usize,
}

fn axis(rng: &mut Rng, most: usize) -> Axis {
    let (k, s, d) = (rng.dim(1, 4), rng.pick(&[1, 1, 2, 3]), rng.pick(&[1, 1, 2]));
    let (before, after) = (rng.dim(0, 3), rng.dim(0, 3));
    let least = ((k - 1) * d + 1).saturating_sub(before + after).max(1);
    Axis { k, s, d, before, after, n: rng.dim(least, most.max(least)) }
}

fn conv(axes: &[Axis], group: usize) -> Conv {
    Conv {
        strides: axes.iter().map(|a| a.s).collect(),
        dilations: axes.iter().map(|a| a.d).collect(),
        pads_before: axes.iter().map(|a| a.before.into()).collect(),
        pads_after: axes.iter().map(|a| a.after.into()).collect(),
        group,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    }
}

fn random(rng: &mut Rng, dtype: DType, rank: usize, most: usize) -> Case {
    let axes: Vec<Axis> = (0..rank).map(|_| axis(rng, most)).collect();
    let group = rng.pick(&[1, 1, 2, 3]);
    let (c, o) = (group * rng.dim(1, 5), group * rng.dim(1, 9));
    let x = [vec![rng.dim(1, 2), c], axes.iter().map(|a| a.n).collect()].concat();
    let w = [vec![o, c / group], axes.iter().map(|a| a.k).collect()].concat();
    let (x, w) = (rng.tensor(dtype, x), rng.tensor(dtype, w));
    let mut c = Case::new(conv(&axes, group), vec![x, w]);
    c.fixed[1] = rng.below(4) > 0;
    c.on_any_target(rng);
    c
}

#[test]
fn any_convolution() {
    let mut rng = Rng::new(1);
    for round in 0..200 {
        let rank = [2, 2, 1, 3][round % 4];
        let l = random(&mut rng, DType::F32, rank, if rank == 3 { 7 } else { 31 }).check();
        assert!(size(&l.calls[0].kernel) < 900, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn wide_rows_use_whole_vectors() {
    let mut rng = Rng::new(2);
    for _ in 0..40 {
        let n = rng.dim(20, 67);
        let k = rng.pick(&[1, 3, 5]);
        let axes = [3, n].map(|n| Axis { k: k.min(n), s: 1, d: 1, before: k / 2, after: k / 2, n });
        let (c, o) = (rng.dim(1, 9), rng.dim(1, 17));
        let (x, w) = (
            rng.tensor(DType::F32, vec![1, c, 3, n]),
            rng.tensor(DType::F32, vec![o, c, axes[0].k, axes[1].k]),
        );
        Case::new(conv(&axes, 1), vec![x, w]).fix(1).check();
    }
}

#[test]
fn few_output_channels() {
    let mut rng = Rng::new(13);
    for round in 0..80 {
        let rank = [2, 1][round % 2];
        let mut axes: Vec<Axis> = (0..rank).map(|_| axis(&mut rng, 40)).collect();
        let last = &mut axes[rank - 1];
        (last.s, last.k) = (1, rng.dim(1, 9));
        last.n = last.n.max((last.k - 1) * last.d + 1);
        let (c, o) = (rng.dim(1, 5), rng.dim(1, 4));
        let x = [vec![rng.dim(1, 2), c], axes.iter().map(|a| a.n).collect()].concat();
        let w = [vec![o, c], axes.iter().map(|a| a.k).collect()].concat();
        let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::F64, DType::I32]);
        let (x, w) = (rng.tensor(dtype, x), rng.tensor(dtype, w));
        let mut case = Case::new(conv(&axes, 1), vec![x, w]);
        case.fixed[1] = rng.flip();
        if rng.flip() {
            case.free(&[(0, 0)]);
            case.free(&[(0, 1 + rank)]);
        }
        case.on_any_target(&mut rng);
        let l = case.check();
        let name = &l.calls[0].kernel.name;
        assert!(
            name.starts_with("conv_narrow") || case.inputs[1].shape()[2..].iter().all(|&k| k == 1),
            "{name}"
        );
        assert!(size(&l.calls[0].kernel) < 900, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn pointwise_and_dense() {
    let mut rng = Rng::new(3);
    for _ in 0..60 {
        let group = rng.pick(&[1, 1, 2]);
        let (c, o) = (group * rng.dim(1, 20), group * rng.dim(1, 20));
        let (h, w) = rng.pick(&[(1, 1), (7, 7), (5, 13), (1, 3), (14, 14)]);
        let one = || Axis { k: 1, s: 1, d: 1, before: 0, after: 0, n: 1 };
        let n = rng.dim(1, 3);
        let x = rng.tensor(DType::F32, vec![n, c, h, w]);
        let weights = rng.tensor(DType::F32, vec![o, c / group, 1, 1]);
        let mut case = Case::new(conv(&[one(), one()], group), vec![x, weights]);
        case.on_any_target(&mut rng);
        case.fixed[1] = rng.flip();
        case.check();
    }
}

#[test]
fn depthwise() {
    let mut rng = Rng::new(4);
    for round in 0..100 {
        let axes: Vec<Axis> = (0..[2, 1, 2, 3][round % 4]).map(|_| axis(&mut rng, 40)).collect();
        let (c, per) = (rng.dim(2, 4), rng.dim(1, 2));
        let mut sizes: Vec<usize> = axes.iter().map(|a| a.n).collect();
        if sizes.len() == 3 {
            sizes[0] = sizes[0].min(axes[0].k * axes[0].d + 2);
        }
        let lead = vec![rng.dim(1, 2), c];
        let x = rng.tensor(DType::F32, [lead, sizes].concat());
        let w = rng.tensor(DType::F32, [vec![c * per, 1], axes.iter().map(|a| a.k).collect()].concat());
        Case::new(conv(&axes, c), vec![x, w]).fix(1).check();
    }
}

#[test]
fn other_dtypes() {
    let mut rng = Rng::new(5);
    for dtype in [DType::F16, DType::BF16, DType::F64, DType::I32] {
        for _ in 0..15 {
            random(&mut rng, dtype, 2, 17).check();
        }
    }
}

#[test]
fn symbolic_batch_and_image() {
    let mut rng = Rng::new(6);
    for _ in 0..80 {
        let mut c = random(&mut rng, DType::F32, 2, 31);
        for axis in [0, 2, 3] {
            if rng.flip() {
                c.free(&[(0, axis)]);
            }
        }
        if rng.below(3) == 0 {
            // Padding that depends on the input, as SAME padding does.
            let pad = c.symbol(0, 3);
            let sinter_ir::Op::Conv(op) = &mut c.op else { unreachable!() };
            let value = rng.dim(0, 3) as i64;
            c.values.insert(pad, value);
            op.pads_after[1] = op.pads_after[1].clone() + pad.into();
            op.pads_before[0] = op.pads_before[0].clone() + pad.into();
        }
        c.check();
    }
}

#[test]
fn transposed() {
    let mut rng = Rng::new(7);
    for round in 0..240 {
        let rank = [2, 1, 2, 3][round % 4];
        let group = rng.pick(&[1, 1, 2]);
        let (c, o) = (rng.dim(1, 4), rng.dim(1, 6));
        let mut op = ConvTranspose {
            strides: vec![],
            dilations: vec![],
            pads_before: vec![],
            pads_after: vec![],
            group,
            channels_last: false,
        };
        let (mut xs, mut ws) = (vec![rng.dim(1, 2), c * group], vec![c * group, o]);
        for _ in 0..rank {
            let (k, s, d, n) =
                (rng.dim(1, 4), rng.dim(1, 3), rng.dim(1, 3), rng.dim(1, if rank == 3 { 4 } else { 12 }));
            let full = (n - 1) * s + (k - 1) * d + 1;
            let before = rng.below(full.min(3));
            op.strides.push(s);
            op.dilations.push(d);
            op.pads_before.push(before.into());
            op.pads_after.push(Expr::from(rng.below((full - before).min(3))) - Expr::from(rng.below(3)));
            xs.push(n);
            ws.push(k);
        }
        let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::F64]);
        let (x, w) = (rng.tensor(dtype, xs), rng.tensor(dtype, ws));
        let mut case = Case::new(op, vec![x, w]);
        case.on_any_target(&mut rng);
        // Known weights are packed at compile time, others by a kernel.
        case.fixed[1] = rng.flip();
        if rng.flip() {
            case.free(&[(0, 1 + rank)]);
        }
        case.check();
    }
}

/// A random pooling and data with up to 3 channels.
fn pool(rng: &mut Rng, rank: usize) -> (Pool, Tensor) {
    let axes: Vec<Axis> = (0..rank).map(|_| axis(rng, if rank == 3 { 6 } else { 31 })).collect();
    let kind = rng.pick(&[PoolKind::Max, PoolKind::Average]);
    let op = Pool {
        kind,
        kernel: axes.iter().map(|a| a.k.into()).collect(),
        strides: axes.iter().map(|a| a.s).collect(),
        dilations: axes.iter().map(|a| a.d).collect(),
        pads_before: ints(&axes.iter().map(|a| a.before.min(a.k - 1)).collect::<Vec<_>>()),
        pads_after: ints(&axes.iter().map(|a| a.after).collect::<Vec<_>>()),
        ceil_mode: rng.flip(),
        count_include_pad: rng.flip(),
        indices: kind == PoolKind::Max && rng.flip(),
        column_major: rng.flip(),
        channels_last: false,
    };
    let dtype = match kind {
        PoolKind::Max => rng.pick(&[DType::F32, DType::F32, DType::I8, DType::U8, DType::F64, DType::F16]),
        PoolKind::Average => rng.pick(&[DType::F32, DType::F32, DType::F64, DType::F16]),
    };
    let n = |a: &Axis| a.n.max((a.k - 1) * a.d + 1);
    let lead = vec![rng.dim(1, 2), rng.dim(1, 3)];
    let x = rng.tensor(dtype, [lead, axes.iter().map(n).collect()].concat());
    (op, x)
}

#[test]
fn pools() {
    let mut rng = Rng::new(8);
    for round in 0..240 {
        let rank = [2, 1, 2, 3][round % 4];
        let (op, x) = pool(&mut rng, rank);
        let mut c = Case::new(op, vec![x]);
        if rng.below(3) == 0 {
            c.free(&[(0, 1 + rank)]);
        }
        c.check();
    }
}

/// The same data with the channels behind the spatial axes.
fn last(t: &Tensor) -> Tensor {
    let perm = channels::to_last(t.rank());
    let y = Op::from(Transpose { perm }).eval(&mut Default::default(), std::slice::from_ref(t));
    y.unwrap().remove(0)
}

#[test]
fn channels_last_convolutions() {
    let mut rng = Rng::new(9);
    for round in 0..160 {
        let rank = [2, 2, 1, 3][round % 4];
        let mut c = random(&mut rng, DType::F32, rank, if rank == 3 { 7 } else { 21 });
        if round % 3 == 0 {
            // One operand channel per result channel.
            let Op::Conv(op) = &mut c.op else { unreachable!() };
            op.group = rng.dim(2, 21);
            let shape = |t: &Tensor, lead: [usize; 2]| [&lead, &t.shape()[2..]].concat();
            let (x, w) = (shape(&c.inputs[0], [2, op.group]), shape(&c.inputs[1], [op.group, 1]));
            c.inputs = vec![rng.tensor(DType::F32, x), rng.tensor(DType::F32, w)];
        }
        let Op::Conv(op) = &c.op else { unreachable!() };
        let op = Conv { channels_last: true, ..op.clone() };
        let mut case = Case::new(op, vec![last(&c.inputs[0]), c.inputs[1].clone()]).fix(1);
        if rng.flip() {
            case.free(&[(0, 0)]);
            case.free(&[(0, 1)]);
        }
        if rng.below(3) == 0 {
            case.free(&[(0, rank)]);
        }
        case.on_any_target(&mut rng);
        case.check();
    }
}

#[test]
fn channels_last_depthwise() {
    let mut rng = Rng::new(12);
    for round in 0..120 {
        let rank = [2, 2, 1, 3][round % 4];
        let mut axes: Vec<Axis> = (0..rank).map(|_| axis(&mut rng, if rank == 3 { 6 } else { 20 })).collect();
        if round % 3 == 0 {
            // A longer row, and sometimes a window that is not written out.
            let k = rng.pick(&[3, 5, 7, 9]);
            let (s, d, pad) = (rng.dim(1, 2), rng.dim(1, 2), rng.dim(0, k));
            axes[rank - 1] =
                Axis { k, s, d, before: pad, after: rng.dim(0, k), n: rng.dim((k - 1) * d + 1, 60) };
        }
        let c = rng.pick(&[2, 5, 16, 24, 33]);
        let x = [vec![rng.dim(1, 2)], axes.iter().map(|a| a.n).collect(), vec![c]].concat();
        let w = [vec![c, 1], axes.iter().map(|a| a.k).collect()].concat();
        let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::F64, DType::I32]);
        let (x, w) = (rng.tensor(dtype, x), rng.tensor(dtype, w));
        let mut case = Case::new(Conv { channels_last: true, ..conv(&axes, c) }, vec![x, w]).fix(1);
        for axis in 0..=rank {
            if rng.below(4) == 0 {
                case.free(&[(0, axis)]);
            }
        }
        case.on_any_target(&mut rng);
        let l = case.check();
        assert!(size(&l.calls[0].kernel) < 1200, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn channels_last_convolutions_of_every_kind() {
    let mut rng = Rng::new(11);
    for round in 0..40 {
        // Many channels at distances that caches do not like, few of them, wide rows, work for several threads.
        let (c, o, n, k, s, d, pad) = match round % 8 {
            0 => (512, 70, 3, 3, 1, 1, 1),
            1 => (1024, 80, 4, 1, 2, 1, 0),
            2 => (3, 24, 19, 7, 2, 1, 3),
            3 => (8, 40, 30, 3, 1, 1, 1),
            4 => (8, 40, 21, 3, 1, 2, 2),
            5 => (16, 17, 16, 3, 2, 1, 0),
            6 => (20, 33, 9, 1, 1, 1, 0),
            _ => (5, 130, 13, 2, 1, 3, 1),
        };
        let group = if c > 500 { 1 } else { rng.pick(&[1, 1, 2]) };
        let (c, o) = (c * group, o * group);
        let axes: Vec<Axis> =
            (0..rng.dim(1, 2)).map(|_| Axis { k, s, d, before: pad, after: pad, n }).collect();
        let x = [vec![rng.dim(1, 2)], axes.iter().map(|a| a.n).collect(), vec![c]].concat();
        let w = [vec![o, c / group], axes.iter().map(|a| a.k).collect()].concat();
        let dtype = rng.pick(&[DType::F32, DType::F32, DType::F32, DType::F16, DType::F64]);
        let (x, w) = (rng.tensor(dtype, x), rng.tensor(dtype, w));
        let op = Conv { channels_last: true, ..conv(&axes, group) };
        let mut case = Case::new(op, vec![x, w]).fix(1);
        case.tolerance = 1e-3;
        case.on_any_target(&mut rng);
        let l = case.check();
        assert!(size(&l.calls[0].kernel) < 900, "{} statements", size(&l.calls[0].kernel));
    }
}

#[test]
fn channels_last_convolutions_to_few_channels() {
    let (mut rng, mut folded) = (Rng::new(14), 0);
    for round in 0..80 {
        let rank = [2, 1][round % 2];
        let mut axes: Vec<Axis> = (0..rank).map(|_| axis(&mut rng, 20)).collect();
        let last = &mut axes[rank - 1];
        (last.d, last.k) = (1, rng.pick(&[3, 5, 9, 20]));
        last.n = rng.dim(last.k, 90);
        let (c, o) = (rng.dim(1, 5), rng.pick(&[1, 1, 2, 4, 8]));
        let x = [vec![rng.dim(1, 2)], axes.iter().map(|a| a.n).collect(), vec![c]].concat();
        let w = [vec![o, c], axes.iter().map(|a| a.k).collect()].concat();
        let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::F64]);
        let (x, w) = (rng.tensor(dtype, x), rng.tensor(dtype, w));
        let mut case = Case::new(Conv { channels_last: true, ..conv(&axes, 1) }, vec![x, w]).fix(1);
        if rng.flip() {
            case.free(&[(0, 0)]);
            case.free(&[(0, rank)]);
        }
        case.on_any_target(&mut rng);
        let l = case.check();
        folded += usize::from(l.calls[0].kernel.name.starts_with("conv_folded"));
        assert!(size(&l.calls[0].kernel) < 1200, "{} statements", size(&l.calls[0].kernel));
    }
    assert!(folded > 30, "{folded}");
}

#[test]
fn channels_last_pools() {
    let mut rng = Rng::new(10);
    for round in 0..200 {
        let (op, x) = pool(&mut rng, [2, 1, 2, 3][round % 4]);
        let op = Pool { channels_last: true, indices: false, ..op };
        let rank = x.rank();
        let mut c = Case::new(op, vec![last(&x)]);
        if rng.flip() {
            c.free(&[(0, rng.below(rank))]);
        }
        if rng.flip() {
            c.target.vector_bits = 512;
        }
        c.check();
    }
}

//! Normalisations, decomposed to reductions and arithmetic in f32 or wider.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("BatchNormalization", batch_norm),
    ("InstanceNormalization", instance_norm),
    ("GroupNormalization", group_norm),
    ("LayerNormalization", layer_norm),
    ("RMSNormalization", rms_norm),
    ("SimplifiedLayerNormalization", rms_norm),
    ("com.microsoft:SkipLayerNormalization", |cx| skip_norm(cx, false)),
    ("com.microsoft:SkipSimplifiedLayerNormalization", |cx| skip_norm(cx, true)),
    ("LpNormalization", lp_norm),
    ("MeanVarianceNormalization", mean_variance),
    ("LRN", lrn),
];

/// f32 for narrower floats, the type itself otherwise.
fn wide(t: DType) -> DType {
    if t == DType::F64 { t } else { DType::F32 }
}

/// `(x - mean) / sqrt(var + eps)`; also gives mean and 1 / deviation, in f32 or wider. So is `eps`, which is nothing in
/// 16 bits: rows of equal elements would become NaN.
pub fn standardise(
    cx: &mut NodeCx,
    x: ValueId,
    axes: &[usize],
    eps: f64,
) -> Result<(ValueId, ValueId, ValueId)> {
    let t = cx.dtype(x);
    let x = cx.cast(x, wide(t))?;
    let mean = cx.reduce(R::Mean, x, axes, true)?;
    let d = cx.sub(x, mean)?;
    let sq = cx.mul(d, d)?;
    let var = cx.reduce(R::Mean, sq, axes, true)?;
    let var = cx.add_num(var, eps)?;
    let dev = cx.unary(U::Sqrt, var)?;
    let inv = cx.unary(U::Recip, dev)?;
    let y = cx.mul(d, inv)?;
    Ok((cx.cast(y, t)?, mean, inv))
}

fn batch_norm(cx: &mut NodeCx) -> Out {
    if cx.flag("training_mode", false) {
        return training(cx);
    }
    let x = cx.input(0)?;
    let rank = cx.rank(x).max(2);
    let p = (1..5)
        .map(|i| {
            let v = cx.input(i)?;
            cx.along(v, 1, rank)
        })
        .collect::<Result<Vec<_>>>()?;
    let t = cx.dtype(p[3]);
    let var = cx.add_num(p[3], f64::from(cx.float("epsilon", 1e-5)))?;
    let dev = cx.unary(U::Sqrt, var)?;
    let scale = cx.cast(p[0], t)?;
    let scale = cx.div(scale, dev)?;
    let shift = cx.mul(p[2], scale)?;
    let bias = cx.cast(p[1], t)?;
    let shift = cx.sub(bias, shift)?;
    let own = cx.dtype(x);
    let x = cx.cast(x, t)?;
    let y = cx.mul(x, scale)?;
    let y = cx.sum(y, shift)?;
    let y = cx.cast(y, own)?;
    cx.one(y)
}

/// Statistics of the batch; running statistics are results.
fn training(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let axes: Vec<usize> = (0..rank).filter(|&a| a != 1).collect();
    let momentum = f64::from(cx.float("momentum", 0.9));
    let mean = cx.reduce(R::Mean, x, &axes, true)?;
    let d = cx.sub(x, mean)?;
    let sq = cx.mul(d, d)?;
    let var = cx.reduce(R::Mean, sq, &axes, true)?;
    let v = cx.add_num(var, f64::from(cx.float("epsilon", 1e-5)))?;
    let dev = cx.unary(U::Sqrt, v)?;
    let y = cx.div(d, dev)?;
    let (scale, bias) = (cx.input(1)?, cx.input(2)?);
    let (scale, bias) = (cx.along(scale, 1, rank)?, cx.along(bias, 1, rank)?);
    let y = cx.mul(y, scale)?;
    let y = cx.sum(y, bias)?;
    let mut out = vec![y];
    for (i, now) in [(3, mean), (4, var)] {
        let old = cx.input(i)?;
        let now = cx.squeeze(now, &axes)?;
        let a = cx.mul_num(old, momentum)?;
        let b = cx.mul_num(now, 1.0 - momentum)?;
        out.push(cx.sum(a, b)?);
    }
    cx.many(&out)
}

fn instance_norm(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let axes: Vec<usize> = (2..rank).collect();
    let (y, _, _) = standardise(cx, x, &axes, f64::from(cx.float("epsilon", 1e-5)))?;
    let (s, b) = (cx.input(1)?, cx.input(2)?);
    let (s, b) = (cx.along(s, 1, rank)?, cx.along(b, 1, rank)?);
    let y = cx.mul(y, s)?;
    let y = cx.sum(y, b)?;
    cx.one(y)
}

/// Scale and bias are per group before opset 21, per channel since.
fn group_norm(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let own = cx.dims(x);
    let t = cx.dtype(x);
    let groups = cx.sizes_one("num_groups")?;
    let per = own.get(1).ok_or_else(|| Diag::input("rank 2 at least"))?.div(&groups);
    let split: Vec<Expr> =
        [own[0].clone(), groups, per].into_iter().chain(own[2..].iter().cloned()).collect();
    let xw = cx.cast(x, wide(t))?;
    let g = cx.reshape(xw, split.clone())?;
    let axes: Vec<usize> = (2..split.len()).collect();
    let (mut y, _, _) = standardise(cx, g, &axes, f64::from(cx.float("epsilon", 1e-5)))?;
    let (s, b) = (cx.input(1)?, cx.input(2)?);
    let (s, b) = (cx.cast(s, wide(t))?, cx.cast(b, wide(t))?);
    let rank = if cx.opset < 21 { split.len() } else { own.len() };
    if cx.opset >= 21 {
        y = cx.reshape(y, own.clone())?;
    }
    let (s, b) = (cx.along(s, 1, rank)?, cx.along(b, 1, rank)?);
    let y = cx.mul(y, s)?;
    let y = cx.sum(y, b)?;
    let y = cx.reshape(y, own)?;
    let y = cx.cast(y, t)?;
    cx.one(y)
}

fn layer_norm(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let t = cx.dtype(x);
    let rank = cx.rank(x);
    let axis = cx.axis(cx.int("axis", -1), rank)?;
    let axes: Vec<usize> = (axis..rank).collect();
    let xw = cx.cast(x, wide(t))?;
    let (y, mean, inv) = standardise(cx, xw, &axes, f64::from(cx.float("epsilon", 1e-5)))?;
    let y = cx.cast(y, t)?;
    let s = cx.input(1)?;
    let mut y = cx.mul(y, s)?;
    if let Some(b) = cx.opt(2)? {
        y = cx.sum(y, b)?;
    }
    cx.many(&[y, mean, inv])
}

/// `x / sqrt(mean(x^2) + eps)` and the factor.
fn root_mean_square(cx: &mut NodeCx, x: ValueId, axis: usize, eps: f64) -> Result<(ValueId, ValueId)> {
    let t = cx.dtype(x);
    let axes: Vec<usize> = (axis..cx.rank(x)).collect();
    let xw = cx.cast(x, wide(t))?;
    let sq = cx.mul(xw, xw)?;
    let ms = cx.reduce(R::Mean, sq, &axes, true)?;
    let ms = cx.add_num(ms, eps)?;
    let r = cx.unary(U::Sqrt, ms)?;
    let inv = cx.unary(U::Recip, r)?;
    let y = cx.mul(xw, inv)?;
    Ok((cx.cast(y, t)?, inv))
}

fn rms_norm(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", -1), cx.rank(x))?;
    let (y, inv) = root_mean_square(cx, x, axis, f64::from(cx.float("epsilon", 1e-5)))?;
    let s = cx.input(1)?;
    let s = cx.cast(s, cx.dtype(y))?;
    let y = cx.mul(y, s)?;
    cx.many(&[y, inv])
}

/// `norm(x + skip [+ bias])`; result 3 is the sum.
fn skip_norm(cx: &mut NodeCx, simplified: bool) -> Out {
    let (x, skip) = (cx.input(0)?, cx.input(1)?);
    let mut sum = cx.sum(x, skip)?;
    if let Some(b) = cx.opt(if simplified { 3 } else { 4 })? {
        sum = cx.sum(sum, b)?;
    }
    let gamma = cx.input(2)?;
    let last = cx.last_axis(sum)?;
    let eps = f64::from(cx.float("epsilon", 1e-12));
    let y = if simplified {
        root_mean_square(cx, sum, last, eps)?.0
    } else {
        standardise(cx, sum, &[last], eps)?.0
    };
    let mut y = cx.mul(y, gamma)?;
    if !simplified && let Some(beta) = cx.opt(3)? {
        y = cx.sum(y, beta)?;
    }
    Ok(vec![cx.wrap(y), Item::None, Item::None, cx.wrap(sum)])
}

fn lp_norm(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", -1), cx.rank(x))?;
    let norm = match cx.int("p", 2) {
        1 => {
            let a = cx.unary(U::Abs, x)?;
            cx.reduce(R::Sum, a, &[axis], true)?
        }
        2 => {
            let s = cx.mul(x, x)?;
            let s = cx.reduce(R::Sum, s, &[axis], true)?;
            cx.unary(U::Sqrt, s)?
        }
        p => return Err(Diag::input(format!("LpNormalization with p = {p}"))),
    };
    let y = cx.div(x, norm)?;
    // A zero vector stays zero.
    let zero = cx.scalar_like(x, 0.0)?;
    let none = cx.compare(sinter_ir::op::compare::CompareKind::Eq, norm, zero)?;
    let y = cx.select(none, zero, y)?;
    cx.one(y)
}

fn mean_variance(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let t = cx.dtype(x);
    let x = cx.cast(x, wide(t))?;
    let axes = cx.int_list("axes").unwrap_or_else(|| vec![0, 2, 3]);
    let axes = cx.axes(&axes, cx.rank(x))?;
    let mean = cx.reduce(R::Mean, x, &axes, true)?;
    let d = cx.sub(x, mean)?;
    let sq = cx.mul(d, d)?;
    let var = cx.reduce(R::Mean, sq, &axes, true)?;
    let dev = cx.unary(U::Sqrt, var)?;
    let dev = cx.add_num(dev, 1e-9)?;
    let y = cx.div(d, dev)?;
    let y = cx.cast(y, t)?;
    cx.one(y)
}

/// Across channels: a window sum of squares as padded slices.
fn lrn(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let size = cx.int("size", 1).clamp(1, 1 << 10);
    let (alpha, beta, bias) = (cx.float("alpha", 1e-4), cx.float("beta", 0.75), cx.float("bias", 1.0));
    let dims = cx.dims_at_least(x, 2)?;
    let sq = cx.mul(x, x)?;
    let zero = cx.scalar_like(x, 0.0)?;
    let mut before = vec![Expr::from(0); dims.len()];
    let mut after = before.clone();
    (before[1], after[1]) = (((size - 1) / 2).into(), (size - 1 - (size - 1) / 2).into());
    let mode = sinter_ir::op::pad::PadMode::Constant;
    let padded = cx.emit(sinter_ir::op::Pad { mode, before, after }, &[sq, zero])?;
    let mut sum = cx.slice_axis(padded, 1, 0.into(), dims[1].clone())?;
    for i in 1..size {
        let part = cx.slice_axis(padded, 1, i.into(), dims[1].clone())?;
        sum = cx.sum(sum, part)?;
    }
    let s = cx.mul_num(sum, f64::from(alpha) / size as f64)?;
    let s = cx.add_num(s, f64::from(bias))?;
    let p = cx.scalar_like(x, f64::from(beta))?;
    let d = cx.binary(sinter_ir::op::binary::BinaryKind::Pow, s, p)?;
    let y = cx.div(x, d)?;
    cx.one(y)
}

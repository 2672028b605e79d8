//! Constant scales and offsets around convolutions and matrix products move into the weights.

use super::{Rule, Site, reassociating};
use sinter_ir::op::Binary;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::{DType, Op, Result, Tensor, ValueId};

pub(super) const RULES: &[Rule] = &[
    reassociating("add-constants", &["Binary"], add_constants),
    reassociating("scale-of-offset", &["Binary"], scale_of_offset),
    reassociating("quotient-of-sums", &["Binary"], quotient_of_sums),
    reassociating("scale-into-weights", &["Binary"], scale_into_weights),
    reassociating("input-scale-into-weights", &["Conv", "MatMul"], input_scale),
];

/// The constant operand and the other one of a float `kind` (Add or Mul).
fn with_constant(s: &Site, op: &Op, inputs: &[ValueId], kind: B) -> Option<(ValueId, Tensor)> {
    if !matches!(op, Op::Binary(b) if b.kind == kind) {
        return None;
    }
    let [a, b] = inputs else { return None };
    let float = |v: ValueId| s.tensor(v).filter(|t| matches!(t.dtype(), DType::F32 | DType::F64));
    match (float(*a), float(*b)) {
        (None, Some(c)) => Some((*a, c.clone())),
        (Some(c), None) => Some((*b, c.clone())),
        _ => None,
    }
}

fn binary(kind: B, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
    let out = Op::from(Binary { kind }).eval(&mut Default::default(), &[a.clone(), b.clone()])?;
    // Broadcasting two constants against each other must not make a large one.
    Ok(out.into_iter().next().filter(|t| t.len() <= a.len().max(b.len())))
}

/// Whether a value is the result of a contraction with constant weights, possibly plus a constant.
fn from_contraction(s: &Site, v: ValueId) -> bool {
    let Some(node) = s.def_of(v).filter(|_| s.used_once(v)) else { return false };
    match &node.op {
        Op::Conv(_) | Op::MatMul(_) | Op::ConvTranspose(_) => s.tensor(node.inputs[1]).is_some(),
        _ => false,
    }
}

/// `(y + a) + b = y + (a + b)` for constants a, b behind a contraction.
fn add_constants(s: &mut Site) -> Result<Option<ValueId>> {
    let Some((sum, b)) = with_constant(s, s.op, s.inputs, B::Add) else { return Ok(None) };
    let Some(node) = s.def_of(sum).filter(|_| s.used_once(sum)) else { return Ok(None) };
    let Some((y, a)) = with_constant(s, &node.op, &node.inputs, B::Add) else { return Ok(None) };
    if !from_contraction(s, y) {
        return Ok(None);
    }
    let Some(c) = binary(B::Add, &a, &b)? else { return Ok(None) };
    let c = s.constant(c)?;
    s.emit(Binary { kind: B::Add }, &[y, c]).map(Some)
}

/// `y / c = y * (1 / c)` for the result of a contraction and one constant: sums are rounded more often than that.
fn quotient_of_sums(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Binary(Binary { kind: B::Div }), &[y, c]) = (s.op, s.inputs) else { return Ok(None) };
    let sums = s.def_of(y).is_some_and(|n| matches!(n.op, Op::Conv(_) | Op::MatMul(_)));
    let whole = |v: f64| v.is_finite() && (1e-30..1e30).contains(&v.abs());
    let (Some(v), true) = (s.splat(c).filter(|&v| whole(v)), sums && s.used_once(y)) else { return Ok(None) };
    let Some(t) = s.tensor(c).filter(|t| t.dtype() == DType::F32) else { return Ok(None) };
    let factor = Tensor::f32s(t.shape().to_vec(), &vec![(1.0 / v) as f32; t.len()])?;
    let factor = s.constant(factor)?;
    s.emit(Binary { kind: B::Mul }, &[y, factor]).map(Some)
}

/// `(y + a) * b = y * b + a * b` for constants a, b behind a contraction: the scale then joins the weights.
fn scale_of_offset(s: &mut Site) -> Result<Option<ValueId>> {
    let Some((sum, b)) = with_constant(s, s.op, s.inputs, B::Mul) else { return Ok(None) };
    let Some(node) = s.def_of(sum).filter(|_| s.used_once(sum)) else { return Ok(None) };
    let Some((y, a)) = with_constant(s, &node.op, &node.inputs, B::Add) else { return Ok(None) };
    if !from_contraction(s, y) || weight_scale(s, y, &b)?.is_none() {
        return Ok(None);
    }
    let Some(offset) = binary(B::Mul, &a, &b)? else { return Ok(None) };
    let (scale, offset) = (s.constant(b)?, s.constant(offset)?);
    let scaled = s.emit(Binary { kind: B::Mul }, &[y, scale])?;
    s.emit(Binary { kind: B::Add }, &[scaled, offset]).map(Some)
}

/// A per-output-channel scale behind a contraction multiplies the weights.
fn scale_into_weights(s: &mut Site) -> Result<Option<ValueId>> {
    let Some((y, scale)) = with_constant(s, s.op, s.inputs, B::Mul) else { return Ok(None) };
    if !from_contraction(s, y) {
        return Ok(None);
    }
    let Some(w) = weight_scale(s, y, &scale)? else { return Ok(None) };
    let Some(node) = s.def_of(y).cloned() else { return Ok(None) };
    let w = s.constant(w)?;
    s.emit_with(node.op, &[node.inputs[0], w], y).map(Some)
}

/// The weights of the contraction that makes `y`, times a scale of its result; `None` when the scale is not
/// one number per output channel.
fn weight_scale(s: &Site, y: ValueId, scale: &Tensor) -> Result<Option<Tensor>> {
    let Some(node) = s.def_of(y) else { return Ok(None) };
    let Some(w) = s.tensor(node.inputs[1]) else { return Ok(None) };
    let rank = s.type_of(y).rank();
    let (channel_axis, weight_axis, channels) = match &node.op {
        Op::Conv(c) => (if c.channels_last { rank - 1 } else { 1 }, 0, w.shape()[0]),
        Op::ConvTranspose(c) if c.group == 1 => (if c.channels_last { rank - 1 } else { 1 }, 1, w.shape()[1]),
        Op::MatMul(_) => (rank - 1, w.rank() - 1, w.shape()[w.rank() - 1]),
        _ => return Ok(None),
    };
    per_channel(scale, rank, channel_axis, channels, w.rank(), weight_axis)
        .map_or(Ok(None), |c| binary(B::Mul, w, &c))
}

/// A scale that varies along one axis of a rank-`rank` tensor only, shaped to vary along `to_axis` of
/// rank `to_rank`.
fn per_channel(
    scale: &Tensor,
    rank: usize,
    axis: usize,
    n: usize,
    to_rank: usize,
    to_axis: usize,
) -> Option<Tensor> {
    let lead = rank.checked_sub(scale.rank())?;
    let one = |(i, d): (usize, &usize)| *d == 1 || (lead + i == axis && *d == n);
    if !scale.shape().iter().enumerate().all(one) {
        return None;
    }
    let mut shape = vec![1; to_rank];
    shape[to_axis] = scale.len();
    scale.reshaped(shape).ok()
}

/// A per-input-channel scale in front of a contraction multiplies the weights. Zero padding stays zero.
fn input_scale(s: &mut Site) -> Result<Option<ValueId>> {
    let (x, w) = (s.inputs[0], s.inputs[1]);
    let (Some(node), Some(weights)) = (s.def_of(x).filter(|_| s.used_once(x)), s.tensor(w)) else {
        return Ok(None);
    };
    let Some((inner, scale)) = with_constant(s, &node.op, &node.inputs, B::Mul) else { return Ok(None) };
    // The multiplication must not broadcast its operand.
    if !s.same_dims(&s.type_of(inner).dims, &s.type_of(x).dims) {
        return Ok(None);
    }
    let rank = s.type_of(x).rank();
    let scaled = match s.op {
        Op::Conv(c) if c.channels_last => None,
        Op::Conv(c) if c.group == 1 => per_channel(&scale, rank, 1, weights.shape()[1], weights.rank(), 1),
        Op::Conv(c) if weights.shape()[1] == 1 && c.group == weights.shape()[0] => {
            per_channel(&scale, rank, 1, c.group, weights.rank(), 0)
        }
        Op::MatMul(_) => {
            let k = weights.rank() - 2;
            per_channel(&scale, rank, rank - 1, weights.shape()[k], weights.rank(), k)
        }
        _ => None,
    };
    let Some(scaled) = scaled else { return Ok(None) };
    let Some(w) = binary(B::Mul, weights, &scaled)? else { return Ok(None) };
    let w = s.constant(w)?;
    s.emit(s.op.clone(), &[inner, w]).map(Some)
}

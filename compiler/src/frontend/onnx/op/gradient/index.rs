//! Derivatives of ops with indices: what was gathered is scattered back, added where an element was taken twice.

use super::{Adjoints, Step, full_like, movement};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::expr::product;
use sinter_ir::op::scatter_elements::ScatterKind;
use sinter_ir::op::{self, ScatterElements, ScatterNd};
use sinter_ir::{DType, Diag, Expr, Op, Result, ValueId};

/// Gather along an axis.
pub fn gather(cx: &mut NodeCx, s: &Step, axis: usize, dy: ValueId) -> Adjoints {
    let (x, indices) = (s.x(0)?, s.x(1)?);
    let dims = cx.dims(x);
    let (count, index_rank) = (cx.ty(indices).numel(), cx.rank(indices));
    // The dims of the indices become one.
    let own = cx.dims(dy);
    let flat = [&own[..axis], std::slice::from_ref(&count), &own[axis + index_rank..]].concat();
    let dy = cx.reshape(dy, flat)?;
    let indices = cx.reshape(indices, vec![count])?;
    Ok(vec![Some(scatter_along(cx, dy, indices, axis, dims[axis].clone())?), None])
}

/// Adds slices of `dy` along an axis into zeros of length `len` at 1-D `indices`.
pub fn scatter_along(
    cx: &mut NodeCx,
    dy: ValueId,
    indices: ValueId,
    axis: usize,
    len: Expr,
) -> Result<ValueId> {
    let rank = cx.rank(dy);
    let front: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|&i| i != axis)).collect();
    let updates = cx.transpose(dy, front.clone())?;
    let mut dims = cx.dims(updates);
    dims[0] = len;
    let zeros = cx.full(cx.dtype(dy), dims, 0.0)?;
    let indices = cx.cast(indices, DType::I64)?;
    let column = cx.unsqueeze(indices, &[1])?;
    let sum = cx.emit(ScatterNd { reduction: ScatterKind::Add }, &[zeros, column, updates])?;
    cx.transpose(sum, movement::inverse(&front))
}

/// Gather of single elements.
pub fn gather_elements(cx: &mut NodeCx, s: &Step, axis: usize, dy: ValueId) -> Adjoints {
    Ok(vec![Some(add_at(cx, s.x(0)?, s.x(1)?, axis, dy)?), None])
}

/// The values of TopK are elements of x at the indices it gives.
pub fn top_k(cx: &mut NodeCx, s: &Step, axis: usize, dy: ValueId) -> Adjoints {
    let indices = s.outputs.get(1).copied().ok_or_else(|| Diag::bug("TopK without indices"))?;
    Ok(vec![Some(add_at(cx, s.x(0)?, indices, axis, dy)?)])
}

/// `dy` added into zeros like `x` at `indices` along an axis.
pub fn add_at(cx: &mut NodeCx, x: ValueId, indices: ValueId, axis: usize, dy: ValueId) -> Result<ValueId> {
    let zeros = full_like(cx, x, 0.0)?;
    cx.emit(ScatterElements { axis, reduction: ScatterKind::Add }, &[zeros, indices, dy])
}

/// Gather of slices at index tuples: batch coordinates become part of the tuples.
pub fn gather_nd(cx: &mut NodeCx, s: &Step, batch_dims: usize, dy: ValueId) -> Adjoints {
    let (x, mut indices) = (s.x(0)?, s.x(1)?);
    if batch_dims > 0 {
        let mut column = cx.dims(indices);
        let depth = column.len() - 1;
        column[depth] = 1.into();
        let mut parts = Vec::new();
        for axis in 0..batch_dims {
            parts.push(cx.emit(op::Iota { dtype: DType::I64, dims: column.clone(), axis }, &[])?);
        }
        parts.push(indices);
        indices = cx.concat(&parts, depth)?;
    }
    let zeros = full_like(cx, x, 0.0)?;
    Ok(vec![Some(cx.emit(ScatterNd { reduction: ScatterKind::Add }, &[zeros, indices, dy])?), None])
}

/// What reaches x through a scatter: everything where it adds, zeros at the indices where it replaces.
fn unreplaced(
    cx: &mut NodeCx,
    scatter: Op,
    reduction: ScatterKind,
    [dy, indices, updates]: [ValueId; 3],
) -> Result<ValueId> {
    match reduction {
        ScatterKind::Add => Ok(dy),
        ScatterKind::Set => {
            let zeros = full_like(cx, updates, 0.0)?;
            cx.emit(scatter, &[dy, indices, zeros])
        }
        kind => Err(Diag::unsupported(format!("{} {kind:?}", scatter.name()))),
    }
}

/// Replaced elements pass nothing to x; the updates take their elements. Indices must not repeat, as ONNX demands.
pub fn scatter_elements(cx: &mut NodeCx, s: &Step, op: &ScatterElements, dy: ValueId) -> Adjoints {
    let (indices, updates) = (s.x(1)?, s.x(2)?);
    let dx = unreplaced(cx, op.clone().into(), op.reduction, [dy, indices, updates])?;
    let taken = cx.emit(op::GatherElements { axis: op.axis }, &[dy, indices])?;
    Ok(vec![Some(dx), None, Some(taken)])
}

/// As [`scatter_elements`], with index tuples.
pub fn scatter_nd(cx: &mut NodeCx, s: &Step, op: &ScatterNd, dy: ValueId) -> Adjoints {
    let (indices, updates) = (s.x(1)?, s.x(2)?);
    let dx = unreplaced(cx, op.clone().into(), op.reduction, [dy, indices, updates])?;
    let taken = cx.emit(op::GatherNd { batch_dims: 0 }, &[dy, indices])?;
    Ok(vec![Some(dx), None, Some(taken)])
}

/// `dy` added into zeros like `x` at flat positions of x.
pub fn add_flat(cx: &mut NodeCx, x: ValueId, positions: ValueId, dy: ValueId) -> Result<ValueId> {
    let dims = cx.dims(x);
    let zeros = cx.full(cx.dtype(x), vec![product(&dims)], 0.0)?;
    let count = cx.ty(dy).numel();
    let (positions, dy) = (cx.reshape(positions, vec![count.clone()])?, cx.reshape(dy, vec![count])?);
    let sum = cx.emit(ScatterElements { axis: 0, reduction: ScatterKind::Add }, &[zeros, positions, dy])?;
    cx.reshape(sum, dims)
}

//! Derivatives of ops that move elements: the adjoint moves back.

use super::{Adjoints, Step, collect, full_like, index};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::{self, Pad, Slice};
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

/// Same elements.
pub fn reshape(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    let dims = cx.dims(s.x(0)?);
    Ok(vec![Some(cx.reshape(dy, dims)?)])
}

/// Copies are summed.
pub fn broadcast(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    let dims = cx.dims(s.x(0)?);
    Ok(vec![Some(collect(cx, dy, &dims)?)])
}

/// The inverse permutation.
pub fn transpose(cx: &mut NodeCx, perm: &[usize], dy: ValueId) -> Adjoints {
    Ok(vec![Some(cx.transpose(dy, inverse(perm))?)])
}

/// Inverse of a permutation.
pub fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut back = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
    back
}

/// Zeros around and between the elements that were taken.
pub fn slice(cx: &mut NodeCx, s: &Step, op: &Slice, dy: ValueId) -> Adjoints {
    let dims = cx.dims(s.x(0)?);
    let rank = dims.len();
    let steps: Option<Vec<i64>> = op.steps.iter().map(Expr::as_const).collect();
    let steps = steps.ok_or_else(|| Diag::unsupported("Slice with a step known only at run time"))?;
    let mut g = dy;
    let mut starts = op.starts.clone();
    if steps.iter().any(|&t| t < 0) {
        let back = |i: usize| steps[i] < 0;
        let last = |i: usize| op.sizes[i].clone() - 1.into();
        let flip = Slice {
            starts: (0..rank).map(|i| if back(i) { last(i) } else { 0.into() }).collect(),
            sizes: op.sizes.clone(),
            steps: (0..rank).map(|i| if back(i) { -1 } else { 1 }.into()).collect(),
        };
        g = cx.emit(flip, &[g])?;
        for i in (0..rank).filter(|&i| back(i)) {
            starts[i] = starts[i].clone() + last(i) * steps[i].into();
        }
    }
    let mut sizes = op.sizes.clone();
    for i in (0..rank).filter(|&i| steps[i].abs() > 1) {
        let stride = Expr::from(steps[i].abs());
        // [.., n, ..] -> [.., n, 1, ..] -> [.., n, stride, ..] -> [.., n * stride, ..]
        let mut spread = sizes.clone();
        spread.insert(i + 1, 1.into());
        g = cx.reshape(g, spread.clone())?;
        let mut after = vec![Expr::from(0); rank + 1];
        after[i + 1] = stride.clone() - 1.into();
        g = zeros_around(cx, g, vec![0.into(); rank + 1], after)?;
        sizes[i] = sizes[i].clone() * stride;
        g = cx.reshape(g, sizes.clone())?;
    }
    let after: Vec<Expr> =
        (0..rank).map(|i| dims[i].clone() - starts[i].clone() - sizes[i].clone()).collect();
    let g = zeros_around(cx, g, starts, after)?;
    Ok(vec![Some(cx.reshape(g, dims)?)])
}

/// Pads with zeros, crops where negative.
pub fn zeros_around(cx: &mut NodeCx, v: ValueId, before: Vec<Expr>, after: Vec<Expr>) -> Result<ValueId> {
    if before.iter().chain(&after).all(|e| e.is(0)) {
        return Ok(v);
    }
    let zero = cx.scalar_like(v, 0.0)?;
    cx.emit(Pad { mode: PadMode::Constant, before, after }, &[v, zero])
}

/// Each operand takes its piece.
pub fn concat(cx: &mut NodeCx, s: &Step, axis: usize, dy: ValueId) -> Adjoints {
    let mut at = Expr::from(0);
    let mut out = Vec::new();
    for (i, &x) in s.inputs.iter().enumerate() {
        let dims = cx.dims(x);
        let size = dims[axis].clone();
        out.push(match s.wants(i) {
            true => {
                let piece = cx.slice_axis(dy, axis, at.clone(), size.clone())?;
                Some(cx.reshape(piece, dims)?)
            }
            false => None,
        });
        at = at + size;
    }
    Ok(out)
}

/// Padding with a constant is undone; other modes are gathers along each axis.
pub fn pad(cx: &mut NodeCx, s: &Step, op: &Pad, dy: ValueId) -> Adjoints {
    let (x, value) = (s.x(0)?, s.x(1)?);
    let dims = cx.dims(x);
    if op.mode != PadMode::Constant {
        let mut g = dy;
        for axis in (0..dims.len()).rev() {
            if op.before[axis].is(0) && op.after[axis].is(0) {
                continue;
            }
            let line = vec![dims[axis].clone()];
            let iota = cx.emit(op::Iota { dtype: DType::I64, dims: line, axis: 0 }, &[])?;
            let zero = cx.scalar(DType::I64, 0.0)?;
            let one_axis = Pad {
                mode: op.mode,
                before: vec![op.before[axis].clone()],
                after: vec![op.after[axis].clone()],
            };
            let from = cx.emit(one_axis, &[iota, zero])?;
            g = index::scatter_along(cx, g, from, axis, dims[axis].clone())?;
        }
        return Ok(vec![Some(g), None]);
    }
    let negated = |e: &[Expr]| e.iter().map(|e| -e.clone()).collect::<Vec<_>>();
    let dx = match s.wants(0) {
        true => {
            let g = zeros_around(cx, dy, negated(&op.before), negated(&op.after))?;
            Some(cx.reshape(g, dims)?)
        }
        false => None,
    };
    let dvalue = match s.wants(1) {
        true => {
            let (inside, one) = (full_like(cx, x, 0.0)?, cx.scalar_like(x, 1.0)?);
            let mask = cx.emit(op.clone(), &[inside, one])?;
            let g = cx.mul(dy, mask)?;
            let axes: Vec<usize> = (0..cx.rank(g)).collect();
            let sum = cx.reduce(op::reduce::ReduceKind::Sum, g, &axes, false)?;
            let to = cx.dims(value);
            Some(cx.reshape(sum, to)?)
        }
        false => None,
    };
    Ok(vec![dx, dvalue])
}

/// Its own inverse.
pub fn reverse_sequence(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    Ok(vec![Some(cx.emit(s.op.clone(), &[dy, s.x(1)?])?), None])
}

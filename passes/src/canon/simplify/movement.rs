//! Transposes, reshapes and broadcasts that do nothing or combine.

use super::{Rule, Site, exact};
use sinter_ir::op::{Broadcast, Reshape, Transpose};
use sinter_ir::{Expr, Op, Result, TensorType, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("transpose-identity", &["Transpose"], transpose_identity),
    exact("transpose-pair", &["Transpose"], transpose_pair),
    exact("transpose-of-ones", &["Transpose"], transpose_ones),
    exact("reshape-same", &["Reshape"], reshape_same),
    exact("reshape-pair", &["Reshape"], reshape_pair),
    exact("broadcast-same", &["Broadcast"], broadcast_same),
    exact("broadcast-pair", &["Broadcast"], broadcast_pair),
    exact("broadcast-implied", &["Binary", "Compare", "Select"], broadcast_implied),
    exact("reduce-nothing", &["Reduce"], reduce_nothing),
];

fn transpose_identity(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Transpose(t) = s.op else { return Ok(None) };
    Ok(t.perm.iter().enumerate().all(|(i, &p)| i == p).then_some(s.inputs[0]))
}

fn transpose_pair(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Transpose(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Transpose(inner) = &node.op else { return Ok(None) };
    let x = node.inputs[0];
    let perm = outer.perm.iter().map(|&p| inner.perm[p]).collect();
    s.emit(Transpose { perm }, &[x]).map(Some)
}

/// A transpose that keeps the order of all dims other than 1 moves no element.
fn transpose_ones(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Transpose(t) = s.op else { return Ok(None) };
    let dims = &s.ty(0).dims;
    let long: Vec<usize> = t.perm.iter().copied().filter(|&p| !dims[p].is(1)).collect();
    if !long.is_sorted() {
        return Ok(None);
    }
    let dims = t.perm.iter().map(|&p| dims[p].clone()).collect();
    s.emit(Reshape { dims }, s.inputs).map(Some)
}

fn reshape_same(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Reshape(r) = s.op else { return Ok(None) };
    Ok(s.same_dims(&s.ty(0).dims, &r.dims).then_some(s.inputs[0]))
}

fn reshape_pair(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Reshape(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    if !matches!(node.op, Op::Reshape(_)) {
        return Ok(None);
    }
    let x = node.inputs[0];
    s.emit(Reshape { dims: outer.dims.clone() }, &[x]).map(Some)
}

fn broadcast_same(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Broadcast(b) = s.op else { return Ok(None) };
    Ok(s.same_dims(&s.ty(0).dims, &b.dims).then_some(s.inputs[0]))
}

fn broadcast_pair(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Broadcast(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    if !matches!(node.op, Op::Broadcast(_)) {
        return Ok(None);
    }
    let x = node.inputs[0];
    s.emit(Broadcast { dims: outer.dims.clone() }, &[x]).map(Some)
}

/// Element-wise ops broadcast by themselves: an operand's own broadcast goes when the others give the dims.
fn broadcast_implied(s: &mut Site) -> Result<Option<ValueId>> {
    for i in 0..s.inputs.len() {
        let Some(node) = s.def(i).filter(|n| matches!(n.op, Op::Broadcast(_))) else { continue };
        let mut inputs = s.inputs.to_vec();
        inputs[i] = node.inputs[0];
        let want = result_dims(s, s.inputs);
        if want.is_some() && want == result_dims(s, &inputs) {
            return s.emit(s.op.clone(), &inputs).map(Some);
        }
    }
    Ok(None)
}

/// Dims of numpy broadcasting where every axis is decided by equal dims or ones.
fn result_dims(s: &Site, inputs: &[ValueId]) -> Option<Vec<Expr>> {
    let types: Vec<&TensorType> = inputs.iter().map(|&v| s.type_of(v)).collect();
    let rank = types.iter().map(|t| t.rank()).max()?;
    let mut dims = Vec::with_capacity(rank);
    for axis in 0..rank {
        let mut dim = Expr::from(1);
        for t in &types {
            let Some(d) = (axis + t.rank()).checked_sub(rank).map(|i| &t.dims[i]) else { continue };
            if dim.is(1) {
                dim = d.clone();
            } else if !d.is(1) && !s.same(&dim, d) {
                return None;
            }
        }
        dims.push(dim);
    }
    Some(dims)
}

/// A reduction over dims of 1 keeps every element.
fn reduce_nothing(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Reduce(r) = s.op else { return Ok(None) };
    let x = s.ty(0);
    if !r.axes.iter().all(|&a| x.dims[a].is(1)) {
        return Ok(None);
    }
    let kept = |(i, _): &(usize, &Expr)| r.keepdims || !r.axes.contains(i);
    let dims = x.dims.iter().enumerate().filter(kept).map(|(_, d)| d.clone()).collect();
    s.emit(Reshape { dims }, s.inputs).map(Some)
}

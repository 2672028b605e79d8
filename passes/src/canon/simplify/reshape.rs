//! Reshapes move behind element-wise ops, so that these directly follow the op that computes their operand.

use super::{Rule, Site, exact};
use sinter_ir::op::Reshape;
use sinter_ir::{Expr, Op, Result, TensorType, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("unary-before-reshape", &["Unary", "Cast"], unary),
    exact("constant-before-reshape", &["Binary"], constant),
];

/// The operand of a computed reshape that nothing else reads.
fn reshaped(s: &Site, v: ValueId) -> Option<ValueId> {
    let node = s.def_of(v).filter(|n| matches!(n.op, Op::Reshape(_)) && s.used_once(v))?;
    let x = *node.inputs.first()?;
    let computed = s.def_of(x).is_some_and(|n| !matches!(n.op, Op::Constant(_)));
    computed.then_some(x)
}

fn unary(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(x) = reshaped(s, s.inputs[0]) else { return Ok(None) };
    let dims = s.ty(0).dims.clone();
    let y = s.emit(s.op.clone(), &[x])?;
    s.emit(Reshape { dims }, &[y]).map(Some)
}

/// `f(reshape x, k) -> reshape f(x, k')` where the constant means the same under the old dims.
fn constant(s: &mut Site) -> Result<Option<ValueId>> {
    for (i, other) in [(0, 1), (1, 0)] {
        let (Some(x), Some(k)) = (reshaped(s, s.inputs[i]), s.tensor(s.inputs[other]).cloned()) else {
            continue;
        };
        let to = s.ty(i).clone();
        let from = s.type_of(x).clone();
        let Some(shape) = constant_shape(s, k.shape(), &from, &to) else { continue };
        let k = s.constant(k.reshaped(shape)?)?;
        let mut inputs = [x, x];
        inputs[other] = k;
        let y = s.emit(s.op.clone(), &inputs)?;
        return s.emit(Reshape { dims: to.dims }, &[y]).map(Some);
    }
    Ok(None)
}

/// The shape under which a constant that broadcasts to `to` means the same for the reshape's operand.
fn constant_shape(s: &Site, k: &[usize], from: &TensorType, to: &TensorType) -> Option<Vec<usize>> {
    let lead = to.rank().checked_sub(k.len())?;
    // It must not make the result larger than the reshape's.
    if !k.iter().zip(&to.dims[lead..]).all(|(&n, d)| n == 1 || d.is(n as i64)) {
        return None;
    }
    let Some(first) = k.iter().position(|&n| n != 1) else { return Some(vec![]) };
    let suffix = &k[first..];
    let keep = from.rank().checked_sub(suffix.len());
    if keep.is_some_and(|keep| s.same_dims(&from.dims[keep..], &to.dims[lead + first..])) {
        return Some(suffix.to_vec());
    }
    through_ones(s, k, lead, &from.dims, &to.dims)
}

/// For a reshape that only adds and removes dims of 1: the constant with the same dims added and removed.
fn through_ones(s: &Site, k: &[usize], lead: usize, from: &[Expr], to: &[Expr]) -> Option<Vec<usize>> {
    let long = |d: &[Expr]| (0..d.len()).filter(|&i| !d[i].is(1)).collect::<Vec<_>>();
    let (a, b) = (long(from), long(to));
    if a.len() != b.len() || !a.iter().zip(&b).all(|(&i, &j)| s.same(&from[i], &to[j])) {
        return None;
    }
    let mut shape = vec![1; from.len()];
    for (&i, &j) in a.iter().zip(&b) {
        shape[i] = j.checked_sub(lead).map_or(1, |j| k[j]);
    }
    Some(shape)
}

//! Values that are other values' bytes: aliases, contiguous slices, parts of a concatenation.

use sinter_ir::op::{Concat, Slice};
use sinter_ir::{Expr, Graph, Node, Op, TensorType, ValueId};

/// Whether a node's result is its operand's bytes: no code is needed.
pub(crate) fn is_alias(node: &Node) -> bool {
    matches!(node.op, Op::Reshape(_) | Op::Identity(_) | Op::Bitcast(_))
}

/// Byte offset of a slice that is a contiguous piece of its operand at a known place.
pub(crate) fn slice_offset(op: &Slice, x: &TensorType) -> Option<u64> {
    // Axes up to the first cut one must select a single index or have a single element; those behind, all.
    let cut = (0..x.rank()).rev().find(|&i| op.sizes[i] != x.dims[i])?;
    let single = |i: usize| op.sizes[i].is(1);
    let steps = op.steps.iter().zip(&op.sizes).all(|(s, n)| s.is(1) || n.is(1));
    if !steps || !(0..cut).all(single) {
        return None;
    }
    let mut elements = 0i64;
    let mut stride = Expr::from(1);
    for i in (0..x.rank()).rev() {
        if !op.starts[i].is(0) {
            elements = elements.checked_add(op.starts[i].as_const()?.checked_mul(stride.as_const()?)?)?;
        }
        stride = stride * x.dims[i].clone();
    }
    whole_bytes(elements, x)
}

fn whole_bytes(elements: i64, ty: &TensorType) -> Option<u64> {
    let bits = u64::try_from(elements).ok()?.checked_mul(ty.dtype.bits() as u64)?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// Byte offsets of the parts of a concatenation along the outermost axis that is not 1.
pub(crate) fn concat_offsets(op: &Concat, parts: &[&TensorType]) -> Option<Vec<u64>> {
    let first = parts.first()?;
    if !first.dims[..op.axis].iter().all(|d| d.is(1)) {
        return None;
    }
    let mut offsets = Vec::with_capacity(parts.len());
    let mut at = 0i64;
    for (i, p) in parts.iter().enumerate() {
        offsets.push(whole_bytes(at, p)?);
        // The size of the last part does not matter.
        match p.numel().as_const() {
            Some(n) => at = at.checked_add(n)?,
            None if i + 1 == parts.len() => {}
            None => return None,
        }
    }
    Some(offsets)
}

/// The operand whose bytes hold a node's only result, when it may be a view.
fn source(g: &Graph, node: &Node) -> Option<ValueId> {
    let x = *node.inputs.first()?;
    match &node.op {
        _ if is_alias(node) => Some(x),
        Op::Slice(s) => slice_offset(s, g.ty(x)).map(|_| x),
        _ => None,
    }
}

/// The value whose buffer holds `v`, through aliases only.
pub(crate) fn alias_root(g: &Graph, mut v: ValueId) -> ValueId {
    while let Some(node) = g.def(v).filter(|n| is_alias(n)) {
        v = node.inputs[0];
    }
    v
}

/// The value whose buffer may hold `v`, through aliases and contiguous slices.
pub(crate) fn root(g: &Graph, mut v: ValueId) -> ValueId {
    while let Some(x) = g.def(v).and_then(|n| source(g, n)) {
        v = x;
    }
    v
}

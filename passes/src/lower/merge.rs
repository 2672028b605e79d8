//! Neighbouring axes that can be walked as one: a linear index over them on the last one reaches every element.

use super::body::Body;
use super::index::Idx;
use sinter_ir::op::{Concat, Dequantize, Quantize, Transpose};
use sinter_ir::{Expr, Op, ValueId};
use std::ops::Range;

/// What is computed at the elements of some dims.
#[derive(Clone, Copy)]
pub struct Merge<'a> {
    /// The graph.
    pub body: &'a Body,
    /// Dims of the loop nest.
    pub dims: &'a [Expr],
    /// Values that are there already, whatever the index.
    pub stop: &'a dyn Fn(ValueId) -> bool,
}

impl Merge<'_> {
    /// Whether a value, and everything it is computed from, varies along all of the axes in the nest's own order or
    /// along none of them.
    pub fn value(&self, v: ValueId, axes: &Range<usize>) -> bool {
        let dims = &self.body.ty(v).dims;
        let lead = self.dims.len().saturating_sub(dims.len());
        let own = |i: usize| i.checked_sub(lead).and_then(|j| dims.get(j));
        if dims.len() <= self.dims.len() && axes.clone().all(|i| own(i).is_none_or(|d| d.is(1))) {
            return true;
        }
        if dims.len() > self.dims.len() || axes.clone().any(|i| own(i) != Some(&self.dims[i])) {
            return false;
        }
        if (self.stop)(v) || self.body.input_index(v).is_some() {
            return true;
        }
        let Some(node) = self.body.graph.def(v) else { return true };
        let all = |x: &[ValueId]| x.iter().all(|&x| self.value(x, axes));
        match &node.op {
            Op::Constant(_) => true,
            op if op.is_pointwise() || matches!(op, Op::Identity(_) | Op::Broadcast(_)) => all(&node.inputs),
            Op::Quantize(Quantize { axis, block, .. }) | Op::Dequantize(Dequantize { axis, block, .. }) => {
                // Scales along one of the axes need its coordinate.
                let apart = node.inputs[1..].iter().all(|&s| {
                    self.body.ty(s).numel().is(1) || (*block == 0 && !axes.contains(&(axis + lead)))
                });
                apart && all(&node.inputs[..1])
            }
            Op::Concat(Concat { axis }) => !axes.contains(&(axis + lead)) && all(&node.inputs),
            Op::Transpose(Transpose { perm }) => {
                axes.clone().all(|i| perm.get(i - lead) == Some(&(i - lead))) && all(&node.inputs)
            }
            _ => false,
        }
    }
    /// The first axis of the longest run that ends with the last axis and that all values merge along.
    pub fn run(&self, values: &[ValueId]) -> usize {
        let n = self.dims.len();
        let fits = |first: &usize| values.iter().all(|&v| self.value(v, &(*first..n)));
        (0..n.saturating_sub(1)).rev().take_while(fits).last().unwrap_or(n.saturating_sub(1))
    }
}

/// Indices of some axes from a linear one over them.
pub fn spread(at: &Idx, dims: &[Expr]) -> Vec<Idx> {
    // Row-major strides make a linear index on the last axis reach every element.
    let last = dims.iter().rposition(|d| !d.is(1)).unwrap_or(dims.len().saturating_sub(1));
    (0..dims.len()).map(|i| if i == last { at.clone() } else { Idx::default() }).collect()
}

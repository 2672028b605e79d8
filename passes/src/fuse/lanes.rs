//! Whether a group can be computed on vectors: lanes run along the last axis of the result, and every operand must
//! be read contiguously, once, or not along the lanes at all. One op without a vector form makes the whole kernel
//! scalar, so such ops stay out of groups with real arithmetic.

use super::cluster::{Cluster, Clusters};
use super::policy;
use super::rows::Space;
use crate::lower::turn;
use sinter_ir::expr::product;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::{Expr, NodeId, Op, Symbols, ValueId};
use std::collections::BTreeSet;

/// Arithmetic per element from which vectors matter: one by one, even copies take longer than another kernel does.
const WORTH: u64 = 1;
/// Elements up to which they do not.
const SMALL: u64 = 2048;

/// Whether adding `n` would cost the cluster its vectors.
pub(super) fn breaks(cl: &Clusters, symbols: &Symbols, cluster: &Cluster, n: NodeId) -> bool {
    let cost: u64 = cluster.members.iter().map(|m| policy::cost(&cl.g.node(*m).op)).sum();
    let turned = cluster.root.is_none() && turns(cl, &cluster.members);
    if cost < WORTH && cluster.root.is_none() && !turned {
        return false;
    }
    let rows = cluster.root.and_then(|r| Space::of(cl, r));
    let outs = cl.live_outs(&cluster.members);
    let most = outs.iter().map(|v| policy::elements(symbols, cl.g.ty(*v))).max().unwrap_or(0);
    let inside = rows.as_ref().map_or(0, |s| symbols.max(&product(&s.dims)).max(0) as u64);
    if most.max(inside) <= SMALL {
        return false;
    }
    let mut with = cluster.members.clone();
    with.insert(n);
    let fine = |set: &BTreeSet<NodeId>| match &rows {
        Some(space) => rows_vectorise(cl, symbols, set, space),
        None => vectorises(cl, symbols, set, cluster.root),
    };
    fine(&cluster.members) && !fine(&with)
}

/// Whether a value that nodes of a set compute behind `root` has vectors along its last axis.
pub(super) fn behind(
    cl: &Clusters,
    symbols: &Symbols,
    set: &BTreeSet<NodeId>,
    root: NodeId,
    v: ValueId,
) -> bool {
    Trace { cl, symbols, set, root: Some(root) }.value(v, cl.g.ty(v).rank().checked_sub(1))
}

/// Whether the kernel of a group over rows has vectors: along the row, or along the last axis of what stays.
fn rows_vectorise(cl: &Clusters, symbols: &Symbols, set: &BTreeSet<NodeId>, space: &Space) -> bool {
    let t = Trace { cl, symbols, set, root: None };
    let Some((axis, along)) = space.lanes() else { return true };
    let roots = set.iter().filter(|n| Space::of(cl, **n).is_some()).map(|n| cl.g.node(*n).inputs[0]);
    let outs = cl.live_outs(set);
    let (full, rest): (Vec<ValueId>, Vec<ValueId>) =
        outs.into_iter().partition(|v| space.is_full(symbols, cl.g.ty(*v)));
    let last = |v: ValueId| cl.g.ty(v).dims.iter().rposition(|d| !d.is(1));
    roots.chain(full).all(|v| t.value(v, Some(axis))) && (along || rest.iter().all(|&v| t.value(v, last(v))))
}

fn vectorises(cl: &Clusters, symbols: &Symbols, set: &BTreeSet<NodeId>, root: Option<NodeId>) -> bool {
    let t = Trace { cl, symbols, set, root };
    root.is_none() && turns(cl, set)
        || cl.live_outs(set).into_iter().all(|v| t.value(v, cl.g.ty(v).rank().checked_sub(1)))
}

/// Whether a group turns matrices of one operand, see `lower::turn`: its vectors are gathered from several rows.
fn turns(cl: &Clusters, set: &BTreeSet<NodeId>) -> bool {
    let nodes = || set.iter().map(|n| cl.g.node(*n));
    let mut transposes = nodes().filter_map(|n| match &n.op {
        Op::Transpose(t) => Some((&cl.g.ty(n.inputs[0]).dims, &t.perm)),
        _ => None,
    });
    let (Some((dims, perm)), None) = (transposes.next(), transposes.next()) else { return false };
    let inner = |v: ValueId| cl.g.value(v).def.is_some_and(|(d, _)| set.contains(&d));
    let large = |v: &ValueId| !inner(*v) && !cl.g.ty(*v).numel().is(1);
    let read: BTreeSet<ValueId> = nodes().flat_map(|n| n.inputs.iter().copied().filter(large)).collect();
    read.len() == 1 && nodes().all(|n| turn::takes(&n.op)) && turn::exchanged(dims, perm).is_some()
}

struct Trace<'a> {
    cl: &'a Clusters<'a>,
    symbols: &'a Symbols,
    set: &'a BTreeSet<NodeId>,
    root: Option<NodeId>,
}

impl Trace<'_> {
    /// Whether a value has a vector form with lanes along `axis`; none: the same in all lanes.
    fn value(&self, v: ValueId, axis: Option<usize>) -> bool {
        let ty = self.cl.g.ty(v);
        let Some(axis) = axis.filter(|&a| !ty.numel().is(1) && !ty.dims[a].is(1)) else { return true };
        if !crate::lower::access::vectorises(ty.dtype) {
            return false;
        }
        let inner = self.cl.g.value(v).def.filter(|(d, _)| self.set.contains(d));
        match inner {
            Some((d, _)) if Some(d) == self.root || Space::of(self.cl, d).is_some() => true,
            Some((d, _)) => self.node(d, v, axis),
            None => product(&ty.dims[axis + 1..]).is(1),
        }
    }

    fn node(&self, n: NodeId, v: ValueId, axis: usize) -> bool {
        let node = self.cl.g.node(n);
        let dims = |i: usize| &self.cl.g.ty(node.inputs[i]).dims;
        let rank = self.cl.g.ty(v).rank();
        let aligned = |i: usize| (axis + dims(i).len()).checked_sub(rank);
        let grows = |e: &Expr| self.symbols.range(e).1 > 0;
        match &node.op {
            Op::Binary(b) if b.kind == BinaryKind::Pow && !self.cl.g.ty(v).dtype.is_float() => false,
            op if op.is_pointwise() || matches!(op, Op::Identity(_) | Op::Broadcast(_)) => {
                (0..node.inputs.len()).all(|i| self.value(node.inputs[i], aligned(i)))
            }
            Op::Quantize(_) | Op::Dequantize(_) => self.scaled(&node.op, &node.inputs, axis),
            Op::Transpose(t) => self.value(node.inputs[0], Some(t.perm[axis])),
            Op::Reshape(_) => match before_reshape(dims(0), &self.cl.g.ty(v).dims, axis) {
                Some(a) => self.value(node.inputs[0], Some(a)),
                None => false,
            },
            Op::Slice(s) => s.steps[axis].is(1) && self.value(node.inputs[0], Some(axis)),
            Op::Pad(p) => {
                !grows(&p.before[axis]) && !grows(&p.after[axis]) && self.value(node.inputs[0], Some(axis))
            }
            Op::Concat(c) => c.axis != axis && node.inputs.iter().all(|&x| self.value(x, Some(axis))),
            Op::Gather(g) => {
                let k = dims(1).len();
                match axis {
                    a if a < g.axis => self.value(node.inputs[0], Some(a)),
                    a if a >= g.axis + k => self.value(node.inputs[0], Some(a + 1 - k)),
                    _ => false,
                }
            }
            Op::Iota(i) => i.axis != axis,
            Op::ReverseSequence(r) => {
                axis != r.batch_axis && axis != r.time_axis && self.value(node.inputs[0], Some(axis))
            }
            _ => false,
        }
    }

    /// Scales along one axis are read like any operand; blocked ones only where the lanes share a block.
    fn scaled(&self, op: &Op, inputs: &[ValueId], axis: usize) -> bool {
        let (along, block) = match op {
            Op::Quantize(q) => (q.axis, q.block),
            Op::Dequantize(q) => (q.axis, q.block),
            _ => return false,
        };
        let scale = |v: ValueId| match self.cl.g.ty(v).rank() {
            _ if self.cl.g.ty(v).numel().is(1) => true,
            1 if block == 0 => self.value(v, (along == axis).then_some(0)),
            _ => along != axis && self.value(v, Some(axis)),
        };
        self.value(inputs[0], Some(axis)) && inputs[1..].iter().all(|&v| scale(v))
    }
}

/// The operand axis along which the lanes of a reshape's result run.
fn before_reshape(from: &[Expr], to: &[Expr], axis: usize) -> Option<usize> {
    let behind = product(&to[axis + 1..]);
    let at = (0..from.len()).find(|&a| !from[a].is(1) && product(&from[a + 1..]) == behind)?;
    // The operand's axis is the result's, or that one merged with axes in front of it.
    (0..=axis).rev().any(|k| product(&to[k..=axis]) == from[at]).then_some(at)
}

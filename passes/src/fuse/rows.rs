//! Groups over rows: reductions over the same axes of values with the same dims, with the element-wise nodes between
//! and behind them. Softmax and every normalisation, however written, are such groups.

use super::cluster::{ClusterId, Clusters};
use super::policy::{self, Kind, MAX_INPUTS, MAX_NODES, MAX_OUTPUTS};
use sinter_ir::expr::product;
use sinter_ir::{DType, Expr, NodeId, Op, Symbols, TensorType, ValueId};
use std::collections::BTreeSet;

/// What the members of a group share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    /// Dims of what is reduced.
    pub dims: Vec<Expr>,
    /// Reduced axes.
    pub axes: Vec<usize>,
    /// Whether what is reduced has vectors.
    vectors: bool,
}

impl Space {
    /// Of a reduction or softmax.
    pub fn of(cl: &Clusters, n: NodeId) -> Option<Self> {
        let node = cl.g.node(n);
        let axes = match &node.op {
            Op::Reduce(r) => r.axes.clone(),
            Op::Softmax(s) => vec![s.axis],
            _ => return None,
        };
        let ty = cl.g.ty(*node.inputs.first()?);
        Some(Self { dims: ty.dims.clone(), axes, vectors: crate::lower::access::vectorises(ty.dtype) })
    }
    /// Of a cluster.
    pub fn of_cluster(cl: &Clusters, c: ClusterId) -> Option<Self> {
        cl.get(c).root.and_then(|r| Self::of(cl, r))
    }
    /// Whether a value has an element per element of the rows.
    pub fn is_full(&self, symbols: &Symbols, ty: &TensorType) -> bool {
        equal(symbols, &ty.dims, &self.dims)
    }
    /// Whether a value has an element per row, with the reduced axes as 1 or without them.
    fn is_per_row(&self, symbols: &Symbols, ty: &TensorType) -> bool {
        let one = Expr::from(1);
        let own = |i: usize| if self.axes.contains(&i) { &one } else { &self.dims[i] }.clone();
        let all: Vec<Expr> = (0..self.dims.len()).map(own).collect();
        let rest: Vec<Expr> = (0..self.dims.len()).filter(|i| !self.axes.contains(i)).map(own).collect();
        equal(symbols, &ty.dims, &all) || equal(symbols, &ty.dims, &rest)
    }
    /// Whether the kernel computes an op's results once and keeps them for its other passes.
    pub fn keeps(&self, symbols: &Symbols, ty: &TensorType, op: &Op) -> bool {
        let row = symbols.max(&product(self.axes.iter().map(|&a| &self.dims[a])));
        policy::cost(op) >= policy::DEAR
            && ty.dtype == DType::F32
            && ty.dims == self.dims
            && row.saturating_mul(4) <= policy::MOST_KEPT
    }
    /// The axis that lanes of the group's kernel run along, and whether it is reduced.
    pub fn lanes(&self) -> Option<(usize, bool)> {
        let axis = self.dims.iter().rposition(|d| !d.is(1))?;
        Some((axis, self.axes.contains(&axis)))
    }
}

fn equal(symbols: &Symbols, a: &[Expr], b: &[Expr]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| symbols.known_eq(a, b))
}

/// Grows the cluster of a reduction or softmax as far as it goes.
pub(super) fn grow(cl: &mut Clusters, symbols: &Symbols, c: ClusterId) {
    let Some(space) = Space::of_cluster(cl, c) else { return };
    let mut set = cl.get(c).members.clone();
    // The largest set on the way that has few results.
    let mut best = set.clone();
    loop {
        let users = set.iter().flat_map(|n| &cl.g.node(*n).outputs).flat_map(|v| &cl.users[v.0 as usize]);
        let next: BTreeSet<NodeId> = users.copied().filter(|u| !set.contains(u)).collect();
        let Some(with) = next.into_iter().find_map(|n| extended(cl, symbols, &space, &set, n)) else { break };
        set = with;
        if cl.live_outs(&set).len() <= MAX_OUTPUTS {
            best.clone_from(&set);
        }
    }
    best.into_iter().for_each(|n| cl.join(c, n));
}

/// The set with a user of it, and with the other reductions that the user needs.
fn extended(
    cl: &Clusters,
    symbols: &Symbols,
    space: &Space,
    set: &BTreeSet<NodeId>,
    n: NodeId,
) -> Option<BTreeSet<NodeId>> {
    let mut with = set.clone();
    with.insert(n);
    siblings(cl, symbols, space, &mut with, n);
    let operands: BTreeSet<ValueId> = with
        .iter()
        .flat_map(|m| &cl.g.node(*m).inputs)
        .copied()
        .filter(|v| cl.g.constant(*v).is_none() && cl.g.value(*v).def.is_none_or(|(d, _)| !with.contains(&d)))
        .collect();
    let small = with.len() <= MAX_NODES && operands.len() <= MAX_INPUTS;
    let fit = with.iter().filter(|m| !set.contains(m)).all(|&m| fits(cl, symbols, space, &with, m));
    (small && fit && cl.is_convex(&with)).then_some(with)
}

/// Adds what operands of `n` with an element per row are computed from, up to reductions of the same rows.
fn siblings(cl: &Clusters, symbols: &Symbols, space: &Space, with: &mut BTreeSet<NodeId>, n: NodeId) {
    for &v in &cl.g.node(n).inputs {
        let Some((d, _)) = cl.g.value(v).def else { continue };
        if with.contains(&d) || cl.home[d.0 as usize].is_some() || !space.is_per_row(symbols, cl.g.ty(v)) {
            continue;
        }
        let mut more = with.clone();
        more.insert(d);
        if Space::of(cl, d).is_some_and(|s| same(symbols, &s, space)) {
            *with = more;
        } else if fits(cl, symbols, space, &more, d) && more.len() < MAX_NODES {
            siblings(cl, symbols, space, &mut more, d);
            if cl.g.node(d).inputs.iter().any(|x| cl.g.value(*x).def.is_some_and(|(d, _)| more.contains(&d)))
            {
                *with = more;
            }
        }
    }
}

fn same(symbols: &Symbols, a: &Space, b: &Space) -> bool {
    a.axes == b.axes && equal(symbols, &a.dims, &b.dims)
}

/// Whether a node without a home can be computed along with the rows: what it takes from the set is at the same
/// element, or is the row's.
fn fits(cl: &Clusters, symbols: &Symbols, space: &Space, set: &BTreeSet<NodeId>, n: NodeId) -> bool {
    let node = cl.g.node(n);
    let ty = |v: &ValueId| cl.g.ty(*v);
    let types = || node.inputs.iter().chain(&node.outputs).map(ty);
    let [y] = node.outputs.as_slice() else { return false };
    if cl.home[n.0 as usize].is_some() || cl.defines(n) || !types().all(policy::fusible_type) {
        return false;
    }
    // One value without vectors would cost the whole kernel its own.
    let vectors = |t: &TensorType| crate::lower::access::vectorises(t.dtype) || t.numel().is(1);
    if space.vectors && !types().all(vectors) {
        return false;
    }
    let inner: Vec<&ValueId> =
        node.inputs.iter().filter(|v| cl.g.value(**v).def.is_some_and(|(d, _)| set.contains(&d))).collect();
    let (full, per_row) = (space.is_full(symbols, ty(y)), space.is_per_row(symbols, ty(y)));
    match &node.op {
        Op::Reduce(_) | Op::Softmax(_) => Space::of(cl, n).is_some_and(|s| same(symbols, &s, space)),
        Op::Reshape(_) => {
            per_row && inner.iter().all(|v| space.is_per_row(symbols, ty(v)))
                || full && inner.iter().all(|v| space.is_full(symbols, ty(v)))
        }
        Op::Identity(_) => full || per_row,
        op if policy::kind(op) == Kind::Elementwise || matches!(op, Op::Broadcast(_)) => {
            let spread =
                |v: &ValueId| full && ty(v).rank() == space.dims.len() && space.is_per_row(symbols, ty(v));
            (full || per_row) && inner.iter().all(|v| equal(symbols, &ty(v).dims, &ty(y).dims) || spread(v))
        }
        _ => false,
    }
}

//! Epilogues: element-wise nodes behind a root, computed on its results before they are stored.

use super::cluster::{ClusterId, Clusters};
use super::policy::{self, Kind, MAX_NODES, MAX_OUTPUTS};
use super::rows;
use sinter_ir::{DType, NodeId, Op, Symbols, ValueId};
use std::collections::BTreeSet;

/// Largest number of nodes looked at to bring several branches behind a root together again.
const REGION: usize = 16;

/// Gives every root a cluster and grows its epilogue.
pub(super) fn grow(cl: &mut Clusters, symbols: &Symbols) {
    for &n in cl.g.order() {
        let node = cl.g.node(n);
        if cl.home[n.0 as usize].is_some() {
            continue;
        }
        match policy::kind(&node.op) {
            Kind::Root if matches!(node.op, Op::Reduce(_) | Op::Softmax(_)) => {
                let c = cl.start(n, true);
                rows::grow(cl, symbols, c);
            }
            Kind::Root => {
                let c = cl.start(n, true);
                if let [y] = node.outputs.as_slice() {
                    while extend(cl, symbols, c, *y) {}
                    take_copies(cl, symbols, c, *y);
                }
            }
            Kind::Opaque => {
                cl.start(n, true);
            }
            _ => {}
        }
    }
}

/// Adds the next node behind the cluster, or the next few that join into one value again. `shape` is the
/// root's result, whose dims all of them must have.
fn extend(cl: &mut Clusters, symbols: &Symbols, c: ClusterId, shape: ValueId) -> bool {
    let mut set = cl.get(c).members.clone();
    let before = set.len();
    loop {
        let outs = main_outs(cl, &set);
        let copied_only = || outs.is_empty() && cl.live_outs(&set).len() == 1;
        if set.len() > before && (outs.len() == 1 || copied_only()) {
            break;
        }
        if outs.iter().any(|v| cl.is_output[v.0 as usize])
            || set.len() >= before + REGION
            || set.len() >= MAX_NODES
        {
            return false;
        }
        let users = outs.iter().flat_map(|v| &cl.users[v.0 as usize]).copied();
        let users = users.filter(|u| !set.contains(u) && !is_copy(cl, *u));
        let Some(next) = users.min() else { return false };
        if !fits(cl, symbols, next, shape, &set) {
            return false;
        }
        set.insert(next);
    }
    if !cl.is_convex(&set) {
        return false;
    }
    set.into_iter().for_each(|n| cl.join(c, n));
    true
}

/// What leaves a set for others than rounded copies, which are stored beside all else.
fn main_outs(cl: &Clusters, set: &BTreeSet<NodeId>) -> Vec<ValueId> {
    let needed = |v: &ValueId| {
        let other = |u: &NodeId| !set.contains(u) && !is_copy(cl, *u);
        cl.is_output[v.0 as usize] || cl.users[v.0 as usize].iter().any(other)
    };
    cl.live_outs(set).into_iter().filter(needed).collect()
}

/// Adds rounded copies of what the cluster computes.
fn take_copies(cl: &mut Clusters, symbols: &Symbols, c: ClusterId, shape: ValueId) {
    let outs = cl.live_outs(&cl.get(c).members);
    let users: BTreeSet<NodeId> = outs.iter().flat_map(|v| &cl.users[v.0 as usize]).copied().collect();
    for n in users.into_iter().filter(|n| is_copy(cl, *n)).collect::<Vec<_>>() {
        let mut set = cl.get(c).members.clone();
        if !fits(cl, symbols, n, shape, &set) || set.len() >= MAX_NODES {
            continue;
        }
        set.insert(n);
        if cl.live_outs(&set).len() <= MAX_OUTPUTS && cl.is_convex(&set) {
            cl.join(c, n);
        }
    }
}

/// Whether a node makes a copy of f32 in bf16.
fn is_copy(cl: &Clusters, n: NodeId) -> bool {
    let node = cl.g.node(n);
    matches!(node.op, Op::Cast(_))
        && cl.g.ty(node.outputs[0]).dtype == DType::BF16
        && cl.g.ty(node.inputs[0]).dtype == DType::F32
}

/// An element-wise node without a home whose result and operands from the set have the root's dims.
fn fits(cl: &Clusters, symbols: &Symbols, n: NodeId, shape: ValueId, set: &BTreeSet<NodeId>) -> bool {
    let node = cl.g.node(n);
    let dims = &cl.g.ty(shape).dims;
    let same = |v: &ValueId| {
        let d = &cl.g.ty(*v).dims;
        d.len() == dims.len() && d.iter().zip(dims).all(|(a, b)| symbols.known_eq(a, b))
    };
    let inner = |v: &&ValueId| cl.g.value(**v).def.is_some_and(|(d, _)| set.contains(&d));
    cl.home[n.0 as usize].is_none()
        && policy::kind(&node.op) == Kind::Elementwise
        && node.outputs.iter().all(|v| same(v) && policy::fusible_type(cl.g.ty(*v)))
        && node.inputs.iter().filter(inner).all(same)
}

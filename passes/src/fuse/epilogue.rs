//! Epilogues: element-wise nodes behind a root, computed on its results before they are stored.

use super::cluster::{ClusterId, Clusters};
use super::policy::{self, Kind, MAX_NODES};
use super::rows;
use sinter_ir::{NodeId, Op, Symbols, ValueId};
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
        let outs = cl.live_outs(&set);
        if outs.len() == 1 && set.len() > before {
            break;
        }
        if outs.iter().any(|v| cl.is_output[v.0 as usize])
            || set.len() >= before + REGION
            || set.len() >= MAX_NODES
        {
            return false;
        }
        let users = outs.iter().flat_map(|v| &cl.users[v.0 as usize]).copied().filter(|u| !set.contains(u));
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

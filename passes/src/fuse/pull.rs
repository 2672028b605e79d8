//! Producers: element-wise and movement nodes join the cluster that reads them; the rest form clusters of
//! their own.

use super::cluster::{ClusterId, Clusters};
use super::policy::{self, Kind, MAX_INPUTS, MAX_NODES, MAX_OUTPUTS};
use super::rows::Space;
use sinter_ir::{NodeId, Op, Symbols, ValueId};
use std::collections::BTreeSet;

/// Visits nodes from the outputs backwards, so that every user already has its cluster.
pub(super) fn grow(cl: &mut Clusters, symbols: &Symbols) {
    for &n in cl.g.order().iter().rev() {
        if cl.home[n.0 as usize].is_some() {
            continue;
        }
        match policy::kind(&cl.g.node(n).op) {
            // Its parts are computed where they belong: no kernel, and nothing to gain from one.
            _ if is_joined(cl, n) => {
                cl.start(n, true);
            }
            Kind::Elementwise | Kind::Movement => {
                if !absorb(cl, symbols, n) && !duplicate(cl, symbols, n) && !export(cl, symbols, n) {
                    cl.start(n, false);
                }
            }
            Kind::Alias => {
                // Free by itself; worth pulling only between nodes that are computed per element anyway.
                let _ = between(cl, symbols, n) && absorb(cl, symbols, n);
            }
            Kind::Root | Kind::Opaque | Kind::Loose => {}
        }
    }
}

/// Whether a node is a concatenation whose parts lie one after the other.
fn is_joined(cl: &Clusters, n: NodeId) -> bool {
    let node = cl.g.node(n);
    let types: Vec<_> = node.inputs.iter().map(|&v| cl.g.ty(v)).collect();
    matches!(&node.op, Op::Concat(c) if crate::plan::views::concat_offsets(c, &types).is_some())
}

/// Whether an alias has a producer that would be pulled along with it.
fn between(cl: &Clusters, symbols: &Symbols, n: NodeId) -> bool {
    let Some(&x) = cl.g.node(n).inputs.first() else { return false };
    let Some((d, _)) = cl.g.value(x).def else { return false };
    let _ = symbols;
    matches!(cl.g.node(n).op, Op::Reshape(_))
        && cl.home[d.0 as usize].is_none()
        && matches!(policy::kind(&cl.g.node(d).op), Kind::Elementwise | Kind::Movement)
        && cl.users[x.0 as usize].len() == 1
        && !cl.is_output[x.0 as usize]
}

/// Moves a node into the only cluster that reads it.
fn absorb(cl: &mut Clusters, symbols: &Symbols, n: NodeId) -> bool {
    let [v] = cl.g.node(n).outputs[..] else { return false };
    let readers = cl.reading(v);
    let (Some(&c), 1) = (readers.first(), readers.len()) else { return false };
    if cl.is_output[v.0 as usize] || cl.has_loose_user(v) || !allowed(cl, symbols, c, n, v) {
        return false;
    }
    // Everything that the node leads to is in the cluster, and nothing behind the cluster leads to the node, or
    // there would be a cycle already: no need to look for a path around.
    if cl.defines(n) {
        return false;
    }
    cl.join(c, n);
    true
}

/// Copies a cheap node into all clusters that read it, so that its result is never stored.
fn duplicate(cl: &mut Clusters, symbols: &Symbols, n: NodeId) -> bool {
    let node = cl.g.node(n);
    let [v] = node.outputs[..] else { return false };
    if cl.is_output[v.0 as usize] || cl.has_loose_user(v) || policy::cost(&node.op) > 1 {
        return false;
    }
    let readers = cl.reading(v);
    // The copies read the operands instead of the result: that must not be more.
    let own: u64 = policy::bytes(symbols, cl.g, v);
    let sources: u64 = node.inputs.iter().map(|&i| policy::bytes(symbols, cl.g, i)).sum();
    if readers.is_empty() || readers.len() > 4 || sources > own + own / 4 + 256 {
        return false;
    }
    for &c in &readers {
        if !allowed(cl, symbols, c, n, v) {
            return false;
        }
    }
    readers.into_iter().for_each(|c| cl.copy_into(c, n));
    cl.copied[n.0 as usize] = true;
    true
}

/// Lets a group without a root that runs over the same dims also store a node's result for others.
fn export(cl: &mut Clusters, symbols: &Symbols, n: NodeId) -> bool {
    let [v] = cl.g.node(n).outputs[..] else { return false };
    for c in cl.reading(v) {
        let cluster = cl.get(c);
        let outs = cl.live_outs(&cluster.members);
        // Results share one loop nest; packed ones need their own.
        let whole = |v: ValueId| cl.g.ty(v).dtype.bits() >= 8;
        let same = |o: &ValueId| cl.g.ty(*o).dims == cl.g.ty(v).dims && whole(*o) && whole(v);
        // Rows store whatever has an element per element of them.
        let space = Space::of_cluster(cl, c);
        let stores = match &space {
            Some(s) => s.is_full(symbols, cl.g.ty(v)) && whole(v),
            None => cluster.root.is_none() && outs.iter().all(same),
        };
        if !stores || outs.len() >= MAX_OUTPUTS || !allowed(cl, symbols, c, n, v) {
            continue;
        }
        let mut set = cluster.members.clone();
        set.insert(n);
        if cl.is_convex(&set) {
            cl.join(c, n);
            return true;
        }
    }
    false
}

/// Whether computing `n` inside the cluster repeats little work and keeps the cluster small.
fn allowed(cl: &Clusters, symbols: &Symbols, c: ClusterId, n: NodeId, v: ValueId) -> bool {
    let cluster = cl.get(c);
    if cluster.members.len() >= MAX_NODES || !policy::fusible_type(cl.g.ty(v)) {
        return false;
    }
    let members = cluster.members.iter().chain([&n]);
    let inner = |v: &ValueId| cl.g.value(*v).def.is_some_and(|(d, _)| d == n || cluster.members.contains(&d));
    let operands: BTreeSet<ValueId> = members
        .flat_map(|m| &cl.g.node(*m).inputs)
        .copied()
        .filter(|v| !inner(v) && cl.g.constant(*v).is_none())
        .collect();
    if operands.len() > MAX_INPUTS {
        return false;
    }
    let kept = Space::of_cluster(cl, c).is_some_and(|s| s.keeps(symbols, cl.g.ty(v), &cl.g.node(n).op));
    // Operands are read once per block of rows, or once.
    let once = super::attention::is_one(cl, cluster);
    if once && !super::attention::pulls(cl, symbols, cluster, n) {
        return false;
    }
    let times = if kept { Some(1) } else { repeats(cl, symbols, cluster, v, 0) };
    !super::lanes::breaks(cl, symbols, cluster, n)
        && times.is_some_and(|t| policy::cheap(policy::cost(&cl.g.node(n).op), t))
}

/// How often the cluster computes each element of a value; `None`: too often to say.
fn repeats(
    cl: &Clusters,
    symbols: &Symbols,
    cluster: &super::cluster::Cluster,
    v: ValueId,
    depth: usize,
) -> Option<u64> {
    let mut total = 0u64;
    if depth > MAX_NODES {
        return None;
    }
    for &u in cl.users[v.0 as usize].iter().filter(|u| cluster.members.contains(u)) {
        let node = cl.g.node(u);
        let times = if policy::kind(&node.op) == Kind::Root || cluster.root == Some(u) {
            policy::root_repeats(&node.op).or(super::attention::is_one(cl, cluster).then_some(1))?
        } else {
            let out = node.outputs.first()?;
            let (to, from) =
                (policy::elements(symbols, cl.g.ty(*out)), policy::elements(symbols, cl.g.ty(v)).max(1));
            // Slices and concatenations use an element once at most.
            let factor = to.div_ceil(from).max(1);
            let factor = if matches!(node.op, Op::Concat(_)) { 1 } else { factor };
            repeats(cl, symbols, cluster, *out, depth + 1)?.max(1).saturating_mul(factor)
        };
        total = total.saturating_add(times);
    }
    Some(total.max(1))
}

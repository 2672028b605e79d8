//! The fused graph: every cluster of several nodes becomes one `Group`.

use super::cluster::{Cluster, ClusterId, Clusters};
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::Group;
use sinter_ir::{Diag, Graph, NodeId, Op, Result, Symbols, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Rewrites the regions of a node.
pub(super) type Regions<'a> = &'a mut dyn FnMut(&Op, &mut Symbols, &mut PassReport) -> Result<Op>;

/// One unit of the new graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Node(NodeId),
    Cluster(ClusterId),
}

/// Builds the new graph. Units are added in the order of their first node as soon as their operands exist.
pub(super) fn build(
    cl: &Clusters,
    symbols: &mut Symbols,
    report: &mut PassReport,
    main: bool,
    regions: Regions,
) -> Result<Graph> {
    let unit_of = |n: NodeId| cl.home[n.0 as usize].map_or(Unit::Node(n), Unit::Cluster);
    let position: Vec<usize> = {
        let mut p = vec![0; cl.g.node_count()];
        cl.g.order().iter().enumerate().for_each(|(i, n)| p[n.0 as usize] = i);
        p
    };
    let mut nodes: BTreeMap<Unit, Vec<NodeId>> = BTreeMap::new();
    for &n in cl.g.order().iter().filter(|n| !cl.copied[n.0 as usize]) {
        nodes.entry(unit_of(n)).or_insert_with(|| match unit_of(n) {
            Unit::Node(n) => vec![n],
            Unit::Cluster(c) => {
                let mut m: Vec<NodeId> = cl.get(c).members.iter().copied().collect();
                m.sort_by_key(|n| position[n.0 as usize]);
                m
            }
        });
    }
    // Kahn's algorithm over units; the unit with the earliest node goes first.
    let mut waiting: BTreeMap<Unit, usize> = BTreeMap::new();
    let mut users: BTreeMap<Unit, Vec<Unit>> = BTreeMap::new();
    let mut ready = BTreeSet::new();
    let first = |u: &Unit, nodes: &BTreeMap<Unit, Vec<NodeId>>| {
        nodes[u].first().map_or(0, |n| position[n.0 as usize])
    };
    for (&unit, members) in &nodes {
        let inside: BTreeSet<NodeId> = members.iter().copied().collect();
        let sources: BTreeSet<Unit> = members
            .iter()
            .flat_map(|n| {
                let made = cl.g.node(*n).inputs.iter().filter_map(|v| cl.g.value(*v).def).map(|(d, _)| d);
                made.chain(cl.waits[n.0 as usize].iter().copied())
            })
            .filter(|d| !inside.contains(d))
            .map(unit_of)
            .collect();
        waiting.insert(unit, sources.len());
        if sources.is_empty() {
            ready.insert((first(&unit, &nodes), unit));
        }
        sources.into_iter().for_each(|s| users.entry(s).or_default().push(unit));
    }
    let mut rb = Rebuild::new(cl.g, symbols, report);
    let mut done = 0;
    while let Some((_, unit)) = ready.pop_first() {
        emit(cl, &mut rb, unit, &nodes[&unit], regions)?;
        done += 1;
        for u in users.remove(&unit).unwrap_or_default() {
            let left = waiting.entry(u).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.insert((first(&u, &nodes), u));
            }
        }
    }
    if done != nodes.len() {
        return Err(Diag::bug("fuse: the groups depend on each other"));
    }
    rb.finish(main)
}

fn emit(cl: &Clusters, rb: &mut Rebuild, unit: Unit, members: &[NodeId], regions: Regions) -> Result<()> {
    match (unit, members) {
        (Unit::Cluster(c), [_, _, ..]) => group(cl, rb, c, members),
        (_, [one]) => {
            let node = cl.g.node(*one);
            let op = regions(&node.op, rb.symbols, rb.report)?;
            rb.copy_as(node, op).map(|_| ())
        }
        _ => Err(Diag::bug("fuse: an empty group")),
    }
}

/// Adds one group. Single-element constants go into its body; all else comes in through operands.
fn group(cl: &Clusters, rb: &mut Rebuild, c: ClusterId, members: &[NodeId]) -> Result<()> {
    let cluster: &Cluster = cl.get(c);
    let mut body = Graph::default();
    let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    let mut operands = Vec::new();
    let mut origin = Origin::new();
    let own = |n: &NodeId| cl.home[n.0 as usize] == Some(c);
    for n in members {
        let node = cl.g.node(*n);
        for &v in &node.inputs {
            if map.contains_key(&v) {
                continue;
            }
            let inner = match cl.g.as_const(v) {
                Some(t) if t.len() == 1 => {
                    let op = sinter_ir::op::Constant { tensor: t.clone() };
                    body.add1(rb.symbols, op.into(), &[], &Origin::new())?
                }
                _ => {
                    operands.push(rb.get(v)?);
                    body.add_input(cl.g.ty(v).clone(), cl.g.value(v).name.clone())
                }
            };
            map.insert(v, inner);
        }
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
        let outs = body.add(rb.symbols, node.op.clone(), &inputs, &node.origin)?;
        node.outputs.iter().zip(outs).for_each(|(o, n)| map.extend([(*o, n)]));
        origin.extend(node.origin.iter().filter(|o| !origin.contains(o)).cloned().collect::<Vec<_>>());
    }
    let set: BTreeSet<NodeId> = members.iter().copied().filter(own).collect();
    let needed = |v: &ValueId| {
        let outside = |u: &NodeId| !cluster.members.contains(u) || cl.reading(*v).iter().any(|r| *r != c);
        cl.is_output[v.0 as usize] || cl.users[v.0 as usize].iter().any(outside)
    };
    let outs: Vec<ValueId> =
        set.iter().flat_map(|n| &cl.g.node(*n).outputs).copied().filter(needed).collect();
    body.outputs = outs.iter().map(|v| map[v]).collect();
    let new = rb.add(Group { body }, &operands, &origin)?;
    outs.iter().zip(new).for_each(|(&o, n)| rb.bind(o, n));
    rb.report.fired("fuse/group");
    Ok(())
}

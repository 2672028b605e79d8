//! Clusters of nodes under construction. Contracting every cluster to a point leaves the graph acyclic.

use crate::symbols;
use sinter_ir::{Graph, NodeId, Sym, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A cluster: index into [`Clusters::all`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClusterId(pub u32);

/// Nodes that will be one kernel.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster {
    /// The node that is not pulled, where there is one.
    pub root: Option<NodeId>,
    /// Members, the root included; those computed only here and copies of shared ones.
    pub members: BTreeSet<NodeId>,
}

/// A partition of a graph's nodes. Every node that is not a constant has a home cluster, or is computed only
/// inside clusters that hold a copy.
pub(super) struct Clusters<'g> {
    pub g: &'g Graph,
    /// Users of every value, each once.
    pub users: Vec<Vec<NodeId>>,
    /// By node: the nodes that define symbols it mentions, and the reverse.
    pub waits: Vec<Vec<NodeId>>,
    defines_for: Vec<Vec<NodeId>>,
    /// Values that leave the graph.
    pub is_output: Vec<bool>,
    pub all: Vec<Cluster>,
    /// Home cluster by node.
    pub home: Vec<Option<ClusterId>>,
    /// Nodes that live on as copies only.
    pub copied: Vec<bool>,
}

impl<'g> Clusters<'g> {
    /// No clusters yet.
    pub fn new(g: &'g Graph) -> Self {
        let mut users = g.uses();
        users.iter_mut().for_each(|u| u.dedup());
        let mut is_output = vec![false; g.value_count()];
        g.outputs.iter().for_each(|v| is_output[v.0 as usize] = true);
        let n = g.node_count();
        let waits = waits(g);
        let mut defines_for = vec![Vec::new(); n];
        for &user in g.order() {
            waits[user.0 as usize].iter().for_each(|d| defines_for[d.0 as usize].push(user));
        }
        let (all, home, copied) = (Vec::new(), vec![None; n], vec![false; n]);
        Self { g, users, waits, defines_for, is_output, all, home, copied }
    }
    /// Starts a cluster.
    pub fn start(&mut self, node: NodeId, root: bool) -> ClusterId {
        let id = ClusterId(self.all.len() as u32);
        self.all.push(Cluster { root: root.then_some(node), members: BTreeSet::from([node]) });
        self.home[node.0 as usize] = Some(id);
        id
    }
    pub fn get(&self, c: ClusterId) -> &Cluster {
        &self.all[c.0 as usize]
    }
    /// Makes a node a member whose only home is this cluster.
    pub fn join(&mut self, c: ClusterId, node: NodeId) {
        self.all[c.0 as usize].members.insert(node);
        self.home[node.0 as usize] = Some(c);
    }
    /// Adds a copy of a node.
    pub fn copy_into(&mut self, c: ClusterId, node: NodeId) {
        self.all[c.0 as usize].members.insert(node);
    }
    /// Clusters that read a value: homes of its users and holders of copies of them.
    pub fn reading(&self, v: ValueId) -> BTreeSet<ClusterId> {
        let users = &self.users[v.0 as usize];
        let mut out: BTreeSet<ClusterId> = users.iter().filter_map(|u| self.home[u.0 as usize]).collect();
        for u in users.iter().filter(|u| self.copied[u.0 as usize]) {
            out.extend(self.holders(*u));
        }
        out
    }
    /// Clusters that hold a copy of a node.
    pub fn holders(&self, node: NodeId) -> Vec<ClusterId> {
        let has = |(_, c): &(usize, &Cluster)| c.members.contains(&node);
        self.all.iter().enumerate().filter(has).map(|(i, _)| ClusterId(i as u32)).collect()
    }
    /// Users that belong to no cluster: regions, reads of symbols, aliases.
    pub fn has_loose_user(&self, v: ValueId) -> bool {
        self.users[v.0 as usize]
            .iter()
            .any(|u| self.home[u.0 as usize].is_none() && !self.copied[u.0 as usize])
    }
    /// Values that a set of nodes makes and something outside of it needs.
    pub fn live_outs(&self, set: &BTreeSet<NodeId>) -> Vec<ValueId> {
        let outside = |v: &ValueId| {
            self.is_output[v.0 as usize] || self.users[v.0 as usize].iter().any(|u| !set.contains(u))
        };
        set.iter().flat_map(|n| &self.g.node(*n).outputs).copied().filter(outside).collect()
    }
    /// Whether other nodes mention symbols that a node defines.
    pub fn defines(&self, node: NodeId) -> bool {
        !self.defines_for[node.0 as usize].is_empty()
    }
    /// Whether a set of nodes can be one cluster: no path leaves it and comes back.
    pub fn is_convex(&self, set: &BTreeSet<NodeId>) -> bool {
        let mut seen = vec![false; self.g.node_count()];
        let mut work: Vec<NodeId> = Vec::new();
        let push = |n: NodeId, seen: &mut Vec<bool>, work: &mut Vec<NodeId>| {
            // Reaching one node of a cluster reaches all of its results.
            let all: Vec<NodeId> = match self.home[n.0 as usize] {
                Some(c) => self
                    .get(c)
                    .members
                    .iter()
                    .copied()
                    .filter(|m| self.home[m.0 as usize] == Some(c))
                    .collect(),
                None => vec![n],
            };
            for m in all {
                if !set.contains(&m) && !std::mem::replace(&mut seen[m.0 as usize], true) {
                    work.push(m);
                }
            }
        };
        let outs = |n: NodeId| {
            let users = self.g.node(n).outputs.iter().flat_map(|v| &self.users[v.0 as usize]);
            users.chain(&self.defines_for[n.0 as usize]).copied()
        };
        for &n in set {
            outs(n).filter(|u| !set.contains(u)).for_each(|u| push(u, &mut seen, &mut work));
        }
        while let Some(n) = work.pop() {
            for u in outs(n) {
                if set.contains(&u) {
                    return false;
                }
                push(u, &mut seen, &mut work);
            }
        }
        true
    }
}

/// For each node the nodes that define symbols in its attributes, regions and result types.
fn waits(g: &Graph) -> Vec<Vec<NodeId>> {
    let mut out = vec![Vec::new(); g.node_count()];
    let mut defined: BTreeMap<Sym, NodeId> = BTreeMap::new();
    for (id, node) in g.iter() {
        if !defined.is_empty() {
            let mut used = BTreeSet::new();
            symbols::in_op(&node.op, &mut used);
            node.outputs.iter().for_each(|&v| symbols::in_type(g.ty(v), &mut used));
            let nodes: BTreeSet<NodeId> = used.iter().filter_map(|s| defined.get(s)).copied().collect();
            out[id.0 as usize] = nodes.into_iter().collect();
        }
        defined.extend(node.op.defines().into_iter().map(|s| (s, id)));
    }
    out
}

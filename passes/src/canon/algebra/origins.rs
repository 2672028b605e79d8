//! Which of the user's nodes a rewritten term stands for.

use egg::Id;
use sinter_ir::graph::Origin;
use sinter_ir::{Graph, NodeId};
use std::collections::BTreeMap;

/// Source names by class. A node whose class was not kept hands its names on to its users in the region, and so on
/// until one is kept: `1/(1+exp(-x))` as one sigmoid stands for all four nodes.
pub(super) fn by_class(g: &Graph, named: &[(Id, NodeId)], kept: &dyn Fn(Id) -> bool) -> BTreeMap<Id, Origin> {
    let class: BTreeMap<NodeId, Id> = named.iter().map(|&(id, n)| (n, id)).collect();
    let mut names: BTreeMap<NodeId, Origin> = BTreeMap::new();
    let mut out: BTreeMap<Id, Origin> = BTreeMap::new();
    for (&n, &id) in &class {
        let node = g.node(n);
        let mut own = Origin::new();
        let sources = node.inputs.iter().filter_map(|v| g.value(*v).def).map(|(d, _)| d);
        for d in sources.filter(|d| class.get(d).is_some_and(|&c| !kept(c))) {
            merge(&mut own, names.get(&d).map_or(&[], Vec::as_slice));
        }
        merge(&mut own, &node.origin);
        if kept(id) {
            merge(out.entry(id).or_default(), &own);
        }
        names.insert(n, own);
    }
    out
}

fn merge(into: &mut Origin, more: &[std::sync::Arc<str>]) {
    for name in more {
        if !into.contains(name) {
            into.push(name.clone());
        }
    }
}

//! Parts of a graph that can be computed a few rows at a time: everything between two values each of which is all that
//! is known of the input at its time.

use super::rows::{Need, needs};
use sinter_ir::{Graph, NodeId, Op, ValueId};
use std::collections::BTreeMap;

/// Rows `lo .. hi` of a value.
pub type Interval = (i64, i64);

/// A part of a graph.
#[derive(Debug, Clone)]
pub struct Region {
    /// What it is computed from.
    pub from: ValueId,
    /// What it computes.
    pub to: ValueId,
    /// Its nodes in order.
    pub nodes: Vec<NodeId>,
    /// The axis of every value along which rows are counted.
    pub axes: BTreeMap<ValueId, usize>,
}

/// A place where one value is all that is alive: it is known behind the first `at` nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cut {
    pub at: usize,
    pub value: ValueId,
}

/// Nodes that compute something, in order.
pub fn nodes(g: &Graph) -> Vec<NodeId> {
    g.iter().filter(|(_, n)| !matches!(n.op, Op::Constant(_))).map(|(id, _)| id).collect()
}

/// Where the last use of every value is among [`nodes`]; outputs are used behind all.
pub fn last_uses(g: &Graph, nodes: &[NodeId]) -> Vec<usize> {
    let mut last = vec![0; g.value_count()];
    for (i, n) in nodes.iter().enumerate() {
        g.node(*n).inputs.iter().for_each(|v| last[v.0 as usize] = i);
    }
    g.outputs.iter().for_each(|v| last[v.0 as usize] = nodes.len());
    last
}

/// All cuts, in order.
pub fn cuts(g: &Graph, nodes: &[NodeId]) -> Vec<Cut> {
    let last = last_uses(g, nodes);
    let mut alive: Vec<ValueId> = g.inputs.clone();
    let mut out = vec![];
    for at in 0..=nodes.len() {
        if let &[value] = alive.as_slice() {
            out.push(Cut { at, value });
        }
        let Some(n) = nodes.get(at) else { break };
        alive.extend(&g.node(*n).outputs);
        alive.retain(|v| last[v.0 as usize] > at);
    }
    out
}

impl Region {
    /// Everything between two cuts, where rows along an axis of the last value need rows only.
    pub fn new(g: &Graph, nodes: &[NodeId], (from, to): (Cut, Cut), axis: usize) -> Option<Self> {
        let nodes = nodes.get(from.at..to.at).filter(|n| !n.is_empty())?.to_vec();
        let mut axes = BTreeMap::from([(to.value, axis)]);
        for n in nodes.iter().rev() {
            let node = g.node(*n);
            let axis = *axes.get(node.outputs.first()?)?;
            for (v, need) in node.inputs.iter().zip(needs(g, node, axis)?) {
                match need {
                    Need::Whole => drop(g.constant(*v)?),
                    Need::Rows { .. } if g.constant(*v).is_some() => return None,
                    Need::Rows { axis, .. } => {
                        if *axes.entry(*v).or_insert(axis) != axis {
                            return None;
                        }
                    }
                }
            }
        }
        let mut rows = axes.iter().map(|(v, a)| g.ty(*v).const_dims().and_then(|d| d.get(*a).copied()));
        let known = rows.all(|n| n.is_some_and(|n| n > 0));
        (known && axes.contains_key(&from.value)).then_some(Self {
            from: from.value,
            to: to.value,
            nodes,
            axes,
        })
    }
    /// Rows of a value.
    pub fn rows(&self, g: &Graph, v: ValueId) -> i64 {
        let axis = self.axes.get(&v).copied().unwrap_or(0);
        g.ty(v).dims.get(axis).and_then(|d| d.as_const()).unwrap_or(1)
    }
    /// The rows of every value that some rows of the last one need.
    pub fn intervals(&self, g: &Graph, rows: Interval) -> Option<BTreeMap<ValueId, Interval>> {
        let mut out = BTreeMap::from([(self.to, rows)]);
        for n in self.nodes.iter().rev() {
            let node = g.node(*n);
            let made = *node.outputs.first()?;
            let own = *out.get(&made)?;
            for (v, need) in node.inputs.iter().zip(needs(g, node, *self.axes.get(&made)?)?) {
                let Need::Rows { window, .. } = need else { continue };
                let (lo, hi) = window.of(own);
                let (lo, hi) = (lo.max(0), hi.min(self.rows(g, *v)));
                if lo >= hi {
                    return None;
                }
                let all = out.entry(*v).or_insert((lo, hi));
                *all = (all.0.min(lo), all.1.max(hi));
            }
        }
        Some(out)
    }
    /// The last value in so many parts of rows, as equal as they can be.
    pub fn parts(&self, g: &Graph, count: usize) -> Vec<Interval> {
        let (n, count) = (self.rows(g, self.to), count.max(1) as i64);
        let size = (n + count - 1) / count;
        (0..count).map(|i| (i * size, ((i + 1) * size).min(n))).filter(|(lo, hi)| lo < hi).collect()
    }
}

//! What splitting costs and gains, by a model of the plan: values that element-wise operations make of one another share
//! their memory, everything else lies in memory from its node to its last use.

use super::region::{Interval, Region, last_uses};
use sinter_ir::expr::product;
use sinter_ir::{Graph, Node, NodeId, Op, ValueId};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The model of a graph.
#[derive(Debug)]
pub struct Model<'a> {
    g: &'a Graph,
    /// All nodes.
    pub nodes: Vec<NodeId>,
    last: Vec<usize>,
    /// The value whose memory holds a value.
    home: Vec<ValueId>,
    /// Bytes of homes; ports have none here.
    bytes: Vec<u64>,
    /// Bytes of ports.
    pub ports: u64,
    /// Multiply-adds of every node, or elements.
    work: Vec<f64>,
}

/// Bytes of a value of known dims.
fn bytes(g: &Graph, v: ValueId) -> u64 {
    let n = g.ty(v).numel().as_const().map_or(u64::MAX / 1024, |n| n.max(0) as u64);
    g.ty(v)
        .dtype
        .bytes_for(usize::try_from(n).unwrap_or(usize::MAX / 1024))
        .map_or(u64::MAX / 1024, |b| b as u64)
}

/// Whether a result can take the place of the first operand.
fn in_place(op: &Op) -> bool {
    op.is_pointwise() || matches!(op, Op::Quantize(_) | Op::Dequantize(_) | Op::Identity(_) | Op::Reshape(_))
}

fn work(g: &Graph, node: &Node) -> f64 {
    let elements = |v: Option<&ValueId>| v.and_then(|v| g.ty(*v).numel().as_const()).unwrap_or(1) as f64;
    let out = elements(node.outputs.first());
    let dims = |n: usize| node.inputs.get(n).map(|v| g.ty(*v).dims.clone()).unwrap_or_default();
    let per = match &node.op {
        Op::Conv(_) => product(dims(1).get(1..).unwrap_or_default()).as_const(),
        Op::MatMul(_) => dims(0).last().and_then(|d| d.as_const()),
        Op::Pool(p) => product(&p.kernel).as_const(),
        _ => Some(1),
    };
    out * per.unwrap_or(1) as f64
}

impl<'a> Model<'a> {
    /// Of a graph.
    pub fn new(g: &'a Graph, nodes: Vec<NodeId>) -> Self {
        let (last, uses) = (last_uses(g, &nodes), g.uses());
        let port = |v: &ValueId| g.inputs.contains(v) || g.outputs.contains(v);
        let mut home: Vec<ValueId> = (0..g.value_count() as u32).map(ValueId).collect();
        // From the end: homes of results are known.
        for n in nodes.iter().rev() {
            let node = g.node(*n);
            let (Some(x), Some(y)) =
                (node.inputs.iter().find(|v| g.constant(**v).is_none()), node.outputs.first())
            else {
                continue;
            };
            if in_place(&node.op) && uses[x.0 as usize].len() == 1 && !port(x) {
                home[x.0 as usize] = home[y.0 as usize];
            }
        }
        let size = |v: ValueId| if port(&v) { 0 } else { bytes(g, v) };
        Self {
            bytes: (0..g.value_count() as u32).map(|v| size(ValueId(v))).collect(),
            ports: g.inputs.iter().chain(&g.outputs).map(|v| bytes(g, *v)).sum(),
            work: nodes.iter().map(|n| work(g, g.node(*n))).collect(),
            g,
            nodes,
            last,
            home,
        }
    }
    /// Bytes that are alive while every node runs, ports left out.
    pub fn alive(&self) -> Vec<u64> {
        self.simulate(&self.nodes, 0, &|v| self.bytes[v.0 as usize])
    }
    /// The same of some nodes in order, of which the first is number `first`, with the sizes of homes.
    fn simulate(&self, nodes: &[NodeId], first: usize, size: &dyn Fn(ValueId) -> u64) -> Vec<u64> {
        let mut held: BTreeMap<ValueId, u64> = BTreeMap::new();
        let (mut sum, mut out) = (0u64, Vec::with_capacity(nodes.len()));
        for (at, n) in (first..).zip(nodes) {
            let node = self.g.node(*n);
            for v in &node.outputs {
                let home = self.home[v.0 as usize];
                if let Entry::Vacant(free) = held.entry(home) {
                    free.insert(size(home));
                    sum += size(home);
                }
            }
            out.push(sum);
            for v in &node.inputs {
                let home = self.home[v.0 as usize];
                if self.last[home.0 as usize] <= at && self.last[v.0 as usize] <= at {
                    sum -= held.remove(&home).unwrap_or(0);
                }
            }
        }
        out
    }
    /// Most bytes while a region is computed in parts, ports left out.
    pub fn peak(&self, region: &Region, first: usize, parts: &[Interval]) -> Option<u64> {
        let whole = |v: ValueId| self.bytes[self.home[v.0 as usize].0 as usize];
        let mut most = 0;
        // The edges and what lies between them.
        let some = [parts.first(), parts.get(parts.len() / 2), parts.last()];
        for rows in some.into_iter().flatten() {
            let intervals = region.intervals(self.g, *rows)?;
            let size = |v: ValueId| {
                let (lo, hi) = intervals.get(&v).copied().unwrap_or((0, 1));
                if v == region.to {
                    0
                } else {
                    whole(v) / region.rows(self.g, v).max(1) as u64 * (hi - lo) as u64
                }
            };
            most = most.max(self.simulate(&region.nodes, first, &size).into_iter().max().unwrap_or(0));
        }
        Some(most + whole(region.from) + whole(region.to))
    }
    /// Work that is done more than once when a region is computed in parts, as a share of all.
    pub fn again(&self, region: &Region, first: usize, parts: &[Interval]) -> Option<f64> {
        let mut more = 0.0;
        for rows in parts {
            let intervals = region.intervals(self.g, *rows)?;
            for (n, work) in region.nodes.iter().zip(self.work.get(first..)?) {
                let v = self.g.node(*n).outputs.first()?;
                let (lo, hi) = intervals.get(v)?;
                more += work * (hi - lo) as f64 / region.rows(self.g, *v).max(1) as f64;
            }
        }
        let once: f64 = self.work.get(first..first + region.nodes.len())?.iter().sum();
        Some((more - once) / self.work.iter().sum::<f64>().max(1.0))
    }
}

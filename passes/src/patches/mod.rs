//! Less memory by more work: the part of a network whose values are the largest is computed a few rows at a time.
//!
//! As MCUNetV2 does with the first convolutions of a network. Every part of the result is computed from the rows of the
//! input that it needs, so that what lies between is never there as a whole; rows that neighbouring parts both need are
//! computed again for each. Results stay the same to the last bit: every sum has the same terms.
//!
//! [`choices`] finds what could be split, the cheapest first, by a model of memory ([`cost`]); whether a plan fits, the
//! caller finds out by making it.

mod apply;
mod cost;
pub mod region;
mod rows;

use crate::report::PassReport;
use cost::Model;
use region::{Cut, Region};
use serde::{Deserialize, Serialize};
use sinter_ir::{Diag, Graph, Module, NodeId, Result, ValueId};

/// Name of what runs between `canon` and `fuse` where memory is short.
pub const PATCHES: &str = "patches";

/// Numbers of parts that are tried.
const PARTS: [usize; 12] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96];

/// A part of a network, and in how many parts to compute it.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What it is computed from.
    pub from: ValueId,
    /// What it computes.
    pub to: ValueId,
    /// The axis of that along which it is cut.
    pub axis: usize,
    /// How many parts.
    pub parts: usize,
    /// Bytes of all memory, by the model.
    pub bytes: u64,
    /// Work that is done again, as a share of that of the whole network.
    pub again: f64,
}

/// What was split, for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PatchStat {
    /// The nodes that are computed in parts: the first and the last, as the user named them.
    pub between: [String; 2],
    /// How many nodes there are.
    pub nodes: usize,
    /// How many parts.
    pub parts: usize,
    /// Work that is done again, as a share of that of the whole network.
    pub again: f64,
    /// RAM of the network as a whole and in parts.
    pub ram_bytes: [u64; 2],
}

/// Splits that may make a network fit into so many bytes of memory, ports and all: those that do by the model first, the
/// least work done again first, then those that come nearest. Nothing of networks with open dims.
pub fn choices(g: &Graph, room: u64) -> Vec<Choice> {
    let nodes = region::nodes(g);
    let open = |n: &NodeId| g.node(*n).outputs.iter().any(|v| g.ty(*v).numel().as_const().is_none());
    if nodes.iter().any(open) {
        return vec![];
    }
    let model = Model::new(g, nodes);
    let alive = model.alive();
    let full = |n: &u64| n.saturating_add(model.ports) > room;
    let Some(first) = alive.iter().position(full) else { return vec![] };
    let cuts = region::cuts(g, &model.nodes);
    let mut out = vec![];
    for to in cuts.iter().filter(|c| c.at > first) {
        let begins = cuts.iter().rev().filter(|c| c.at <= first);
        for from in begins {
            // Longer parts of the network are no better where shorter ones are not possible.
            let Some(region) = any_axis(g, &model, (*from, *to)) else { break };
            out.extend(PARTS.iter().filter_map(|&parts| {
                let rows = region.parts(g, parts);
                if rows.len() < parts {
                    return None;
                }
                let outside = alive[..from.at].iter().chain(&alive[to.at..]).max().copied().unwrap_or(0);
                let bytes = model.peak(&region, from.at, &rows)?.max(outside) + model.ports;
                let again = model.again(&region, from.at, &rows)?;
                let axis = *region.axes.get(&to.value)?;
                Some(Choice { from: from.value, to: to.value, axis, parts, bytes, again })
            }));
        }
    }
    let over = |c: &Choice| c.bytes.saturating_sub(room);
    out.sort_by(|a, b| over(a).cmp(&over(b)).then(a.again.total_cmp(&b.again)).then(a.parts.cmp(&b.parts)));
    out
}

/// The region between two cuts along the first axis that it has rows of.
fn any_axis(g: &Graph, model: &Model, between: (Cut, Cut)) -> Option<Region> {
    let rank = g.ty(between.1.value).rank();
    [2, 1, 3].into_iter().filter(|a| *a < rank).find_map(|a| Region::new(g, &model.nodes, between, a))
}

/// Splits a module.
pub fn run(m: &mut Module, choice: &Choice, report: &mut PassReport) -> Result<()> {
    let nodes = region::nodes(&m.graph);
    let cuts = region::cuts(&m.graph, &nodes);
    let cut = |v: ValueId| cuts.iter().find(|c| c.value == v).copied();
    let region = cut(choice.from).zip(cut(choice.to)).and_then(|(from, to)| {
        // A value is alone for a while: up to its use.
        let from = cuts.iter().rev().find(|c| c.value == from.value).copied().unwrap_or(from);
        Region::new(&m.graph, &nodes, (from, to), choice.axis)
    });
    let region = region.ok_or_else(|| Diag::input("what is to be split cannot be computed row by row"))?;
    let name = |i: Option<&NodeId>| {
        i.and_then(|n| m.graph.node(*n).origin.first().map(|o| o.to_string())).unwrap_or_default()
    };
    let stat = PatchStat {
        between: [name(region.nodes.first()), name(region.nodes.last())],
        nodes: region.nodes.len(),
        parts: region.parts(&m.graph, choice.parts).len(),
        again: choice.again,
        ram_bytes: [0; 2],
    };
    apply::apply(m, &region, choice.parts, report)?;
    report.patches = Some(stat);
    Ok(())
}

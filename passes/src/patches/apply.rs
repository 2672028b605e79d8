//! Rewriting: a region once for every part of its result.

use super::region::{Interval, Region};
use super::rows::{Need, needs, of_rows};
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::{Concat, Slice};
use sinter_ir::{Diag, Graph, Module, Result, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Computes a region in so many parts, one after the other.
pub fn apply(m: &mut Module, region: &Region, parts: usize, report: &mut PassReport) -> Result<()> {
    let old = std::mem::take(&mut m.graph);
    let inside: BTreeSet<_> = region.nodes.iter().copied().collect();
    let last = region.nodes.last().copied();
    let mut b = Rebuild::new(&old, &mut m.symbols, report);
    for (id, node) in old.iter() {
        if !inside.contains(&id) {
            b.copy(node)?;
        } else if Some(id) == last {
            let mut made = vec![];
            for rows in region.parts(&old, parts) {
                made.push(part(&mut b, &old, region, rows)?);
                b.report.fired("patches/part");
            }
            let axis = region.axes.get(&region.to).copied().unwrap_or(0);
            let whole = b.add1(Concat { axis }, &made, &node.origin)?;
            b.bind(region.to, whole);
        }
    }
    m.graph = b.finish(true)?;
    Ok(())
}

/// Some rows of the region's result.
fn part(b: &mut Rebuild, g: &Graph, region: &Region, rows: Interval) -> Result<ValueId> {
    let bug = || Diag::bug("patches: a region without rows");
    let intervals = region.intervals(g, rows).ok_or_else(bug)?;
    let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for n in &region.nodes {
        let node = g.node(*n);
        let out = *node.outputs.first().ok_or_else(bug)?;
        let axis = *region.axes.get(&out).ok_or_else(bug)?;
        let own = *intervals.get(&out).ok_or_else(bug)?;
        let mut edges = (0, 0);
        let mut operands = Vec::with_capacity(node.inputs.len());
        for (i, (v, need)) in node.inputs.iter().zip(needs(g, node, axis).ok_or_else(bug)?).enumerate() {
            let Need::Rows { axis, window } = need else {
                operands.push(b.get(*v)?);
                continue;
            };
            let (lo, hi) = window.of(own);
            let all = region.rows(g, *v);
            if i == 0 {
                edges = ((-lo).max(0), (hi - all).max(0));
            }
            let wanted = (lo.max(0), hi.min(all));
            let (from, there) = match made.get(v) {
                Some(x) => (*x, *intervals.get(v).ok_or_else(bug)?),
                None => (b.get(*v)?, (0, all)),
            };
            operands.push(cut(b, from, axis, there, wanted, &node.origin)?);
        }
        let op = of_rows(&node.op, axis, g.ty(out).rank(), own.1 - own.0, edges);
        let new = b.add1(op, &operands, &node.origin)?;
        made.insert(out, new);
    }
    made.get(&region.to).copied().ok_or_else(bug)
}

/// Rows of a value that holds some.
fn cut(
    b: &mut Rebuild,
    x: ValueId,
    axis: usize,
    there: Interval,
    wanted: Interval,
    origin: &Origin,
) -> Result<ValueId> {
    if there == wanted {
        return Ok(x);
    }
    let mut sizes = b.graph.ty(x).dims.clone();
    let mut starts = vec![0.into(); sizes.len()];
    let steps = vec![1.into(); sizes.len()];
    starts[axis] = (wanted.0 - there.0).into();
    sizes[axis] = (wanted.1 - wanted.0).into();
    b.add1(Slice { starts, sizes, steps }, &[x], origin)
}

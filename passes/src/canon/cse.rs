//! `cse`: one node for equal operations on equal operands.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::{Graph, Module, NodeId, Op, Result, Symbols, ValueId};
use std::collections::BTreeMap;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

/// Nodes with equal keys are compared in full. Constants have no operands, so their type is in the key.
type Key = (&'static str, Vec<ValueId>, String);

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut seen: BTreeMap<Key, Vec<(NodeId, Vec<ValueId>)>> = BTreeMap::new();
    let mut rb = Rebuild::new(g, symbols, report);
    for (id, node) in g.iter() {
        // Ops with regions or defined symbols are never merged: their symbols would need merging as well.
        if matches!(node.op, Op::If(_) | Op::Loop(_) | Op::Group(_)) || !node.op.defines().is_empty() {
            let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
            rb.copy_as(node, op)?;
            continue;
        }
        let inputs = rb.operands(node)?;
        let ty = if inputs.is_empty() { node.outputs.first().map(|&v| g.ty(v).to_string()) } else { None };
        let bucket = seen.entry((node.op.name(), inputs.clone(), ty.unwrap_or_default())).or_default();
        match bucket.iter().find(|(other, _)| g.node(*other).op == node.op) {
            Some((_, outputs)) => {
                rb.report.fired(if matches!(node.op, Op::Constant(_)) { "cse/constant" } else { "cse/node" });
                rb.bind_all(node, outputs)?;
            }
            None => {
                let outputs = rb.add(node.op.clone(), &inputs, &node.origin)?;
                rb.bind_all(node, &outputs)?;
                bucket.push((id, outputs));
            }
        }
    }
    rb.finish(main)
}

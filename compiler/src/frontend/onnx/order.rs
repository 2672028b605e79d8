//! Which nodes a graph needs, and in which order.

use super::importer::label;
use super::op::named_tensors;
use super::proto::{GraphProto, ModelProto, NodeProto};
use sinter_ir::{Diag, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a node's subgraphs use (any name: those made inside are harmless).
fn inner_names<'g>(n: &'g NodeProto, out: &mut Vec<&'g str>) {
    let mut stack: Vec<&GraphProto> = graphs(n).collect();
    while let Some(g) = stack.pop() {
        out.extend(g.output.iter().map(|o| o.name.as_str()));
        for n in &g.node {
            out.extend(n.input.iter().map(String::as_str).chain(named_tensors(n)));
            stack.extend(graphs(n));
        }
    }
}

fn graphs(n: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

/// Names of float tensors that some Gradient of the model differentiates by.
pub fn differentiated(model: &ModelProto) -> BTreeSet<String> {
    let mut stack: Vec<&NodeProto> = model.functions.iter().flat_map(|f| &f.node).collect();
    stack.extend(model.graph.iter().flat_map(|g| &g.node));
    let mut names = BTreeSet::new();
    while let Some(n) = stack.pop() {
        if named_tensors(n).next().is_some() {
            let xs = n.attribute.iter().filter(|a| a.name == "xs").flat_map(|a| &a.strings);
            names.extend(xs.map(|s| String::from_utf8_lossy(s).into_owned()));
        }
        stack.extend(graphs(n).flat_map(|g| &g.node));
    }
    names
}

/// Needed nodes in dependency order; a cycle is an error.
pub fn order(nodes: &[NodeProto], makers: &BTreeMap<&str, usize>, wanted: &[&str]) -> Result<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let needs = |i: usize| -> Vec<usize> {
        let mut names: Vec<&str> = nodes[i].input.iter().map(String::as_str).collect();
        names.extend(named_tensors(&nodes[i]));
        inner_names(&nodes[i], &mut names);
        let mut deps: Vec<usize> = names.iter().filter_map(|n| makers.get(n).copied()).collect();
        deps.sort_unstable();
        deps.dedup();
        deps
    };
    let mut marks = vec![Mark::New; nodes.len()];
    let mut out = Vec::with_capacity(nodes.len());
    let mut roots: Vec<usize> = wanted.iter().filter_map(|w| makers.get(w).copied()).collect();
    roots.sort_unstable();
    for root in roots {
        let mut stack = vec![(root, Vec::new(), true)];
        while let Some((i, deps, fresh)) = stack.pop() {
            let mut deps: Vec<usize> = deps;
            if fresh {
                if marks[i] != Mark::New {
                    continue;
                }
                marks[i] = Mark::Open;
                deps = needs(i);
                deps.reverse();
            }
            match deps.pop() {
                Some(d) => {
                    stack.push((i, deps, false));
                    match marks[d] {
                        Mark::New => stack.push((d, Vec::new(), true)),
                        Mark::Open => {
                            return Err(
                                Diag::input("the graph has a cycle through this node").at(label(&nodes[d]))
                            );
                        }
                        Mark::Done => {}
                    }
                }
                None => {
                    marks[i] = Mark::Done;
                    out.push(i);
                }
            }
        }
    }
    Ok(out)
}

//! Which nodes a graph needs, and in which order.

use super::importer::label;
use super::op::named_tensors;
use super::proto::{GraphProto, ModelProto, NodeProto};
use sinter_ir::{Diag, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Names that a node's subgraphs take from outside. A name that is made inside means something else there.
fn outer_names<'g>(n: &'g NodeProto, out: &mut BTreeSet<&'g str>) {
    // Subgraphs with the names that are made on the way down to them.
    let mut stack: Vec<(&GraphProto, Rc<Inside>)> = graphs(n).map(|g| (g, Inside::new(g, None))).collect();
    while let Some((g, inside)) = stack.pop() {
        let used = g.node.iter().flat_map(|n| n.input.iter().map(String::as_str).chain(named_tensors(n)));
        let used = g.output.iter().map(|o| o.name.as_str()).chain(used);
        out.extend(used.filter(|name| !inside.has(name)));
        let nested = g.node.iter().flat_map(graphs);
        stack.extend(nested.map(|g| (g, Inside::new(g, Some(inside.clone())))));
    }
}

/// Names made in a graph, and in those around it.
struct Inside<'g> {
    names: BTreeSet<&'g str>,
    around: Option<Rc<Inside<'g>>>,
}

impl<'g> Inside<'g> {
    fn new(g: &'g GraphProto, around: Option<Rc<Self>>) -> Rc<Self> {
        let made = g.input.iter().map(|v| &v.name).chain(g.initializer.iter().map(|t| &t.name));
        let names = made.chain(g.node.iter().flat_map(|n| &n.output)).map(String::as_str).collect();
        Rc::new(Self { names, around })
    }
    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.around.as_ref().is_some_and(|a| a.has(name))
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
        let mut names: BTreeSet<&str> = nodes[i].input.iter().map(String::as_str).collect();
        names.extend(named_tensors(&nodes[i]));
        outer_names(&nodes[i], &mut names);
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

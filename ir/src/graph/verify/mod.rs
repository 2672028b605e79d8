//! Verifier of modules: everything that construction promises and passes must keep.
//!
//! Nodes stand in a topological order; definitions and uses agree; every stored type is what the op's shape rule
//! gives; regions are closed and fit their node; symbols have a definition before their first use. All problems are
//! collected. A wrong graph never makes the verifier panic.

mod equality;
mod regions;
mod states;
mod symbols;
#[cfg(test)]
mod tests;

use super::{Graph, Module, Node, NodeId, Symbols, TensorType, ValueId};
use crate::{Diag, Op};
use equality::Equality;
use symbols::Scope;

impl Module {
    /// All problems; empty when the module is sound.
    pub fn verify(&self) -> Vec<Diag> {
        let mut v = Verifier {
            symbols: &self.symbols,
            scratch: self.symbols.clone(),
            equality: Equality::new(&self.symbols),
            definers: vec![None; self.symbols.table.len()],
            place: Vec::new(),
            problems: Vec::new(),
        };
        v.table(&self.graph);
        let mut scope = Scope::inputs(&self.symbols);
        v.graph(&self.graph, &mut scope);
        v.states(self);
        if self.output_names.len() > self.graph.outputs.len() {
            v.problem(format!("{} names for {} outputs", self.output_names.len(), self.graph.outputs.len()));
        }
        v.problems
    }
}

/// Names of what is being looked at; most problems name the node.
fn node_name(n: &Node) -> String {
    n.origin.first().map_or_else(|| n.op.name().to_owned(), |o| o.to_string())
}

struct Verifier<'a> {
    symbols: &'a Symbols,
    /// Copy that shape rules may add constraints to.
    scratch: Symbols,
    equality: Equality,
    /// Node that defines each symbol.
    definers: Vec<Option<String>>,
    /// Enclosing nodes and regions.
    place: Vec<String>,
    problems: Vec<Diag>,
}

impl Verifier<'_> {
    fn problem(&mut self, what: impl std::fmt::Display) {
        let d = Diag::bug(what.to_string());
        self.problems.push(if self.place.is_empty() { d } else { d.at(self.place.join(" / ")) });
    }
    fn graph(&mut self, g: &Graph, scope: &mut Scope) {
        let mut defined = vec![false; g.values.len()];
        for (i, &v) in g.inputs.iter().enumerate() {
            match g.values.get(v.0 as usize) {
                None => self.problem(format!("input {i} is no value of the graph")),
                Some(value) => {
                    if value.def.is_some() {
                        self.problem(format!("input {i} is also the result of a node"));
                    }
                    self.visible(value.ty.dims.iter(), scope, "the type of an input");
                }
            }
            self.define(&mut defined, v, "input");
        }
        let mut listed = vec![false; g.nodes.len()];
        for &id in &g.order {
            let Some(n) = g.nodes.get(id.0 as usize) else {
                self.problem(format!("the order lists node {}, which does not exist", id.0));
                continue;
            };
            self.place.push(node_name(n));
            if std::mem::replace(&mut listed[id.0 as usize], true) {
                self.problem("the order lists the node twice");
            } else {
                self.node(g, id, n, &mut defined, scope);
            }
            self.place.pop();
        }
        for (i, v) in g.outputs.iter().enumerate() {
            if defined.get(v.0 as usize) != Some(&true) {
                self.problem(format!("output {i} has no definition"));
            }
        }
    }
    fn define(&mut self, defined: &mut [bool], v: ValueId, what: &str) {
        if let Some(slot) = defined.get_mut(v.0 as usize)
            && std::mem::replace(slot, true)
        {
            self.problem(format!("{what} value {} is defined twice", v.0));
        }
    }
    fn node(&mut self, g: &Graph, id: NodeId, n: &Node, defined: &mut [bool], scope: &mut Scope) {
        let mut types = Vec::with_capacity(n.inputs.len());
        for (i, v) in n.inputs.iter().enumerate() {
            match g.values.get(v.0 as usize) {
                Some(value) if defined[v.0 as usize] => types.push(&value.ty),
                Some(_) => self.problem(format!("operand {i} is used before its definition")),
                None => self.problem(format!("operand {i} is no value of the graph")),
            }
        }
        self.attributes(&n.op, scope);
        self.regions(&n.op, scope);
        for s in n.op.defines() {
            self.define_symbol(s, &node_name(n), scope);
        }
        // Shape rules read the types at the borders of regions.
        let bordered =
            |r: &Graph| r.inputs.iter().chain(&r.outputs).all(|v| r.values.get(v.0 as usize).is_some());
        if types.len() == n.inputs.len() && n.op.regions().iter().all(|r| bordered(r.1)) {
            self.results(g, n, &types);
        }
        for (i, &v) in n.outputs.iter().enumerate() {
            match g.values.get(v.0 as usize) {
                None => self.problem(format!("result {i} is no value of the graph")),
                Some(value) => {
                    if value.def != Some((id, i as u32)) {
                        self.problem(format!("result {i} does not know the node as its definition"));
                    }
                    self.visible(value.ty.dims.iter(), scope, "the type of a result");
                }
            }
            self.define(defined, v, "result");
        }
    }
    /// Stored result types against the shape rule, and what the rule demands against the recorded constraints.
    fn results(&mut self, g: &Graph, n: &Node, operands: &[&TensorType]) {
        let known = self.scratch.constraints.len();
        let types = match n
            .op
            .infer(&mut self.scratch, operands)
            .and_then(|t| self.scratch.check_types(&t).map(|()| t))
        {
            Ok(t) => t,
            Err(d) => {
                return self.problem(format!("the shape rule of {} refuses it: {}", n.op.name(), d.message));
            }
        };
        for c in self.scratch.constraints.split_off(known) {
            if !self.equality.holds(&c.a, &c.b) {
                let (a, b) = (self.symbols.show(&c.a), self.symbols.show(&c.b));
                self.problem(format!("nothing guarantees {a} == {b}, needed by {}", c.why));
            }
        }
        if types.len() != n.outputs.len() {
            return self.problem(format!(
                "{} results, the shape rule gives {}",
                n.outputs.len(),
                types.len()
            ));
        }
        for (i, (t, v)) in types.iter().zip(&n.outputs).enumerate() {
            if let Some(stored) = g.values.get(v.0 as usize).map(|x| &x.ty)
                && !self.same_type(stored, t)
            {
                let (have, want) = (self.symbols.show_type(stored), self.symbols.show_type(t));
                self.problem(format!("result {i} is stored as {have}, the shape rule gives {want}"));
            }
        }
    }
    fn same_type(&self, a: &TensorType, b: &TensorType) -> bool {
        a.dtype == b.dtype
            && a.rank() == b.rank()
            && a.dims.iter().zip(&b.dims).all(|(x, y)| self.equality.holds(x, y))
    }
    /// Symbols among the attributes must be visible. Ops with regions are looked at with their regions.
    fn attributes(&mut self, op: &Op, scope: &Scope) {
        if matches!(op, Op::Constant(_) | Op::If(_) | Op::Loop(_) | Op::Group(_)) {
            return;
        }
        let mut exprs = Vec::new();
        op.clone().map_exprs(&mut |e| exprs.push(e.clone()));
        self.visible(exprs.iter(), scope, "an attribute");
    }
}

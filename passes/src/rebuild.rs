//! Graph rewriting by rebuilding: passes walk the old graph in order and construct the new one through
//! [`Graph::add`], so every result is typed by the shape rules, topologically ordered and free of dead slots.

use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::Identity;
use sinter_ir::{Diag, Graph, Node, Op, Result, Symbols, ValueId};

/// A graph under reconstruction.
#[derive(Debug)]
pub struct Rebuild<'a> {
    /// The graph read from.
    pub old: &'a Graph,
    /// The graph written.
    pub graph: Graph,
    /// The module's symbols.
    pub symbols: &'a mut Symbols,
    /// Where rule firings are counted.
    pub report: &'a mut PassReport,
    map: Vec<Option<ValueId>>,
}

impl<'a> Rebuild<'a> {
    /// Starts with the old graph's inputs and no node.
    pub fn new(old: &'a Graph, symbols: &'a mut Symbols, report: &'a mut PassReport) -> Self {
        let mut graph = Graph::default();
        let mut map = vec![None; old.value_count()];
        for &v in &old.inputs {
            let value = old.value(v);
            map[v.0 as usize] = Some(graph.add_input(value.ty.clone(), value.name.clone()));
        }
        Self { old, graph, symbols, report, map }
    }
    /// Starts without any node or input; the caller binds the old graph's inputs.
    pub fn empty(old: &'a Graph, symbols: &'a mut Symbols, report: &'a mut PassReport) -> Self {
        Self { old, graph: Graph::default(), symbols, report, map: vec![None; old.value_count()] }
    }
    /// The new value that stands for an old one.
    pub fn get(&self, v: ValueId) -> Result<ValueId> {
        self.map
            .get(v.0 as usize)
            .copied()
            .flatten()
            .ok_or_else(|| Diag::bug("rebuild: operand was not rebuilt"))
    }
    /// New operands of an old node.
    pub fn operands(&self, node: &Node) -> Result<Vec<ValueId>> {
        node.inputs.iter().map(|&v| self.get(v)).collect()
    }
    /// Adds a node to the new graph.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId], origin: &Origin) -> Result<Vec<ValueId>> {
        self.graph.add(self.symbols, op.into(), inputs, origin)
    }
    /// Adds a node with one result to the new graph.
    pub fn add1(&mut self, op: impl Into<Op>, inputs: &[ValueId], origin: &Origin) -> Result<ValueId> {
        self.graph.add1(self.symbols, op.into(), inputs, origin)
    }
    /// Says that a new value stands for an old one. The user's name moves along when the new value has none.
    pub fn bind(&mut self, old: ValueId, new: ValueId) {
        if let Some(name) = &self.old.value(old).name
            && self.graph.value(new).name.is_none()
        {
            self.graph.set_name(new, name.clone());
        }
        self.map[old.0 as usize] = Some(new);
    }
    /// Binds all results of an old node.
    pub fn bind_all(&mut self, node: &Node, new: &[ValueId]) -> Result<()> {
        if node.outputs.len() != new.len() {
            return Err(Diag::bug(format!(
                "{}: a rewrite gave {} results instead of {}",
                node.op.name(),
                new.len(),
                node.outputs.len()
            )));
        }
        node.outputs.iter().zip(new).for_each(|(&o, &n)| self.bind(o, n));
        Ok(())
    }
    /// Copies a node with its attributes replaced by `op`.
    pub fn copy_as(&mut self, node: &Node, op: Op) -> Result<Vec<ValueId>> {
        let inputs = self.operands(node)?;
        let new = self.add(op, &inputs, &node.origin)?;
        self.bind_all(node, &new)?;
        Ok(new)
    }
    /// Copies a node unchanged.
    pub fn copy(&mut self, node: &Node) -> Result<Vec<ValueId>> {
        self.copy_as(node, node.op.clone())
    }
    /// Ends a region: outputs are bound by position.
    pub fn finish_region(mut self) -> Result<Graph> {
        self.graph.outputs = self.old.outputs.iter().map(|&v| self.get(v)).collect::<Result<_>>()?;
        Ok(self.graph)
    }
    /// Ends the main graph: every output keeps the name it had, through an `Identity` where a value cannot
    /// carry it (it is an input, or another output already).
    pub fn finish_main(mut self) -> Result<Graph> {
        let mut taken = std::collections::BTreeSet::new();
        for &old in &self.old.outputs {
            let mut new = self.get(old)?;
            if let Some(name) = self.old.value(old).name.clone() {
                let same = self.graph.value(new).name.as_ref() == Some(&name);
                if !same && (self.graph.value(new).def.is_none() || taken.contains(&new)) {
                    new = self.add1(Identity {}, &[new], &Origin::new())?;
                }
                self.graph.set_name(new, name);
            }
            taken.insert(new);
            self.graph.outputs.push(new);
        }
        Ok(self.graph)
    }
    /// Ends a main graph or a region.
    pub fn finish(self, main: bool) -> Result<Graph> {
        if main { self.finish_main() } else { self.finish_region() }
    }
}

/// The regions of an op, in order.
pub fn regions(op: &Op) -> Vec<&Graph> {
    op.regions().into_iter().map(|(_, g)| g).collect()
}

/// The op with every region replaced.
pub fn map_regions(op: &Op, f: &mut dyn FnMut(&Graph) -> Result<Graph>) -> Result<Op> {
    let mut op = op.clone();
    for g in op.regions_mut() {
        *g = f(g)?;
    }
    Ok(op)
}

/// Number of nodes, those of regions included.
pub fn count_nodes(g: &Graph) -> usize {
    g.iter().map(|(_, n)| 1 + regions(&n.op).into_iter().map(count_nodes).sum::<usize>()).sum()
}

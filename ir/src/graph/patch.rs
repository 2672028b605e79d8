//! The only way to change a graph after construction.
//!
//! A patch holds new nodes and replacements of values by values. Applying it rewires every use, puts the nodes in
//! topological order again and drops what no output needs.

use super::{Graph, Node, NodeId, Origin, Symbols, TensorType, Value, ValueId};
use crate::op::Op;
use crate::{Diag, Result};

/// A change to one graph.
#[derive(Debug)]
pub struct Patch {
    first_value: usize,
    first_node: usize,
    known: Vec<TensorType>,
    values: Vec<Value>,
    nodes: Vec<Node>,
    replaced: Vec<(ValueId, ValueId)>,
}

impl Patch {
    /// An empty patch for a graph as it is now.
    pub fn new(g: &Graph) -> Self {
        Self {
            first_value: g.values.len(),
            first_node: g.nodes.len(),
            known: g.values.iter().map(|v| v.ty.clone()).collect(),
            values: Vec::new(),
            nodes: Vec::new(),
            replaced: Vec::new(),
        }
    }
    /// Type of a value of the graph or of the patch.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        match (v.0 as usize).checked_sub(self.first_value) {
            None => &self.known[v.0 as usize],
            Some(i) => &self.values[i].ty,
        }
    }
    /// Adds a node; operands are values of the graph or of the patch.
    pub fn add(
        &mut self,
        symbols: &mut Symbols,
        op: Op,
        inputs: &[ValueId],
        origin: &Origin,
    ) -> Result<Vec<ValueId>> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v).clone()).collect();
        let outs = op.infer(symbols, &types.iter().collect::<Vec<_>>())?;
        symbols.check_types(&outs)?;
        let id = NodeId((self.first_node + self.nodes.len()) as u32);
        let mut outputs = Vec::new();
        for (i, ty) in outs.into_iter().enumerate() {
            outputs.push(ValueId((self.first_value + self.values.len()) as u32));
            self.values.push(Value { ty, name: None, def: Some((id, i as u32)) });
        }
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            origin: origin.clone(),
        });
        Ok(outputs)
    }
    /// Adds a node with one result.
    pub fn add1(
        &mut self,
        symbols: &mut Symbols,
        op: Op,
        inputs: &[ValueId],
        origin: &Origin,
    ) -> Result<ValueId> {
        let out = self.add(symbols, op, inputs, origin)?;
        out.first().copied().ok_or_else(|| Diag::bug("add1 of an op without results"))
    }
    /// Uses of `old` will read `new`.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.replaced.push((old, new));
    }
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.replaced.is_empty()
    }
    /// Applies the patch. A cycle is an error and leaves the graph as it was.
    pub fn apply(self, g: &mut Graph) -> Result<()> {
        if self.first_value != g.values.len() || self.first_node != g.nodes.len() {
            return Err(Diag::bug("a patch was applied to another state of the graph"));
        }
        let mut new = g.clone();
        new.values.extend(self.values);
        new.nodes.extend(self.nodes);
        let mut to: Vec<ValueId> = (0..new.values.len() as u32).map(ValueId).collect();
        for (old, with) in &self.replaced {
            to[old.0 as usize] = *with;
        }
        let target = |v: ValueId| {
            let mut v = v;
            for _ in 0..to.len() {
                match to[v.0 as usize] {
                    next if next == v => return Some(v),
                    next => v = next,
                }
            }
            None
        };
        let rewire = |list: &mut Vec<ValueId>| -> Result<()> {
            for v in list {
                *v = target(*v).ok_or_else(|| Diag::bug("replacements form a circle"))?;
            }
            Ok(())
        };
        // A replaced value hands its user-visible name on.
        for (old, _) in &self.replaced {
            if let (Some(name), Some(v)) = (new.values[old.0 as usize].name.clone(), target(*old)) {
                new.values[v.0 as usize].name.get_or_insert(name);
            }
        }
        for n in &mut new.nodes {
            rewire(&mut n.inputs)?;
        }
        rewire(&mut new.outputs)?;
        new.reorder()?;
        *g = new;
        Ok(())
    }
}

impl Graph {
    /// Puts the nodes that outputs need in topological order, keeping the old order where it is free. Nodes that
    /// define run-time symbols stay, together with what they need.
    fn reorder(&mut self) -> Result<()> {
        let mut old: Vec<NodeId> = self.order.clone();
        let listed = old.len();
        old.extend((0..self.nodes.len() as u32).map(NodeId).filter(|n| !self.order[..listed].contains(n)));
        let seed = |n: &NodeId| !self.node(*n).op.defines().is_empty();
        let live = self.order.iter().copied().filter(|n| seed(n));
        let outs = self.outputs.iter().filter_map(|v| self.value(*v).def.map(|d| d.0));
        let roots: Vec<NodeId> = live.chain(outs).collect();
        // 0: unseen, 1: open, 2: done.
        let mut mark = vec![0u8; self.nodes.len()];
        let mut order = Vec::new();
        for root in roots {
            let mut stack = vec![(root, 0usize)];
            while let Some((n, next)) = stack.pop() {
                if next == 0 {
                    if mark[n.0 as usize] == 2 {
                        continue;
                    }
                    mark[n.0 as usize] = 1;
                }
                let deps = &self.node(n).inputs;
                match deps.get(next) {
                    None => {
                        mark[n.0 as usize] = 2;
                        order.push(n);
                    }
                    Some(&v) => {
                        stack.push((n, next + 1));
                        if let Some((d, _)) = self.value(v).def {
                            match mark[d.0 as usize] {
                                0 => stack.push((d, 0)),
                                1 => return Err(Diag::bug("a patch makes the graph cyclic")),
                                _ => {}
                            }
                        }
                    }
                }
            }
        }
        self.order = order;
        Ok(())
    }
    /// Drops nodes that no output needs.
    pub fn sweep(&mut self) -> Result<()> {
        self.reorder()
    }
}

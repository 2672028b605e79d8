//! Graph IR: values, nodes in topological order, regions as nested graphs.
//!
//! A [`Graph`] is closed: region bodies receive everything they use through their inputs (captures are
//! explicit). Construction goes through [`Graph::add`], which runs the op's shape rule; afterwards only
//! [`crate::graph::patch::Patch::apply`] changes a graph.

pub mod patch;
pub mod symbols;
pub mod text;
pub mod verify;

use crate::op::Op;
use crate::{DType, Diag, Expr, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
pub use symbols::{Constraint, SymKind, SymbolInfo, SymbolTable, Symbols};

/// A value: index into [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub u32);

/// A node: index into [`Graph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u32);

/// Element type and symbolic dims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dims, outermost first.
    pub dims: Vec<Expr>,
}

impl TensorType {
    /// New type.
    pub fn new(dtype: DType, dims: Vec<Expr>) -> Self {
        Self { dtype, dims }
    }
    /// Type of a concrete tensor.
    pub fn of(t: &Tensor) -> Self {
        Self { dtype: t.dtype(), dims: t.shape().iter().map(|&d| d.into()).collect() }
    }
    /// Number of dims.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }
    /// Dims when all are constants.
    pub fn const_dims(&self) -> Option<Vec<usize>> {
        self.dims.iter().map(|d| d.as_const().and_then(|c| usize::try_from(c).ok())).collect()
    }
    /// Element count as an expression.
    pub fn numel(&self) -> Expr {
        crate::expr::product(&self.dims)
    }
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.dims.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "]")
    }
}

/// A value and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Type.
    pub ty: TensorType,
    /// Name in the user's model, where it has one.
    pub name: Option<Arc<str>>,
    /// The node that makes it and the output index; `None` for graph inputs.
    pub def: Option<(NodeId, u32)>,
}

/// Names of the user's nodes that a node stands for, e.g. `conv1 (Conv)`. Survives all passes.
pub type Origin = Vec<Arc<str>>;

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<ValueId>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// Source nodes.
    pub origin: Origin,
}

/// A closed dataflow graph. `order` lists live nodes in a topological order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    values: Vec<Value>,
    nodes: Vec<Node>,
    order: Vec<NodeId>,
    /// Graph inputs, in signature order.
    pub inputs: Vec<ValueId>,
    /// Graph outputs, in signature order.
    pub outputs: Vec<ValueId>,
}

/// A whole model: the main graph and the symbols that all its regions share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Module {
    /// Model name: becomes the C symbol prefix.
    pub name: String,
    /// Symbols and constraints.
    pub symbols: Symbols,
    /// Main graph.
    pub graph: Graph,
    /// Inputs that are the caller's memory from one run to the next.
    pub states: Vec<State>,
    /// Names of the main graph's outputs, in signature order, whatever their values are called: one value may be several.
    /// Where there are fewer than outputs, the rest are called like their values.
    pub output_names: Vec<Arc<str>>,
}

/// An input that the caller keeps between runs and that the graph changes in place: `output` is what it holds after a
/// run, made from it by ops that [overwrite](crate::Op::overwrites) it (through any number of them, each the only one that writes what it
/// reads) or the input itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Index among the main graph's inputs.
    pub input: u32,
    /// Index among its outputs.
    pub output: u32,
}

impl Module {
    /// What an output of the main graph is called.
    pub fn output_name(&self, i: usize) -> Option<&str> {
        let own = || self.graph.outputs.get(i).and_then(|v| self.graph.value(*v).name.as_ref());
        self.output_names.get(i).or_else(own).map(|n| n.as_ref())
    }
}

impl Graph {
    /// Adds a graph input.
    pub fn add_input(&mut self, ty: TensorType, name: Option<Arc<str>>) -> ValueId {
        let id = self.push_value(Value { ty, name, def: None });
        self.inputs.push(id);
        id
    }
    fn push_value(&mut self, v: Value) -> ValueId {
        let id = ValueId(self.values.len() as u32);
        self.values.push(v);
        id
    }
    /// Adds a node at the end of the order; its result types come from the op's shape rule.
    pub fn add(
        &mut self,
        symbols: &mut Symbols,
        op: Op,
        inputs: &[ValueId],
        origin: &Origin,
    ) -> Result<Vec<ValueId>> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| &self.value(v).ty).collect();
        let at = |d: Diag| match origin.first() {
            Some(o) => d.at(o.to_string()),
            None => d,
        };
        let outs = op.infer(symbols, &types).map_err(at)?;
        symbols.check_types(&outs).map_err(at)?;
        let node = NodeId(self.nodes.len() as u32);
        let outputs = outs
            .into_iter()
            .enumerate()
            .map(|(i, ty)| self.push_value(Value { ty, name: None, def: Some((node, i as u32)) }))
            .collect::<Vec<_>>();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
            origin: origin.clone(),
        });
        self.order.push(node);
        Ok(outputs)
    }
    /// Adds a node with exactly one result.
    pub fn add1(
        &mut self,
        symbols: &mut Symbols,
        op: Op,
        inputs: &[ValueId],
        origin: &Origin,
    ) -> Result<ValueId> {
        let outs = self.add(symbols, op, inputs, origin)?;
        outs.first()
            .copied()
            .filter(|_| outs.len() == 1)
            .ok_or_else(|| Diag::bug("add1 on an op with several results"))
    }
    /// A value by id.
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v.0 as usize]
    }
    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.value(v).ty
    }
    /// Gives a value its name in the user's model.
    pub fn set_name(&mut self, v: ValueId, name: Arc<str>) {
        self.values[v.0 as usize].name = Some(name);
    }
    /// Number of value slots (dead ones included): ids are below this.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }
    /// Number of node slots (dead ones included): ids are below this.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
    /// A node by id.
    pub fn node(&self, n: NodeId) -> &Node {
        &self.nodes[n.0 as usize]
    }
    /// Live nodes in topological order.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }
    /// Live nodes in topological order, with ids.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> {
        self.order.iter().map(|&n| (n, self.node(n)))
    }
    /// The node that defines a value.
    pub fn def(&self, v: ValueId) -> Option<&Node> {
        self.value(v).def.map(|(n, _)| self.node(n))
    }
    /// The tensor when a value is a constant whose elements are in memory.
    pub fn as_const(&self, v: ValueId) -> Option<&Tensor> {
        self.constant(v).filter(|t| !t.is_deferred())
    }
    /// The tensor when a value is a constant; its elements may have to be loaded first.
    pub fn constant(&self, v: ValueId) -> Option<&Tensor> {
        match self.def(v).map(|n| &n.op) {
            Some(Op::Constant(c)) => Some(&c.tensor),
            _ => None,
        }
    }
    /// Users of every value: for each value slot the live nodes reading it (a node appears once per use).
    pub fn uses(&self) -> Vec<Vec<NodeId>> {
        let mut uses = vec![Vec::new(); self.values.len()];
        for (id, node) in self.iter() {
            for v in &node.inputs {
                uses[v.0 as usize].push(id);
            }
        }
        uses
    }
}

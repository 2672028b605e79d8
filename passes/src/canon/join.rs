//! `join`: products of the same activations with quantised weights become one product with the rows of all of them.
//!
//! Activations are made into codes once, one kernel reads all weights as one stream, and threads share more rows. The
//! results are slices of the one result. Biases, where all of the products have one, are joined too. Weights are not
//! copied: what is joined is put together when it is packed.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use bytes::Bytes;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::{Constant, QuantizedMatMul, Slice};
use sinter_ir::tensor::{MAX_TENSOR_BYTES, Source};
use sinter_ir::{DType, Diag, Expr, Graph, Module, Node, NodeId, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes up to which joined constants are made at once.
const SMALL: usize = 1 << 12;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let all = joins(g);
    // By node: the products that its result comes from, at the first of them.
    let mut gone: BTreeMap<NodeId, Option<&Join>> = BTreeMap::new();
    for j in &all {
        gone.extend(j.parts.iter().flat_map(|p| p.nodes()).map(|n| (n, None)));
        gone.extend(j.parts.first().map(|p| (p.product, Some(j))));
    }
    let mut rb = Rebuild::new(g, symbols, report);
    for (id, node) in g.iter() {
        match gone.get(&id) {
            None => {
                let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
                rb.copy_as(node, op)?;
            }
            Some(None) => {}
            Some(Some(j)) => j.emit(g, &mut rb)?,
        }
    }
    rb.finish(main)
}

/// One of the products that become one.
struct Part {
    product: NodeId,
    /// The addition of a constant for each column, with that constant.
    bias: Option<(NodeId, Tensor)>,
    /// Codes, scales and offsets.
    weights: Vec<Tensor>,
}

impl Part {
    fn of(g: &Graph, uses: &[Vec<NodeId>], id: NodeId) -> Option<Self> {
        let node = g.node(id);
        let constants = node.inputs.get(1..)?.iter().map(|v| g.constant(*v).cloned());
        let weights = constants.collect::<Option<Vec<Tensor>>>()?;
        // Rows are joined as bytes.
        let bytes = |t: &Tensor| t.shape().get(1).is_some_and(|k| (k * t.dtype().bits()).is_multiple_of(8));
        weights.iter().all(bytes).then(|| Self { product: id, bias: bias(g, uses, node), weights })
    }
    fn nodes(&self) -> impl Iterator<Item = NodeId> {
        [Some(self.product), self.bias.as_ref().map(|b| b.0)].into_iter().flatten()
    }
    fn rows(&self) -> usize {
        self.weights.first().and_then(|t| t.shape().first().copied()).unwrap_or(0)
    }
}

/// The only user of a product, if it adds a constant for each column.
fn bias(g: &Graph, uses: &[Vec<NodeId>], node: &Node) -> Option<(NodeId, Tensor)> {
    let &[y] = node.outputs.as_slice() else { return None };
    let &[user] = uses.get(y.0 as usize)?.as_slice() else { return None };
    let add = g.node(user);
    let (&[a, b], Op::Binary(Binary { kind: BinaryKind::Add })) = (add.inputs.as_slice(), &add.op) else {
        return None;
    };
    let t = g.as_const(if a == y { b } else { a })?;
    let columns = g.ty(y).dims.last()?.as_const()?;
    let fits = t.dtype() == DType::F32 && t.len() as i64 == columns && t.shape().last() == Some(&t.len());
    (fits && !g.outputs.contains(&y)).then(|| (user, t.clone()))
}

/// Products that become one, in order.
struct Join {
    parts: Vec<Part>,
}

/// Products with the same activations and the same kind of weights, from two on.
fn joins(g: &Graph) -> Vec<Join> {
    let uses = g.uses();
    let mut all: Vec<Join> = vec![];
    let mut by_activations: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for (id, node) in g.iter().filter(|(_, n)| matches!(n.op, Op::QuantizedMatMul(_))) {
        let (Some(&x), Some(part)) = (node.inputs.first(), Part::of(g, &uses, id)) else { continue };
        let known = by_activations.entry(x).or_default();
        match known.iter().find(|&&i| all.get(i).is_some_and(|j| j.takes(g, &part))) {
            Some(&i) => all[i].parts.push(part),
            None => {
                known.push(all.len());
                all.push(Join { parts: vec![part] });
            }
        }
    }
    all.retain(|j| j.parts.len() > 1);
    // Biases of some only stay where they are.
    for j in &mut all {
        if j.parts.iter().any(|p| p.bias.is_none()) {
            j.parts.iter_mut().for_each(|p| p.bias = None);
        }
    }
    all
}

impl Join {
    /// Whether another product is of the same kind, and still fits.
    fn takes(&self, g: &Graph, other: &Part) -> bool {
        let same = |p: &Part| {
            let kinds = |p: &Part| -> Vec<(DType, Option<usize>)> {
                p.weights.iter().map(|t| (t.dtype(), t.shape().get(1).copied())).collect()
            };
            g.node(p.product).op == g.node(other.product).op && kinds(p) == kinds(other)
        };
        let bytes = |p: &Part| p.weights.iter().map(Tensor::stored_bytes).max().unwrap_or(0);
        let all = self.parts.iter().chain([other]).map(bytes).sum::<usize>();
        self.parts.first().is_some_and(same) && all <= MAX_TENSOR_BYTES
    }

    fn emit(&self, g: &Graph, rb: &mut Rebuild) -> Result<()> {
        let bug = || Diag::bug("a join of nothing");
        let first = g.node(self.parts.first().ok_or_else(bug)?.product);
        let Op::QuantizedMatMul(op) = &first.op else { return Err(bug()) };
        let mut origin = Origin::new();
        let nodes = || self.parts.iter().flat_map(Part::nodes);
        for o in nodes().flat_map(|n| g.node(n).origin.clone()) {
            if !origin.contains(&o) {
                origin.push(o);
            }
        }
        let mut y = self.product(g, rb, op, first, &origin)?;
        let biases: Vec<Tensor> =
            self.parts.iter().filter_map(|p| p.bias.as_ref()).map(|b| b.1.clone()).collect();
        if !biases.is_empty() {
            let all: Vec<f32> = biases.iter().map(Tensor::to_f32).collect::<Result<Vec<_>>>()?.concat();
            let tensor = Tensor::f32s(vec![all.len()], &all)?;
            let bias = rb.add1(Constant { tensor }, &[], &Origin::new())?;
            y = rb.add1(Binary { kind: BinaryKind::Add }, &[y, bias], &origin)?;
            rb.report.fired("join/bias");
        }
        let mut start = 0;
        for part in &self.parts {
            let last = part.nodes().last().map(|n| g.node(n)).ok_or_else(bug)?;
            let &[old] = last.outputs.as_slice() else { return Err(bug()) };
            let sizes = g.ty(old).dims.clone();
            let mut starts = vec![Expr::from(0); sizes.len()];
            starts.pop();
            starts.push(start.into());
            let steps = vec![1.into(); sizes.len()];
            let slice = rb.add1(Slice { starts, sizes, steps }, &[y], &last.origin)?;
            rb.bind(old, slice);
            start += part.rows();
        }
        rb.report.fired("join/product");
        Ok(())
    }

    /// The one product.
    fn product(
        &self,
        g: &Graph,
        rb: &mut Rebuild,
        op: &QuantizedMatMul,
        first: &Node,
        origin: &Origin,
    ) -> Result<ValueId> {
        let mut inputs = vec![rb.get(first.inputs[0])?];
        for i in 0..first.inputs.len() - 1 {
            let parts: Vec<Tensor> = self.parts.iter().filter_map(|p| p.weights.get(i).cloned()).collect();
            let v = rb.add1(Constant { tensor: joined(parts)? }, &[], &Origin::new())?;
            let named = |p: &Part| g.node(p.product).inputs.get(1 + i).and_then(|&v| g.value(v).name.clone());
            let names: Vec<_> = self.parts.iter().filter_map(named).collect();
            if !names.is_empty() {
                rb.graph.set_name(v, names.join("+").into());
            }
            inputs.push(v);
        }
        rb.add1(op.clone(), &inputs, origin)
    }
}

/// The rows of several matrices below each other.
fn joined(parts: Vec<Tensor>) -> Result<Tensor> {
    let (dtype, k) = match parts.first().map(|t| (t.dtype(), t.shape())) {
        Some((dtype, &[_, k])) => (dtype, k),
        _ => return Err(Diag::bug("joined weights are matrices")),
    };
    let rows = parts.iter().filter_map(|t| t.shape().first()).sum();
    let small = parts.iter().map(Tensor::stored_bytes).sum::<usize>() <= SMALL;
    let whole = Tensor::deferred(dtype, vec![rows, k], Arc::new(Rows(parts)))?;
    if small { whole.load() } else { Ok(whole) }
}

/// Matrices below each other, put together when they are read.
#[derive(Debug)]
struct Rows(Vec<Tensor>);

impl Source for Rows {
    fn read(&self) -> Result<Bytes> {
        let mut all = Vec::with_capacity(self.0.iter().map(Tensor::stored_bytes).sum());
        for t in &self.0 {
            all.extend_from_slice(t.load()?.bytes());
        }
        Ok(all.into())
    }
}

//! `ai.onnx.preview.training.Gradient`: reverse-mode differentiation of the imported core ops.
//!
//! The operator names tensors of its graph: `y`, what to differentiate by (`xs`), and what to hold fixed (`zs`). Its
//! operands are the values of `xs` and `zs`; where they are not those of the graph, the part between them and `y`
//! is repeated on the given ones. The result is made of core ops again, so gradients of gradients work.

mod contract;
mod elementwise;
mod index;
mod movement;
mod pool;
mod reduce;
mod resize;

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::proto::NodeProto;
use crate::frontend::onnx::scope::Item;
use sinter_ir::{Diag, Expr, Fault, Op, Result, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Operators.
pub const OPS: &[(&str, Build)] = &[("ai.onnx.preview.training:Gradient", gradient)];

/// Adjoints of a node's operands; `None` where the operand does not influence the result continuously.
type Adjoints = Result<Vec<Option<ValueId>>>;

/// A node to differentiate.
struct Step {
    op: Op,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    /// Whose adjoint is wanted.
    wanted: Vec<bool>,
    /// Name in the user's model.
    label: String,
}

impl Step {
    fn x(&self, i: usize) -> Result<ValueId> {
        self.inputs.get(i).copied().ok_or_else(|| Diag::bug(format!("{} has no operand {i}", self.op.name())))
    }
    fn y(&self) -> Result<ValueId> {
        self.outputs.first().copied().ok_or_else(|| Diag::bug(format!("{} has no result", self.op.name())))
    }
    fn wants(&self, i: usize) -> bool {
        self.wanted.get(i).copied().unwrap_or(false)
    }
}

/// Names of tensors that a node refers to by attribute: `xs`, `zs` and `y` of a Gradient.
pub fn named_tensors(n: &NodeProto) -> impl Iterator<Item = &str> {
    let names = (n.op_type == "Gradient" && n.domain == "ai.onnx.preview.training")
        .then(|| n.attribute.iter().flat_map(|a| a.strings.iter().chain([&a.s])));
    names.into_iter().flatten().filter_map(|s| std::str::from_utf8(s).ok()).filter(|s| !s.is_empty())
}

fn gradient(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let (xs, zs) = (names(cx, "xs"), names(cx, "zs"));
    let y = cx.text("y", "");
    if cx.arity() != xs.len() + zs.len() || xs.is_empty() {
        return Err(Diag::input(format!(
            "{} operands for {} xs and {} zs: one each is needed, and at least one x",
            cx.arity(),
            xs.len(),
            zs.len()
        )));
    }
    let mut leaves = Vec::new();
    for name in xs.iter().chain(&zs) {
        let item = cx.im.lookup(name)?;
        leaves.push(cx.tensor(item)?);
    }
    let y = match cx.im.lookup(&y)? {
        Item::Tensor(level, v) if level == cx.im.scope.depth() => v,
        item => {
            // A tensor of an outer graph does not depend on anything in here unless it is one of the leaves.
            let v = cx.tensor(item)?;
            if !leaves.contains(&v) {
                return Err(Diag::unsupported(format!(
                    "`{y}` is computed outside the graph of its Gradient"
                )));
            }
            v
        }
    };
    let mut values = Vec::new();
    for (i, &leaf) in leaves.iter().enumerate() {
        let v = cx.input(i)?;
        if cx.ty(v) != cx.ty(leaf) {
            return Err(Diag::unsupported(format!(
                "operand {i} is {}, the tensor it stands for {}",
                cx.ty(v),
                cx.ty(leaf)
            )));
        }
        values.push(v);
    }
    let y = if values == leaves { y } else { repeat(cx, y, &leaves, &values)? };
    let n = xs.len();
    let found = reverse(cx, y, &values[..n], &values[n..])?;
    cx.many(&found)
}

fn names(cx: &NodeCx, attr: &str) -> Vec<String> {
    let list = cx.attr(attr).map(|a| a.strings.as_slice()).unwrap_or_default();
    list.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

/// Nodes in order that lie between `leaves` and `y`, with the values that depend on the leaves.
fn between(cx: &mut NodeCx, y: ValueId, leaves: &[ValueId]) -> (Vec<Step>, BTreeSet<ValueId>) {
    let graph = &cx.im.scope.top().graph;
    let mut depends: BTreeSet<ValueId> = leaves.iter().copied().collect();
    for (_, n) in graph.iter() {
        if n.inputs.iter().any(|v| depends.contains(v)) {
            depends.extend(&n.outputs);
        }
    }
    let mut needed = BTreeSet::from([y]);
    let mut steps = Vec::new();
    for (_, n) in graph.iter().rev() {
        let on_path =
            n.outputs.iter().any(|v| needed.contains(v) && depends.contains(v) && !leaves.contains(v));
        if on_path {
            needed.extend(&n.inputs);
            steps.push(Step {
                op: n.op.clone(),
                inputs: n.inputs.clone(),
                outputs: n.outputs.clone(),
                wanted: n.inputs.iter().map(|v| depends.contains(v)).collect(),
                label: n.origin.first().map_or(n.op.name().to_owned(), |o| o.to_string()),
            });
        }
    }
    steps.reverse();
    (steps, depends)
}

/// `y` computed from `values` in place of `leaves`.
fn repeat(cx: &mut NodeCx, y: ValueId, leaves: &[ValueId], values: &[ValueId]) -> Result<ValueId> {
    let mut now: BTreeMap<ValueId, ValueId> = leaves.iter().copied().zip(values.iter().copied()).collect();
    for step in between(cx, y, leaves).0 {
        if !step.op.defines().is_empty() || !step.op.regions().is_empty() {
            let what = format!("Gradient at other values than the graph's through {}", step.op.name());
            return Err(Diag::unsupported(format!("{what} (node {})", step.label)));
        }
        let inputs: Vec<ValueId> = step.inputs.iter().map(|v| *now.get(v).unwrap_or(v)).collect();
        let outputs = cx.add(step.op, &inputs)?;
        now.extend(step.outputs.into_iter().zip(outputs));
    }
    Ok(*now.get(&y).unwrap_or(&y))
}

/// Adjoints of `xs` under the sum of `y`'s elements.
fn reverse(cx: &mut NodeCx, y: ValueId, xs: &[ValueId], zs: &[ValueId]) -> Result<Vec<ValueId>> {
    if !cx.dtype(y).is_float() {
        return Err(Diag::input(format!("y is {}: only floats can be differentiated", cx.ty(y))));
    }
    let leaves = [xs, zs].concat();
    // Values that depend on fixed tensors only have no adjoint.
    let (_, free) = between(cx, y, xs);
    let (mut steps, _) = between(cx, y, &leaves);
    let mut adjoints = BTreeMap::from([(y, full_like(cx, y, 1.0)?)]);
    let mut missing: Vec<String> = Vec::new();
    while let Some(mut step) = steps.pop() {
        step.wanted = step
            .inputs
            .iter()
            .map(|&v| free.contains(&v) && !zs.contains(&v) && cx.dtype(v).is_float())
            .collect();
        let reached = step.outputs.iter().any(|v| adjoints.contains_key(v));
        if !reached || !step.wanted.contains(&true) {
            continue;
        }
        let parts = match pull_back(cx, &step, &adjoints) {
            Err(d) if d.fault == Fault::Unsupported => {
                let what = format!("{} (node {})", d.message, step.label);
                if !missing.contains(&what) {
                    missing.push(what);
                }
                // Goes on behind it, so that everything unsupported is named at once.
                let zero = |cx: &mut NodeCx, v| full_like(cx, v, 0.0).map(Some);
                let blank = |&v: &ValueId| if cx.dtype(v).is_float() { zero(cx, v) } else { Ok(None) };
                step.inputs.iter().map(blank).collect::<Result<_>>()?
            }
            other => other?,
        };
        for ((&v, part), _) in step.inputs.iter().zip(parts).zip(&step.wanted).filter(|(_, w)| **w) {
            let Some(part) = part else { continue };
            let sum = match adjoints.get(&v) {
                Some(&before) => cx.sum(before, part)?,
                None => part,
            };
            adjoints.insert(v, sum);
        }
    }
    if !missing.is_empty() {
        return Err(Diag::unsupported(format!("no derivative of {}", missing.join(", "))));
    }
    xs.iter()
        .map(|&x| match adjoints.get(&x) {
            Some(&a) => Ok(a),
            None => full_like(cx, x, 0.0),
        })
        .collect()
}

/// The rules. Unsupported ones are errors that name what has no derivative.
fn pull_back(cx: &mut NodeCx, s: &Step, adjoints: &BTreeMap<ValueId, ValueId>) -> Adjoints {
    // Every op below has one result that is a float; further ones are indices.
    let dy = adjoints.get(&s.y()?).copied().ok_or_else(|| Diag::unsupported(s.op.name()))?;
    match &s.op {
        Op::Unary(o) => elementwise::unary(cx, s, o.kind, dy),
        Op::Binary(o) => elementwise::binary(cx, s, o.kind, dy),
        Op::Select(_) => elementwise::select(cx, s, dy),
        Op::Cast(_) => elementwise::cast(cx, s, dy),
        Op::Identity(_) => Ok(vec![Some(dy)]),
        Op::Reshape(_) => movement::reshape(cx, s, dy),
        Op::Broadcast(_) => movement::broadcast(cx, s, dy),
        Op::Transpose(o) => movement::transpose(cx, &o.perm, dy),
        Op::Slice(o) => movement::slice(cx, s, o, dy),
        Op::Concat(o) => movement::concat(cx, s, o.axis, dy),
        Op::Pad(o) => movement::pad(cx, s, o, dy),
        Op::ReverseSequence(_) => movement::reverse_sequence(cx, s, dy),
        Op::Gather(o) => index::gather(cx, s, o.axis, dy),
        Op::GatherElements(o) => index::gather_elements(cx, s, o.axis, dy),
        Op::GatherNd(o) => index::gather_nd(cx, s, o.batch_dims, dy),
        Op::ScatterElements(o) => index::scatter_elements(cx, s, o, dy),
        Op::ScatterNd(o) => index::scatter_nd(cx, s, o, dy),
        Op::TopK(o) => index::top_k(cx, s, o.axis, dy),
        Op::Reduce(o) => reduce::reduce(cx, s, o, dy),
        Op::Softmax(o) => reduce::softmax(cx, s, o, dy),
        Op::Cumulate(o) => reduce::cumulate(cx, o, dy),
        Op::MatMul(_) => contract::matmul(cx, s, dy),
        Op::Conv(o) => contract::conv(cx, s, o, dy),
        Op::ConvTranspose(o) => contract::conv_transpose(cx, s, o, dy),
        Op::Pool(o) => pool::pool(cx, s, o, dy),
        Op::Resize(o) => resize::resize(cx, s, o, dy),
        op => Err(Diag::unsupported(op.name())),
    }
}

/// A value like another one, filled with a number.
fn full_like(cx: &mut NodeCx, v: ValueId, number: f64) -> Result<ValueId> {
    let dims = cx.dims(v);
    cx.full(cx.dtype(v), dims, number)
}

/// Adjoint of a value that was broadcast: summed over the copies.
fn collect(cx: &mut NodeCx, g: ValueId, to: &[Expr]) -> Result<ValueId> {
    let dims = cx.dims(g);
    let lead = dims.len().saturating_sub(to.len());
    let copied = |i: usize| i < lead || (to[i - lead].is(1) && !dims[i].is(1));
    let axes: Vec<usize> = (0..dims.len()).filter(|&i| copied(i)).collect();
    let sum = match axes.is_empty() {
        true => g,
        false => cx.reduce(sinter_ir::op::reduce::ReduceKind::Sum, g, &axes, false)?,
    };
    cx.reshape(sum, to.to_vec())
}

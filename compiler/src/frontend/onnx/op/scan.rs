//! Scan as a loop whose scanned operands are read at the iteration.

use super::control::with_captures;
use super::shape::run_symbol;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::proto::GraphProto;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, TensorType, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[("Scan", scan)];

/// Scan as a loop: scanned inputs become slices picked by the iteration number.
fn scan(cx: &mut NodeCx) -> Result<Vec<Item>> {
    if cx.opset < 9 {
        return Err(Diag::unsupported("Scan before opset 9"));
    }
    let body = cx.graph("body")?;
    let m = usize::try_from(cx.int("num_scan_inputs", 0)).unwrap_or(0);
    let n = cx
        .arity()
        .checked_sub(m)
        .ok_or_else(|| Diag::input("num_scan_inputs is larger than the operands"))?;
    let ints = |name: &str, len: usize| cx.int_list(name).unwrap_or_else(|| vec![0; len]);
    let k = body.output.len().saturating_sub(n);
    let (in_axes, in_back) = (ints("scan_input_axes", m), ints("scan_input_directions", m));
    let (out_axes, out_back) = (ints("scan_output_axes", k), ints("scan_output_directions", k));
    let states = (0..n).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    let mut scanned = vec![];
    for i in 0..m {
        let x = cx.input(n + i)?;
        let rank = cx.rank(x);
        let axis = cx.axis(*in_axes.get(i).unwrap_or(&0), rank)?;
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.remove(axis);
        perm.insert(0, axis);
        let mut x = cx.transpose(x, perm)?;
        if in_back.get(i) == Some(&1) {
            x = reversed(cx, x)?;
        }
        scanned.push(x);
    }
    let first = *scanned.first().ok_or_else(|| Diag::input("Scan without scanned inputs"))?;
    let length = cx.dims_at_least(first, 1)?[0].clone();
    let max = cx.symbols().max(&length);
    let count = run_symbol(cx, "iterations", 0, max);
    // Build the core body by hand: states, slices at the iteration, then the Scan body inline.
    cx.im.enter()?;
    cx.im.scope.push_level();
    let iter = cx.im.scope.top().graph.add_input(TensorType::new(DType::I64, vec![]), None);
    let outer = cx.im.scope.depth() - 1;
    let result = scan_body(cx, body, iter, &states, &scanned, outer);
    let level = cx.im.scope.pop_level()?;
    cx.im.leave();
    result?;
    for (i, (&s, &v)) in states.iter().zip(level.graph.outputs.iter().skip(1)).enumerate() {
        let (before, after) = (cx.ty(s), level.graph.ty(v));
        if before != after {
            return Err(Diag::input(format!("Scan: state {i} changes from {before} to {after}")));
        }
    }
    let captures: Vec<ValueId> = level.captures.iter().map(|c| c.0).collect();
    let graph = with_captures(cx, level, &captures);
    let scanned_out = (graph.outputs.len() - 1).checked_sub(n);
    let scanned_out = scanned_out.ok_or_else(|| {
        Diag::input(format!("the body has {} outputs for {n} states", graph.outputs.len() - 1))
    })?;
    let trip = cx.dim_scalar(length.clone(), DType::I64)?;
    let cond = cx.constant(Tensor::from_i64(DType::Bool, vec![], &[1])?)?;
    let operands = [&[trip, cond], states.as_slice(), &captures].concat();
    let op = op::Loop { body: graph, carried: n, scanned: scanned_out, count, shape_syms: vec![] };
    let mut out = cx.add(op.into(), &operands)?;
    for (i, v) in out[n..].iter_mut().enumerate() {
        // All iterations run, so the leading dim is the known length.
        let mut dims = cx.dims_at_least(*v, 1)?;
        dims[0] = length.clone();
        *v = cx.reshape(*v, dims)?;
        if out_back.get(i) == Some(&1) {
            *v = reversed(cx, *v)?;
        }
        let rank = cx.rank(*v);
        let axis = cx.axis(*out_axes.get(i).unwrap_or(&0), rank)?;
        let mut perm: Vec<usize> = (1..rank).collect();
        perm.insert(axis, 0);
        *v = cx.transpose(*v, perm)?;
    }
    cx.many(&out)
}

fn scan_body(
    cx: &mut NodeCx,
    body: &GraphProto,
    iter: ValueId,
    states: &[ValueId],
    scanned: &[ValueId],
    outer: usize,
) -> Result<()> {
    let mut args = vec![];
    for &s in states {
        let ty = cx.im.scope.levels[outer].graph.ty(s).clone();
        let v = cx.im.scope.top().graph.add_input(ty, None);
        args.push(v);
    }
    cx.im.scope.top().explicit_inputs = 1 + states.len();
    for &x in scanned {
        let x = cx.tensor(Item::Tensor(outer, x))?;
        args.push(cx.emit(op::Gather { axis: 0 }, &[x, iter])?);
    }
    for (i, &v) in body.input.iter().zip(&args) {
        let item = cx.wrap(v);
        cx.im.scope.bind(&i.name, item);
    }
    let outs = cx.im.inline(body)?;
    let yes = cx.constant(Tensor::from_i64(DType::Bool, vec![], &[1])?)?;
    let mut ids = vec![yes];
    for o in outs {
        ids.push(cx.tensor(o)?);
    }
    cx.im.scope.top().graph.outputs = ids;
    Ok(())
}

/// The first axis backwards.
fn reversed(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let dims = cx.dims_at_least(x, 1)?;
    let mut starts = vec![Expr::from(0); dims.len()];
    let mut steps = vec![Expr::from(1); dims.len()];
    starts[0] = dims[0].clone() - 1.into();
    steps[0] = (-1).into();
    cx.emit(op::Slice { starts, sizes: dims, steps }, &[x])
}

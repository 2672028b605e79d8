//! What an operation does when one of its operands or its result is stored in another order: which orders the
//! others then have, and the operation that computes the same on them.

use super::perm::{Layout, axes, pick, relative, through_reshape};
use sinter_ir::op::{
    ArgReduce, Broadcast, Concat, Cumulate, Dequantize, Gather, Identity, Pad, Quantize, Reduce, Reshape,
    Resize, Slice, Softmax,
};
use sinter_ir::{Expr, Graph, Node, Op, ValueId};

/// What an operation wants of an operand.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Need {
    /// The model's own order.
    Own,
    /// Another one.
    In(Layout),
    /// An operand of lower rank: axes of 1 in front, then this order.
    Extended(Vec<usize>),
}

/// An operation on reordered operands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Carried {
    /// Name of the rewrite.
    pub rule: &'static str,
    /// The operation.
    pub op: Op,
    /// Per operand.
    pub needs: Vec<Need>,
    /// Of the only result.
    pub gives: Option<Layout>,
}

/// Which side of the node has a layout already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// An operand.
    Operand(usize),
    /// The result.
    Result,
}

/// The node with one side in a layout; `None` where the others cannot follow. Transposes are not asked.
pub(super) fn carry(g: &Graph, node: &Node, port: Port, layout: &Layout) -> Option<Carried> {
    if node.outputs.len() != 1 {
        return None;
    }
    match layout {
        Layout::Axes(perm) => by_axes(g, node, port, perm),
        Layout::Mixed { axis, dims, perm } => mixed(g, node, port, *axis, (dims, perm)),
    }
}

fn by_axes(g: &Graph, node: &Node, port: Port, perm: &[usize]) -> Option<Carried> {
    let rank = |v: ValueId| g.ty(v).rank();
    let (x, y) = (*node.inputs.first()?, node.outputs[0]);
    // Operands other than the first that an op re-lays too take part in `aligned`; all others must be the first.
    let straight = || matches!(port, Port::Result | Port::Operand(0)).then_some(());
    let same = |rule, op: Op, more: usize| {
        straight()?;
        let needs = [vec![Need::In(Layout::Axes(perm.to_vec()))], vec![Need::Own; more]].concat();
        Some(Carried { rule, op, needs, gives: axes(perm.to_vec()) })
    };
    let at = |axis: usize| perm.iter().position(|&p| p == axis);
    match &node.op {
        op if op.is_pointwise() => {
            aligned(g, node, port, perm, op.clone()).map(|c| Carried { rule: "layout/pointwise", ..c })
        }
        Op::Identity(_) => same("layout/pointwise", Identity {}.into(), 0),
        Op::Quantize(q) if q.block == 0 => {
            same("layout/quantize", Quantize { axis: at(q.axis).unwrap_or(0), ..q.clone() }.into(), 2)
        }
        Op::Dequantize(q) if q.block == 0 => {
            let op = Dequantize { axis: at(q.axis).unwrap_or(0), ..q.clone() };
            same("layout/quantize", op.into(), 2)
        }
        Op::Broadcast(b) if rank(x) == rank(y) => {
            same("layout/broadcast", Broadcast { dims: pick(&b.dims, perm)? }.into(), 0)
        }
        Op::Concat(c) => aligned(g, node, port, perm, Concat { axis: at(c.axis)? }.into())
            .map(|c| Carried { rule: "layout/concat", ..c }),
        Op::Pad(p) => {
            let (before, after) = (pick(&p.before, perm)?, pick(&p.after, perm)?);
            same("layout/pad", Pad { mode: p.mode, before, after }.into(), 1)
        }
        Op::Slice(s) => {
            let (starts, sizes) = (pick(&s.starts, perm)?, pick(&s.sizes, perm)?);
            same("layout/slice", Slice { starts, sizes, steps: pick(&s.steps, perm)? }.into(), 0)
        }
        Op::Softmax(s) => same("layout/rows", Softmax { axis: at(s.axis)?, log: s.log }.into(), 0),
        Op::Cumulate(c) => same("layout/rows", Cumulate { axis: at(c.axis)?, ..c.clone() }.into(), 0),
        Op::Resize(r) => {
            let roi = match r.roi.split_at_checked(rank(x)) {
                Some((lo, hi)) if !hi.is_empty() => [pick(lo, perm)?, pick(hi, perm)?].concat(),
                _ => vec![],
            };
            let (dims, scales) = (pick(&r.dims, perm)?, pick(&r.scales, perm)?);
            same("layout/resize", Resize { dims, scales, roi, ..r.clone() }.into(), 0)
        }
        Op::Reduce(r) => {
            let mut axes: Vec<usize> = r.axes.iter().filter_map(|&a| at(a)).collect();
            axes.sort();
            without(perm, &r.axes, r.keepdims, port, Reduce { axes, ..r.clone() }.into())
        }
        Op::ArgReduce(r) => {
            let op = ArgReduce { axis: at(r.axis)?, ..r.clone() };
            without(perm, &[r.axis], r.keepdims, port, op.into())
        }
        Op::Gather(o) => gather(g, node, port, perm, o.axis),
        Op::Reshape(_) => reshape(g, node, port, perm),
        _ => None,
    }
}

/// Operands that are indexed like the result: of its rank in the same order, lower ones extended.
fn aligned(g: &Graph, node: &Node, port: Port, perm: &[usize], op: Op) -> Option<Carried> {
    let rank = g.ty(node.outputs[0]).rank();
    if matches!(port, Port::Operand(i) if g.ty(node.inputs[i]).rank() != rank) {
        return None;
    }
    let need = |v: &ValueId| {
        let ty = g.ty(*v);
        match ty.rank() {
            r if r == rank => Need::In(Layout::Axes(perm.to_vec())),
            _ if ty.numel().is(1) => Need::Own,
            _ => Need::Extended(perm.to_vec()),
        }
    };
    let needs = node.inputs.iter().map(need).collect();
    Some(Carried { rule: "", op, needs, gives: axes(perm.to_vec()) })
}

/// An op that reduces some axes, with `op` its form for the operand's stored axes.
fn without(perm: &[usize], gone: &[usize], keep: bool, port: Port, op: Op) -> Option<Carried> {
    if !keep && port == Port::Result {
        return None;
    }
    let below = |p: usize| gone.iter().filter(|&&a| a < p).count();
    let order = match keep {
        true => perm.to_vec(),
        false => perm.iter().filter(|p| !gone.contains(p)).map(|&p| p - below(p)).collect(),
    };
    let needs = vec![Need::In(Layout::Axes(perm.to_vec()))];
    Some(Carried { rule: "layout/reduce", op, needs, gives: axes(order) })
}

/// The axis that is looked up becomes as many axes as the indices have.
fn gather(g: &Graph, node: &Node, port: Port, perm: &[usize], axis: usize) -> Option<Carried> {
    let n = g.ty(node.inputs[1]).rank();
    if port != Port::Operand(0) {
        return None;
    }
    let place = |&p: &usize| match p {
        p if p < axis => p..p + 1,
        p if p == axis => axis..axis + n,
        p => p + n - 1..p + n,
    };
    let at = perm.iter().position(|&p| p == axis)?;
    let needs = vec![Need::In(Layout::Axes(perm.to_vec())), Need::Own];
    let gives = axes(perm.iter().flat_map(place).collect());
    Some(Carried { rule: "layout/gather", op: Gather { axis: at }.into(), needs, gives })
}

fn reshape(g: &Graph, node: &Node, port: Port, perm: &[usize]) -> Option<Carried> {
    let (from, to) = (&g.ty(node.inputs[0]).dims, &g.ty(node.outputs[0]).dims);
    let (need, gives) = match port {
        Port::Operand(_) => (Some(Layout::Axes(perm.to_vec())), through_reshape(from, to, perm)?),
        Port::Result => match through_reshape(to, from, perm)? {
            Some(Layout::Mixed { .. }) => return None,
            need => (need, Some(Layout::Axes(perm.to_vec()))),
        },
    };
    let dims: Vec<Expr> = super::perm::stored_dims(to, gives.as_ref())?;
    let needs = vec![need.map_or(Need::Own, Need::In)];
    Some(Carried { rule: "layout/reshape", op: Reshape { dims }.into(), needs, gives })
}

/// An axis whose positions are mixed: element-wise ops with constants, and products that sum over it.
fn mixed(g: &Graph, node: &Node, port: Port, axis: usize, how: (&[Expr], &[usize])) -> Option<Carried> {
    let Port::Operand(0) = port else { return None };
    let layout = |axis| Layout::Mixed { axis, dims: how.0.to_vec(), perm: how.1.to_vec() };
    let rank = g.ty(node.inputs[0]).rank();
    match &node.op {
        op if op.is_pointwise() && g.ty(node.outputs[0]).rank() == rank => {
            let need = |v: &ValueId| {
                let ty = g.ty(*v);
                let own = (axis + ty.rank()).checked_sub(rank);
                match own {
                    Some(a) if !ty.dims[a].is(1) => g.constant(*v).map(|_| Need::In(layout(a))),
                    _ => Some(Need::Own),
                }
            };
            let rest = node.inputs[1..].iter().map(need).collect::<Option<Vec<_>>>()?;
            let needs = [vec![Need::In(layout(axis))], rest].concat();
            Some(Carried { rule: "layout/pointwise", op: op.clone(), needs, gives: Some(layout(axis)) })
        }
        Op::MatMul(_) if axis + 1 == rank => {
            let w = node.inputs[1];
            g.constant(w)?;
            let rows = g.ty(w).rank() - 2;
            let needs = vec![Need::In(layout(axis)), Need::In(layout(rows))];
            Some(Carried { rule: "layout/matmul-rows", op: node.op.clone(), needs, gives: None })
        }
        _ => None,
    }
}

/// The layout of a transpose's result that makes it vanish for an operand in `perm`, and the reverse.
pub(super) fn across(transpose: &[usize], perm: &[usize], port: Port) -> Option<Vec<usize>> {
    match port {
        Port::Operand(_) => relative(transpose, perm),
        Port::Result => pick(transpose, perm),
    }
}

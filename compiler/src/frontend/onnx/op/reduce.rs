//! Reductions, arg-reductions, running sums, softmax.

use super::shape::axes_of;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("ReduceSum", |cx| reduce(cx, |_, x| Ok(x), R::Sum, |_, y| Ok(y))),
    ("ReduceMean", |cx| reduce(cx, |_, x| Ok(x), R::Mean, |_, y| Ok(y))),
    ("ReduceProd", |cx| reduce(cx, |_, x| Ok(x), R::Prod, |_, y| Ok(y))),
    ("ReduceMax", |cx| reduce(cx, |_, x| Ok(x), R::Max, |_, y| Ok(y))),
    ("ReduceMin", |cx| reduce(cx, |_, x| Ok(x), R::Min, |_, y| Ok(y))),
    ("ReduceL1", |cx| reduce(cx, |cx, x| cx.unary(U::Abs, x), R::Sum, |_, y| Ok(y))),
    ("ReduceL2", |cx| reduce(cx, |cx, x| cx.mul(x, x), R::Sum, sqrt)),
    ("ReduceSumSquare", |cx| reduce(cx, |cx, x| cx.mul(x, x), R::Sum, |_, y| Ok(y))),
    ("ReduceLogSum", |cx| reduce(cx, |_, x| Ok(x), R::Sum, |cx, y| cx.unary(U::Log, y))),
    ("ReduceLogSumExp", log_sum_exp),
    ("ArgMax", |cx| arg(cx, true)),
    ("ArgMin", |cx| arg(cx, false)),
    ("CumSum", |cx| cumulate(cx, false)),
    ("CumProd", |cx| cumulate(cx, true)),
    ("Softmax", |cx| softmax(cx, false)),
    ("LogSoftmax", |cx| softmax(cx, true)),
    ("Hardmax", hardmax),
    ("GlobalAveragePool", |cx| global(cx, R::Mean)),
    ("GlobalMaxPool", |cx| global(cx, R::Max)),
];

fn sqrt(cx: &mut NodeCx, y: ValueId) -> Result<ValueId> {
    if cx.dtype(y).is_float() {
        return cx.unary(U::Sqrt, y);
    }
    let t = cx.dtype(y);
    let f = cx.cast(y, DType::F64)?;
    let r = cx.unary(U::Sqrt, f)?;
    cx.cast(r, t)
}

/// Axes as given; without any: all of them, or none with `noop_with_empty_axes`.
fn reduced_axes(cx: &mut NodeCx, x: ValueId) -> Result<Option<Vec<usize>>> {
    let rank = cx.rank(x);
    let given = match axes_of(cx, 1) {
        Ok(a) => a,
        // Run-time axes: the declared result tells when exactly the kept dims are visible in it.
        Err(d) => return declared_axes(cx, x).map(Some).ok_or(d),
    };
    match given {
        Some(a) if !a.is_empty() => cx.axes(&a, rank).map(Some),
        _ if cx.flag("noop_with_empty_axes", false) => Ok(None),
        _ => Ok(Some((0..rank).collect())),
    }
}

fn declared_axes(cx: &mut NodeCx, x: ValueId) -> Option<Vec<usize>> {
    let dims: Vec<i64> = cx.dims(x).iter().map(Expr::as_const).collect::<Option<_>>()?;
    let out: Vec<i64> = cx.declared(0)?.into_iter().collect::<Option<_>>()?;
    if cx.flag("keepdims", true) {
        return Some((0..dims.len()).filter(|&i| out.get(i) == Some(&1) && dims[i] != 1).collect());
    }
    let fits = |axis: &usize| {
        let kept: Vec<i64> = dims.iter().enumerate().filter(|(i, _)| i != axis).map(|(_, d)| *d).collect();
        kept == out
    };
    let mut candidates = (0..dims.len()).filter(fits);
    let axis = candidates.next()?;
    candidates.next().is_none().then(|| vec![axis])
}

fn reduce(
    cx: &mut NodeCx,
    before: fn(&mut NodeCx, ValueId) -> Result<ValueId>,
    kind: R,
    after: fn(&mut NodeCx, ValueId) -> Result<ValueId>,
) -> Out {
    let x = cx.input(0)?;
    let axes = reduced_axes(cx, x)?.unwrap_or_default();
    let keep = cx.flag("keepdims", true);
    let v = before(cx, x)?;
    let r = if axes.is_empty() { v } else { cx.reduce(kind, v, &axes, keep)? };
    let y = after(cx, r)?;
    cx.one(y)
}

/// `max + log(sum(exp(x - max)))`, with infinite maxima taken as 0.
fn log_sum_exp(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axes = reduced_axes(cx, x)?.unwrap_or_default();
    let keep = cx.flag("keepdims", true);
    let max = cx.reduce(R::Max, x, &axes, true)?;
    let zero = cx.scalar_like(x, 0.0)?;
    let infinite = cx.unary(U::IsInf, max)?;
    let max = cx.select(infinite, zero, max)?;
    let d = cx.sub(x, max)?;
    let e = cx.unary(U::Exp, d)?;
    let s = cx.reduce(R::Sum, e, &axes, keep)?;
    let l = cx.unary(U::Log, s)?;
    let max = if keep { max } else { cx.squeeze(max, &axes)? };
    let y = cx.sum(l, max)?;
    cx.one(y)
}

fn arg(cx: &mut NodeCx, largest: bool) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
    let (keepdims, last) = (cx.flag("keepdims", true), cx.flag("select_last_index", false));
    let y = cx.emit(op::ArgReduce { largest, axis, keepdims, last }, &[x])?;
    cx.one(y)
}

fn cumulate(cx: &mut NodeCx, product: bool) -> Out {
    let (x, a) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    let axis = match cx.const_ints(a).as_deref() {
        Some([a]) => cx.axis(*a, rank)?,
        _ if rank == 1 => 0,
        _ => return Err(Diag::unsupported("the axis is known only at run time")),
    };
    let (exclusive, reverse) = (cx.flag("exclusive", false), cx.flag("reverse", false));
    let y = cx.emit(op::Cumulate { product, axis, exclusive, reverse }, &[x])?;
    cx.one(y)
}

/// Before opset 13 the dims from `axis` on form one row.
fn rows(cx: &mut NodeCx, f: impl Fn(&mut NodeCx, ValueId, usize) -> Result<ValueId>) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    if cx.opset >= 13 {
        let axis = cx.axis(cx.int("axis", -1), rank)?;
        let y = f(cx, x, axis)?;
        return cx.one(y);
    }
    let axis = cx.axis(cx.int("axis", 1), rank.max(2))?;
    if axis + 1 == rank {
        let y = f(cx, x, axis)?;
        return cx.one(y);
    }
    let dims = cx.dims(x);
    let flat = cx.flatten(x, axis)?;
    let y = f(cx, flat, 1)?;
    let y = cx.reshape(y, dims)?;
    cx.one(y)
}

fn softmax(cx: &mut NodeCx, log: bool) -> Out {
    rows(cx, |cx, x, axis| cx.emit(op::Softmax { axis, log }, &[x]))
}

fn hardmax(cx: &mut NodeCx) -> Out {
    rows(cx, |cx, x, axis| {
        let best = cx.emit(op::ArgReduce { largest: true, axis, keepdims: true, last: false }, &[x])?;
        let dims = cx.dims(x);
        let iota = cx.emit(op::Iota { dtype: DType::I64, dims, axis }, &[])?;
        let hit = cx.compare(CompareKind::Eq, iota, best)?;
        let t = cx.dtype(x);
        cx.cast(hit, t)
    })
}

fn global(cx: &mut NodeCx, kind: R) -> Out {
    let x = cx.input(0)?;
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    let y = cx.reduce(kind, x, &axes, true)?;
    cx.one(y)
}

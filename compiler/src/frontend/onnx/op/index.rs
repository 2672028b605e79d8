//! Gather, scatter and data-dependent selection.

use super::shape::run_symbol;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::{self, scatter_elements::ScatterKind};
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Gather", |cx| {
        let (x, i) = (cx.input(0)?, indices(cx, 1)?);
        let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
        let y = cx.emit(op::Gather { axis }, &[x, i])?;
        cx.one(y)
    }),
    ("GatherElements", |cx| {
        let (x, i) = (cx.input(0)?, indices(cx, 1)?);
        let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
        let y = cx.emit(op::GatherElements { axis }, &[x, i])?;
        cx.one(y)
    }),
    ("GatherND", |cx| {
        let (x, i) = (cx.input(0)?, cx.input(1)?);
        let batch_dims =
            usize::try_from(cx.int("batch_dims", 0)).map_err(|_| Diag::input("batch_dims is negative"))?;
        let y = cx.emit(op::GatherNd { batch_dims }, &[x, i])?;
        cx.one(y)
    }),
    ("Scatter", scatter_elements),
    ("ScatterElements", scatter_elements),
    ("ScatterND", |cx| {
        let (x, i, u) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let reduction = reduction(cx)?;
        let y = cx.emit(op::ScatterNd { reduction }, &[x, i, u])?;
        cx.one(y)
    }),
    ("NonZero", |cx| {
        let x = cx.input(0)?;
        let max = count_bound(cx, x, 1);
        let count = run_symbol(cx, "count", max.0, max.1);
        let y = cx.emit(op::NonZero { count }, &[x])?;
        cx.one(y)
    }),
    ("Compress", compress),
    ("TensorScatter", tensor_scatter),
];

/// Range of a count of elements of x: declared by dim `axis` of the result, or at most all of them.
fn count_bound(cx: &mut NodeCx, x: ValueId, axis: usize) -> (i64, i64) {
    let all = cx.ty(x).numel();
    match cx.declared(0).and_then(|d| d.get(axis).copied().flatten()) {
        Some(d) => (d, d),
        None => (0, cx.symbols().max(&all)),
    }
}

fn indices(cx: &mut NodeCx, i: usize) -> Result<ValueId> {
    let v = cx.input(i)?;
    if matches!(cx.dtype(v), DType::I32 | DType::I64) { Ok(v) } else { cx.cast(v, DType::I64) }
}

fn reduction(cx: &NodeCx) -> Result<ScatterKind> {
    Ok(match cx.text("reduction", "none").as_str() {
        "none" => ScatterKind::Set,
        "add" => ScatterKind::Add,
        "mul" => ScatterKind::Mul,
        "max" => ScatterKind::Max,
        "min" => ScatterKind::Min,
        r => return Err(Diag::input(format!("reduction `{r}`"))),
    })
}

fn scatter_elements(cx: &mut NodeCx) -> Out {
    let (x, i, u) = (cx.input(0)?, indices(cx, 1)?, cx.input(2)?);
    let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
    let reduction = reduction(cx)?;
    let y = cx.emit(op::ScatterElements { axis, reduction }, &[x, i, u])?;
    cx.one(y)
}

/// Positions where the condition holds, then a gather.
fn compress(cx: &mut NodeCx) -> Out {
    let (x, cond) = (cx.input(0)?, cx.input(1)?);
    let (x, axis) = match cx.opt_int("axis") {
        Some(a) => (x, cx.axis(a, cx.rank(x))?),
        None => {
            let n = cx.ty(x).numel();
            (cx.reshape(x, vec![n])?, 0)
        }
    };
    let max = count_bound(cx, cond, axis);
    let count = run_symbol(cx, "count", max.0, max.1);
    let at = cx.emit(op::NonZero { count }, &[cond])?;
    let at = cx.squeeze(at, &[0])?;
    let y = cx.emit(op::Gather { axis }, &[x, at])?;
    cx.one(y)
}

/// Writes `update` into a cache at `write_indices` per batch row along the sequence axis; circular on demand.
fn tensor_scatter(cx: &mut NodeCx) -> Out {
    let (past, update) = (cx.input(0)?, cx.input(1)?);
    let d = cx.dims(update);
    let axis = cx.axis(cx.int("axis", -2), d.len())?;
    let length = cx.dims_at_least(past, axis + 1)?[axis].clone();
    let iota = cx.emit(op::Iota { dtype: DType::I64, dims: vec![d[axis].clone()], axis: 0 }, &[])?;
    let mut at = cx.along(iota, axis, d.len())?;
    if let Some(start) = cx.opt(2)? {
        let start = cx.along(start, 0, d.len())?;
        at = cx.sum(at, start)?;
    }
    if cx.text("mode", "linear") == "circular" {
        let n = cx.dim_scalar(length, DType::I64)?;
        at = cx.binary(op::binary::BinaryKind::Mod, at, n)?;
    }
    let at = cx.broadcast(at, d)?;
    let y = cx.emit(op::ScatterElements { axis, reduction: ScatterKind::Set }, &[past, at, update])?;
    cx.one(y)
}

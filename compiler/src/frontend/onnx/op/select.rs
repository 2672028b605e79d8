//! Ordering and selection.

use super::shape::run_symbol;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{DType, Diag, Expr, Result, Tensor};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[("TopK", top_k), ("Unique", unique), ("NonMaxSuppression", nms)];

fn top_k(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", -1), cx.rank(x))?;
    let k = match cx.opt_int("k") {
        Some(k) => Expr::from(k),
        None => {
            let k = cx.input(1)?;
            let len = cx.dims(x)[axis].clone();
            let max = cx.symbols().max(&len);
            let range = match cx.declared(0).and_then(|d| d.get(axis).copied().flatten()) {
                Some(d) => (d, d),
                None => (0, max),
            };
            cx.int_value(k, range)?
        }
    };
    let y = cx.add(op::TopK { k, axis, largest: cx.flag("largest", true), sorted: true }.into(), &[x])?;
    cx.many(&y)
}

fn unique(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = match cx.opt_int("axis") {
        Some(a) => Some(cx.axis(a, cx.rank(x))?),
        None => None,
    };
    let len = match axis {
        Some(a) => cx.dims(x)[a].clone(),
        None => cx.ty(x).numel(),
    };
    let max = cx.symbols().max(&len);
    let range = match cx.declared(0).and_then(|d| d.get(axis.unwrap_or(0)).copied().flatten()) {
        Some(d) => (d, d),
        None => (0, max),
    };
    let count = run_symbol(cx, "count", range.0, range.1);
    let y = cx.add(op::Unique { axis, sorted: cx.flag("sorted", true), count }.into(), &[x])?;
    cx.many(&y)
}

fn nms(cx: &mut NodeCx) -> Out {
    let (boxes, scores) = (cx.input(0)?, cx.input(1)?);
    let sd = cx.dims(scores);
    let [n, c, b] = sd.as_slice() else { return Err(Diag::input("scores must have rank 3")) };
    let max_boxes = match cx.opt(2)? {
        Some(m) => {
            let m = cx.cast(m, DType::I64)?;
            cx.reshape(m, vec![])?
        }
        None => cx.constant(Tensor::i64(0))?,
    };
    let per_class = match cx.const_ints(max_boxes).as_deref() {
        Some([m]) => b.min_of(&(*m).max(0).into()),
        _ => b.clone(),
    };
    let threshold = |cx: &mut NodeCx, i: usize| match cx.opt(i)? {
        Some(t) => cx.reshape(t, vec![]),
        None => cx.scalar(DType::F32, 0.0),
    };
    let (iou, score) = (threshold(cx, 3)?, threshold(cx, 4)?);
    let total = n.clone() * c.clone() * per_class.clone();
    let max = cx.symbols().max(&total);
    let range = match cx.declared(0).and_then(|d| d.first().copied().flatten()) {
        Some(d) => (d, d),
        None => (0, max),
    };
    let count = run_symbol(cx, "count", range.0, range.1);
    let op = op::NonMaxSuppression {
        center_point_box: cx.int("center_point_box", 0) != 0,
        max_out: per_class,
        has_score_threshold: cx.node.input.get(4).is_some_and(|s| !s.is_empty()),
        count,
    };
    let y = cx.emit(op, &[boxes, scores, max_boxes, iou, score])?;
    cx.one(y)
}

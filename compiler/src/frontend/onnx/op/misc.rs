//! The com.microsoft operators that the standard took over, and small ones of their own.

use super::{NEWEST_OPSET, find};
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:Trilu", |cx| standard(cx, "Trilu")),
    ("com.microsoft:Range", |cx| standard(cx, "Range")),
    ("com.microsoft:Pad", |cx| standard(cx, "Pad")),
    ("com.microsoft:GatherND", |cx| standard(cx, "GatherND")),
    ("com.microsoft:GridSample", |cx| standard(cx, "GridSample")),
    ("com.microsoft:Unique", unique),
    ("com.microsoft:ExpandDims", |cx| {
        let (x, a) = (cx.input(0)?, cx.input(1)?);
        let axis = cx.const_ints(a).and_then(|a| a.first().copied());
        let axis = axis.ok_or_else(|| Diag::unsupported("ExpandDims with an axis known only at run time"))?;
        let axis = cx.axis(axis, cx.rank(x) + 1)?;
        let y = cx.unsqueeze(x, &[axis])?;
        cx.one(y)
    }),
    ("com.microsoft:UnfoldTensor", |cx| {
        let x = cx.input(0)?;
        let axis = cx.axis(cx.int("dim", -1), cx.rank(x))?;
        let (size, step) = (cx.int("size", 1), cx.int("step", 1));
        if size <= 0 || step <= 0 {
            return Err(Diag::input(format!("UnfoldTensor of size {size}, step {step}")));
        }
        let y = frames(cx, x, axis, &size.into(), step)?;
        // The elements of a frame become the last axis.
        let perm = (0..cx.rank(y)).filter(|&a| a != axis + 1).chain([axis + 1]).collect();
        let y = cx.transpose(y, perm)?;
        cx.one(y)
    }),
    ("com.microsoft:CropAndResize", crop_and_resize),
];

/// Builds the operator of the same name of the standard.
fn standard(cx: &mut NodeCx, name: &str) -> Out {
    let build = find("", name).ok_or_else(|| Diag::bug(format!("no operator {name}")))?;
    cx.opset = NEWEST_OPSET;
    build(cx)
}

/// Values in the order they first appear, the place of each element among them, counts.
fn unique(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let n = cx.ty(x).numel();
    let max = cx.symbols().max(&n);
    let count = super::shape::run_symbol(cx, "count", 0, max);
    let y = cx.add(op::Unique { axis: None, sorted: false, count }.into(), &[x])?;
    match y.as_slice() {
        [values, _, inverse, counts] => cx.many(&[*values, *inverse, *counts]),
        _ => Err(Diag::bug("Unique has four results")),
    }
}

/// Overlapping pieces of an axis: it becomes `[number of pieces, size]`.
pub fn frames(cx: &mut NodeCx, x: ValueId, axis: usize, size: &Expr, step: i64) -> Result<ValueId> {
    let len = cx.dims(x)[axis].clone();
    let count = (len - size.clone()).div(&step.into()) + 1.into();
    let grid = vec![count, size.clone()];
    let first = cx.emit(op::Iota { dtype: DType::I64, dims: grid.clone(), axis: 0 }, &[])?;
    let first = cx.mul_num(first, step as f64)?;
    let within = cx.emit(op::Iota { dtype: DType::I64, dims: grid, axis: 1 }, &[])?;
    let at = cx.sum(first, within)?;
    cx.emit(op::Gather { axis }, &[x, at])
}

/// Boxes `[y1, x1, y2, x2]`, relative to the image, each resized to the same size. Their corners are the outermost
/// samples; samples outside the image get a fixed value. A grid sample of every box from its image.
fn crop_and_resize(cx: &mut NodeCx) -> Out {
    let (x, boxes, image, size) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let size = cx.const_ints(size).filter(|s| s.len() == 2 && s.iter().all(|&s| s > 0));
    let size = size.ok_or_else(|| Diag::unsupported("a crop size known only at run time"))?;
    let mode = match cx.text("mode", "bilinear").as_str() {
        "bilinear" => op::resize::ResizeMode::Linear,
        "nearest" => op::resize::ResizeMode::Nearest,
        m => return Err(Diag::input(format!("CropAndResize mode `{m}`"))),
    };
    let n = cx.dims_at_least(boxes, 2)?[0].clone();
    let t = cx.dtype(boxes);
    let picked = cx.emit(op::Gather { axis: 0 }, &[x, image])?;
    let mut places = Vec::new();
    for (i, &count) in size.iter().enumerate() {
        let from = cx.slice_axis(boxes, 1, (i as i64).into(), 1.into())?;
        let to = cx.slice_axis(boxes, 1, (i as i64 + 2).into(), 1.into())?;
        let span = cx.sub(to, from)?;
        let place = if count == 1 {
            let half = cx.mul_num(span, 0.5)?;
            cx.sum(from, half)?
        } else {
            let k =
                cx.emit(op::Iota { dtype: DType::I64, dims: vec![1.into(), count.into()], axis: 1 }, &[])?;
            let k = cx.cast(k, t)?;
            let k = cx.mul_num(k, 1.0 / (count - 1) as f64)?;
            let inner = cx.mul(span, k)?;
            cx.sum(from, inner)?
        };
        places.push(place);
    }
    let full = [n.clone(), size[0].into(), size[1].into(), 1.into()].to_vec();
    let (rows, cols) = (cx.unsqueeze(places[0], &[2, 3])?, cx.unsqueeze(places[1], &[1, 3])?);
    let (rows, cols) = (cx.broadcast(rows, full.clone())?, cx.broadcast(cols, full)?);
    let at = cx.concat(&[cols, rows], 3)?;
    // 0..1 to -1..1 between the centres of the corner pixels.
    let grid = cx.mul_num(at, 2.0)?;
    let grid = cx.add_num(grid, -1.0)?;
    let padding = op::grid_sample::GridPadding::Border;
    let y = cx.emit(op::GridSample { mode, padding, align_corners: true }, &[picked, grid])?;
    let outside = cx.unary(op::unary::UnaryKind::Abs, grid)?;
    let outside = cx.reduce(op::reduce::ReduceKind::Max, outside, &[3], false)?;
    let one = cx.scalar_like(outside, 1.0)?;
    let outside = cx.compare(op::compare::CompareKind::Gt, outside, one)?;
    let outside = cx.unsqueeze(outside, &[1])?;
    let fill = cx.scalar_like(y, f64::from(cx.float("extrapolation_value", 0.0)))?;
    let y = cx.select(outside, fill, y)?;
    cx.one(y)
}

//! Shapes: asking for them and changing them.

use crate::frontend::onnx::node::{Build, DEFAULT_RUN_MAX, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::expr::product;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::{DType, Diag, Expr, Result, SymKind, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Shape", shape),
    ("Size", |cx| {
        let x = cx.input(0)?;
        let n = cx.ty(x).numel();
        let y = cx.dim_scalar(n, DType::I64)?;
        cx.one(y)
    }),
    ("Reshape", reshape),
    ("Flatten", |cx| {
        let x = cx.input(0)?;
        let rank = cx.rank(x) as i64;
        let a = cx.int("axis", 1);
        let a = if a < 0 { a + rank } else { a };
        let a = usize::try_from(a)
            .ok()
            .filter(|&a| a as i64 <= rank)
            .ok_or_else(|| Diag::input("axis is outside the rank"))?;
        let y = cx.flatten(x, a)?;
        cx.one(y)
    }),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Expand", expand),
    ("Tile", tile),
    ("Identity", |cx| Ok(vec![cx.item(0)?.unwrap_or(Item::None)])),
    ("Dropout", dropout),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("EyeLike", eye_like),
    ("Trilu", trilu),
    ("OneHot", one_hot),
];

fn shape(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let dims = cx.dims(x);
    let rank = dims.len() as i64;
    let clip = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let (start, end) = (clip(cx.int("start", 0)), clip(cx.int("end", rank)));
    let y = cx.dims_tensor(dims[start..end.max(start)].to_vec())?;
    cx.one(y)
}

/// 0 copies a dim (unless `allowzero`), -1 takes what is left.
fn reshape(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let own = cx.dims(x);
    let target = match cx.int_list("shape") {
        Some(s) => s.into_iter().map(Expr::from).collect(),
        None => {
            let v = cx.input(1)?;
            match (cx.known_ints(v), cx.declared(0)) {
                (Some(t), _) => t,
                // Run-time shapes: the declared result decides, the element count is checked.
                (None, Some(d)) if d.iter().filter(|d| d.is_none()).count() <= 1 => {
                    d.into_iter().map(|d| d.unwrap_or(-1).into()).collect()
                }
                _ => {
                    let max = cx.symbols().max(&product(&own)).max(1);
                    cx.ints(v, &|_| (1, max))?
                }
            }
        }
    };
    let allow_zero = cx.flag("allowzero", false);
    let mut dims: Vec<Expr> = target
        .iter()
        .enumerate()
        .map(|(i, t)| match t.as_const() {
            Some(0) if !allow_zero => {
                own.get(i).cloned().ok_or_else(|| Diag::input("Reshape copies a dim that x does not have"))
            }
            _ => Ok(t.clone()),
        })
        .collect::<Result<_>>()?;
    if let Some(hole) = dims.iter().position(|d| d.is(-1)) {
        // Dims on both sides cancel first, so that symbolic ones divide exactly.
        let mut rest: Vec<Expr> =
            dims.iter().enumerate().filter(|(i, _)| *i != hole).map(|(_, d)| d.clone()).collect();
        let mut left = own.clone();
        left.retain(|d| match rest.iter().position(|r| r == d && !d.is(0)) {
            Some(i) => {
                rest.remove(i);
                false
            }
            None => true,
        });
        if rest.iter().any(|d| d.is(-1)) {
            return Err(Diag::input(format!("Reshape to {target:?} has two dims of -1")));
        }
        let divisor = product(&rest);
        dims[hole] = if divisor.is(0) { 0.into() } else { product(&left).div(&divisor) };
    }
    let y = cx.reshape(x, dims)?;
    cx.one(y)
}

/// Axes from the attribute (old) or operand `i` (since opset 13); none when not given.
pub fn axes_of(cx: &mut NodeCx, i: usize) -> Result<Option<Vec<i64>>> {
    if let Some(a) = cx.int_list("axes") {
        return Ok(Some(a));
    }
    match cx.opt(i)? {
        None => Ok(None),
        Some(v) => match cx.const_ints(v) {
            Some(a) => Ok(Some(a)),
            None => Err(Diag::unsupported("axes that are known only at run time")),
        },
    }
}

fn squeeze(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let dims = cx.dims(x);
    let axes = match axes_of(cx, 1) {
        Ok(Some(a)) => cx.axes(&a, dims.len())?,
        Ok(None) => (0..dims.len()).filter(|&i| dims[i].is(1)).collect(),
        // Run-time axes: the declared result tells which ones are meant when it is unambiguous.
        Err(d) => match cx.declared(0) {
            Some(h) if h.len() + dims.iter().filter(|d| d.is(1)).count() == dims.len() => {
                (0..dims.len()).filter(|&i| dims[i].is(1)).collect()
            }
            _ => return Err(d),
        },
    };
    // A dim that is only expected to be 1 is checked where it is used, not for the whole model: other branches
    // may run with other sizes.
    let mut x = x;
    for &a in axes.iter().filter(|&&a| !dims[a].is(1)) {
        cx.expect(&dims[a], 1)?;
        x = cx.slice_axis(x, a, 0.into(), 1.into())?;
    }
    let y = cx.squeeze(x, &axes)?;
    cx.one(y)
}

fn unsqueeze(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axes = match axes_of(cx, 1) {
        Ok(a) => a.ok_or_else(|| Diag::input("no axes"))?,
        Err(d) => {
            // Run-time axes: take the declared result.
            let h: Option<Vec<Expr>> =
                cx.declared(0).and_then(|h| h.into_iter().map(|d| d.map(Expr::from)).collect());
            let y = cx.reshape(x, h.ok_or(d)?)?;
            return cx.one(y);
        }
    };
    let axes = cx.axes(&axes, cx.rank(x) + axes.len())?;
    let y = cx.unsqueeze(x, &axes)?;
    cx.one(y)
}

/// A target shape: known, declared, or read at run time.
fn target(cx: &mut NodeCx, v: ValueId) -> Result<Vec<Expr>> {
    match (cx.known_ints(v), cx.declared(0).and_then(|d| d.into_iter().map(|d| d.map(Expr::from)).collect()))
    {
        (Some(t), _) => Ok(t),
        (None, Some(declared)) => Ok(declared),
        (None, None) => cx.ints(v, &|_| (0, DEFAULT_RUN_MAX)),
    }
}

fn expand(cx: &mut NodeCx) -> Out {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let want = target(cx, shape)?;
    let own = cx.dims(x);
    let dims = cx.symbols().broadcast_dims(&own, &want, "Expand")?;
    let y = cx.broadcast(x, dims)?;
    cx.one(y)
}

/// `[a, b]` becomes `[1, a, 1, b]`, is broadcast to `[r0, a, r1, b]` and merged.
fn tile(cx: &mut NodeCx) -> Out {
    let (x, repeats) = (cx.input(0)?, cx.input(1)?);
    let own = cx.dims(x);
    let hints = cx.declared(0).unwrap_or_default();
    let guess = |i: usize| match (hints.get(i).copied().flatten(), own.get(i).and_then(Expr::as_const)) {
        (Some(d), Some(n)) if n > 0 => (d / n, d / n),
        _ => (0, DEFAULT_RUN_MAX),
    };
    let repeats = cx.ints(repeats, &guess)?;
    if repeats.len() != own.len() {
        return Err(Diag::input(format!("{} repeats for rank {}", repeats.len(), own.len())));
    }
    let (mut split, mut wide, mut merged) = (vec![], vec![], vec![]);
    for (d, r) in own.iter().zip(&repeats) {
        if !r.is(1) {
            split.push(1.into());
            wide.push(r.clone());
        }
        split.push(d.clone());
        wide.push(d.clone());
        merged.push(d.clone() * r.clone());
    }
    let y = cx.reshape(x, split)?;
    let y = cx.broadcast(y, wide)?;
    let y = cx.reshape(y, merged)?;
    cx.one(y)
}

/// The identity and a mask of true; in training mode elements are dropped at random.
fn dropout(cx: &mut NodeCx) -> Out {
    if cx.opset >= 12
        && let Some(mode) = cx.opt(2)?
        && cx.const_ints(mode).is_none_or(|m| m.iter().any(|&v| v != 0))
        && let Some(ratio) = cx.opt(1)?
        && cx.const_of(ratio).is_none_or(|r| r.scalar_f64().is_ok_and(|v| v != 0.0))
    {
        return training_dropout(cx, ratio);
    }
    let x = cx.input(0)?;
    if !cx.wants(1) {
        return cx.one(x);
    }
    let dims = cx.dims(x);
    let mask = cx.full(DType::Bool, dims, 1.0)?;
    cx.many(&[x, mask])
}

/// Elements survive with probability `1 - ratio` and are scaled up by its inverse, when operand 2 says so.
fn training_dropout(cx: &mut NodeCx, ratio: ValueId) -> Out {
    let (x, mode) = (cx.input(0)?, cx.input(2)?);
    let t = cx.dtype(x);
    let (ratio, mode) = (cx.cast(ratio, t)?, cx.cast(mode, DType::Bool)?);
    let zero = cx.scalar(t, 0.0)?;
    let ratio = cx.select(mode, ratio, zero)?;
    let draw = super::random::uniform(cx, x)?;
    let mask = cx.compare(C::Ge, draw, ratio)?;
    let keep = cx.unary(op::unary::UnaryKind::Neg, ratio)?;
    let keep = cx.add_num(keep, 1.0)?;
    let scaled = cx.div(x, keep)?;
    let y = cx.select(mask, scaled, zero)?;
    cx.many(&[y, mask])
}

fn constant(cx: &mut NodeCx) -> Out {
    let a = cx.node.attribute.first().ok_or_else(|| Diag::input("no value"))?;
    let t = match a.name.as_str() {
        "value" => {
            let t = a.t.as_ref().ok_or_else(|| Diag::input("no value"))?;
            let origin = cx.origin.clone();
            return Ok(vec![cx.im.literal(t, &origin)?]);
        }
        "value_int" => Tensor::i64(a.i),
        "value_ints" => Tensor::i64s(&a.ints),
        "value_float" => Tensor::f32s(vec![], &[a.f])?,
        "value_floats" => Tensor::f32s(vec![a.floats.len()], &a.floats)?,
        "value_string" => Tensor::from_strings(vec![], vec![String::from_utf8_lossy(&a.s).into_owned()])?,
        "value_strings" => {
            let s: Vec<String> = a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
            Tensor::from_strings(vec![s.len()], s)?
        }
        other => return Err(Diag::unsupported(format!("Constant attribute `{other}`"))),
    };
    let v = cx.constant(t)?;
    cx.one(v)
}

fn constant_of_shape(cx: &mut NodeCx) -> Out {
    let shape = cx.input(0)?;
    let dims = target(cx, shape)?;
    let value = match cx.attr("value").and_then(|a| a.t.as_ref()) {
        Some(t) => tensor::read(t, &mut cx.im.store)?.reshaped(vec![])?,
        None => Tensor::f32s(vec![], &[0.0])?,
    };
    let v = cx.constant(value)?;
    let y = cx.broadcast(v, dims)?;
    cx.one(y)
}

/// `start + iota * delta`; the count is symbolic where start and limit are, else read at run time.
fn range(cx: &mut NodeCx) -> Out {
    let (start, limit, delta) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let dtype = cx.dtype(start);
    let known = |cx: &NodeCx, v| cx.known_ints(v).and_then(|e| e.first().cloned());
    let count = match (known(cx, start), known(cx, limit), known(cx, delta)) {
        (Some(s), Some(l), Some(d)) if d.as_const().is_some_and(|d| d != 0) => {
            let d = d.as_const().unwrap_or(1);
            let span = if d > 0 { l - s } else { s - l };
            span.ceil_div(&d.saturating_abs().into()).max_of(&0.into())
        }
        _ => {
            let n = run_time_count(cx, start, limit, delta)?;
            let max = match cx.declared(0).as_deref() {
                Some([Some(d)]) => (*d, *d),
                _ => (0, DEFAULT_RUN_MAX),
            };
            cx.int_value(n, max)?
        }
    };
    let idx = if dtype.is_float() { dtype } else { DType::I64 };
    let iota = cx.emit(op::Iota { dtype: idx, dims: vec![count], axis: 0 }, &[])?;
    let iota = cx.cast(iota, dtype)?;
    let (start, delta) = (cx.reshape(start, vec![])?, cx.reshape(delta, vec![])?);
    let scaled = cx.mul(iota, delta)?;
    let y = cx.sum(scaled, start)?;
    cx.one(y)
}

fn run_time_count(cx: &mut NodeCx, start: ValueId, limit: ValueId, delta: ValueId) -> Result<ValueId> {
    let wide = DType::F64;
    let (s, l, d) = (cx.cast(start, wide)?, cx.cast(limit, wide)?, cx.cast(delta, wide)?);
    let span = cx.sub(l, s)?;
    let n = cx.div(span, d)?;
    let n = cx.unary(op::unary::UnaryKind::Ceil, n)?;
    let zero = cx.scalar(wide, 0.0)?;
    let n = cx.binary(B::Max, n, zero)?;
    cx.cast(n, DType::I64)
}

/// Column minus row index, i64, of the last two dims (or the only matrix).
fn diagonal(cx: &mut NodeCx, rows: &Expr, cols: &Expr) -> Result<ValueId> {
    let dims = vec![rows.clone(), cols.clone()];
    let r = cx.emit(op::Iota { dtype: DType::I64, dims: dims.clone(), axis: 0 }, &[])?;
    let c = cx.emit(op::Iota { dtype: DType::I64, dims, axis: 1 }, &[])?;
    cx.sub(c, r)
}

fn eye_like(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let d = cx.dims(x);
    let [rows, cols] = d.as_slice() else { return Err(Diag::input("EyeLike needs a matrix")) };
    let dtype = match cx.int("dtype", 0) {
        0 => cx.dtype(x),
        c => tensor::dtype(c as i32)?,
    };
    let diff = diagonal(cx, rows, cols)?;
    let k = cx.constant(Tensor::i64(cx.int("k", 0)))?;
    let on = cx.compare(C::Eq, diff, k)?;
    let y = cx.cast(on, dtype)?;
    cx.one(y)
}

fn trilu(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let d = cx.dims(x);
    let [.., rows, cols] = d.as_slice() else { return Err(Diag::input("Trilu needs matrices")) };
    let diff = diagonal(cx, rows, cols)?;
    let k = match cx.opt(1)? {
        Some(k) => cx.reshape(k, vec![])?,
        None => cx.constant(Tensor::i64(0))?,
    };
    let keep = cx.compare(if cx.flag("upper", true) { C::Ge } else { C::Le }, diff, k)?;
    let zero = cx.constant(Tensor::zeros(cx.dtype(x), vec![])?)?;
    let y = cx.select(keep, x, zero)?;
    cx.one(y)
}

/// `indices` outside `[-depth, depth)` give rows of the off value.
fn one_hot(cx: &mut NodeCx) -> Out {
    let (indices, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let rank = cx.rank(indices);
    let axis = cx.axis(cx.int("axis", -1), rank + 1)?;
    let hint = cx.declared(0).and_then(|d| d.get(axis).copied().flatten());
    let depth_int = cx.cast(depth, DType::I64)?;
    let n = cx.int_value(depth_int, hint.map_or((1, DEFAULT_RUN_MAX), |d| (d, d)))?;
    let i = cx.cast(indices, DType::I64)?;
    let n_value = cx.dim_scalar(n.clone(), DType::I64)?;
    let zero = cx.constant(Tensor::i64(0))?;
    let negative = cx.compare(C::Lt, i, zero)?;
    let shifted = cx.sum(i, n_value)?;
    let i = cx.select(negative, shifted, i)?;
    let i = cx.unsqueeze(i, &[axis])?;
    let iota = cx.emit(op::Iota { dtype: DType::I64, dims: vec![n], axis: 0 }, &[])?;
    let iota = cx.along(iota, axis, rank + 1)?;
    let hit = cx.compare(C::Eq, i, iota)?;
    let off = cx.slice_axis(values, 0, 0.into(), 1.into())?;
    let on = cx.slice_axis(values, 0, 1.into(), 1.into())?;
    let (off, on) = (cx.reshape(off, vec![])?, cx.reshape(on, vec![])?);
    let y = cx.select(hit, on, off)?;
    cx.one(y)
}

/// A fresh run-time symbol named after the node.
pub fn run_symbol(cx: &mut NodeCx, what: &str, min: i64, max: i64) -> sinter_ir::Sym {
    let name = format!("{}#{what}", cx.origin.first().map_or("value", |o| o.as_ref()));
    cx.symbols().fresh(name, min, max, SymKind::Run)
}

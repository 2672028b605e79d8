//! LabelEncoder: a dictionary from strings or numbers to strings or numbers.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::{ArgReduce, Gather};
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

/// Looks every element up; the default for those that are not there.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let (keys, values) = pairs(cx, x)?;
    if keys.len() != values.len() || keys.dtype() != cx.dtype(x) {
        return Err(Diag::input(format!(
            "{} keys of type {} and {} values for {}",
            keys.len(),
            keys.dtype(),
            values.len(),
            cx.ty(x)
        )));
    }
    let default = default(cx, values.dtype())?;
    mapped(cx, x, keys, (values, default))
}

/// The value behind the first key that equals each element, or the default.
pub fn mapped(
    cx: &mut NodeCx,
    x: ValueId,
    keys: Tensor,
    (values, default): (Tensor, Tensor),
) -> Result<Vec<Item>> {
    // Place 0 is the default, place 1 + k the value of key k.
    let (place, values) = match keys.dtype() {
        DType::Str => {
            let (words, places) = super::dictionary(keys.strings());
            let first = |w: usize| places.iter().position(|p| *p == w).unwrap_or_default();
            let order: Vec<usize> = (0..words.len()).map(first).collect();
            (super::find(cx, x, words)?, values.pick(vec![order.len()], &order)?)
        }
        _ => (nearest(cx, x, keys)?, values),
    };
    let one = cx.scalar(DType::I64, 1.0)?;
    let place = cx.sum(place, one)?;
    let (default, values) = (cx.constant(default)?, cx.constant(values)?);
    let list = cx.concat(&[default, values], 0)?;
    let y = cx.emit(Gather { axis: 0 }, &[list, place])?;
    cx.one(y)
}

/// Index of the first key that equals each number, -1 where none does.
fn nearest(cx: &mut NodeCx, x: ValueId, keys: Tensor) -> Result<ValueId> {
    let rank = cx.rank(x);
    let column = cx.unsqueeze(x, &[rank])?;
    let keys = cx.constant(keys)?;
    let hit = cx.compare(CompareKind::Eq, column, keys)?;
    let hit = cx.cast(hit, DType::I32)?;
    let any = cx.reduce(ReduceKind::Max, hit, &[rank], false)?;
    let any = cx.cast(any, DType::Bool)?;
    let at = cx.emit(ArgReduce { largest: true, axis: rank, keepdims: false, last: false }, &[hit])?;
    let none = cx.scalar(DType::I64, -1.0)?;
    cx.select(any, at, none)
}

/// Keys and values, 1-D.
fn pairs(cx: &NodeCx, x: ValueId) -> Result<(Tensor, Tensor)> {
    let classes = super::strings(cx, "classes_strings");
    if !classes.is_empty() {
        // Version 1: strings to their places in a list, or back.
        let n = classes.len();
        let places = Tensor::i64s(&(0..n as i64).collect::<Vec<_>>());
        let classes = Tensor::from_strings(vec![n], classes)?;
        return Ok(if cx.dtype(x) == DType::Str { (classes, places) } else { (places, classes) });
    }
    let list = |what| list(cx, what).and_then(|t| t.ok_or_else(|| Diag::input(format!("no {what}"))));
    Ok((list("keys")?, list("values")?))
}

/// The attribute that holds keys or values: one of four types.
fn list(cx: &NodeCx, what: &str) -> Result<Option<Tensor>> {
    if let Some(t) = cx.attr(&format!("{what}_tensor")).and_then(|a| a.t.as_ref()) {
        let t = tensor::read_inline(t)?;
        let n = t.len();
        return t.reshaped(vec![n]).map(Some);
    }
    if let Some(a) = cx.attr(&format!("{what}_int64s")) {
        return Ok(Some(Tensor::i64s(&a.ints)));
    }
    if let Some(a) = cx.attr(&format!("{what}_floats")) {
        return Tensor::f32s(vec![a.floats.len()], &a.floats).map(Some);
    }
    let words = super::strings(cx, &format!("{what}_strings"));
    if words.is_empty() { Ok(None) } else { Tensor::from_strings(vec![words.len()], words).map(Some) }
}

/// The value of what is not there, `[1]`.
fn default(cx: &NodeCx, dtype: DType) -> Result<Tensor> {
    if let Some(t) = cx.attr("default_tensor").and_then(|a| a.t.as_ref()) {
        return tensor::read_inline(t)?.reshaped(vec![1]);
    }
    match dtype {
        DType::Str => Tensor::from_strings(vec![1], vec![cx.text("default_string", "_Unused")]),
        d if d.is_float() => Tensor::from_f64(d, vec![1], &[f64::from(cx.float("default_float", -0.0))]),
        d => Tensor::from_i64(d, vec![1], &[cx.int("default_int64", -1)]),
    }
}

//! Maps, which are no tensors: what they hold is kept.

use super::rows;
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::text;
use crate::frontend::onnx::scope::Item;
use sinter_ir::{Diag, Expr, Result};

/// Labels that a warning names.
const NAMED: usize = 20;

/// A list of maps from labels to scores: the matrix of the scores, `[rows, labels]`, whose columns are in the labels' order.
pub fn map(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = rows(cx)?;
    let numbers = cx.int_list("classlabels_int64s").unwrap_or_default();
    let labels = match numbers.is_empty() {
        true => text::strings(cx, "classlabels_strings"),
        false => numbers.iter().map(i64::to_string).collect(),
    };
    let columns = cx.dims(x).last().and_then(Expr::as_const);
    if labels.is_empty() || columns.is_some_and(|n| n != labels.len() as i64) {
        return Err(Diag::input(format!("{} labels for scores of {}", labels.len(), cx.ty(x))));
    }
    let more = if labels.len() > NAMED { ", ..." } else { "" };
    let named = labels[..labels.len().min(NAMED)].join(", ");
    cx.warn(format!(
        "maps are no tensors; the result is the matrix of scores, one column each for {named}{more}"
    ));
    cx.one(x)
}

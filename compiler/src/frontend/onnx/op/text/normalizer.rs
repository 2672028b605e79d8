//! StringNormalizer: drops stop words, changes the case.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::{Gather, NonZero, Pad, StringCase};
use sinter_ir::{DType, Diag, Result, SymKind, Tensor, ValueId};

/// A row of strings without the stop words; when none is left, one empty string.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let dims = cx.dims(x);
    if cx.dtype(x) != DType::Str || !(dims.len() == 1 || (dims.len() == 2 && dims[0].is(1))) {
        return Err(Diag::input(format!("one row of strings is needed, got {}", cx.ty(x))));
    }
    let row = cx.reshape(x, vec![cx.ty(x).numel()])?;
    let action = cx.text("case_change_action", "NONE");
    let change = match action.as_str() {
        "NONE" => None,
        "LOWER" => Some(StringCase { upper: false }),
        "UPPER" => Some(StringCase { upper: true }),
        other => return Err(Diag::input(format!("case_change_action `{other}`"))),
    };
    let mut row = row;
    let words = super::strings(cx, "stopwords");
    if !words.is_empty() {
        row = if cx.flag("is_case_sensitive", false) {
            filtered(cx, row, row, words)?
        } else {
            let lower = StringCase { upper: false };
            let words = words.iter().map(|w| w.chars().map(|c| lower.map(c)).collect()).collect();
            let plain = cx.emit(lower, &[row])?;
            filtered(cx, row, plain, words)?
        };
    }
    if let Some(case) = change {
        row = cx.emit(case, &[row])?;
    }
    let count = cx.ty(row).numel();
    let y = if dims.len() == 2 { cx.reshape(row, vec![1.into(), count])? } else { row };
    cx.one(y)
}

/// Elements of `row` whose `plain` form is no stop word; one empty string when there is none.
fn filtered(cx: &mut NodeCx, row: ValueId, plain: ValueId, words: Vec<String>) -> Result<ValueId> {
    let (words, _) = super::dictionary(&words);
    let found = super::find(cx, plain, words)?;
    let zero = cx.scalar(DType::I64, 0.0)?;
    let keep = cx.compare(CompareKind::Lt, found, zero)?;
    let all = cx.ty(row).numel();
    let most = cx.symbols().max(&all);
    let name = cx.origin.first().map_or("StringNormalizer", |o| o.as_ref()).to_owned();
    let count = cx.symbols().fresh(format!("{name}#kept"), 0, most, SymKind::Run);
    let at = cx.emit(NonZero { count }, &[keep])?;
    let at = cx.squeeze(at, &[0])?;
    // The empty string stands behind all others: its place is chosen when nothing else is.
    let empty = cx.constant(Tensor::from_strings(vec![1], vec![String::new()])?)?;
    let with_empty = cx.concat(&[row, empty], 0)?;
    let place = cx.dim_scalar(all, DType::I64)?;
    let one_at_least = sinter_ir::Expr::from(count).max_of(&1.into()) - count.into();
    let at = cx.emit(
        Pad { mode: PadMode::Constant, before: vec![0.into()], after: vec![one_at_least] },
        &[at, place],
    )?;
    cx.emit(Gather { axis: 0 }, &[with_empty, at])
}

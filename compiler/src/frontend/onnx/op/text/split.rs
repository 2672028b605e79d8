//! StringSplit.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::StringSplit;
use sinter_ir::{Diag, Result, SymKind};

/// Most parts of a string where the model does not declare how many there are.
const MOST_PARTS: i64 = 256;

/// Parts of strings and their numbers.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let max = match cx.attr("maxsplit") {
        None => None,
        Some(a) => Some(u64::try_from(a.i).map_err(|_| Diag::input(format!("maxsplit is {}", a.i)))?),
    };
    let declared = cx.declared(0).and_then(|d| d.last().copied().flatten());
    let by_max = max.and_then(|m| i64::try_from(m).ok()).map_or(MOST_PARTS, |m| m.saturating_add(1));
    let most = declared.unwrap_or(by_max.min(MOST_PARTS));
    let name = cx.origin.first().map_or("StringSplit", |o| o.as_ref()).to_owned();
    let count = cx.symbols().fresh(format!("{name}#parts"), 0, most, SymKind::Run);
    let delimiter = cx.text("delimiter", "");
    let out = cx.add(StringSplit { delimiter, max, count }.into(), &[x])?;
    cx.many(&out)
}

//! StringConcat.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use sinter_ir::Result;
use sinter_ir::op::StringConcat;

/// Element by element, under broadcasting.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (a, b) = super::equal::aligned(cx, a, b, "StringConcat")?;
    let y = cx.emit(StringConcat {}, &[a, b])?;
    cx.one(y)
}

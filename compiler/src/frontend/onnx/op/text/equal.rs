//! Equal on strings.

use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op::StringEqual;
use sinter_ir::{Result, ValueId};

/// Whether strings are equal, under broadcasting.
pub fn equal(cx: &mut NodeCx, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (a, b) = aligned(cx, a, b, "Equal")?;
    cx.emit(StringEqual {}, &[a, b])
}

/// Both operands broadcast to one shape: ops that look into strings do not broadcast themselves.
pub fn aligned(cx: &mut NodeCx, a: ValueId, b: ValueId, op: &str) -> Result<(ValueId, ValueId)> {
    let (p, q) = (cx.dims(a), cx.dims(b));
    let dims = cx.symbols().broadcast_dims(&p, &q, op)?;
    Ok((cx.broadcast(a, dims.clone())?, cx.broadcast(b, dims)?))
}

//! The largest element of bytes whose Quantize ends below the top of their type.

use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::resize::ResizeMode;
use sinter_ir::{Graph, Op, ValueId};
use std::collections::BTreeSet;

/// What no element of a value exceeds, where operations that move elements lead to nothing but Quantize with a largest
/// code, and constants.
pub fn largest(g: &Graph, v: ValueId) -> Option<i64> {
    let (mut seen, mut todo, mut most) = (BTreeSet::new(), vec![v], None);
    while let Some(v) = todo.pop() {
        if !seen.insert(v) {
            continue;
        }
        let node = g.def(v)?;
        let found = match &node.op {
            Op::Quantize(q) => Some(q.top?),
            Op::Constant(c) => c.tensor.to_i64().ok()?.into_iter().max(),
            Op::Concat(_) => {
                todo.extend(&node.inputs);
                None
            }
            Op::Pad(p) if p.mode == PadMode::Constant => {
                todo.extend(node.inputs.iter().take(2));
                None
            }
            Op::Pool(p) if p.kind != PoolKind::Max || p.indices => return None,
            Op::Resize(r) if r.mode != ResizeMode::Nearest || !r.roi.is_empty() => return None,
            Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Slice(_)
            | Op::Broadcast(_)
            | Op::Identity(_)
            | Op::Pad(_)
            | Op::Pool(_)
            | Op::Resize(_) => {
                todo.extend(node.inputs.first());
                None
            }
            _ => return None,
        };
        most = most.max(found);
    }
    most
}

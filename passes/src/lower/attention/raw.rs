//! Operands that are bf16 in memory already, and only have to be moved.

use crate::lower::body::Body;
use crate::lower::pull::Raw;
use sinter_ir::expr::product;
use sinter_ir::{DType, Expr, Op, ValueId};

/// How elements of a value that become pairs along `axis` are loaded.
pub fn form(body: &Body, v: ValueId, axis: usize) -> Raw {
    match moved(body, v) {
        true if neighbours(body, v, axis) => Raw::Words,
        true => Raw::Bits,
        false => Raw::No,
    }
}

/// Whether a value is an operand of bf16 whose elements are moved.
fn moved(body: &Body, v: ValueId) -> bool {
    if body.input_index(v).is_some() {
        return body.ty(v).dtype == DType::BF16 && body.const_of(v).is_none();
    }
    body.graph.def(v).is_some_and(|n| {
        matches!(n.op, Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Identity(_))
            && moved(body, n.inputs[0])
    })
}

/// Whether elements `2 i` and `2 i + 1` along an axis of a moved value lie behind one another in memory, the first at
/// an even place.
fn neighbours(body: &Body, v: ValueId, axis: usize) -> bool {
    let dims = &body.ty(v).dims;
    let even = |e: &Expr| e.modulo(&2.into()).is(0);
    if !even(&dims[axis]) {
        return false;
    }
    let Some(node) = body.graph.def(v).filter(|_| body.input_index(v).is_none()) else {
        return product(&dims[axis + 1..]).is(1);
    };
    let x = node.inputs[0];
    match &node.op {
        Op::Transpose(t) => neighbours(body, x, t.perm[axis]),
        Op::Slice(s) => s.steps[axis].is(1) && even(&s.starts[axis]) && neighbours(body, x, axis),
        Op::Reshape(_) => {
            let (from, behind) = (&body.ty(x).dims, product(&dims[axis + 1..]));
            let same = |&a: &usize| !from[a].is(1) && product(&from[a + 1..]) == behind;
            (0..from.len()).find(same).is_some_and(|a| neighbours(body, x, a))
        }
        _ => neighbours(body, x, axis),
    }
}

//! Comparisons, logic, bits and choice.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Equal", |cx| compare(cx, C::Eq)),
    ("Less", |cx| compare(cx, C::Lt)),
    ("LessOrEqual", |cx| compare(cx, C::Le)),
    ("Greater", |cx| compare(cx, C::Gt)),
    ("GreaterOrEqual", |cx| compare(cx, C::Ge)),
    ("And", |cx| binary(cx, B::And)),
    ("Or", |cx| binary(cx, B::Or)),
    ("Xor", |cx| binary(cx, B::Xor)),
    ("BitwiseAnd", |cx| binary(cx, B::And)),
    ("BitwiseOr", |cx| binary(cx, B::Or)),
    ("BitwiseXor", |cx| binary(cx, B::Xor)),
    ("Not", not),
    ("BitwiseNot", not),
    ("BitShift", shift),
    ("Where", choose),
];

fn compare(cx: &mut NodeCx, kind: C) -> Out {
    let (a, b) = super::arithmetic::operands(cx)?;
    let y = match (kind, cx.dtype(a)) {
        (C::Eq, DType::Str) => super::text::equal(cx, a, b)?,
        _ => cx.compare(kind, a, b)?,
    };
    cx.one(y)
}

fn binary(cx: &mut NodeCx, kind: B) -> Out {
    let (a, b) = super::arithmetic::operands(cx)?;
    let y = cx.binary(kind, a, b)?;
    cx.one(y)
}

fn not(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let y = cx.unary(U::Not, x)?;
    cx.one(y)
}

fn shift(cx: &mut NodeCx) -> Out {
    match cx.text("direction", "").as_str() {
        "LEFT" => binary(cx, B::Shl),
        "RIGHT" => binary(cx, B::Shr),
        d => Err(Diag::input(format!("BitShift direction `{d}`"))),
    }
}

fn choose(cx: &mut NodeCx) -> Out {
    let (c, a, b) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let y = cx.select(c, a, b)?;
    cx.one(y)
}

//! Element-wise arithmetic and elementary functions.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{self};
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Abs", |cx| unary(cx, U::Abs)),
    ("Neg", |cx| unary(cx, U::Neg)),
    ("Ceil", |cx| unary(cx, U::Ceil)),
    ("Floor", |cx| unary(cx, U::Floor)),
    ("Round", |cx| unary(cx, U::Round)),
    ("Sqrt", |cx| unary(cx, U::Sqrt)),
    ("Exp", |cx| unary(cx, U::Exp)),
    ("Log", |cx| unary(cx, U::Log)),
    ("Sin", |cx| unary(cx, U::Sin)),
    ("Cos", |cx| unary(cx, U::Cos)),
    ("Tan", |cx| unary(cx, U::Tan)),
    ("Asin", |cx| unary(cx, U::Asin)),
    ("Acos", |cx| unary(cx, U::Acos)),
    ("Atan", |cx| unary(cx, U::Atan)),
    ("Sinh", |cx| unary(cx, U::Sinh)),
    ("Cosh", |cx| unary(cx, U::Cosh)),
    ("Asinh", |cx| unary(cx, U::Asinh)),
    ("Acosh", |cx| unary(cx, U::Acosh)),
    ("Atanh", |cx| unary(cx, U::Atanh)),
    ("Erf", |cx| unary(cx, U::Erf)),
    ("Sign", |cx| unary(cx, U::Sign)),
    ("Tanh", |cx| unary(cx, U::Tanh)),
    ("Sigmoid", |cx| unary(cx, U::Sigmoid)),
    ("Reciprocal", |cx| unary(cx, U::Recip)),
    ("IsNaN", |cx| unary(cx, U::IsNan)),
    ("Add", |cx| binary(cx, B::Add)),
    ("Sub", |cx| binary(cx, B::Sub)),
    ("Mul", |cx| binary(cx, B::Mul)),
    ("Div", |cx| binary(cx, B::Div)),
    ("Pow", pow),
    ("Mod", modulo),
    ("Sum", |cx| variadic(cx, B::Add)),
    ("Max", |cx| variadic(cx, B::Max)),
    ("Min", |cx| variadic(cx, B::Min)),
    ("Mean", mean),
    ("IsInf", is_inf),
    ("Clip", clip),
    ("Cast", cast),
    ("CastLike", cast_like),
    ("BitCast", bitcast),
];

fn unary(cx: &mut NodeCx, kind: U) -> Out {
    let x = cx.input(0)?;
    let y = cx.unary(kind, x)?;
    cx.one(y)
}

/// Operands 0 and 1; before opset 7 the second is aligned at `axis` when it broadcasts.
pub fn operands(cx: &mut NodeCx) -> Result<(ValueId, ValueId)> {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    let Some(axis) = cx.opt_int("axis").filter(|_| cx.opset < 7 && rb > 0 && rb < ra) else {
        return Ok((a, b));
    };
    let axis = cx.axis(axis, ra)?;
    let tail: Vec<usize> = (rb..ra.saturating_sub(axis)).collect();
    Ok((a, cx.unsqueeze(b, &tail)?))
}

fn binary(cx: &mut NodeCx, kind: B) -> Out {
    let (a, b) = operands(cx)?;
    let y = cx.binary(kind, a, b)?;
    cx.one(y)
}

fn variadic(cx: &mut NodeCx, kind: B) -> Out {
    let mut acc = cx.input(0)?;
    for i in 1..cx.arity() {
        let x = cx.input(i)?;
        acc = cx.binary(kind, acc, x)?;
    }
    cx.one(acc)
}

fn mean(cx: &mut NodeCx) -> Out {
    let n = cx.arity() as f64;
    let mut acc = cx.input(0)?;
    for i in 1..cx.arity() {
        let x = cx.input(i)?;
        acc = cx.sum(acc, x)?;
    }
    let n = cx.scalar_like(acc, n)?;
    let y = cx.div(acc, n)?;
    cx.one(y)
}

/// The exponent may have another type; the result has that of the base.
fn pow(cx: &mut NodeCx) -> Out {
    let (a, b) = operands(cx)?;
    let (ta, tb) = (cx.dtype(a), cx.dtype(b));
    let y = if ta.is_int() && tb.is_float() {
        let wide = cx.cast(a, tb)?;
        let p = cx.binary(B::Pow, wide, b)?;
        cx.cast(p, ta)?
    } else {
        let b = cx.cast(b, ta)?;
        cx.binary(B::Pow, a, b)?
    };
    cx.one(y)
}

fn modulo(cx: &mut NodeCx) -> Out {
    let kind = if cx.flag("fmod", false) { B::Rem } else { B::Mod };
    binary(cx, kind)
}

fn is_inf(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let kind = match (cx.flag("detect_positive", true), cx.flag("detect_negative", true)) {
        (true, true) => U::IsInf,
        (true, false) => U::IsInfPos,
        (false, true) => U::IsInfNeg,
        (false, false) => {
            let dims = cx.dims(x);
            let no = cx.full(DType::Bool, dims, 0.0)?;
            return cx.one(no);
        }
    };
    let y = cx.unary(kind, x)?;
    cx.one(y)
}

/// Bounds are attributes before opset 11, operands since.
fn clip(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let dtype = cx.dtype(x);
    let bound = |cx: &mut NodeCx, i: usize, name: &str| -> Result<Option<ValueId>> {
        if cx.opset >= 11 {
            return cx.opt(i);
        }
        match cx.opt_float(name) {
            Some(v) => cx.scalar(dtype, f64::from(v)).map(Some),
            None => Ok(None),
        }
    };
    let (lo, hi) = (bound(cx, 1, "min")?, bound(cx, 2, "max")?);
    let mut y = x;
    if let Some(lo) = lo {
        y = cx.binary(B::Max, y, lo)?;
    }
    if let Some(hi) = hi {
        y = cx.binary(B::Min, y, hi)?;
    }
    cx.one(y)
}

fn cast(cx: &mut NodeCx) -> Out {
    let to = tensor::dtype(cx.int("to", 0) as i32)?;
    let x = cx.input(0)?;
    let y = convert(cx, x, to)?;
    cx.one(y)
}

fn cast_like(cx: &mut NodeCx) -> Out {
    let (x, like) = (cx.input(0)?, cx.input(1)?);
    let to = cx.dtype(like);
    let y = convert(cx, x, to)?;
    cx.one(y)
}

fn convert(cx: &mut NodeCx, x: ValueId, to: DType) -> Result<ValueId> {
    let from = cx.dtype(x);
    if from == to {
        return Ok(x);
    }
    // `saturate` concerns 8-bit floats only; integers wrap.
    let saturate = to.is_float() && cx.flag("saturate", true);
    if to == DType::Bool && from != DType::Str {
        let zero = cx.scalar_like(x, 0.0)?;
        return cx.compare(CompareKind::Ne, x, zero);
    }
    cx.emit(op::Cast { to, saturate }, &[x])
}

fn bitcast(cx: &mut NodeCx) -> Out {
    let to = tensor::dtype(cx.int("to", 0) as i32)?;
    let x = cx.input(0)?;
    if cx.dtype(x).bits() != to.bits() {
        return Err(Diag::unsupported(format!("BitCast from {} to {to}: the widths differ", cx.dtype(x))));
    }
    let y = cx.emit(op::Bitcast { to }, &[x])?;
    cx.one(y)
}

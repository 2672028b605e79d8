//! Derivatives of element-wise ops. At kinks the choice is the usual one of training frameworks: 0 for Abs, the
//! constant operand for a tie of Min and Max, halves for a tie of two variable ones.

use super::{Adjoints, Step, collect, full_like};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Result, ValueId};

/// One operand.
pub fn unary(cx: &mut NodeCx, s: &Step, kind: U, dy: ValueId) -> Adjoints {
    let (x, y) = (s.x(0)?, s.y()?);
    let part = match kind {
        U::Neg => cx.unary(U::Neg, dy)?,
        U::Abs => times(cx, dy, x, U::Sign)?,
        U::Ceil | U::Floor | U::Round | U::Trunc | U::Sign => return Ok(vec![None]),
        U::Not | U::IsNan | U::IsInf | U::IsInfPos | U::IsInfNeg => return Ok(vec![None]),
        U::Sqrt => {
            let half = cx.mul_num(dy, 0.5)?;
            cx.div(half, y)?
        }
        U::Exp => cx.mul(dy, y)?,
        U::Log => cx.div(dy, x)?,
        U::Sin => times(cx, dy, x, U::Cos)?,
        U::Cos => {
            let g = times(cx, dy, x, U::Sin)?;
            cx.unary(U::Neg, g)?
        }
        U::Tan => {
            let slope = square_plus(cx, y, 1.0, 1.0)?;
            cx.mul(dy, slope)?
        }
        U::Asin | U::Acos => {
            let inside = square_plus(cx, x, -1.0, 1.0)?;
            let root = cx.unary(U::Sqrt, inside)?;
            let g = cx.div(dy, root)?;
            if kind == U::Acos { cx.unary(U::Neg, g)? } else { g }
        }
        U::Atan => {
            let below = square_plus(cx, x, 1.0, 1.0)?;
            cx.div(dy, below)?
        }
        U::Sinh => times(cx, dy, x, U::Cosh)?,
        U::Cosh => times(cx, dy, x, U::Sinh)?,
        U::Tanh => {
            let slope = square_plus(cx, y, -1.0, 1.0)?;
            cx.mul(dy, slope)?
        }
        U::Asinh | U::Acosh => {
            let inside = square_plus(cx, x, 1.0, if kind == U::Asinh { 1.0 } else { -1.0 })?;
            let root = cx.unary(U::Sqrt, inside)?;
            cx.div(dy, root)?
        }
        U::Atanh => {
            let below = square_plus(cx, x, -1.0, 1.0)?;
            cx.div(dy, below)?
        }
        U::Erf => {
            let square = square_plus(cx, x, -1.0, 0.0)?;
            let bell = cx.unary(U::Exp, square)?;
            let slope = cx.mul_num(bell, std::f64::consts::FRAC_2_SQRT_PI)?;
            cx.mul(dy, slope)?
        }
        U::Sigmoid => {
            let square = square_plus(cx, y, -1.0, 0.0)?;
            let slope = cx.sum(y, square)?;
            cx.mul(dy, slope)?
        }
        U::Recip => {
            let slope = square_plus(cx, y, -1.0, 0.0)?;
            cx.mul(dy, slope)?
        }
    };
    Ok(vec![Some(part)])
}

/// `dy * f(x)`.
fn times(cx: &mut NodeCx, dy: ValueId, x: ValueId, f: U) -> Result<ValueId> {
    let slope = cx.unary(f, x)?;
    cx.mul(dy, slope)
}

/// `sign * v * v + add`, sign being 1 or -1.
fn square_plus(cx: &mut NodeCx, v: ValueId, sign: f64, add: f64) -> Result<ValueId> {
    let mut square = cx.mul(v, v)?;
    if sign < 0.0 {
        square = cx.unary(U::Neg, square)?;
    }
    if add == 0.0 { Ok(square) } else { cx.add_num(square, add) }
}

/// Two operands under broadcasting.
pub fn binary(cx: &mut NodeCx, s: &Step, kind: B, dy: ValueId) -> Adjoints {
    let (a, b, y) = (s.x(0)?, s.x(1)?, s.y()?);
    let mut parts = [None, None];
    if s.wants(0) {
        parts[0] = match kind {
            B::Add | B::Sub | B::Rem | B::Mod => Some(dy),
            B::Mul => Some(cx.mul(dy, b)?),
            B::Div => Some(cx.div(dy, b)?),
            B::Pow => Some(pow_base(cx, a, b, dy)?),
            B::Min | B::Max => Some(wins(cx, s, kind, 0, dy)?),
            B::And | B::Or | B::Xor | B::Shl | B::Shr => None,
        };
    }
    if s.wants(1) {
        parts[1] = match kind {
            B::Add => Some(dy),
            B::Sub => Some(cx.unary(U::Neg, dy)?),
            B::Mul => Some(cx.mul(dy, a)?),
            B::Div => {
                let g = cx.mul(dy, y)?;
                let g = cx.div(g, b)?;
                Some(cx.unary(U::Neg, g)?)
            }
            // a - b * whole(a / b), whole being constant between its steps.
            B::Rem | B::Mod => {
                let q = cx.div(a, b)?;
                let whole = cx.unary(if kind == B::Rem { U::Trunc } else { U::Floor }, q)?;
                let g = cx.mul(dy, whole)?;
                Some(cx.unary(U::Neg, g)?)
            }
            B::Pow => Some(pow_exponent(cx, a, y, dy)?),
            B::Min | B::Max => Some(wins(cx, s, kind, 1, dy)?),
            B::And | B::Or | B::Xor | B::Shl | B::Shr => None,
        };
    }
    let mut out = Vec::new();
    for (part, v) in parts.into_iter().zip([a, b]) {
        let dims = cx.dims(v);
        out.push(match part {
            Some(g) => Some(collect(cx, g, &dims)?),
            None => None,
        });
    }
    Ok(out)
}

/// `dy * b * a^(b - 1)`; for b = 0 the exponent is replaced, so that a = 0 gives 0 and not 0 * inf.
fn pow_base(cx: &mut NodeCx, a: ValueId, b: ValueId, dy: ValueId) -> Result<ValueId> {
    let (zero, one) = (cx.scalar_like(b, 0.0)?, cx.scalar_like(b, 1.0)?);
    let none = cx.compare(CompareKind::Eq, b, zero)?;
    let less = cx.sub(b, one)?;
    let exponent = cx.select(none, one, less)?;
    let power = cx.binary(B::Pow, a, exponent)?;
    let slope = cx.mul(b, power)?;
    cx.mul(dy, slope)
}

/// `dy * y * log a` where a > 0, else 0.
fn pow_exponent(cx: &mut NodeCx, a: ValueId, y: ValueId, dy: ValueId) -> Result<ValueId> {
    let (zero, one) = (cx.scalar_like(a, 0.0)?, cx.scalar_like(a, 1.0)?);
    let positive = cx.compare(CompareKind::Gt, a, zero)?;
    let safe = cx.select(positive, a, one)?;
    let log = cx.unary(U::Log, safe)?;
    let slope = cx.mul(y, log)?;
    cx.mul(dy, slope)
}

/// The part of operand `own` of Min or Max: all where it is chosen.
fn wins(cx: &mut NodeCx, s: &Step, kind: B, own: usize, dy: ValueId) -> Result<ValueId> {
    let (v, other) = (s.x(own)?, s.x(1 - own)?);
    let better = if kind == B::Max { CompareKind::Gt } else { CompareKind::Lt };
    let chosen = cx.compare(better, v, other)?;
    let zero = cx.scalar_like(v, 0.0)?;
    let rest = if s.wants(1 - own) {
        let tie = cx.compare(CompareKind::Eq, v, other)?;
        let half = cx.mul_num(dy, 0.5)?;
        cx.select(tie, half, zero)?
    } else {
        zero
    };
    cx.select(chosen, dy, rest)
}

/// A choice passes the adjoint to the chosen operand.
pub fn select(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    let (cond, zero) = (s.x(0)?, full_like(cx, dy, 0.0)?);
    let mut out = vec![None];
    for i in 1..3 {
        let dims = cx.dims(s.x(i)?);
        out.push(match s.wants(i) {
            true => {
                let g = if i == 1 { cx.select(cond, dy, zero)? } else { cx.select(cond, zero, dy)? };
                Some(collect(cx, g, &dims)?)
            }
            false => None,
        });
    }
    Ok(out)
}

/// A conversion between floats; others have no slope.
pub fn cast(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    let from = cx.dtype(s.x(0)?);
    if !from.is_float() {
        return Err(Diag::bug("adjoint of a value that is no float"));
    }
    Ok(vec![Some(cx.cast(dy, from)?)])
}

//! Element-wise ops with neutral, absorbing or repeated operands.

use super::{Rule, Site, approximating, exact, reassociating};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{Binary, Broadcast, Unary};
use sinter_ir::{DType, Op, Result, Tensor, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("neutral-operand", &["Binary"], neutral),
    reassociating("whole-power", &["Binary"], whole_power),
    approximating("power-of-half", &["Binary"], power_of_half),
    exact("div-by-power-of-two", &["Binary"], div_power_of_two),
    reassociating("erf-of-quotient", &["Unary"], erf_of_quotient),
    exact("sub-constant", &["Binary"], sub_constant),
    exact("clamp-twice", &["Binary"], clamp_twice),
    exact("unary-twice", &["Unary"], unary_twice),
    exact("abs-of-neg", &["Unary"], abs_of_neg),
    exact("select-known", &["Select"], select_known),
    exact("select-same", &["Select"], select_same),
];

fn kind(s: &Site) -> Option<B> {
    match s.op {
        Op::Binary(b) => Some(b.kind),
        _ => None,
    }
}

/// Whether broadcasting with the other operand leaves the dims of operand `i` as they are.
fn keeps_dims(s: &Site, i: usize) -> bool {
    let (x, other) = (s.ty(i), s.ty(1 - i));
    let lead = match x.rank().checked_sub(other.rank()) {
        Some(l) => l,
        None => return false,
    };
    other.dims.iter().zip(&x.dims[lead..]).all(|(o, d)| o.is(1) || s.same(o, d))
}

/// `erf(x / c) = erf(x * (1 / c))` for one constant: what rounding the argument does is less than what erf's own does.
fn erf_of_quotient(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Unary(u) = s.op else { return Ok(None) };
    let Some(node) = s.def(0).filter(|_| u.kind == U::Erf && s.used_once(s.inputs[0])) else {
        return Ok(None);
    };
    let (&[x, c], true) = (&node.inputs[..], matches!(node.op, Op::Binary(Binary { kind: B::Div }))) else {
        return Ok(None);
    };
    let Some(v) = s.splat(c).filter(|v| v.is_finite() && v.abs() > 1e-30) else { return Ok(None) };
    let ty = s.type_of(c);
    let Some(shape) = s.tensor(c).filter(|_| ty.dtype == DType::F32).map(|t| t.shape().to_vec()) else {
        return Ok(None);
    };
    let values = vec![(1.0 / v) as f32; shape.iter().product()];
    let op = s.op.clone();
    let factor = s.constant(Tensor::f32s(shape, &values)?)?;
    let y = s.emit(Binary { kind: B::Mul }, &[x, factor])?;
    s.emit(op, &[y]).map(Some)
}

/// `x+0, x-0, x*1, x/1, x^1`, and the same for logic.
fn neutral(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(kind) = kind(s) else { return Ok(None) };
    let value = |s: &Site, i: usize| match s.ty(i).dtype {
        DType::Bool => logic(s, i),
        _ => s.splat(s.inputs[i]),
    };
    let (a, b) = (value(s, 0), value(s, 1));
    let dtype = s.ty(0).dtype;
    let ones = if dtype == DType::Bool || dtype.is_unsigned_int() && dtype.bits() == 1 { 1.0 } else { -1.0 };
    let right = match kind {
        B::Add | B::Sub | B::Or | B::Xor | B::Shl | B::Shr => b == Some(0.0),
        B::Mul | B::Div | B::Pow => b == Some(1.0),
        B::And => b == Some(ones),
        _ => false,
    };
    let left = match kind {
        B::Add | B::Or | B::Xor => a == Some(0.0),
        B::Mul => a == Some(1.0),
        B::And => a == Some(ones),
        _ => false,
    };
    if right && keeps_dims(s, 0) {
        return Ok(Some(s.inputs[0]));
    }
    Ok((left && keeps_dims(s, 1)).then(|| s.inputs[1]))
}

fn logic(s: &Site, i: usize) -> Option<f64> {
    let t = s.tensor(s.inputs[i])?.bytes();
    let first = *t.first()? != 0;
    t.iter().all(|b| (*b != 0) == first).then_some(f64::from(u8::from(first)))
}

/// The exponent that all powers of a node have.
fn exponent(s: &Site) -> Option<f64> {
    (kind(s) == Some(B::Pow) && keeps_dims(s, 0)).then(|| s.splat(s.inputs[1])).flatten()
}

/// Powers by up to four, and their reciprocals, by products. A square is exact.
fn whole_power(s: &mut Site) -> Result<Option<ValueId>> {
    let float = s.ty(0).dtype.is_float();
    let Some(n) =
        exponent(s).filter(|n| *n == 2.0 || float && [-4.0, -3.0, -2.0, -1.0, 3.0, 4.0].contains(n))
    else {
        return Ok(None);
    };
    let (x, mul) = (s.inputs[0], Binary { kind: B::Mul });
    let power = match n.abs() {
        1.0 => x,
        2.0 => s.emit(mul, &[x, x])?,
        3.0 => {
            let square = s.emit(mul.clone(), &[x, x])?;
            s.emit(mul, &[square, x])?
        }
        4.0 => {
            let square = s.emit(mul.clone(), &[x, x])?;
            s.emit(mul, &[square, square])?
        }
        _ => return Ok(None),
    };
    if n > 0.0 {
        return Ok(Some(power));
    }
    s.emit(Unary { kind: U::Recip }, &[power]).map(Some)
}

/// `x^0.5` is a root, but for `-inf`, which has none.
fn power_of_half(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(n) = exponent(s).filter(|n| n.abs() == 0.5 && s.ty(0).dtype.is_float()) else { return Ok(None) };
    let root = s.emit(Unary { kind: U::Sqrt }, &[s.inputs[0]])?;
    if n > 0.0 {
        return Ok(Some(root));
    }
    s.emit(Unary { kind: U::Recip }, &[root]).map(Some)
}

/// Division by powers of two is multiplication by their exact reciprocals.
fn div_power_of_two(s: &mut Site) -> Result<Option<ValueId>> {
    let dtype = s.ty(1).dtype;
    if kind(s) != Some(B::Div) || !matches!(dtype, DType::F32 | DType::F64) {
        return Ok(None);
    }
    let Some(t) = s.tensor(s.inputs[1]) else { return Ok(None) };
    let values = t.to_f64()?;
    // The mantissa bits are 0 and neither the value nor its reciprocal is near the ends of the f32 range.
    let power = |v: &f64| v.to_bits() << 12 == 0 && v.abs() >= 2f64.powi(-100) && v.abs() <= 2f64.powi(100);
    if !values.iter().all(power) {
        return Ok(None);
    }
    let recip: Vec<f64> = values.iter().map(|v| v.recip()).collect();
    let c = Tensor::from_f64(dtype, t.shape().to_vec(), &recip)?;
    let c = s.constant(c)?;
    s.emit(Binary { kind: B::Mul }, &[s.inputs[0], c]).map(Some)
}

/// `x - c` is `x + (-c)`, the form that the folding of affine chains looks for.
fn sub_constant(s: &mut Site) -> Result<Option<ValueId>> {
    let dtype = s.ty(1).dtype;
    if kind(s) != Some(B::Sub) || !matches!(dtype, DType::F32 | DType::F64) {
        return Ok(None);
    }
    let Some(t) = s.tensor(s.inputs[1]) else { return Ok(None) };
    let negated: Vec<f64> = t.to_f64()?.iter().map(|v| -v).collect();
    let c = Tensor::from_f64(dtype, t.shape().to_vec(), &negated)?;
    let c = s.constant(c)?;
    s.emit(Binary { kind: B::Add }, &[s.inputs[0], c]).map(Some)
}

/// `max(max(x, a), b) = max(x, max(a, b))` for constants, and the same for min.
fn clamp_twice(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(kind @ (B::Min | B::Max)) = kind(s) else { return Ok(None) };
    let (Some(b), Some(node)) = (s.tensor(s.inputs[1]).cloned(), s.def(0)) else { return Ok(None) };
    if !matches!(&node.op, Op::Binary(i) if i.kind == kind) {
        return Ok(None);
    }
    let (x, a) = (node.inputs[0], node.inputs[1]);
    let Some(a) = s.tensor(a).filter(|a| a.len() == 1 && b.len() == 1).cloned() else { return Ok(None) };
    let both = s.op.eval(&mut Default::default(), &[a, b])?;
    let Some(t) = both.into_iter().next() else { return Ok(None) };
    let c = s.constant(t)?;
    s.emit(Binary { kind }, &[x, c]).map(Some)
}

/// Functions that are their own inverse cancel; idempotent ones collapse.
fn unary_twice(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Unary(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Unary(inner) = &node.op else { return Ok(None) };
    Ok(match (outer.kind, inner.kind) {
        (U::Neg, U::Neg) | (U::Not, U::Not) => Some(node.inputs[0]),
        (U::Abs, U::Abs) | (U::Sign, U::Sign) => Some(s.inputs[0]),
        (U::Ceil | U::Floor | U::Round | U::Trunc, U::Ceil | U::Floor | U::Round | U::Trunc) => {
            Some(s.inputs[0])
        }
        _ => None,
    })
}

fn abs_of_neg(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Unary(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    match &node.op {
        Op::Unary(inner) if outer.kind == U::Abs && inner.kind == U::Neg => {
            let x = node.inputs[0];
            s.emit(s.op.clone(), &[x]).map(Some)
        }
        _ => Ok(None),
    }
}

/// A constant condition that is the same everywhere chooses at once.
fn select_known(s: &mut Site) -> Result<Option<ValueId>> {
    let Some(cond) = logic(s, 0) else { return Ok(None) };
    choose(s, if cond != 0.0 { 1 } else { 2 })
}

fn select_same(s: &mut Site) -> Result<Option<ValueId>> {
    if s.inputs[1] == s.inputs[2] { choose(s, 1) } else { Ok(None) }
}

/// Operand `i`, broadcast to the result's dims.
fn choose(s: &mut Site, i: usize) -> Result<Option<ValueId>> {
    let types = [s.ty(0).clone(), s.ty(1).clone(), s.ty(2).clone()];
    let mut dims = s.op.infer(s.rb.symbols, &types.each_ref())?;
    let Some(ty) = dims.pop() else { return Ok(None) };
    s.emit(Broadcast { dims: ty.dims }, &[s.inputs[i]]).map(Some)
}

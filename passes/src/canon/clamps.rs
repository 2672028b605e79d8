//! What lies in front of a Quantize: clamps at the ends where it saturates itself, so that rectifiers and the like cost
//! nothing, and products and sums with constants, which are one of each.

use sinter_ir::eval::EvalCx;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, OpSpec, Quantize};
use sinter_ir::{DType, Diag, Graph, Op, Result, Tensor, ValueId};

/// What may be quantised instead of a value: behind bounds that become the first or the last code.
pub struct Unclamped {
    /// In front of the bounds.
    pub value: ValueId,
    /// What lies between them and Quantize: a product with positive constants.
    pub factor: Option<Tensor>,
}

/// Looks through the bounds of a value that Quantize reads with one scale and zero point. None where there are none to
/// be left out.
pub fn unclamped(g: &Graph, q: &Quantize, inputs: &[ValueId]) -> Option<Unclamped> {
    let &[x, scale, zero] = inputs else { return None };
    let (scale, zero) = (g.as_const(scale)?, g.as_const(zero)?);
    if q.block != 0 || scale.len() != 1 || zero.len() != 1 || g.ty(x).dtype != DType::F32 {
        return None;
    }
    let (scale, from) = (*scale.to_f32().ok()?.first()?, *zero.to_f64().ok()?.first()?);
    let (lo, hi) = zero.dtype().int_range()?;
    let ends = (lo as f64, q.top.map_or(hi as f64, |top| top as f64));
    if scale.is_nan() || scale <= 0.0 {
        return None;
    }
    let factor = combined(g, x, BinaryKind::Mul);
    let (mut value, factors) = match factor {
        Some((inner, by)) => (inner, by.to_f32().ok()?),
        None => (x, vec![1.0]),
    };
    let factor = factor.map(|f| f.1.clone());
    if factors.iter().any(|f| f.is_nan() || *f <= 0.0) {
        return None;
    }
    // Rounding and products keep the order of numbers: what is beyond a bound has its code.
    let codes =
        |bound: f32| factors.iter().map(move |f| f64::from((bound * f / scale).round_ties_even()) + from);
    let first = value;
    while let Some((inner, bound, kind)) = bounded(g, value) {
        let nothing = match kind {
            BinaryKind::Max => codes(bound).all(|c| c <= ends.0),
            _ => codes(bound).all(|c| c >= ends.1),
        };
        if !nothing {
            break;
        }
        value = inner;
    }
    (value != first).then_some(Unclamped { value, factor })
}

/// A value as `value * by + more`.
pub struct Affine {
    /// In front of all.
    pub value: ValueId,
    /// Constants that do not change its shape.
    pub by: Tensor,
    /// The same.
    pub more: Tensor,
    /// Products and sums that this stands for.
    pub steps: usize,
}

/// Gathers products with constants and sums with them; none where there is neither.
pub fn affine(g: &Graph, v: ValueId) -> Result<Option<Affine>> {
    if g.ty(v).dtype != DType::F32 {
        return Ok(None);
    }
    let number = |v: f32| Tensor::f32s(vec![], &[v]);
    let apply = |kind, a: &Tensor, b: &Tensor| {
        let done = Binary { kind }.eval(&mut EvalCx::default(), &[a.clone(), b.clone()])?;
        done.into_iter().next().ok_or_else(|| Diag::bug("an operation without a result"))
    };
    let mut found = Affine { value: v, by: number(1.0)?, more: number(0.0)?, steps: 0 };
    loop {
        let of = found.value;
        if let Some((x, c)) = combined(g, of, BinaryKind::Mul) {
            (found.value, found.by) = (x, apply(BinaryKind::Mul, &found.by, c)?);
        } else if let Some((x, c)) = combined(g, of, BinaryKind::Add) {
            let c = apply(BinaryKind::Mul, &found.by, c)?;
            (found.value, found.more) = (x, apply(BinaryKind::Add, &found.more, &c)?);
        } else {
            return Ok(Some(found).filter(|f| f.steps > 0));
        }
        found.steps += 1;
    }
}

/// A value as another of its shape and a constant, combined so.
fn combined(g: &Graph, v: ValueId, kind: BinaryKind) -> Option<(ValueId, &Tensor)> {
    let node = g.def(v)?;
    let (Op::Binary(b), &[x, y]) = (&node.op, node.inputs.as_slice()) else { return None };
    let other = |&(x, c): &(ValueId, ValueId)| {
        g.as_const(c).is_some() && g.as_const(x).is_none() && g.ty(x).dims == g.ty(v).dims
    };
    let (x, c) = [(x, y), (y, x)].into_iter().find(|p| b.kind == kind && other(p))?;
    Some((x, g.as_const(c)?))
}

/// A value as the larger or smaller one of another and a number.
fn bounded(g: &Graph, v: ValueId) -> Option<(ValueId, f32, BinaryKind)> {
    let node = g.def(v)?;
    let (Op::Binary(Binary { kind }), &[a, b]) = (&node.op, node.inputs.as_slice()) else { return None };
    if !matches!(kind, BinaryKind::Max | BinaryKind::Min) {
        return None;
    }
    let number =
        |c: ValueId| g.as_const(c).filter(|t: &&Tensor| t.len() == 1)?.to_f32().ok()?.first().copied();
    let (x, bound) = [(a, b), (b, a)].into_iter().find_map(|(x, c)| Some((x, number(c)?)))?;
    (g.ty(x).dims == g.ty(v).dims && !bound.is_nan()).then_some((x, bound, *kind))
}

//! Steps of training: Adagrad, Adam, Momentum.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("ai.onnx.preview.training:Adagrad", |cx| each(cx, 1, adagrad)),
    ("ai.onnx.preview.training:Adam", |cx| each(cx, 2, adam)),
    ("ai.onnx.preview.training:Momentum", |cx| each(cx, 1, momentum)),
];

/// Rate, step count, a tensor, its gradient with regularisation, and its state.
struct Step {
    rate: ValueId,
    count: ValueId,
    x: ValueId,
    g: ValueId,
    state: Vec<ValueId>,
}

/// Applies a rule to every tensor. Operands: rate, count, all tensors, all gradients, then each state of all
/// tensors; results: all tensors, then each state of all.
fn each(cx: &mut NodeCx, states: usize, rule: fn(&mut NodeCx, &Step) -> Result<Vec<ValueId>>) -> Out {
    let n = cx.arity().saturating_sub(2) / (2 + states);
    if n == 0 || cx.arity() != 2 + n * (2 + states) {
        return Err(Diag::input(format!("{} operands are no whole number of tensors", cx.arity())));
    }
    let (rate, count) = (cx.input(0)?, cx.input(1)?);
    let mut rows = Vec::new();
    for i in 0..n {
        let (x, g) = (cx.input(2 + i)?, cx.input(2 + n + i)?);
        let (rate, count) = (cx.cast(rate, cx.dtype(x))?, cx.cast(count, cx.dtype(x))?);
        let decay = cx.mul_num(x, f64::from(cx.float("norm_coefficient", 0.0)))?;
        let g = cx.sum(decay, g)?;
        let state = (0..states).map(|s| cx.input(2 + (2 + s) * n + i)).collect::<Result<_>>()?;
        rows.push(rule(cx, &Step { rate, count, x, g, state })?);
    }
    let results: Vec<ValueId> =
        (0..=states).flat_map(|k| rows.iter().filter_map(move |r| r.get(k).copied())).collect();
    cx.many(&results)
}

/// `a p + b q`.
fn blend(cx: &mut NodeCx, a: f64, p: ValueId, b: f64, q: ValueId) -> Result<ValueId> {
    let (p, q) = (cx.mul_num(p, a)?, cx.mul_num(q, b)?);
    cx.sum(p, q)
}

fn adagrad(cx: &mut NodeCx, s: &Step) -> Result<Vec<ValueId>> {
    let d = cx.mul_num(s.count, f64::from(cx.float("decay_factor", 0.0)))?;
    let d = cx.add_num(d, 1.0)?;
    let rate = cx.div(s.rate, d)?;
    let g2 = cx.mul(s.g, s.g)?;
    let h = cx.sum(s.state[0], g2)?;
    let root = cx.unary(U::Sqrt, h)?;
    let root = cx.add_num(root, f64::from(cx.float("epsilon", 0.0)))?;
    let step = cx.mul(rate, s.g)?;
    let step = cx.div(step, root)?;
    Ok(vec![cx.sub(s.x, step)?, h])
}

fn adam(cx: &mut NodeCx, s: &Step) -> Result<Vec<ValueId>> {
    let (alpha, beta) = (f64::from(cx.float("alpha", 0.9)), f64::from(cx.float("beta", 0.999)));
    let v = blend(cx, alpha, s.state[0], 1.0 - alpha, s.g)?;
    let g2 = cx.mul(s.g, s.g)?;
    let h = blend(cx, beta, s.state[1], 1.0 - beta, g2)?;
    let root = cx.unary(U::Sqrt, h)?;
    let root = cx.add_num(root, f64::from(cx.float("epsilon", 0.0)))?;
    // Bias correction from the first step on.
    let unlike = |cx: &mut NodeCx, base: f64| -> Result<ValueId> {
        let base = cx.scalar_like(s.count, base)?;
        let p = cx.binary(B::Pow, base, s.count)?;
        let p = cx.unary(U::Neg, p)?;
        cx.add_num(p, 1.0)
    };
    let (b, a) = (unlike(cx, beta)?, unlike(cx, alpha)?);
    let b = cx.unary(U::Sqrt, b)?;
    let corrected = cx.mul(s.rate, b)?;
    let corrected = cx.div(corrected, a)?;
    let zero = cx.scalar_like(s.count, 0.0)?;
    let later = cx.compare(C::Gt, s.count, zero)?;
    let rate = cx.select(later, corrected, s.rate)?;
    let step = cx.div(v, root)?;
    let step = cx.mul(rate, step)?;
    let x = cx.sub(s.x, step)?;
    let x = cx.mul_num(x, 1.0 - f64::from(cx.float("norm_coefficient_post", 0.0)))?;
    Ok(vec![x, v, h])
}

fn momentum(cx: &mut NodeCx, s: &Step) -> Result<Vec<ValueId>> {
    let alpha = f64::from(cx.float("alpha", 0.0));
    let zero = cx.scalar_like(s.count, 0.0)?;
    let later = cx.compare(C::Gt, s.count, zero)?;
    let (beta, one) = (cx.scalar_like(s.g, f64::from(cx.float("beta", 0.0)))?, cx.scalar_like(s.g, 1.0)?);
    let beta = cx.select(later, beta, one)?;
    let fresh = cx.mul(beta, s.g)?;
    let old = cx.mul_num(s.state[0], alpha)?;
    let v = cx.sum(old, fresh)?;
    let step = match cx.text("mode", "standard").as_str() {
        "standard" => v,
        "nesterov" => {
            let ahead = cx.mul_num(v, alpha)?;
            cx.sum(s.g, ahead)?
        }
        m => return Err(Diag::input(format!("Momentum mode `{m}`"))),
    };
    let step = cx.mul(s.rate, step)?;
    Ok(vec![cx.sub(s.x, step)?, v])
}

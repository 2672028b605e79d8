//! Scores of classes: their labels and what is made of them.

use super::numbers;
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::text;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{ArgReduce, Gather, Softmax};
use sinter_ir::{Diag, Result, Tensor, ValueId};
use std::f64::consts::{PI, SQRT_2};

/// What is done with the scores of a row in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Post {
    /// Nothing.
    None,
    /// Softmax.
    Softmax,
    /// The logistic function of each.
    Logistic,
    /// Softmax of those that are not 0.
    SoftmaxZero,
    /// Quantiles of the normal distribution.
    Probit,
}

impl Post {
    /// The node's attribute.
    pub fn of(cx: &NodeCx) -> Result<Self> {
        if let Some(i) = cx.attr("post_transform").filter(|a| a.s.is_empty()).map(|a| a.i) {
            let all = [Self::None, Self::Softmax, Self::Logistic, Self::SoftmaxZero, Self::Probit];
            let known = usize::try_from(i).ok().and_then(|i| all.get(i).copied());
            return known.ok_or_else(|| Diag::input(format!("post_transform {i}")));
        }
        Ok(match cx.text("post_transform", "NONE").as_str() {
            "NONE" => Self::None,
            "SOFTMAX" => Self::Softmax,
            "LOGISTIC" => Self::Logistic,
            "SOFTMAX_ZERO" => Self::SoftmaxZero,
            "PROBIT" => Self::Probit,
            p => return Err(Diag::input(format!("post_transform `{p}`"))),
        })
    }
    /// Applied to scores `[rows, classes]`.
    pub fn apply(self, cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
        match self {
            Self::None => Ok(x),
            Self::Softmax => cx.emit(Softmax { axis: 1, log: false }, &[x]),
            Self::Logistic => cx.unary(U::Sigmoid, x),
            Self::SoftmaxZero => softmax_zero(cx, x),
            Self::Probit => probit(cx, x),
        }
    }
}

fn softmax_zero(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let largest = cx.reduce(R::Max, x, &[1], true)?;
    let shifted = cx.sub(x, largest)?;
    let e = cx.unary(U::Exp, shifted)?;
    let (zero, small) = (cx.scalar_like(x, 0.0)?, cx.scalar_like(x, 1e-7)?);
    let size = cx.unary(U::Abs, x)?;
    let counts = cx.compare(C::Gt, size, small)?;
    let e = cx.select(counts, e, zero)?;
    let sum = cx.reduce(R::Sum, e, &[1], true)?;
    cx.div(e, sum)
}

/// Winitzki's approximation of the inverse error function with a = 0.147, as runtimes have it.
fn probit(cx: &mut NodeCx, p: ValueId) -> Result<ValueId> {
    let x = cx.mul_num(p, 2.0)?;
    let x = cx.add_num(x, -1.0)?;
    let sign = cx.unary(U::Sign, x)?;
    let square = cx.mul(x, x)?;
    let rest = cx.mul_num(square, -1.0)?;
    let rest = cx.add_num(rest, 1.0)?;
    let log = cx.unary(U::Log, rest)?;
    let half = cx.mul_num(log, 0.5)?;
    let v = cx.add_num(half, 2.0 / (PI * 0.147))?;
    let (vv, w) = (cx.mul(v, v)?, cx.mul_num(log, 1.0 / 0.147)?);
    let root = cx.sub(vv, w)?;
    let root = cx.unary(U::Sqrt, root)?;
    let y = cx.sub(root, v)?;
    let y = cx.unary(U::Sqrt, y)?;
    let y = cx.mul(y, sign)?;
    cx.mul_num(y, SQRT_2)
}

/// How the score of the one class that has any becomes two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// `1 - s` and `s`.
    Rest,
    /// `-s` and `s`, or the logistic function of both.
    Opposite,
}

impl Second {
    /// Scores `[rows, 2]` of `[rows, 1]`.
    pub fn apply(self, cx: &mut NodeCx, s: ValueId, post: Post) -> Result<ValueId> {
        if post == Post::Probit {
            return probit(cx, s);
        }
        let other = cx.mul_num(s, -1.0)?;
        let other = if self == Self::Rest { cx.add_num(other, 1.0)? } else { other };
        let both = cx.concat(&[other, s], 1)?;
        if self == Self::Opposite && post == Post::Logistic { cx.unary(U::Sigmoid, both) } else { Ok(both) }
    }
}

/// The node's labels, strings or integers; empty without any.
pub fn labels(cx: &NodeCx, prefix: &str) -> Result<Tensor> {
    let words = text::strings(cx, &format!("{prefix}_strings"));
    if !words.is_empty() {
        return Tensor::from_strings(vec![words.len()], words);
    }
    let name = |n: &str| cx.int_list(&format!("{prefix}_{n}"));
    let ints = name("int64s").or_else(|| name("ints")).unwrap_or_default();
    Ok(Tensor::i64s(&ints))
}

/// Label of the best score of each row `[rows, classes]`.
pub fn best(cx: &mut NodeCx, scores: ValueId, labels: Tensor) -> Result<ValueId> {
    let at = cx.emit(ArgReduce { largest: true, axis: 1, keepdims: false, last: false }, &[scores])?;
    pick(cx, at, labels)
}

/// Label 1 of two where the score `[rows, 1]` is above a limit, else label 0.
pub fn above(cx: &mut NodeCx, score: ValueId, limit: f64, labels: Tensor) -> Result<ValueId> {
    let rows = cx.dims(score)[0].clone();
    let limit = cx.scalar_like(score, limit)?;
    let yes = cx.compare(C::Gt, score, limit)?;
    let at = cx.cast(yes, sinter_ir::DType::I64)?;
    let at = cx.reshape(at, vec![rows])?;
    pick(cx, at, labels)
}

/// Labels by their places.
fn pick(cx: &mut NodeCx, at: ValueId, labels: Tensor) -> Result<ValueId> {
    let list = cx.constant(labels)?;
    cx.emit(Gather { axis: 0 }, &[list, at])
}

/// Adds the numbers of an attribute, one per class, where there are any.
pub fn plus(cx: &mut NodeCx, x: ValueId, name: &str) -> Result<ValueId> {
    let values = numbers(cx, name)?;
    if values.is_empty() {
        return Ok(x);
    }
    let c = super::matrix(cx, x, vec![values.len()], &values, name)?;
    cx.binary(B::Add, x, c)
}

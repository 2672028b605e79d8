//! Mixtures of experts. All experts are computed and weighted, those that are not chosen by zero.

use super::activation::{gelu, relu};
use super::matmul::swapped;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[("com.microsoft:MoE", mixture)];

fn mixture(cx: &mut NodeCx) -> Out {
    if cx.flag("use_sparse_mixer", false) {
        return Err(Diag::unsupported("MoE with use_sparse_mixer"));
    }
    let x = cx.input(0)?;
    let (own, t) = (cx.dims(x), cx.dtype(x));
    let hidden = own.last().cloned().ok_or_else(|| Diag::input("MoE of a scalar"))?;
    let tokens = sinter_ir::expr::product(&own[..own.len() - 1]);
    let rows = cx.reshape(x, vec![1.into(), tokens, hidden])?;
    let inner = dense(cx, rows, 2, 3)?;
    let inner = match cx.text("activation_type", "relu").as_str() {
        "relu" => relu(cx, inner)?,
        "gelu" => gelu(cx, inner)?,
        "silu" => gated(cx, inner, 1.0)?,
        "identity" => inner,
        "swiglu" => swiglu(cx, rows, inner)?,
        other => return Err(Diag::unsupported(format!("MoE activation `{other}`"))),
    };
    let outer = dense(cx, inner, 4, 5)?;
    let weights = routing(cx)?;
    // [tokens, experts] beside [experts, tokens, hidden].
    let weights = cx.transpose(weights, vec![1, 0])?;
    let weights = cx.unsqueeze(weights, &[2])?;
    let weights = cx.cast(weights, t)?;
    let y = cx.mul(outer, weights)?;
    let y = cx.reduce(R::Sum, y, &[0], false)?;
    let y = cx.reshape(y, own)?;
    cx.one(y)
}

/// `x W^T + b` of every expert, operands `w` and `b`: `[experts, tokens, out]`.
fn dense(cx: &mut NodeCx, x: ValueId, w: usize, b: usize) -> Result<ValueId> {
    let w = cx.input(w)?;
    let w = swapped(cx, w)?;
    let y = cx.emit(op::MatMul::default(), &[x, w])?;
    match cx.opt(b)? {
        Some(b) => {
            let b = cx.unsqueeze(b, &[1])?;
            cx.sum(y, b)
        }
        None => Ok(y),
    }
}

/// `x sigmoid(alpha x)`.
fn gated(cx: &mut NodeCx, x: ValueId, alpha: f32) -> Result<ValueId> {
    let s = cx.mul_num(x, f64::from(alpha))?;
    let s = cx.unary(U::Sigmoid, s)?;
    cx.mul(x, s)
}

/// Gates and values: in turns, one half each, or from operands 6 and 7.
fn swiglu(cx: &mut NodeCx, rows: ValueId, fused: ValueId) -> Result<ValueId> {
    let d = cx.dims(fused);
    let half = d[2].div(&2.into());
    let (mut gate, mut value) = match cx.int("swiglu_fusion", 0) {
        0 => (fused, dense(cx, rows, 6, 7)?),
        1 => {
            let pairs = cx.reshape(fused, vec![d[0].clone(), d[1].clone(), half, 2.into()])?;
            let mut side = |i: i64| -> Result<ValueId> {
                let s = cx.slice_axis(pairs, 3, i.into(), 1.into())?;
                cx.squeeze(s, &[3])
            };
            (side(0)?, side(1)?)
        }
        _ => (cx.slice_axis(fused, 2, 0.into(), half.clone())?, cx.slice_axis(fused, 2, half.clone(), half)?),
    };
    if let Some(limit) = cx.attr("swiglu_limit").map(|a| f64::from(a.f)) {
        let (lo, hi) = (cx.scalar_like(gate, -limit)?, cx.scalar_like(gate, limit)?);
        gate = cx.binary(B::Min, gate, hi)?;
        value = cx.binary(B::Min, value, hi)?;
        value = cx.binary(B::Max, value, lo)?;
    }
    let gate = gated(cx, gate, cx.float("activation_alpha", 1.0))?;
    let value = cx.add_num(value, f64::from(cx.float("activation_beta", 0.0)))?;
    cx.mul(gate, value)
}

/// Softmax of the router, zero but for the best `k` of each token.
fn routing(cx: &mut NodeCx) -> Result<ValueId> {
    let logits = cx.input(1)?;
    let logits = cx.cast(logits, DType::F32)?;
    let p = cx.emit(op::Softmax { axis: 1, log: false }, &[logits])?;
    let k = cx.int("k", 1);
    let top = cx.add(op::TopK { k: k.into(), axis: 1, largest: true, sorted: true }.into(), &[p])?;
    let [best, at] = top.as_slice() else { return Err(Diag::bug("TopK has two results")) };
    let mut best = *best;
    if cx.flag("normalize_routing_weights", false) {
        let sum = cx.reduce(R::Sum, best, &[1], true)?;
        best = cx.div(best, sum)?;
    }
    let dims: Vec<Expr> = cx.dims(p);
    let none = cx.full(DType::F32, dims, 0.0)?;
    let reduction = op::scatter_elements::ScatterKind::Set;
    cx.emit(op::ScatterElements { axis: 1, reduction }, &[none, *at, best])
}

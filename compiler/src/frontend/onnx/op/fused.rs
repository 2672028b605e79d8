//! Operators that ONNX Runtime's optimiser fuses from standard ones.

use super::activation::{gelu, hard_sigmoid, leaky_relu, relu, softplus};
use super::conv::{channel_bias, conv};
use super::matmul::gemm;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:FusedConv", fused_conv),
    ("com.microsoft:FusedGemm", |cx| {
        let y = gemm(cx)?;
        let params: Vec<f32> = ["activation_alpha", "activation_beta", "activation_gamma"]
            .iter()
            .map(|n| cx.float(n, 0.0))
            .collect();
        let y = activate(cx, y, &params)?;
        cx.one(y)
    }),
    ("com.microsoft:BiasSplitGelu", |cx| {
        let (x, b) = (cx.input(0)?, cx.input(1)?);
        let x = cx.sum(x, b)?;
        let last = cx.last_axis(x)?;
        let half = cx.dims(x)[last].div(&2.into());
        let value = cx.slice_axis(x, last, 0.into(), half.clone())?;
        let gate = cx.slice_axis(x, last, half.clone(), half)?;
        let gate = gelu(cx, gate)?;
        let y = cx.mul(value, gate)?;
        cx.one(y)
    }),
    ("com.microsoft:BiasAdd", |cx| {
        let (x, b, skip) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let y = cx.sum(x, b)?;
        let y = cx.sum(y, skip)?;
        cx.one(y)
    }),
    ("com.microsoft:BiasSoftmax", bias_softmax),
    ("com.microsoft:IsAllFinite", all_finite),
];

/// The activation that the node names, with its parameters.
fn activate(cx: &mut NodeCx, x: ValueId, params: &[f32]) -> Result<ValueId> {
    let param = |i: usize| {
        params.get(i).copied().ok_or_else(|| Diag::input(format!("activation parameter {i} is missing")))
    };
    match cx.text("activation", "").as_str() {
        "" => Ok(x),
        "Relu" => relu(cx, x),
        "Sigmoid" => cx.unary(U::Sigmoid, x),
        "Tanh" => cx.unary(U::Tanh, x),
        "Softplus" => softplus(cx, x),
        "LeakyRelu" => leaky_relu(cx, x, param(0)?),
        "HardSigmoid" => hard_sigmoid(cx, x, param(0)?, param(1)?),
        "Clip" => {
            let (lo, hi) = (cx.scalar_like(x, param(0)?.into())?, cx.scalar_like(x, param(1)?.into())?);
            let x = cx.binary(B::Max, x, lo)?;
            cx.binary(B::Min, x, hi)
        }
        other => Err(Diag::unsupported(format!("fused activation `{other}`"))),
    }
}

/// `activation(conv(x, w) + b + z)`.
fn fused_conv(cx: &mut NodeCx) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let mut y = conv(cx, x, w)?;
    if let Some(b) = cx.opt(2)? {
        y = channel_bias(cx, y, b)?;
    }
    if let Some(z) = cx.opt(3)? {
        y = cx.sum(y, z)?;
    }
    let params = cx.attr("activation_params").map(|a| a.floats.clone()).unwrap_or_default();
    let y = activate(cx, y, &params)?;
    cx.one(y)
}

/// The dims from `axis` on form one row.
fn bias_softmax(cx: &mut NodeCx) -> Out {
    let (x, b) = (cx.input(0)?, cx.input(1)?);
    let y = cx.sum(x, b)?;
    let dims = cx.dims(y);
    let axis = cx.axis(cx.int("axis", 1), dims.len())?;
    let flat = cx.flatten(y, axis)?;
    let y = cx.emit(op::Softmax { axis: 1, log: false }, &[flat])?;
    let y = cx.reshape(y, dims)?;
    cx.one(y)
}

fn all_finite(cx: &mut NodeCx) -> Out {
    let (inf, nan) = (!cx.flag("isnan_only", false), !cx.flag("isinf_only", false));
    let mut worst = cx.scalar(DType::I32, 0.0)?;
    for i in 0..cx.arity() {
        let x = cx.input(i)?;
        let kinds = [(inf, U::IsInf), (nan, U::IsNan)];
        for (_, kind) in kinds.into_iter().filter(|k| k.0) {
            let bad = cx.unary(kind, x)?;
            let bad = cx.cast(bad, DType::I32)?;
            let axes: Vec<usize> = (0..cx.rank(x)).collect();
            let any = cx.reduce(R::Max, bad, &axes, false)?;
            worst = cx.binary(B::Max, worst, any)?;
        }
    }
    let zero = cx.scalar(DType::I32, 0.0)?;
    let y = cx.compare(op::compare::CompareKind::Eq, worst, zero)?;
    cx.one(y)
}

//! Activation functions, decomposed to arithmetic.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Relu", |cx| map(cx, relu)),
    ("LeakyRelu", |cx| map(cx, |cx, x| leaky_relu(cx, x, cx.float("alpha", 0.01)))),
    ("ThresholdedRelu", |cx| {
        map(cx, |cx, x| {
            let limit = cx.scalar_like(x, f64::from(cx.float("alpha", 1.0)))?;
            let zero = cx.scalar_like(x, 0.0)?;
            let above = cx.compare(C::Gt, x, limit)?;
            cx.select(above, x, zero)
        })
    }),
    ("PRelu", prelu),
    ("Elu", |cx| {
        map(cx, |cx, x| {
            let alpha = cx.float("alpha", 1.0);
            let low = exp_minus_one(cx, x, alpha)?;
            below_zero(cx, x, low, x)
        })
    }),
    ("Selu", |cx| {
        map(cx, |cx, x| {
            let (alpha, gamma) = (cx.float("alpha", 1.673_263_2), cx.float("gamma", 1.050_701));
            let low = exp_minus_one(cx, x, alpha)?;
            let y = below_zero(cx, x, low, x)?;
            cx.mul_num(y, f64::from(gamma))
        })
    }),
    ("Celu", |cx| {
        map(cx, |cx, x| {
            let alpha = cx.float("alpha", 1.0);
            let scaled = cx.mul_num(x, 1.0 / f64::from(alpha))?;
            let low = exp_minus_one(cx, scaled, alpha)?;
            below_zero(cx, x, low, x)
        })
    }),
    ("HardSigmoid", |cx| {
        map(cx, |cx, x| {
            let (a, b) = (cx.float("alpha", 0.2), cx.float("beta", 0.5));
            hard_sigmoid(cx, x, a, b)
        })
    }),
    ("HardSwish", |cx| {
        map(cx, |cx, x| {
            let h = hard_sigmoid(cx, x, 1.0 / 6.0, 0.5)?;
            cx.mul(x, h)
        })
    }),
    ("Softplus", |cx| map(cx, softplus)),
    ("Softsign", |cx| {
        map(cx, |cx, x| {
            let a = cx.unary(U::Abs, x)?;
            let d = cx.add_num(a, 1.0)?;
            cx.div(x, d)
        })
    }),
    ("Mish", |cx| {
        map(cx, |cx, x| {
            let s = softplus(cx, x)?;
            let t = cx.unary(U::Tanh, s)?;
            cx.mul(x, t)
        })
    }),
    ("Swish", |cx| {
        map(cx, |cx, x| {
            let alpha = cx.float("alpha", 1.0);
            let scaled = if alpha == 1.0 { x } else { cx.mul_num(x, f64::from(alpha))? };
            let s = cx.unary(U::Sigmoid, scaled)?;
            cx.mul(x, s)
        })
    }),
    ("SwiGLU", |cx| {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        let gate = cx.mul_num(a, f64::from(cx.float("alpha", 1.0)))?;
        let gate = cx.unary(U::Sigmoid, gate)?;
        let gate = cx.mul(a, gate)?;
        let y = cx.mul(gate, b)?;
        cx.one(y)
    }),
    ("com.microsoft:QuickGelu", |cx| {
        map(cx, |cx, x| {
            let scaled = cx.mul_num(x, f64::from(cx.float("alpha", 1.702)))?;
            let s = cx.unary(U::Sigmoid, scaled)?;
            cx.mul(x, s)
        })
    }),
    ("Gelu", |cx| {
        map(cx, |cx, x| match cx.text("approximate", "none").as_str() {
            "none" => gelu(cx, x),
            "tanh" => gelu_tanh(cx, x),
            other => Err(Diag::input(format!("Gelu approximation `{other}`"))),
        })
    }),
    ("com.microsoft:Gelu", |cx| map(cx, gelu)),
    ("com.microsoft:FastGelu", |cx| {
        let x = biased(cx)?;
        let y = gelu_tanh(cx, x)?;
        cx.one(y)
    }),
    ("com.microsoft:BiasGelu", |cx| {
        let x = biased(cx)?;
        let y = gelu(cx, x)?;
        cx.one(y)
    }),
    ("Shrink", |cx| {
        map(cx, |cx, x| {
            let (bias, lambda) = (f64::from(cx.float("bias", 0.0)), f64::from(cx.float("lambd", 0.5)));
            let (up, down) = (cx.add_num(x, bias)?, cx.add_num(x, -bias)?);
            let (lo, hi) = (cx.scalar_like(x, -lambda)?, cx.scalar_like(x, lambda)?);
            let zero = cx.scalar_like(x, 0.0)?;
            let (below, above) = (cx.compare(C::Lt, x, lo)?, cx.compare(C::Gt, x, hi)?);
            let high = cx.select(above, down, zero)?;
            cx.select(below, up, high)
        })
    }),
];

fn map(cx: &mut NodeCx, f: impl Fn(&mut NodeCx, ValueId) -> Result<ValueId>) -> Out {
    let x = cx.input(0)?;
    let y = f(cx, x)?;
    cx.one(y)
}

/// `max(x, 0)`.
pub fn relu(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let zero = cx.scalar_like(x, 0.0)?;
    cx.binary(B::Max, x, zero)
}

/// `x` with another slope below zero.
pub fn leaky_relu(cx: &mut NodeCx, x: ValueId, slope: f32) -> Result<ValueId> {
    let low = cx.mul_num(x, f64::from(slope))?;
    below_zero(cx, x, low, x)
}

fn below_zero(cx: &mut NodeCx, x: ValueId, low: ValueId, high: ValueId) -> Result<ValueId> {
    let zero = cx.scalar_like(x, 0.0)?;
    let negative = cx.compare(C::Lt, x, zero)?;
    cx.select(negative, low, high)
}

fn exp_minus_one(cx: &mut NodeCx, x: ValueId, alpha: f32) -> Result<ValueId> {
    let e = cx.unary(U::Exp, x)?;
    let d = cx.add_num(e, -1.0)?;
    cx.mul_num(d, f64::from(alpha))
}

/// `clip(alpha x + beta, 0, 1)`.
pub fn hard_sigmoid(cx: &mut NodeCx, x: ValueId, alpha: f32, beta: f32) -> Result<ValueId> {
    let s = cx.mul_num(x, f64::from(alpha))?;
    let s = cx.add_num(s, f64::from(beta))?;
    let (zero, one) = (cx.scalar_like(x, 0.0)?, cx.scalar_like(x, 1.0)?);
    let s = cx.binary(B::Max, s, zero)?;
    cx.binary(B::Min, s, one)
}

/// `max(x, 0) + log(1 + exp(-|x|))`: no overflow.
/// `log(1 + exp(x))`.
pub fn softplus(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let a = cx.unary(U::Abs, x)?;
    let n = cx.unary(U::Neg, a)?;
    let e = cx.unary(U::Exp, n)?;
    let p = cx.add_num(e, 1.0)?;
    let l = cx.unary(U::Log, p)?;
    let r = relu(cx, x)?;
    cx.sum(r, l)
}

/// `x / 2 * (1 + erf(x / sqrt 2))`.
pub fn gelu(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let s = cx.mul_num(x, std::f64::consts::FRAC_1_SQRT_2)?;
    let e = cx.unary(U::Erf, s)?;
    let p = cx.add_num(e, 1.0)?;
    let h = cx.mul_num(x, 0.5)?;
    cx.mul(h, p)
}

/// `x / 2 * (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
pub fn gelu_tanh(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let sq = cx.mul(x, x)?;
    let cube = cx.mul(sq, x)?;
    let c = cx.mul_num(cube, 0.044_715)?;
    let s = cx.sum(x, c)?;
    let s = cx.mul_num(s, (2.0 / std::f64::consts::PI).sqrt())?;
    let t = cx.unary(U::Tanh, s)?;
    let p = cx.add_num(t, 1.0)?;
    let h = cx.mul_num(x, 0.5)?;
    cx.mul(h, p)
}

fn biased(cx: &mut NodeCx) -> Result<ValueId> {
    let x = cx.input(0)?;
    match cx.opt(1)? {
        Some(b) => cx.sum(x, b),
        None => Ok(x),
    }
}

/// The slope broadcasts one way, to x; before opset 7 a 1-D slope runs along the channels.
fn prelu(cx: &mut NodeCx) -> Out {
    let (x, mut slope) = (cx.input(0)?, cx.input(1)?);
    if cx.opset < 7 && cx.rank(slope) == 1 && cx.rank(x) > 1 && !cx.ty(slope).numel().is(1) {
        slope = cx.along(slope, 1, cx.rank(x))?;
    }
    let low = cx.mul(x, slope)?;
    let y = below_zero(cx, x, low, x)?;
    cx.one(y)
}

//! Random numbers. The generator is counter-based: a seed gives the same numbers in every run and on every target;
//! without one the node's name is the seed.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("RandomUniform", |cx| of_shape(cx, false)),
    ("RandomNormal", |cx| of_shape(cx, true)),
    ("RandomUniformLike", |cx| like(cx, false)),
    ("RandomNormalLike", |cx| like(cx, true)),
    ("Bernoulli", |cx| {
        let p = cx.input(0)?;
        let to = result_type(cx, cx.dtype(p))?;
        let r = uniform(cx, p)?;
        let hit = cx.compare(C::Lt, r, p)?;
        let y = cx.cast(hit, to)?;
        cx.one(y)
    }),
    ("Multinomial", multinomial),
];

/// Uniform numbers in `[0, 1)`, one for each element of a float tensor.
pub fn uniform(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    numbers(cx, cx.dtype(x), cx.dims(x), false, 0.0, 1.0)
}

fn numbers(cx: &mut NodeCx, dtype: DType, dims: Vec<Expr>, normal: bool, a: f64, b: f64) -> Result<ValueId> {
    if !dtype.is_float() {
        return Err(Diag::unsupported(format!("random numbers of {dtype}")));
    }
    let seed =
        match cx.attr("seed") {
            Some(a) => u64::from(a.f.to_bits()) ^ a.i as u64,
            // FNV-1a over the name.
            None => cx.origin.iter().flat_map(|o| o.bytes()).fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
            }),
        };
    cx.emit(op::Random { dtype, dims, normal, a, b, seed }, &[])
}

fn result_type(cx: &NodeCx, default: DType) -> Result<DType> {
    match cx.int("dtype", 0) {
        0 => Ok(default),
        c => tensor::dtype(i32::try_from(c).unwrap_or(-1)),
    }
}

/// Low and high, or mean and deviation.
fn bounds(cx: &NodeCx, normal: bool) -> (f64, f64) {
    let (a, b) = if normal { ("mean", "scale") } else { ("low", "high") };
    (cx.float(a, 0.0).into(), cx.float(b, 1.0).into())
}

fn of_shape(cx: &mut NodeCx, normal: bool) -> Out {
    let shape = cx.int_list("shape").unwrap_or_default();
    if shape.iter().any(|&d| !(0..1 << 40).contains(&d)) {
        return Err(Diag::input(format!("random numbers of shape {shape:?}")));
    }
    let t = result_type(cx, DType::F32)?;
    let (a, b) = bounds(cx, normal);
    let y = numbers(cx, t, shape.into_iter().map(Expr::from).collect(), normal, a, b)?;
    cx.one(y)
}

fn like(cx: &mut NodeCx, normal: bool) -> Out {
    let x = cx.input(0)?;
    let t = result_type(cx, cx.dtype(x))?;
    let (a, b) = bounds(cx, normal);
    let y = numbers(cx, t, cx.dims(x), normal, a, b)?;
    cx.one(y)
}

/// Classes drawn by their unnormalised log probabilities: the largest of scores with Gumbel noise.
fn multinomial(cx: &mut NodeCx) -> Out {
    use sinter_ir::op::unary::UnaryKind as U;
    let x = cx.input(0)?;
    let d = cx.dims_at_least(x, 2)?;
    let n = cx.int("sample_size", 1);
    if !(1..1 << 20).contains(&n) {
        return Err(Diag::input(format!("sample_size is {n}")));
    }
    let to = match cx.int("dtype", 6) {
        6 => DType::I32,
        7 => DType::I64,
        c => return Err(Diag::input(format!("Multinomial of element type {c}"))),
    };
    let x = cx.cast(x, DType::F32)?;
    let x = cx.unsqueeze(x, &[1])?;
    // Not zero, so that the logarithms stay finite.
    let r = numbers(cx, DType::F32, vec![d[0].clone(), n.into(), d[1].clone()], false, 1e-9, 1.0)?;
    let noise = cx.unary(U::Log, r)?;
    let noise = cx.unary(U::Neg, noise)?;
    let noise = cx.unary(U::Log, noise)?;
    let score = cx.sub(x, noise)?;
    let y = cx.emit(op::ArgReduce { largest: true, axis: 2, keepdims: false, last: false }, &[score])?;
    let y = cx.cast(y, to)?;
    cx.one(y)
}

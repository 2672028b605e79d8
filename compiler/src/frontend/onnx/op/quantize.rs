//! Quantisation operators, QLinear* forms included.

use super::conv::{channel_bias, conv};
use super::matmul;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("QuantizeLinear", quantize),
    ("com.microsoft:QuantizeLinear", quantize),
    ("DequantizeLinear", dequantize),
    ("com.microsoft:DequantizeLinear", dequantize),
    ("DynamicQuantizeLinear", dynamic_quantize),
    ("QLinearMatMul", qlinear_matmul),
    ("QLinearConv", qlinear_conv),
    ("com.microsoft:QLinearAdd", |cx| qlinear_binary(cx, B::Add)),
    ("com.microsoft:QLinearMul", |cx| qlinear_binary(cx, B::Mul)),
    ("com.microsoft:QLinearSigmoid", |cx| qlinear_unary(cx, |cx, x| cx.unary(U::Sigmoid, x))),
    ("com.microsoft:QLinearLeakyRelu", |cx| {
        qlinear_unary(cx, |cx, x| {
            let low = cx.mul_num(x, f64::from(cx.float("alpha", 0.01)))?;
            let zero = cx.scalar_like(x, 0.0)?;
            let neg = cx.compare(op::compare::CompareKind::Lt, x, zero)?;
            cx.select(neg, low, x)
        })
    }),
    ("com.microsoft:DynamicQuantizeMatMul", dynamic_matmul),
    ("com.microsoft:MatMulIntegerToFloat", integer_to_float),
];

fn axis_and_block(cx: &NodeCx, x: ValueId) -> Result<(usize, usize)> {
    let rank = cx.rank(x).max(1);
    let block =
        usize::try_from(cx.int("block_size", 0)).map_err(|_| Diag::input("block_size is negative"))?;
    let axis = cx.int("axis", 1);
    let axis = if axis < 0 { axis + rank as i64 } else { axis };
    Ok((usize::try_from(axis).unwrap_or(0).min(rank - 1), block))
}

/// A zero point of zeros in the shape of the scale.
fn no_zero(cx: &mut NodeCx, scale: ValueId, dtype: DType) -> Result<ValueId> {
    let dims = cx.dims(scale);
    let zero = cx.constant(Tensor::zeros(dtype, vec![])?)?;
    cx.broadcast(zero, dims)
}

/// A single zero point may be written as a scalar or as one element whatever the scale does.
fn match_scale(cx: &mut NodeCx, zero: ValueId, scale: ValueId) -> Result<ValueId> {
    let dims = cx.dims(scale);
    if cx.ty(zero).numel().is(1) && cx.ty(scale).numel().is(1) { cx.reshape(zero, dims) } else { Ok(zero) }
}

fn quantize(cx: &mut NodeCx) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let zero = match cx.opt(2)? {
        Some(z) => z,
        None => {
            let t = match cx.int("output_dtype", 0) {
                0 => DType::U8,
                c => tensor::dtype(c as i32)?,
            };
            no_zero(cx, scale, t)?
        }
    };
    let zero = match_scale(cx, zero, scale)?;
    let (axis, block) = axis_and_block(cx, x)?;
    let y = cx.emit(op::Quantize { axis, block, top: None }, &[x, scale, zero])?;
    cx.one(y)
}

fn dequantize(cx: &mut NodeCx) -> Out {
    let (x, scale) = (cx.input(0)?, cx.input(1)?);
    let zero = match cx.opt(2)? {
        Some(z) => z,
        None => no_zero(cx, scale, cx.dtype(x))?,
    };
    let zero = match_scale(cx, zero, scale)?;
    let (axis, block) = axis_and_block(cx, x)?;
    let to = match cx.int("output_dtype", 0) {
        0 => cx.dtype(scale),
        c => tensor::dtype(c as i32)?,
    };
    let y = cx.emit(op::Dequantize { axis, block, to }, &[x, scale, zero])?;
    cx.one(y)
}

/// Floats of a quantised tensor.
pub fn decode(
    cx: &mut NodeCx,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    axis: usize,
) -> Result<ValueId> {
    let zero = match zero {
        Some(z) => z,
        None => no_zero(cx, scale, cx.dtype(x))?,
    };
    let to = cx.dtype(scale);
    cx.emit(op::Dequantize { axis, block: 0, to }, &[x, scale, zero])
}

/// Quantises with one scale.
pub fn encode(cx: &mut NodeCx, x: ValueId, scale: ValueId, zero: Option<ValueId>) -> Result<ValueId> {
    let zero = match zero {
        Some(z) => z,
        None => no_zero(cx, scale, DType::U8)?,
    };
    let x = cx.cast(x, cx.dtype(scale))?;
    cx.emit(op::Quantize { axis: 0, block: 0, top: None }, &[x, scale, zero])
}

/// uint8 with the range of x widened to hold 0.
fn dynamic(cx: &mut NodeCx, x: ValueId) -> Result<[ValueId; 3]> {
    let axes: Vec<usize> = (0..cx.rank(x)).collect();
    let zero = cx.scalar_like(x, 0.0)?;
    let hi = cx.reduce(R::Max, x, &axes, false)?;
    let hi = cx.binary(B::Max, hi, zero)?;
    let lo = cx.reduce(R::Min, x, &axes, false)?;
    let lo = cx.binary(B::Min, lo, zero)?;
    let span = cx.sub(hi, lo)?;
    let n = cx.scalar_like(x, 255.0)?;
    let scale = cx.div(span, n)?;
    let z = cx.div(lo, scale)?;
    let z = cx.unary(U::Neg, z)?;
    let z = cx.binary(B::Max, z, zero)?;
    let z = cx.binary(B::Min, z, n)?;
    let z = cx.unary(U::Round, z)?;
    let z = cx.cast(z, DType::U8)?;
    let q = cx.emit(op::Quantize { axis: 0, block: 0, top: None }, &[x, scale, z])?;
    Ok([q, scale, z])
}

fn dynamic_quantize(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let out = dynamic(cx, x)?;
    cx.many(&out)
}

fn qlinear_matmul(cx: &mut NodeCx) -> Out {
    let v = (0..8).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    // Exact i32 accumulation, then one rescale.
    let centre = |cx: &mut NodeCx, x: ValueId, z: ValueId, rows: bool| -> Result<ValueId> {
        let (x, mut z) = (cx.cast(x, DType::I32)?, cx.cast(z, DType::I32)?);
        if rows && cx.rank(z) == 1 && !cx.ty(z).numel().is(1) {
            z = cx.unsqueeze(z, &[1])?;
        }
        cx.sub(x, z)
    };
    let (a, b) = (centre(cx, v[0], v[2], true)?, centre(cx, v[3], v[5], false)?);
    let acc = matmul::product(cx, a, b)?;
    let t = cx.dtype(v[1]);
    let acc = cx.cast(acc, DType::F32)?;
    let (mut sa, sb) = (cx.cast(v[1], DType::F32)?, cx.cast(v[4], DType::F32)?);
    if cx.rank(sa) == 1 && !cx.ty(sa).numel().is(1) {
        sa = cx.unsqueeze(sa, &[1])?;
    }
    let s = cx.mul(sa, sb)?;
    let y = cx.mul(acc, s)?;
    let scale = cx.cast(v[6], DType::F32)?;
    let _ = t;
    let y = encode(cx, y, scale, Some(v[7]))?;
    cx.one(y)
}

fn qlinear_conv(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let y = qlinear_conv_value(cx, x)?;
    cx.one(y)
}

/// Exact integer convolution of `x` (operand 0, channels first) and one rescale.
pub fn qlinear_conv_value(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let v = (0..8).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    let (x, w) = (cx.cast(x, DType::I32)?, cx.cast(v[3], DType::I32)?);
    let zx = cx.cast(v[2], DType::I32)?;
    let zx = cx.reshape(zx, vec![])?;
    let x = cx.sub(x, zx)?;
    let zw = cx.cast(v[5], DType::I32)?;
    let zw = if cx.ty(zw).numel().is(1) { cx.reshape(zw, vec![])? } else { cx.along(zw, 0, cx.rank(w))? };
    let w = cx.sub(w, zw)?;
    let mut acc = conv(cx, x, w)?;
    if let Some(b) = cx.opt(8)? {
        acc = channel_bias(cx, acc, b)?;
    }
    let acc = cx.cast(acc, DType::F32)?;
    let rank = cx.rank(acc);
    let sx = cx.reshape(v[1], vec![])?;
    let sw = if cx.ty(v[4]).numel().is(1) { cx.reshape(v[4], vec![])? } else { cx.along(v[4], 1, rank)? };
    let s = cx.mul(sx, sw)?;
    let y = cx.mul(acc, s)?;
    let (so, zo) = (cx.reshape(v[6], vec![])?, cx.reshape(v[7], vec![])?);
    encode(cx, y, so, Some(zo))
}

fn qlinear_binary(cx: &mut NodeCx, kind: B) -> Out {
    let (a, sa, za) = (cx.input(0)?, cx.input(1)?, cx.opt(2)?);
    let (b, sb, zb) = (cx.input(3)?, cx.input(4)?, cx.opt(5)?);
    let (so, zo) = (cx.input(6)?, cx.opt(7)?);
    let (a, b) = (decode(cx, a, sa, za, 0)?, decode(cx, b, sb, zb, 0)?);
    let y = cx.binary(kind, a, b)?;
    let y = encode(cx, y, so, zo)?;
    cx.one(y)
}

/// A function of floats between operands 0 to 2 (value, scale, zero point) and 3, 4 (scale, zero point).
pub fn qlinear_unary(cx: &mut NodeCx, f: impl Fn(&mut NodeCx, ValueId) -> Result<ValueId>) -> Out {
    let (x, s, z) = (cx.input(0)?, cx.input(1)?, cx.opt(2)?);
    let (so, zo) = (cx.input(3)?, cx.opt(4)?);
    let x = decode(cx, x, s, z, 0)?;
    let y = f(cx, x)?;
    let y = encode(cx, y, so, zo)?;
    cx.one(y)
}

/// Integer weights with their scale as floats; per-column scales run along the last axis.
fn weights(cx: &mut NodeCx, w: ValueId, s: ValueId, z: Option<ValueId>) -> Result<ValueId> {
    let axis = cx.last_axis(w)?;
    decode(cx, w, s, z, axis)
}

fn dynamic_matmul(cx: &mut NodeCx) -> Out {
    let (a, w, s, z) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.opt(3)?);
    let [q, qs, qz] = dynamic(cx, a)?;
    let a = decode(cx, q, qs, Some(qz), 0)?;
    let w = weights(cx, w, s, z)?;
    let mut y = matmul::product(cx, a, w)?;
    if let Some(b) = cx.opt(4)? {
        y = cx.sum(y, b)?;
    }
    cx.one(y)
}

fn integer_to_float(cx: &mut NodeCx) -> Out {
    let (a, w, sa, sw) = (cx.input(0)?, cx.input(1)?, cx.input(2)?, cx.input(3)?);
    let (za, zw) = (cx.opt(4)?, cx.opt(5)?);
    let a = decode(cx, a, sa, za, 0)?;
    let w = weights(cx, w, sw, zw)?;
    let mut y = matmul::product(cx, a, w)?;
    if let Some(b) = cx.opt(6)? {
        y = cx.sum(y, b)?;
    }
    cx.one(y)
}

//! The com.microsoft operators on quantised tensors beside the basic ones in [`super::quantize`].

use super::conv::conv_shape;
use super::pool::pool;
use super::quantize::{decode, encode, qlinear_conv_value, qlinear_unary};
use super::{matmul, recurrent};
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::recurrent::CellKind;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:QLinearConv", |cx| {
        let last = cx.flag("channels_last", false);
        let x = cx.input(0)?;
        let x = channels_first(cx, x, last)?;
        let y = qlinear_conv_value(cx, x)?;
        let y = channels_last(cx, y, last)?;
        cx.one(y)
    }),
    ("com.microsoft:QLinearGlobalAveragePool", |cx| {
        let last = cx.flag("channels_last", false);
        qlinear_unary(cx, |cx, x| {
            let rank = conv_shape(cx, x)?;
            let axes: Vec<usize> = if last { (1..rank - 1).collect() } else { (2..rank).collect() };
            cx.reduce(R::Mean, x, &axes, true)
        })
    }),
    ("com.microsoft:QLinearAveragePool", |cx| {
        let last = cx.flag("channels_last", false);
        qlinear_unary(cx, |cx, x| {
            let x = channels_first(cx, x, last)?;
            let y = pool(cx, x, PoolKind::Average, false)?[0];
            channels_last(cx, y, last)
        })
    }),
    ("com.microsoft:NhwcMaxPool", |cx| {
        let x = cx.input(0)?;
        let x = channels_first(cx, x, true)?;
        let y = pool(cx, x, PoolKind::Max, false)?[0];
        let y = channels_last(cx, y, true)?;
        cx.one(y)
    }),
    ("com.microsoft:QLinearReduceMean", |cx| {
        qlinear_unary(cx, |cx, x| {
            let rank = cx.rank(x);
            let axes = match cx.int_list("axes").filter(|a| !a.is_empty()) {
                Some(a) => cx.axes(&a, rank)?,
                None => (0..rank).collect(),
            };
            cx.reduce(R::Mean, x, &axes, cx.flag("keepdims", true))
        })
    }),
    ("com.microsoft:QLinearSoftmax", |cx| qlinear_unary(cx, softmax)),
    ("com.microsoft:QLinearConcat", concat),
    ("com.microsoft:QLinearWhere", choose),
    ("com.microsoft:QGemm", gemm),
    ("com.microsoft:MulInteger", |cx| {
        let (a, b) = (centred(cx, 0, 1)?, centred(cx, 2, 3)?);
        let y = cx.mul(a, b)?;
        cx.one(y)
    }),
    ("com.microsoft:MatMulInteger16", |cx| {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        let (a, b) = (cx.cast(a, DType::I32)?, cx.cast(b, DType::I32)?);
        let y = matmul::product(cx, a, b)?;
        cx.one(y)
    }),
    ("com.microsoft:ReduceSumInteger", |cx| {
        let x = cx.input(0)?;
        let to = if cx.dtype(x) == DType::U8 { DType::U32 } else { DType::I32 };
        let axes = cx.int_list("axes").unwrap_or_default();
        let axes = cx.axes(&axes, cx.rank(x))?;
        let x = cx.cast(x, to)?;
        let y = cx.reduce(R::Sum, x, &axes, cx.flag("keepdims", true))?;
        cx.one(y)
    }),
    ("com.microsoft:DynamicQuantizeLSTM", lstm),
];

fn channels_first(cx: &mut NodeCx, x: ValueId, swap: bool) -> Result<ValueId> {
    let rank = conv_shape(cx, x)?;
    let perm = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    if swap { cx.transpose(x, perm) } else { Ok(x) }
}

fn channels_last(cx: &mut NodeCx, x: ValueId, swap: bool) -> Result<ValueId> {
    let rank = cx.rank(x);
    let perm = [0].into_iter().chain(2..rank).chain([1]).collect();
    if swap { cx.transpose(x, perm) } else { Ok(x) }
}

/// Operand `i` as i32 without its zero point, operand `z`.
fn centred(cx: &mut NodeCx, i: usize, z: usize) -> Result<ValueId> {
    let x = cx.input(i)?;
    let x = cx.cast(x, DType::I32)?;
    let Some(z) = cx.opt(z)? else { return Ok(x) };
    let z = cx.cast(z, DType::I32)?;
    cx.sub(x, z)
}

/// Before opset 13, which the node carries as an attribute, the dims from the axis on form one row.
fn softmax(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let dims = cx.dims(x);
    let axis = cx.axis(cx.int("axis", -1), dims.len())?;
    if cx.int("opset", 13) >= 13 {
        return cx.emit(op::Softmax { axis, log: false }, &[x]);
    }
    let flat = cx.flatten(x, axis)?;
    let y = cx.emit(op::Softmax { axis: 1, log: false }, &[flat])?;
    cx.reshape(y, dims)
}

/// Scale and zero point of the result, then value, scale and zero point of each part.
fn concat(cx: &mut NodeCx) -> Out {
    let (so, zo) = (cx.input(0)?, cx.opt(1)?);
    let mut parts = Vec::new();
    for i in (2..cx.arity()).step_by(3) {
        let (x, s, z) = (cx.input(i)?, cx.input(i + 1)?, cx.opt(i + 2)?);
        let x = decode(cx, x, s, z, 0)?;
        parts.push(encode(cx, x, so, zo)?);
    }
    let first = *parts.first().ok_or_else(|| Diag::input("QLinearConcat of nothing"))?;
    let axis = cx.axis(cx.int("axis", 0), cx.rank(first))?;
    let y = cx.concat(&parts, axis)?;
    cx.one(y)
}

fn choose(cx: &mut NodeCx) -> Out {
    let v = (0..9).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    let a = decode(cx, v[1], v[2], Some(v[3]), 0)?;
    let b = decode(cx, v[4], v[5], Some(v[6]), 0)?;
    let y = cx.select(v[0], a, b)?;
    let y = encode(cx, y, v[7], Some(v[8]))?;
    cx.one(y)
}

/// Exact integer sums, one rescale; the result stays float without a scale of its own.
fn gemm(cx: &mut NodeCx) -> Out {
    let (sa, sb) = (cx.input(1)?, cx.input(4)?);
    let (mut a, mut b) = (centred(cx, 0, 2)?, cx.input(3)?);
    b = cx.cast(b, DType::I32)?;
    if cx.flag("transA", false) {
        a = matmul::swapped(cx, a)?;
    }
    if cx.flag("transB", false) {
        b = matmul::swapped(cx, b)?;
    }
    // A zero point per column runs along the last axis of the product's B.
    if let Some(z) = cx.opt(5)? {
        let z = cx.cast(z, DType::I32)?;
        b = cx.sub(b, z)?;
    }
    let mut acc = matmul::product(cx, a, b)?;
    if let Some(c) = cx.opt(6)? {
        acc = cx.sum(acc, c)?;
    }
    let acc = cx.cast(acc, DType::F32)?;
    let s = cx.mul(sa, sb)?;
    let s = cx.mul_num(s, f64::from(cx.float("alpha", 1.0)))?;
    let mut y = cx.mul(acc, s)?;
    if let Some(so) = cx.opt(7)? {
        let zo = cx.opt(8)?;
        y = encode(cx, y, so, zo)?;
    }
    cx.one(y)
}

/// Weights `[directions, in, 4 * hidden]`, quantised per direction or per column. Inputs and states stay floats:
/// quantising them on the way, as the name says, would only lose precision.
fn lstm(cx: &mut NodeCx) -> Out {
    let mut weights = [(1, 8), (2, 10)].map(|(w, s)| (w, s, s + 1)).into_iter().map(|(w, s, z)| {
        let (w, s) = (cx.input(w)?, cx.input(s)?);
        let t = cx.dtype(s);
        let spread = |cx: &mut NodeCx, v: ValueId| -> Result<ValueId> {
            let v = cx.cast(v, t)?;
            // [d] to [d, 1, 1], [d, 4h] to [d, 1, 4h].
            cx.unsqueeze(v, if cx.rank(v) == 1 { &[1, 2] } else { &[1] })
        };
        let mut x = cx.cast(w, t)?;
        if let Some(z) = cx.opt(z)? {
            let z = spread(cx, z)?;
            x = cx.sub(x, z)?;
        }
        let s = spread(cx, s)?;
        let x = cx.mul(x, s)?;
        cx.transpose(x, vec![0, 2, 1])
    });
    let missing = || Diag::bug("two weights");
    let (w, r) = (weights.next().ok_or_else(missing)??, weights.next().ok_or_else(missing)??);
    drop(weights);
    recurrent::recurrent(cx, CellKind::Lstm, w, r)
}

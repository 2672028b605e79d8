//! Weights in blocks of a few bits with one scale each, beside MatMulNBits.

use super::matmul::{packed, product, swapped};
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, TensorType, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] =
    &[("com.microsoft:GatherBlockQuantized", gather), ("com.microsoft:MatMulBnb4", bnb4)];

/// A constant's bytes as rows of codes of the given type along the last axis, of which `used` count; other values
/// are codes already.
fn codes(cx: &mut NodeCx, v: ValueId, bits: i64, used: Option<usize>) -> Result<ValueId> {
    let dims = cx.dims(v);
    if bits == 8 || cx.dtype(v) != DType::U8 {
        return Ok(v);
    }
    let lens = cx.ty(v).const_dims().filter(|d| !d.is_empty());
    let lens = lens.ok_or_else(|| Diag::unsupported(format!("packed codes {}", cx.ty(v))))?;
    let last = lens.len() - 1;
    let rows: usize = lens[..last].iter().product();
    let row = lens[last] * 8 / bits as usize;
    let used = used.unwrap_or(row);
    let dtype = if bits == 2 { DType::U2 } else { DType::U4 };
    let y = packed(cx, v, dtype, [rows, row, used], "packed codes")?;
    let mut out = dims[..last].to_vec();
    out.push(used.into());
    cx.reshape(y, out)
}

/// Rows of a table that is quantised along another axis: gathered as codes, then decoded.
fn gather(cx: &mut NodeCx) -> Out {
    let bits = cx.int("bits", 4);
    if ![2, 4, 8].contains(&bits) {
        return Err(Diag::unsupported(format!("GatherBlockQuantized with {bits} bits")));
    }
    let (data, ids, scales) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let unsigned = cx.dtype(data) == DType::U8;
    let data = codes(cx, data, bits, None)?;
    let rank = cx.rank(data);
    let from = cx.axis(cx.int("gather_axis", 0), rank)?;
    let along = cx.axis(cx.int("quantize_axis", 1), rank)?;
    let block = cx.int("block_size", 128);
    let block = usize::try_from(block).ok().filter(|b| *b > 0);
    let block = block.ok_or_else(|| Diag::input("block_size must be positive"))?;
    let grid = cx.dims(scales);
    let blocks = grid.get(along).and_then(Expr::as_const).and_then(|b| usize::try_from(b).ok());
    let t = cx.dtype(data);
    let zero = match cx.opt(3)? {
        Some(z) => codes(cx, z, bits, blocks)?,
        None => {
            // Bytes hold unsigned codes around the middle.
            let middle = if unsigned { f64::from(1u32 << (bits - 1)) } else { 0.0 };
            let z = cx.constant(Tensor::from_f64(t, vec![], &[middle])?)?;
            cx.broadcast(z, grid)?
        }
    };
    let to = cx.dtype(scales);
    if from == along {
        let table = cx.emit(op::Dequantize { axis: along, block, to }, &[data, scales, zero])?;
        let y = cx.emit(op::Gather { axis: from }, &[table, ids])?;
        return cx.one(y);
    }
    let mut picked = Vec::new();
    for v in [data, scales, zero] {
        picked.push(cx.emit(op::Gather { axis: from }, &[v, ids])?);
    }
    let axis = if along < from { along } else { along + cx.rank(ids) - 1 };
    let y = cx.emit(op::Dequantize { axis, block, to }, &picked)?;
    cx.one(y)
}

/// What the 16 codes of bitsandbytes stand for.
const FP4: [f64; 8] = [0.0, 5.208_333_333e-3, 0.666_666_67, 1.0, 0.333_333_33, 0.5, 0.166_666_67, 0.25];
const NF4: [f64; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];

/// Codes of `[n, k]` in one row, the first of each pair in the high bits, one largest magnitude per block.
fn bnb4(cx: &mut NodeCx) -> Out {
    let (n, k, block) = (cx.int("N", 0), cx.int("K", 0), cx.int("block_size", 0));
    let count = n.checked_mul(k).filter(|c| n > 0 && k > 0 && block > 0 && c % 2 == 0 && c % block == 0);
    let Some(count) = count.and_then(|c| usize::try_from(c).ok()) else {
        return Err(Diag::input(format!("MatMulBnb4 with N = {n}, K = {k}, block_size = {block}")));
    };
    let (a, b, largest) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let index = if cx.im.is_unread(b) {
        cx.im.unread_result(TensorType::new(DType::U8, vec![count.into()]))?
    } else {
        let bytes = cx.need_const(b, "the weights of MatMulBnb4")?;
        if bytes.bytes().len() * 2 != count {
            return Err(Diag::input(format!("MatMulBnb4: {} for {n} x {k} codes", cx.ty(b))));
        }
        let codes: Vec<u8> = bytes.bytes().iter().flat_map(|b| [b >> 4, b & 15]).collect();
        cx.constant(Tensor::from_bytes(DType::U8, vec![count], codes)?)?
    };
    let t = cx.dtype(largest);
    let values = match cx.int("quant_type", 1) {
        0 => FP4.into_iter().chain(FP4.map(|v| -v)).collect::<Vec<_>>(),
        1 => NF4.to_vec(),
        q => return Err(Diag::unsupported(format!("MatMulBnb4 with quant_type {q}"))),
    };
    let table = cx.constant(Tensor::from_f64(t, vec![16], &values)?)?;
    let index = cx.cast(index, DType::I32)?;
    let w = cx.emit(op::Gather { axis: 0 }, &[table, index])?;
    let w = cx.reshape(w, vec![(count as i64 / block).into(), block.into()])?;
    let largest = cx.unsqueeze(largest, &[1])?;
    let w = cx.mul(w, largest)?;
    let w = cx.reshape(w, vec![n.into(), k.into()])?;
    let w = cx.cast(w, cx.dtype(a))?;
    let w = swapped(cx, w)?;
    let y = product(cx, a, w)?;
    cx.one(y)
}

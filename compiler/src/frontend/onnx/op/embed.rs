//! The com.microsoft embedding layers of BERT-like models.

use super::normalize::standardise;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:EmbedLayerNormalization", |cx| {
        let positions = cx.opt(8)?;
        embed(cx, positions, |_, _, x| Ok(x))
    }),
    // Tables, scale and shift are quantised: operands 8 to 12 are their scales, 13 to 17 their zero points.
    ("com.microsoft:QEmbedLayerNormalization", |cx| {
        embed(cx, None, |cx, table, x| {
            let (scale, zero) = (cx.input(8 + table)?, cx.input(13 + table)?);
            let to = cx.dtype(scale);
            cx.emit(op::Dequantize { axis: 0, block: 0, to }, &[x, scale, zero])
        })
    }),
];

/// Word, position and segment rows, summed and normalised. `decode` makes floats of what comes from one of the
/// five tables.
fn embed(
    cx: &mut NodeCx,
    positions: Option<ValueId>,
    decode: impl Fn(&mut NodeCx, usize, ValueId) -> Result<ValueId>,
) -> Out {
    let ids = cx.input(0)?;
    let d = cx.dims(ids);
    if d.len() != 2 {
        return Err(Diag::input(format!("embedding of {}", cx.ty(ids))));
    }
    let positions = match positions {
        Some(p) => p,
        None => cx.emit(op::Iota { dtype: DType::I64, dims: vec![1.into(), d[1].clone()], axis: 1 }, &[])?,
    };
    let rows = |cx: &mut NodeCx, table: usize, ids: ValueId| -> Result<ValueId> {
        let t = cx.input(2 + table)?;
        let rows = cx.emit(op::Gather { axis: 0 }, &[t, ids])?;
        decode(cx, table, rows)
    };
    let word = rows(cx, 0, ids)?;
    let place = rows(cx, 1, positions)?;
    let mut sum = cx.sum(word, place)?;
    if let (Some(segments), Some(_)) = (cx.opt(1)?, cx.opt(4)?) {
        let s = rows(cx, 2, segments)?;
        sum = cx.sum(sum, s)?;
    }
    let (gamma, beta) = (cx.input(5)?, cx.input(6)?);
    let (gamma, beta) = (decode(cx, 3, gamma)?, decode(cx, 4, beta)?);
    let t = cx.dtype(sum);
    let wide = cx.cast(sum, DType::F32)?;
    let (y, _, _) = standardise(cx, wide, &[2], f64::from(cx.float("epsilon", 1e-12)))?;
    let y = cx.cast(y, t)?;
    let y = cx.mul(y, gamma)?;
    let y = cx.sum(y, beta)?;
    // How many keys of each row the mask shows.
    let lengths = match cx.opt(7)? {
        Some(mask) => {
            let mask = cx.cast(mask, DType::I32)?;
            cx.reduce(R::Sum, mask, &[1], false)?
        }
        None => cx.full(DType::I32, vec![d[0].clone()], 0.0)?,
    };
    cx.many(&[y, lengths, sum])
}

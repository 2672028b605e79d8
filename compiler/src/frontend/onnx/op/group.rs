//! The com.microsoft group normalisations of diffusion models, channels last by default.

use super::normalize::standardise;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::expr::product;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("com.microsoft:GroupNorm", |cx| {
        let x = cx.input(0)?;
        let y = group_norm(cx, x)?;
        cx.one(y)
    }),
    ("com.microsoft:SkipGroupNorm", skip),
];

/// `x + skip [+ bias]`, normalised; result 1 is the sum.
fn skip(cx: &mut NodeCx) -> Out {
    let (x, mut skip) = (cx.input(0)?, cx.input(3)?);
    let last = cx.flag("channels_last", true);
    let rank = cx.rank(x);
    if cx.rank(skip) == 2 {
        // One row of channels for every place.
        let places: Vec<usize> = if last { (1..rank - 1).collect() } else { (2..rank).collect() };
        skip = cx.unsqueeze(skip, &places)?;
    }
    let mut sum = cx.sum(x, skip)?;
    if let Some(b) = cx.opt(4)? {
        let b = cx.along(b, if last { rank - 1 } else { 1 }, rank)?;
        sum = cx.sum(sum, b)?;
    }
    let y = group_norm(cx, sum)?;
    cx.many(&[y, sum])
}

fn group_norm(cx: &mut NodeCx, x: ValueId) -> Result<ValueId> {
    let (own, t) = (cx.dims(x), cx.dtype(x));
    let rank = own.len();
    let groups = cx.int("groups", 0);
    if rank < 3 || groups <= 0 {
        return Err(Diag::input(format!("GroupNorm of {} in {groups} groups", cx.ty(x))));
    }
    let axis = if cx.flag("channels_last", true) { rank - 1 } else { 1 };
    let per = own[axis].div(&groups.into());
    let (split, axes) = if axis == 1 {
        (vec![own[0].clone(), groups.into(), per, product(&own[2..])], [2, 3])
    } else {
        (vec![own[0].clone(), product(&own[1..axis]), groups.into(), per], [1, 3])
    };
    let wide = cx.cast(x, DType::F32)?;
    let g = cx.reshape(wide, split)?;
    let (y, _, _) = standardise(cx, g, &axes, f64::from(cx.float("epsilon", 1e-5)))?;
    let y = cx.reshape(y, own)?;
    let (gamma, beta) = (cx.input(1)?, cx.input(2)?);
    let (gamma, beta) = (cx.cast(gamma, DType::F32)?, cx.cast(beta, DType::F32)?);
    let (gamma, beta) = (cx.along(gamma, axis, rank)?, cx.along(beta, axis, rank)?);
    let y = cx.mul(y, gamma)?;
    let mut y = cx.sum(y, beta)?;
    if cx.flag("activation", false) {
        let s = cx.unary(U::Sigmoid, y)?;
        y = cx.mul(y, s)?;
    }
    cx.cast(y, t)
}

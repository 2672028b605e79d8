//! Pooling.

use super::conv::{padding, windows};
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::expr::product;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{self, pool::PoolKind};
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("MaxPool", |cx| {
        let x = cx.input(0)?;
        let indices = cx.wants(1);
        let y = pool(cx, x, PoolKind::Max, indices)?;
        cx.many(&y)
    }),
    ("AveragePool", |cx| {
        let x = cx.input(0)?;
        let y = pool(cx, x, PoolKind::Average, false)?;
        cx.many(&y)
    }),
    ("LpPool", lp_pool),
    ("GlobalLpPool", global_lp_pool),
    ("MaxUnpool", max_unpool),
];

/// Pooling with the node's attributes.
pub fn pool(cx: &mut NodeCx, x: ValueId, kind: PoolKind, indices: bool) -> Result<Vec<ValueId>> {
    let d = cx.dims(x);
    let r = d
        .len()
        .checked_sub(2)
        .filter(|&r| r > 0)
        .ok_or_else(|| Diag::input(format!("pooling of {}", cx.ty(x))))?;
    let kernel = cx.sizes("kernel_shape", r, 0, 1)?;
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    let kernel: Vec<Expr> = kernel.into_iter().map(Expr::from).collect();
    let p = padding(cx, &d[2..], &windows(&kernel, &dilations), &strides)?;
    let op = op::Pool {
        kind,
        kernel,
        strides,
        dilations,
        pads_before: p.before,
        pads_after: p.after,
        ceil_mode: cx.flag("ceil_mode", false),
        count_include_pad: cx.flag("count_include_pad", false),
        indices,
        column_major: cx.flag("storage_order", false),
        channels_last: false,
    };
    cx.add(op.into(), &[x])
}

/// `(sum |x|^p)^(1/p)`: an average over the padded window times its size.
fn lp_pool(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let p = cx.int("p", 2) as f64;
    let powered = power(cx, x, p)?;
    let d = cx.dims_at_least(x, 3)?;
    let r = d.len().saturating_sub(2);
    let kernel = cx.sizes("kernel_shape", r, 0, 1)?;
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    // A depthwise convolution with ones sums each window.
    let channels = d[1].as_const().and_then(|c| usize::try_from(c).ok());
    let channels = channels.ok_or_else(|| Diag::unsupported("LpPool with an unknown number of channels"))?;
    let wd: Vec<Expr> = [channels, 1].into_iter().chain(kernel.iter().copied()).map(Expr::from).collect();
    let window = windows(&wd[2..], &dilations);
    let mut pads = padding(cx, &d[2..], &window, &strides)?;
    if cx.flag("ceil_mode", false) {
        for i in 0..r {
            // Zeros behind do not change a sum: grow until the rounded-up result fits.
            let room = d[2 + i].clone() + pads.before[i].clone() + pads.after[i].clone() - window[i].clone();
            let missing = room.ceil_div(&strides[i].into()) * strides[i].into() - room;
            pads.after[i] = pads.after[i].clone() + missing;
        }
    }
    let ones = cx.full(cx.dtype(x), wd, 1.0)?;
    let op = op::Conv {
        strides,
        dilations,
        pads_before: pads.before,
        pads_after: pads.after,
        group: channels,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    let s = cx.emit(op, &[powered, ones])?;
    let y = root(cx, s, p)?;
    cx.one(y)
}

fn power(cx: &mut NodeCx, x: ValueId, p: f64) -> Result<ValueId> {
    if p == 2.0 {
        return cx.mul(x, x);
    }
    let a = cx.unary(U::Abs, x)?;
    if p == 1.0 {
        return Ok(a);
    }
    let p = cx.scalar_like(x, p)?;
    cx.binary(B::Pow, a, p)
}

fn root(cx: &mut NodeCx, x: ValueId, p: f64) -> Result<ValueId> {
    if p == 1.0 {
        return Ok(x);
    }
    if p == 2.0 {
        return cx.unary(U::Sqrt, x);
    }
    let e = cx.scalar_like(x, 1.0 / p)?;
    cx.binary(B::Pow, x, e)
}

fn global_lp_pool(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let p = cx.int("p", 2) as f64;
    let axes: Vec<usize> = (2..cx.rank(x)).collect();
    let v = power(cx, x, p)?;
    let s = cx.reduce(R::Sum, v, &axes, true)?;
    let y = root(cx, s, p)?;
    cx.one(y)
}

/// Scatters values to the flat positions that MaxPool gave.
fn max_unpool(cx: &mut NodeCx) -> Out {
    let (x, i) = (cx.input(0)?, cx.input(1)?);
    let d = cx.dims_at_least(x, 3)?;
    let r = d.len().saturating_sub(2);
    let kernel = cx.sizes("kernel_shape", r, 0, 1)?;
    let strides = cx.sizes("strides", r, 1, 1)?;
    let pads = padding(cx, &d[2..], &vec![1.into(); r], &strides)?;
    let mut natural = d[..2].to_vec();
    for k in 0..r {
        let full = (d[2 + k].clone() - 1.into()) * strides[k].into() + kernel[k].into();
        natural.push(full - pads.before[k].clone() - pads.after[k].clone());
    }
    let out = match cx.opt(2)? {
        None => natural.clone(),
        Some(s) => {
            let hints = cx.declared(0).unwrap_or_default();
            let range = |i: usize| hints.get(i).copied().flatten().map_or((0, 1 << 16), |d| (d, d));
            cx.ints(s, &range)?
        }
    };
    // Indices count in the tensor of natural size, which is then cut or filled up behind.
    let (n, m) = (product(&natural), product(&d));
    let zero = cx.scalar_like(x, 0.0)?;
    let flat = cx.broadcast(zero, vec![n])?;
    let (x, i) = (cx.reshape(x, vec![m.clone()])?, cx.reshape(i, vec![m])?);
    let i = cx.cast(i, DType::I64)?;
    let reduction = op::scatter_elements::ScatterKind::Set;
    let y = cx.emit(op::ScatterElements { axis: 0, reduction }, &[flat, i, x])?;
    let mut y = cx.reshape(y, natural.clone())?;
    if out.len() != natural.len() {
        return Err(Diag::input(format!("output_shape of {} dims, {} are needed", out.len(), natural.len())));
    }
    if out != natural {
        let none = vec![Expr::from(0); out.len()];
        let missing = |(o, n): (&Expr, &Expr)| (o.clone() - n.clone()).max_of(&0.into());
        let after = out.iter().zip(&natural).map(missing).collect();
        let mode = op::pad::PadMode::Constant;
        y = cx.emit(op::Pad { mode, before: none.clone(), after }, &[y, zero])?;
        let steps = vec![1.into(); out.len()];
        y = cx.emit(op::Slice { starts: none, sizes: out, steps }, &[y])?;
    }
    cx.one(y)
}

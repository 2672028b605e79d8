//! Convolutions.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Conv", |cx| {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let mut y = conv(cx, x, w)?;
        if let Some(b) = cx.opt(2)? {
            y = channel_bias(cx, y, b)?;
        }
        cx.one(y)
    }),
    ("ConvInteger", |cx| {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let (x, w) = (cx.cast(x, DType::I32)?, cx.cast(w, DType::I32)?);
        let x = match cx.opt(2)? {
            Some(z) => {
                let z = cx.cast(z, DType::I32)?;
                cx.sub(x, z)?
            }
            None => x,
        };
        let w = match cx.opt(3)? {
            Some(z) => {
                let z = cx.cast(z, DType::I32)?;
                let z = if cx.ty(z).numel().is(1) { z } else { cx.along(z, 0, cx.rank(w))? };
                cx.sub(w, z)?
            }
            None => w,
        };
        let y = conv(cx, x, w)?;
        cx.one(y)
    }),
    ("ConvTranspose", conv_transpose),
];

/// Adds a 1-D bias along axis 1.
pub fn channel_bias(cx: &mut NodeCx, y: ValueId, b: ValueId) -> Result<ValueId> {
    let b = cx.along(b, 1, cx.rank(y))?;
    cx.sum(y, b)
}

/// Padding in front and behind per spatial axis, from `pads` or `auto_pad`.
pub struct Padding {
    /// In front.
    pub before: Vec<Expr>,
    /// Behind.
    pub after: Vec<Expr>,
}

/// Reads `pads` / `auto_pad` for windows of `window` elements.
pub fn padding(cx: &NodeCx, spatial: &[Expr], window: &[Expr], strides: &[usize]) -> Result<Padding> {
    let r = spatial.len();
    let auto = cx.text("auto_pad", "NOTSET");
    match auto.as_str() {
        "NOTSET" | "" => {
            let pads = cx.int_list("pads").filter(|p| !p.is_empty()).unwrap_or_else(|| vec![0; 2 * r]);
            if pads.len() != 2 * r || pads.iter().any(|p| p.unsigned_abs() > 1 << 30) {
                return Err(Diag::input(format!("pads {pads:?} for {r} spatial axes")));
            }
            let own = |p: &[i64]| p.iter().map(|&p| p.into()).collect();
            Ok(Padding { before: own(&pads[..r]), after: own(&pads[r..]) })
        }
        "VALID" => Ok(Padding { before: vec![0.into(); r], after: vec![0.into(); r] }),
        "SAME_UPPER" | "SAME_LOWER" => {
            let mut p = Padding { before: vec![], after: vec![] };
            for i in 0..r {
                let s = Expr::from(strides[i]);
                let out = spatial[i].ceil_div(&s);
                let total = (out - 1.into()) * s + window[i].clone() - spatial[i].clone();
                let total = total.max_of(&0.into());
                let half = total.div(&2.into());
                let rest = total - half.clone();
                let (b, a) = if auto == "SAME_UPPER" { (half, rest) } else { (rest, half) };
                p.before.push(b);
                p.after.push(a);
            }
            Ok(p)
        }
        other => Err(Diag::input(format!("auto_pad `{other}`"))),
    }
}

/// Extent of dilated kernels.
pub fn windows(kernel: &[Expr], dilations: &[usize]) -> Vec<Expr> {
    kernel.iter().zip(dilations).map(|(k, &d)| (k.clone() - 1.into()) * d.into() + 1.into()).collect()
}

/// Rank of something with batch, channels and space.
pub fn conv_shape(cx: &NodeCx, x: ValueId) -> Result<usize> {
    let rank = cx.rank(x);
    if rank < 3 {
        return Err(Diag::input(format!("{} has no batch, channels and space", cx.ty(x))));
    }
    Ok(rank)
}

/// The convolution itself, with the node's attributes.
pub fn conv(cx: &mut NodeCx, x: ValueId, w: ValueId) -> Result<ValueId> {
    let (xd, wd) = (cx.dims(x), cx.dims(w));
    let r = xd.len().checked_sub(2).filter(|&r| r > 0 && wd.len() == xd.len());
    let r = r.ok_or_else(|| Diag::input(format!("Conv of {} with {}", cx.ty(x), cx.ty(w))))?;
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    let p = padding(cx, &xd[2..], &windows(&wd[2..], &dilations), &strides)?;
    let group = usize::try_from(cx.int("group", 1)).map_err(|_| Diag::input("group is negative"))?;
    // Negative pads crop: a slice in front of the convolution.
    cx.emit(
        op::Conv {
            strides,
            dilations,
            pads_before: p.before,
            pads_after: p.after,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        },
        &[x, w],
    )
}

fn conv_transpose(cx: &mut NodeCx) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (xd, wd) = (cx.dims(x), cx.dims(w));
    let r = xd.len().checked_sub(2).filter(|&r| r > 0 && wd.len() == xd.len());
    let r = r.ok_or_else(|| Diag::input(format!("ConvTranspose of {} with {}", cx.ty(x), cx.ty(w))))?;
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    let extra = cx.sizes("output_padding", r, 0, 0)?;
    let group = usize::try_from(cx.int("group", 1)).map_err(|_| Diag::input("group is negative"))?;
    let window = windows(&wd[2..], &dilations);
    let auto = cx.text("auto_pad", "NOTSET");
    let shape = cx.int_list("output_shape").filter(|s| !s.is_empty());
    let (mut before, mut after) = (vec![], vec![]);
    for i in 0..r {
        let s = Expr::from(strides[i]);
        let full = (xd[2 + i].clone() - 1.into()) * s.clone() + window[i].clone() + extra[i].into();
        let want = match &shape {
            // Only spatial dims, or all of them.
            Some(o) => {
                let at =
                    (o.len() + i).checked_sub(r).ok_or_else(|| Diag::input("output_shape is too short"))?;
                Some(Expr::from(o[at]))
            }
            None if auto.starts_with("SAME") => Some(xd[2 + i].clone() * s),
            None => None,
        };
        let (b, a) = match want {
            Some(out) => {
                let total = full - out;
                let half = total.div(&2.into());
                let rest = total - half.clone();
                if auto == "SAME_UPPER" { (half, rest) } else { (rest, half) }
            }
            None => {
                let p = padding(cx, &xd[2..], &window, &strides)?;
                (p.before[i].clone(), p.after[i].clone())
            }
        };
        before.push(b);
        after.push(a - extra[i].into());
    }
    let op = op::ConvTranspose {
        strides,
        dilations,
        pads_before: before,
        pads_after: after,
        group,
        channels_last: false,
    };
    let mut y = cx.emit(op, &[x, w])?;
    if let Some(b) = cx.opt(2)? {
        y = channel_bias(cx, y, b)?;
    }
    cx.one(y)
}

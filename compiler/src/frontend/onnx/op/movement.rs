//! Reordering and joining of elements.

use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::{self, pad::PadMode};
use sinter_ir::{Diag, Expr, Result};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("Transpose", transpose),
    ("Concat", concat),
    ("Split", split),
    ("Pad", pad),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("ReverseSequence", reverse_sequence),
    ("CenterCropPad", center_crop_pad),
];

fn transpose(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let perm = match cx.int_list("perm") {
        Some(p) => p.iter().map(|&a| cx.axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).rev().collect(),
    };
    let y = cx.transpose(x, perm)?;
    cx.one(y)
}

fn concat(cx: &mut NodeCx) -> Out {
    let parts = (0..cx.arity()).map(|i| cx.input(i)).collect::<Result<Vec<_>>>()?;
    let first = *parts.first().ok_or_else(|| Diag::input("no operands"))?;
    let axis = cx.axis(cx.int("axis", 1), cx.rank(first))?;
    let y = cx.concat(&parts, axis)?;
    cx.one(y)
}

/// Most parts of a Split.
const MAX_PARTS: usize = 1 << 16;

/// Lengths come from an attribute before opset 13, an operand since, or equal parts.
fn split(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let axis = cx.axis(cx.int("axis", 0), cx.rank(x))?;
    let whole = cx.dims(x)[axis].clone();
    let parts = match cx.int("num_outputs", 0) {
        0 => cx.node.output.len(),
        n => match usize::try_from(n) {
            Ok(n) if n <= MAX_PARTS => n,
            Ok(n) => {
                return Err(Diag::limit(format!("num_outputs is {n}, at most {MAX_PARTS} are supported")));
            }
            Err(_) => return Err(Diag::input(format!("num_outputs is {n}"))),
        },
    };
    let max = cx.symbols().max(&whole);
    let sizes: Vec<Expr> = match (cx.int_list("split"), cx.opt(1)?) {
        (Some(s), _) => s.into_iter().map(Expr::from).collect(),
        (None, Some(v)) => {
            let declared: Vec<_> =
                (0..parts).map(|i| cx.declared(i).and_then(|d| d.get(axis).copied().flatten())).collect();
            cx.ints(v, &|i| match declared.get(i).copied().flatten() {
                Some(d) => (d, d),
                None => (0, max),
            })?
        }
        (None, None) => {
            let each = whole.ceil_div(&parts.into());
            let last = whole.clone() - each.clone() * (parts.max(1) - 1).into();
            (0..parts).map(|i| if i + 1 == parts { last.clone() } else { each.clone() }).collect()
        }
    };
    let total = sizes.iter().fold(Expr::from(0), |a, b| a + b.clone());
    cx.symbols().require_eq(&total, &whole, "Split lengths")?;
    let mut at = Expr::from(0);
    let mut out = Vec::new();
    for size in sizes {
        out.push(cx.slice_axis(x, axis, at.clone(), size.clone())?);
        at = at + size;
    }
    cx.many(&out)
}

fn pad(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let mode = match cx.text("mode", "constant").as_str() {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        m => return Err(Diag::input(format!("Pad mode `{m}`"))),
    };
    let axes: Vec<usize> = match cx.opt(3)? {
        Some(a) => {
            let list = cx
                .const_ints(a)
                .ok_or_else(|| Diag::unsupported("Pad axes that are known only at run time"))?;
            list.into_iter().map(|a| cx.axis(a, rank)).collect::<Result<_>>()?
        }
        None => (0..rank).collect(),
    };
    let pads: Vec<Expr> = match cx.int_list("pads") {
        Some(p) => p.into_iter().map(Expr::from).collect(),
        None => {
            let p = cx.input(1)?;
            // A result dim that the model declares fixes the sum of its two pads.
            cx.ints(p, &|_| (0, 1 << 10))?
        }
    };
    if pads.len() != 2 * axes.len() {
        return Err(Diag::input(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let value = match (cx.opset < 11, cx.opt(2)?) {
        (true, _) => cx.scalar_like(x, f64::from(cx.float("value", 0.0)))?,
        (false, Some(v)) => {
            let scalar = cx.reshape(v, vec![])?;
            cx.cast(scalar, cx.dtype(x))?
        }
        (false, None) => {
            let zero = sinter_ir::Tensor::zeros(cx.dtype(x), vec![])?;
            cx.constant(zero)?
        }
    };
    let (mut before, mut after) = (vec![Expr::from(0); rank], vec![Expr::from(0); rank]);
    for (i, &a) in axes.iter().enumerate() {
        before[a] = pads[i].clone();
        after[a] = pads[axes.len() + i].clone();
    }
    let y = cx.emit(op::Pad { mode, before, after }, &[x, value])?;
    cx.one(y)
}

fn depth_to_space(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let d = nchw(cx, x)?;
    let b = cx.sizes_one("blocksize")?;
    let c = d[1].div(&(b.clone() * b.clone()));
    let crd = cx.text("mode", "DCR") == "CRD";
    let (split, perm) = if crd {
        (
            vec![d[0].clone(), c.clone(), b.clone(), b.clone(), d[2].clone(), d[3].clone()],
            vec![0, 1, 4, 2, 5, 3],
        )
    } else {
        (
            vec![d[0].clone(), b.clone(), b.clone(), c.clone(), d[2].clone(), d[3].clone()],
            vec![0, 3, 4, 1, 5, 2],
        )
    };
    let y = cx.reshape(x, split)?;
    let y = cx.transpose(y, perm)?;
    let y = cx.reshape(y, vec![d[0].clone(), c, d[2].clone() * b.clone(), d[3].clone() * b])?;
    cx.one(y)
}

fn space_to_depth(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let d = nchw(cx, x)?;
    let b = cx.sizes_one("blocksize")?;
    let (h, w) = (d[2].div(&b), d[3].div(&b));
    let y = cx.reshape(x, vec![d[0].clone(), d[1].clone(), h.clone(), b.clone(), w.clone(), b.clone()])?;
    let perm = match cx.text("mode", "DCR").as_str() {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        m => return Err(Diag::input(format!("SpaceToDepth mode `{m}`"))),
    };
    let y = cx.transpose(y, perm)?;
    let y = cx.reshape(y, vec![d[0].clone(), d[1].clone() * b.clone() * b, h, w])?;
    cx.one(y)
}

fn nchw(cx: &NodeCx, x: sinter_ir::ValueId) -> Result<Vec<Expr>> {
    Some(cx.dims(x))
        .filter(|d| d.len() == 4)
        .ok_or_else(|| Diag::input(format!("rank 4 is needed, got {}", cx.ty(x))))
}

fn reverse_sequence(cx: &mut NodeCx) -> Out {
    let (x, lens) = (cx.input(0)?, cx.input(1)?);
    let batch_axis = cx.axis(cx.int("batch_axis", 1), 2)?;
    let time_axis = cx.axis(cx.int("time_axis", 0), 2)?;
    let lens = cx.cast(lens, sinter_ir::DType::I64)?;
    let y = cx.emit(op::ReverseSequence { batch_axis, time_axis }, &[x, lens])?;
    cx.one(y)
}

/// Crops or pads each axis around its centre; odd differences go behind (pad) or in front (crop) as ONNX does.
fn center_crop_pad(cx: &mut NodeCx) -> Out {
    let (x, shape) = (cx.input(0)?, cx.input(1)?);
    let rank = cx.rank(x);
    let axes: Vec<usize> = match cx.int_list("axes") {
        Some(a) => a.iter().map(|&a| cx.axis(a, rank)).collect::<Result<_>>()?,
        None => (0..rank).collect(),
    };
    let hints = cx.declared(0).unwrap_or_default();
    let range = |i: usize| match axes.get(i).and_then(|&a| hints.get(a).copied().flatten()) {
        Some(d) => (d, d),
        None => (0, 1 << 12),
    };
    let want = cx.ints(shape, &range)?;
    let (mut before, mut after) = (vec![Expr::from(0); rank], vec![Expr::from(0); rank]);
    let two = Expr::from(2);
    for (&a, w) in axes.iter().zip(&want) {
        // `diff >= 0` pads floor(diff / 2) in front, `diff < 0` crops floor(-diff / 2) in front.
        let diff = w.clone() - cx.dims(x)[a].clone();
        let front = Expr::select_ge0(&diff, &diff.div(&two), &-(-diff.clone()).div(&two));
        after[a] = diff - front.clone();
        before[a] = front;
    }
    let zero = sinter_ir::Tensor::zeros(cx.dtype(x), vec![])?;
    let zero = cx.constant(zero)?;
    let y = cx.emit(op::Pad { mode: PadMode::Constant, before, after }, &[x, zero])?;
    let mut dims = cx.dims(y);
    axes.iter().zip(want).for_each(|(&a, w)| dims[a] = w);
    let y = cx.reshape(y, dims)?;
    cx.one(y)
}

impl NodeCx<'_, '_> {
    /// A positive integer attribute.
    pub fn sizes_one(&self, name: &str) -> Result<Expr> {
        let v = self.int(name, 0);
        if v <= 0 { Err(Diag::input(format!("attribute `{name}` is {v}"))) } else { Ok(v.into()) }
    }
}

//! Signal operators: DFT, STFT, mel filters, and complex arithmetic of com.microsoft.

use super::fourier::{Complex, mirrored, transform};
use super::misc::frames;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use crate::frontend::onnx::tensor;
use sinter_ir::op;
use sinter_ir::{Diag, Expr, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("DFT", dft),
    ("STFT", stft),
    ("MelWeightMatrix", mel),
    ("com.microsoft:Rfft", |cx| {
        one_dimensional(cx)?;
        let x = cx.input(0)?;
        let len = last_dim(cx, x)?;
        let bins = len.div(&2.into()) + 1.into();
        let y = transform(cx, Complex { re: x, im: None }, -1.0, &bins)?;
        let y = y.join(cx)?;
        cx.one(y)
    }),
    ("com.microsoft:Irfft", |cx| {
        one_dimensional(cx)?;
        let x = cx.input(0)?;
        let half = Complex::split(cx, x)?;
        let len = (last_dim(cx, half.re)? - 1.into()) * 2.into();
        let y = inverse_real(cx, half, &len)?;
        cx.one(y)
    }),
    ("com.microsoft:ComplexMul", |cx| complex_product(cx, false)),
    ("com.microsoft:ComplexMulConj", |cx| complex_product(cx, true)),
];

fn last_dim(cx: &NodeCx, x: ValueId) -> Result<Expr> {
    cx.dims(x).last().cloned().ok_or_else(|| Diag::input("a scalar is no signal"))
}

fn one_dimensional(cx: &NodeCx) -> Result<()> {
    if cx.int("signal_ndim", 1) != 1 || cx.flag("normalized", false) || !cx.flag("onesided", true) {
        return Err(Diag::unsupported("transforms of several axes, normalised or two-sided"));
    }
    Ok(())
}

fn complex_product(cx: &mut NodeCx, conjugate: bool) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let (a, b) = (Complex::split(cx, a)?, Complex::split(cx, b)?);
    let mut im = b.imaginary(cx)?;
    if conjugate {
        im = cx.unary(op::unary::UnaryKind::Neg, im)?;
    }
    let y = a.times(cx, (b.re, im), &|cx, x, y| cx.mul(x, y))?;
    let y = y.join(cx)?;
    cx.one(y)
}

/// Real signal of `len` samples from the leading half of its spectrum.
fn inverse_real(cx: &mut NodeCx, half: Complex, len: &Expr) -> Result<ValueId> {
    let all = mirrored(cx, half, len)?;
    let y = transform(cx, all, 1.0, len)?;
    divided(cx, y.re, len)
}

fn divided(cx: &mut NodeCx, x: ValueId, len: &Expr) -> Result<ValueId> {
    match len.as_const() {
        Some(n) => cx.mul_num(x, 1.0 / n.max(1) as f64),
        None => {
            let n = cx.dim_scalar(len.clone(), cx.dtype(x))?;
            cx.div(x, n)
        }
    }
}

/// A signal cut or filled with zeros behind to a length, along the last axis.
fn fitted(cx: &mut NodeCx, x: ValueId, len: &Expr) -> Result<ValueId> {
    let axis = cx.rank(x) - 1;
    let own = cx.dims(x)[axis].clone();
    if own == *len {
        return Ok(x);
    }
    let zero = cx.scalar_like(x, 0.0)?;
    let before = vec![Expr::from(0); axis + 1];
    let mut after = before.clone();
    after[axis] = (len.clone() - own).max_of(&0.into());
    let x = cx.emit(op::Pad { mode: op::pad::PadMode::Constant, before, after }, &[x, zero])?;
    cx.slice_axis(x, axis, 0.into(), len.clone())
}

/// Moves an axis to the end, and back.
fn behind(cx: &mut NodeCx, x: ValueId, axis: usize) -> Result<ValueId> {
    let perm = (0..cx.rank(x)).filter(|&a| a != axis).chain([axis]).collect();
    cx.transpose(x, perm)
}

fn restored(cx: &mut NodeCx, x: ValueId, axis: usize) -> Result<ValueId> {
    let last = cx.rank(x) - 1;
    let perm = (0..axis).chain([last]).chain(axis..last).collect();
    cx.transpose(x, perm)
}

fn dft(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let axis = if cx.opset < 20 {
        cx.int("axis", 1)
    } else {
        match cx.opt(2)? {
            Some(a) => cx
                .const_ints(a)
                .and_then(|a| a.first().copied())
                .ok_or_else(|| Diag::unsupported("the axis of DFT must be known at compile time"))?,
            None => -2,
        }
    };
    let axis = cx.axis(axis, rank)?;
    if axis + 1 == rank {
        return Err(Diag::input("DFT over the axis of real and imaginary parts"));
    }
    let (inverse, onesided) = (cx.flag("inverse", false), cx.flag("onesided", false));
    let signal = Complex::split(cx, x)?;
    let signal = signal.map(cx, &|cx, v| behind(cx, v, axis))?;
    let own = last_dim(cx, signal.re)?;
    let natural = if inverse && onesided { (own - 1.into()) * 2.into() } else { own };
    let len = match cx.opt(1)? {
        Some(n) => {
            let max = cx.symbols().max(&natural).max(1);
            cx.int_value(n, (1, max))?
        }
        None => natural,
    };
    let half = len.div(&2.into()) + 1.into();
    let y = if inverse && onesided {
        let signal = signal.map(cx, &|cx, v| fitted(cx, v, &half))?;
        let y = inverse_real(cx, signal, &len)?;
        let y = restored(cx, y, axis)?;
        cx.unsqueeze(y, &[rank - 1])?
    } else {
        let signal = signal.map(cx, &|cx, v| fitted(cx, v, &len))?;
        let bins = if onesided { half } else { len.clone() };
        let mut y = transform(cx, signal, if inverse { 1.0 } else { -1.0 }, &bins)?;
        if inverse {
            y = y.map(cx, &|cx, v| divided(cx, v, &len))?;
        }
        let y = y.map(cx, &|cx, v| restored(cx, v, axis))?;
        y.join(cx)?
    };
    cx.one(y)
}

fn stft(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    if cx.rank(x) != 3 {
        return Err(Diag::input(format!("STFT of {}", cx.ty(x))));
    }
    let step = cx.input(1)?;
    let step = cx.const_ints(step).and_then(|s| s.first().copied()).filter(|s| *s > 0);
    let step =
        step.ok_or_else(|| Diag::unsupported("the frame step of STFT must be known at compile time"))?;
    let window = cx.opt(2)?;
    let samples = cx.dims(x)[1].clone();
    let size = match (cx.opt(3)?, window) {
        (Some(n), _) => {
            let max = cx.symbols().max(&samples).max(1);
            cx.int_value(n, (1, max))?
        }
        (None, Some(w)) => cx.ty(w).numel(),
        (None, None) => return Err(Diag::input("STFT needs a window or a frame length")),
    };
    let signal = Complex::split(cx, x)?;
    let mut pieces = signal.map(cx, &|cx, v| frames(cx, v, 1, &size, step))?;
    if let Some(w) = window {
        pieces = pieces.map(cx, &|cx, v| cx.mul(v, w))?;
    }
    let bins = if cx.flag("onesided", true) { size.div(&2.into()) + 1.into() } else { size };
    let y = transform(cx, pieces, -1.0, &bins)?;
    let y = y.join(cx)?;
    cx.one(y)
}

/// Triangles on the mel scale, as a constant `[bins, mels]`.
fn mel(cx: &mut NodeCx) -> Out {
    let mut known = [0.0; 5];
    for (i, k) in known.iter_mut().enumerate() {
        let v = cx.input(i)?;
        *k = cx.need_const(v, "what MelWeightMatrix is made of")?.scalar_f64()?;
    }
    let [mels, length, rate, low, high] = known;
    if !(1.0..=65536.0).contains(&mels) || !(1.0..=1_048_576.0).contains(&length) || rate <= 0.0 {
        return Err(Diag::input(format!("MelWeightMatrix with {mels} bins, length {length}, rate {rate}")));
    }
    let (mels, bins) = (mels as usize, length as usize / 2 + 1);
    let to_mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
    let (first, last) = (to_mel(low), to_mel(high));
    // Corners of the triangles as numbers of spectrum bins.
    let corner = |i: usize| {
        let m = first + i as f64 * (last - first) / (mels + 2) as f64;
        let f = 700.0 * (10f64.powf(m / 2595.0) - 1.0);
        ((length + 1.0) * f / rate).floor() as i64
    };
    let mut w = vec![0.0; bins * mels];
    for i in 0..mels {
        let (a, b, c) = (corner(i), corner(i + 1), corner(i + 2));
        for (k, row) in w.chunks_mut(mels).enumerate() {
            let k = k as i64;
            row[i] = if k == b && a == b {
                1.0
            } else if (a..=b).contains(&k) {
                (k - a) as f64 / (b - a) as f64
            } else if (b..c).contains(&k) {
                (c - k) as f64 / (c - b) as f64
            } else {
                0.0
            };
        }
    }
    let t = tensor::dtype(cx.int("output_datatype", 1) as i32)?;
    let y = cx.constant(Tensor::from_f64(t, vec![bins, mels], &w)?)?;
    cx.one(y)
}

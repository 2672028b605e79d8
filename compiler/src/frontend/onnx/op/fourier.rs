//! Fourier transforms as matrix products: a length that factors is split, so that matrices stay small.

use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, Tensor, ValueId};
use std::f64::consts::TAU;

/// Lengths up to this are one matrix product.
const DIRECT: i64 = 64;
/// Largest length without factors: one matrix of its square.
const MAX_DIRECT: i64 = 4096;
/// Largest length at all.
const MAX_LENGTH: i64 = 1 << 20;
/// Largest table of angles that is made at import; larger ones are left to the graph.
const MAX_TABLE: i64 = 1 << 20;

/// Real and imaginary parts, separately; no imaginary part means zeros.
#[derive(Clone, Copy)]
pub struct Complex {
    /// Real part.
    pub re: ValueId,
    /// Imaginary part.
    pub im: Option<ValueId>,
}

impl Complex {
    /// Takes `[.., 1 or 2]` apart; `[.., 1]` is real.
    pub fn split(cx: &mut NodeCx, x: ValueId) -> Result<Self> {
        let last = cx.rank(x).checked_sub(1).ok_or_else(|| Diag::input("a scalar is no signal"))?;
        let part = |cx: &mut NodeCx, i: i64| -> Result<ValueId> {
            let p = cx.slice_axis(x, last, i.into(), 1.into())?;
            cx.squeeze(p, &[last])
        };
        let re = part(cx, 0)?;
        let im = match cx.dims(x)[last].as_const() {
            Some(1) => None,
            Some(2) => Some(part(cx, 1)?),
            _ => {
                return Err(Diag::input(format!(
                    "{}: the last dim must be 1 (real) or 2 (complex)",
                    cx.ty(x)
                )));
            }
        };
        Ok(Self { re, im })
    }
    /// Puts the parts together as `[.., 2]`.
    pub fn join(self, cx: &mut NodeCx) -> Result<ValueId> {
        let im = self.imaginary(cx)?;
        let axis = cx.rank(self.re);
        let (re, im) = (cx.unsqueeze(self.re, &[axis])?, cx.unsqueeze(im, &[axis])?);
        cx.concat(&[re, im], axis)
    }
    /// The imaginary part, zeros where there is none.
    pub fn imaginary(self, cx: &mut NodeCx) -> Result<ValueId> {
        match self.im {
            Some(im) => Ok(im),
            None => cx.mul_num(self.re, 0.0),
        }
    }
    /// The same function of both parts.
    pub fn map(self, cx: &mut NodeCx, f: &dyn Fn(&mut NodeCx, ValueId) -> Result<ValueId>) -> Result<Self> {
        let im = match self.im {
            Some(im) => Some(f(cx, im)?),
            None => None,
        };
        Ok(Self { re: f(cx, self.re)?, im })
    }
    /// Product by a bilinear function (element-wise or of matrices).
    pub fn times(
        self,
        cx: &mut NodeCx,
        (c, s): (ValueId, ValueId),
        f: &dyn Fn(&mut NodeCx, ValueId, ValueId) -> Result<ValueId>,
    ) -> Result<Self> {
        let (rc, rs) = (f(cx, self.re, c)?, f(cx, self.re, s)?);
        let Some(im) = self.im else { return Ok(Self { re: rc, im: Some(rs) }) };
        let (ic, is) = (f(cx, im, c)?, f(cx, im, s)?);
        Ok(Self { re: cx.sub(rc, is)?, im: Some(cx.sum(rs, ic)?) })
    }
}

/// Transforms the last axis, to `bins` leading bins; `sign` is -1 forwards and 1 backwards (not divided by the
/// length).
pub fn transform(cx: &mut NodeCx, x: Complex, sign: f64, bins: &Expr) -> Result<Complex> {
    let axis = cx.last_axis(x.re)?;
    let len = cx.dims(x.re)[axis].clone();
    if let Some(n) = len.as_const().filter(|n| *n > MAX_LENGTH) {
        return Err(Diag::limit(format!(
            "a Fourier transform of length {n}: at most {MAX_LENGTH} is supported"
        )));
    }
    match (len.as_const(), factor(len.as_const())) {
        (Some(n), Some(f)) => {
            let y = split(cx, x, sign, n, f)?;
            let bins = bins.clone();
            y.map(cx, &move |cx, v| {
                let axis = cx.rank(v) - 1;
                if cx.dims(v)[axis] == bins { Ok(v) } else { cx.slice_axis(v, axis, 0.into(), bins.clone()) }
            })
        }
        (Some(n), None) if n > MAX_DIRECT => Err(Diag::limit(format!(
            "a Fourier transform of length {n}, which has no factors: at most {MAX_DIRECT} is supported"
        ))),
        _ => {
            let t = cx.dtype(x.re);
            let w = roots(cx, &len, bins, &len, sign, t)?;
            x.times(cx, w, &|cx, a, w| product(cx, a, w))
        }
    }
}

/// Vectors of any batch by one matrix.
fn product(cx: &mut NodeCx, a: ValueId, w: ValueId) -> Result<ValueId> {
    if cx.rank(a) == 1 { super::matmul::product(cx, a, w) } else { cx.emit(op::MatMul::default(), &[a, w]) }
}

/// The factor nearest to the root of a length that is worth splitting.
fn factor(n: Option<i64>) -> Option<i64> {
    let n = n.filter(|&n| n > DIRECT)?;
    (2..=DIRECT.max((n as f64).sqrt() as i64)).rev().find(|f| n % f == 0 && f * f <= n)
}

/// The four steps for `n = a * b`: transforms of length a, twiddles, transforms of length b.
fn split(cx: &mut NodeCx, x: Complex, sign: f64, n: i64, a: i64) -> Result<Complex> {
    let b = n / a;
    let axis = cx.rank(x.re) - 1;
    let head = cx.dims(x.re)[..axis].to_vec();
    let swap = |cx: &mut NodeCx, v: ValueId| super::matmul::swapped(cx, v);
    let grid = [head.clone(), vec![a.into(), b.into()]].concat();
    let x = x.map(cx, &|cx, v| cx.reshape(v, grid.clone()))?;
    let x = x.map(cx, &swap)?;
    let x = transform(cx, x, sign, &a.into())?;
    let t = cx.dtype(x.re);
    let twiddles = roots(cx, &b.into(), &a.into(), &n.into(), sign, t)?;
    let x = x.times(cx, twiddles, &|cx, v, w| cx.mul(v, w))?;
    let x = x.map(cx, &swap)?;
    let x = transform(cx, x, sign, &b.into())?;
    // Bin k1 + a * k2 is at [k1, k2].
    let x = x.map(cx, &swap)?;
    let flat = [head, vec![n.into()]].concat();
    x.map(cx, &|cx, v| cx.reshape(v, flat.clone()))
}

/// `exp(sign 2 pi i j k / n)` for `j < rows`, `k < cols`, as cosines and sines.
fn roots(
    cx: &mut NodeCx,
    rows: &Expr,
    cols: &Expr,
    n: &Expr,
    sign: f64,
    t: DType,
) -> Result<(ValueId, ValueId)> {
    let sizes = (rows.as_const(), cols.as_const(), n.as_const());
    if let (Some(r), Some(c), Some(n)) = sizes
        && r.checked_mul(c).is_some_and(|t| t <= MAX_TABLE)
    {
        // Exact angles: j k mod n first.
        let angle = |i: i64| TAU * ((i / c) * (i % c) % n.max(1)) as f64 / n as f64;
        let shape = vec![usize::try_from(r).unwrap_or(0), usize::try_from(c).unwrap_or(0)];
        let table = |f: &dyn Fn(f64) -> f64| (0..r * c).map(|i| f(angle(i))).collect::<Vec<_>>();
        let cos = cx.constant(Tensor::from_f64(t, shape.clone(), &table(&f64::cos))?)?;
        let sin = cx.constant(Tensor::from_f64(t, shape, &table(&|a| sign * a.sin()))?)?;
        return Ok((cos, sin));
    }
    let grid = vec![rows.clone(), cols.clone()];
    let j = cx.emit(op::Iota { dtype: DType::I64, dims: grid.clone(), axis: 0 }, &[])?;
    let k = cx.emit(op::Iota { dtype: DType::I64, dims: grid, axis: 1 }, &[])?;
    let jk = cx.mul(j, k)?;
    let n = cx.dim_scalar(n.clone(), DType::I64)?;
    let turn = cx.binary(B::Mod, jk, n)?;
    let (turn, n) = (cx.cast(turn, DType::F64)?, cx.cast(n, DType::F64)?);
    let turn = cx.div(turn, n)?;
    let angle = cx.mul_num(turn, TAU)?;
    let (cos, sin) = (cx.unary(U::Cos, angle)?, cx.unary(U::Sin, angle)?);
    let sin = cx.mul_num(sin, sign)?;
    Ok((cx.cast(cos, t)?, cx.cast(sin, t)?))
}

/// All bins of a real signal's spectrum from its first half: the rest are conjugates in reverse.
pub fn mirrored(cx: &mut NodeCx, half: Complex, len: &Expr) -> Result<Complex> {
    let im = half.imaginary(cx)?;
    let axis = cx.rank(half.re) - 1;
    let bins = cx.dims(half.re)[axis].clone();
    let rest = len.clone() - bins;
    let back = |cx: &mut NodeCx, v: ValueId| -> Result<ValueId> {
        let rank = axis + 1;
        let mut starts = vec![Expr::from(0); rank];
        let mut sizes = cx.dims(v);
        let mut steps = vec![1.into(); rank];
        (starts[axis], sizes[axis], steps[axis]) = (rest.clone(), rest.clone(), (-1).into());
        cx.emit(op::Slice { starts, sizes, steps }, &[v])
    };
    let (re, mirror) = (back(cx, half.re)?, back(cx, im)?);
    let mirror = cx.unary(U::Neg, mirror)?;
    Ok(Complex { re: cx.concat(&[half.re, re], axis)?, im: Some(cx.concat(&[im, mirror], axis)?) })
}

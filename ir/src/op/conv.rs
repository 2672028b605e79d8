//! `Conv`: N-D convolution (cross-correlation).

use super::OpSpec;
use super::args;
use super::channels;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// N-D convolution (cross-correlation), channels first or last.
///
/// Inputs: `[x: [n, c, spatial..], w: [o, c/group, kernel..]]` of one dtype, or `w` of one that [weighs](DType::weighs) `x`.
/// Integers accumulate in i32. With `zero` the operands are bytes of any signedness, and the result is i32. `wide` sums of
/// f16/bf16 stay f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Per spatial axis.
    pub strides: Vec<usize>,
    /// Per spatial axis.
    pub dilations: Vec<usize>,
    /// Zero padding in front, per spatial axis.
    pub pads_before: Vec<Expr>,
    /// Zero padding behind.
    pub pads_after: Vec<Expr>,
    /// Groups.
    pub group: usize,
    /// The data is `[n, spatial.., c]`, and so is the result; the weights stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub channels_last: bool,
    /// Sums of bytes: what each element of `x` is counted from, a value of its type. Padding adds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<i64>,
    /// Of sums of bytes: what no element of `x` exceeds, where that is less than its type holds. With one that does, the
    /// result is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<i64>,
    /// Operands are 16-bit floats, and the result is f32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wide: bool,
}

impl OpSpec for Conv {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d, w] = args(x)?;
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::infer(s, d, &mut |s, d| first.infer(s, &[d, w]));
        }
        let why = format!("Conv of {} with {}", s.show_type(d), s.show_type(w));
        let r = d.rank().saturating_sub(2);
        let fits = r >= 1
            && w.rank() == d.rank()
            && match self.zero {
                Some(zero) => super::matmul::bytes(d.dtype, w.dtype, zero),
                None => w.dtype.weighs(d.dtype) && (d.dtype.is_float() || d.dtype == DType::I32),
            }
            && [self.strides.len(), self.dilations.len(), self.pads_before.len(), self.pads_after.len()]
                == [r; 4]
            && self.group > 0
            && !w.dims[2..].iter().any(|k| k.is(0))
            && self.strides.iter().chain(&self.dilations).all(|&v| v > 0);
        let Some(dtype) = super::matmul::sums(d.dtype, self.zero, self.wide).filter(|_| fits) else {
            return Err(Diag::input(format!("{why}: ranks, types or attributes do not fit")));
        };
        s.require_eq(&d.dims[1], &(w.dims[1].clone() * self.group.into()), &format!("{why}: channels"))?;
        if w.dims[0].as_const().is_some_and(|o| o % self.group as i64 != 0) {
            return Err(Diag::input(format!(
                "{why}: {} groups do not divide the output channels",
                self.group
            )));
        }
        let mut dims = vec![d.dims[0].clone(), w.dims[0].clone()];
        for i in 0..r {
            let window = window(&w.dims[2 + i], self.dilations[i]);
            let padded = d.dims[2 + i].clone() + self.pads_before[i].clone() + self.pads_after[i].clone();
            dims.push((padded - window).div(&self.strides[i].into()) + 1.into());
        }
        Ok(vec![TensorType::new(dtype, dims)])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d, w] = args(x)?;
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::eval(d, &mut |d| first.eval(cx, &[d, w.clone()]));
        }
        let r = d.rank() - 2;
        let before = self.pads_before.iter().map(|e| cx.expr(e)).collect::<Result<Vec<_>>>()?;
        let after = self.pads_after.iter().map(|e| cx.expr(e)).collect::<Result<Vec<_>>>()?;
        let kernel = &w.shape()[2..];
        let mut out = Vec::with_capacity(r);
        for i in 0..r {
            let window = (self.dilations[i] * (kernel[i].max(1) - 1) + 1) as i64;
            let n = (d.shape()[2 + i] as i64 + before[i] + after[i] - window)
                .div_euclid(self.strides[i] as i64)
                + 1;
            out.push(
                usize::try_from(n)
                    .map_err(|_| Diag::input("Conv: the kernel is larger than the padded input"))?,
            );
        }
        let shape = [&[d.shape()[0], w.shape()[0]], out.as_slice()].concat();
        crate::tensor::storage_bytes(DType::F64, &shape)?;
        let y = if d.dtype() == DType::I32 || self.zero.is_some() {
            let zero = self.zero.unwrap_or(0);
            let centred: Vec<i64> = d.to_i64()?.into_iter().map(|v| v - zero).collect();
            let v = self.sum(
                &centred,
                &w.to_i64()?,
                d.shape(),
                w.shape(),
                &out,
                &before,
                |c: i64, a: i64, b: i64| c.wrapping_add(a.wrapping_mul(b)),
            );
            Tensor::from_i64(DType::I32, shape, &v)?
        } else if d.dtype() == DType::F64 {
            Tensor::from_f64(
                DType::F64,
                shape,
                &self.sum(&d.to_f64()?, &w.to_f64()?, d.shape(), w.shape(), &out, &before, |c, a, b| {
                    c + a * b
                }),
            )?
        } else {
            Tensor::from_f32(
                super::matmul::sums(d.dtype(), self.zero, self.wide).unwrap_or(d.dtype()),
                shape,
                &self.sum(&d.to_f32()?, &w.to_f32()?, d.shape(), w.shape(), &out, &before, |c, a, b| {
                    c + a * b
                }),
            )?
        };
        Ok(vec![y])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.pads_before.iter_mut().for_each(&mut *f);
        self.pads_after.iter_mut().for_each(&mut *f);
    }
}

/// Extent of a dilated kernel.
pub(super) fn window(kernel: &Expr, dilation: usize) -> Expr {
    (kernel.clone() - 1.into()) * dilation.into() + 1.into()
}

impl Conv {
    /// One tap of one channel at a time: rows of the output gain a scaled row of the input.
    #[allow(clippy::too_many_arguments)]
    fn sum<T: Copy + Default>(
        &self,
        x: &[T],
        w: &[T],
        xs: &[usize],
        ws: &[usize],
        out: &[usize],
        before: &[i64],
        mul_add: impl Fn(T, T, T) -> T,
    ) -> Vec<T> {
        let (n, o, per) = (xs[0], ws[0], ws[1]);
        let per_group = o / self.group;
        let (plane_in, plane_out): (usize, usize) = (xs[2..].iter().product(), out.iter().product());
        let taps: usize = ws[2..].iter().product();
        let mut y = vec![T::default(); n * o * plane_out];
        for (b, oc) in (0..n).flat_map(|b| (0..o).map(move |oc| (b, oc))) {
            let plane = &mut y[(b * o + oc) * plane_out..][..plane_out];
            for ic in 0..per {
                let channel = oc / per_group * per + ic;
                let source = &x[(b * xs[1] + channel) * plane_in..][..plane_in];
                for tap in 0..taps {
                    let weight = w[(oc * per + ic) * taps + tap];
                    let offsets = self.tap_offsets(tap, &ws[2..], before);
                    add_tap(source, plane, &xs[2..], out, &self.strides, &offsets, &|c, v| {
                        mul_add(c, weight, v)
                    });
                }
            }
        }
        y
    }
    /// Input coordinate of output 0 under a tap, per axis.
    fn tap_offsets(&self, tap: usize, kernel: &[usize], before: &[i64]) -> Vec<i64> {
        let mut rest = tap;
        let mut at = vec![0; kernel.len()];
        for i in (0..kernel.len()).rev() {
            at[i] = (rest % kernel[i] * self.dilations[i]) as i64 - before[i];
            rest /= kernel[i];
        }
        at
    }
}

fn add_tap<T: Copy>(
    x: &[T],
    y: &mut [T],
    xs: &[usize],
    ys: &[usize],
    strides: &[usize],
    at: &[i64],
    f: &dyn Fn(T, T) -> T,
) {
    let (Some((&n, xr)), Some((&m, yr))) = (xs.split_first(), ys.split_first()) else { return };
    let (inner_x, inner_y): (usize, usize) = (xr.iter().product(), yr.iter().product());
    // Outputs o with 0 <= o * stride + at < n.
    let stride = strides[0] as i64;
    let lo = (-at[0]).max(0).div_euclid(stride) + i64::from((-at[0]).max(0) % stride != 0);
    let hi = ((n as i64 - at[0] + stride - 1).div_euclid(stride)).min(m as i64);
    for o in lo..hi {
        let i = (o * stride + at[0]) as usize;
        if xr.is_empty() {
            y[o as usize] = f(y[o as usize], x[i]);
        } else {
            let (xi, yi) = (&x[i * inner_x..][..inner_x], &mut y[o as usize * inner_y..][..inner_y]);
            add_tap(xi, yi, xr, yr, &strides[1..], &at[1..], f);
        }
    }
}

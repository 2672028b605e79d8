//! `ConvTranspose`: N-D transposed convolution.

use super::OpSpec;
use super::args;
use super::channels;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// N-D transposed convolution, channels first or last.
///
/// Inputs: `[x: [n, c, spatial..], w: [c, o/group, kernel..]]`. `y[o] = (x-1)*stride + dilation*(kernel-1) + 1 - before - after`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// Per spatial axis.
    pub strides: Vec<usize>,
    /// Per spatial axis.
    pub dilations: Vec<usize>,
    /// Elements cut in front; may be negative.
    pub pads_before: Vec<Expr>,
    /// Elements cut behind; negative adds zeros (output_padding).
    pub pads_after: Vec<Expr>,
    /// Groups.
    pub group: usize,
    /// The data is `[n, spatial.., c]`, and so is the result; the weights stay as they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub channels_last: bool,
}

impl OpSpec for ConvTranspose {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d, w] = args(x)?;
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::infer(s, d, &mut |s, d| first.infer(s, &[d, w]));
        }
        let why = format!("ConvTranspose of {} with {}", s.show_type(d), s.show_type(w));
        let r = d.rank().saturating_sub(2);
        let fits = r >= 1
            && w.rank() == d.rank()
            && d.dtype == w.dtype
            && d.dtype.is_float()
            && [self.strides.len(), self.dilations.len(), self.pads_before.len(), self.pads_after.len()]
                == [r; 4]
            && self.group > 0
            && !w.dims[2..].iter().any(|k| k.is(0))
            && self.strides.iter().chain(&self.dilations).all(|&v| v > 0)
            && w.dims[0].as_const().is_none_or(|c| c % self.group as i64 == 0);
        if !fits {
            return Err(Diag::input(format!("{why}: ranks, types or attributes do not fit")));
        }
        s.require_eq(&d.dims[1], &w.dims[0], &format!("{why}: channels"))?;
        let mut dims = vec![d.dims[0].clone(), w.dims[1].clone() * self.group.into()];
        for i in 0..r {
            let grown = (d.dims[2 + i].clone() - 1.into()) * self.strides[i].into()
                + super::conv::window(&w.dims[2 + i], self.dilations[i]);
            dims.push(grown - self.pads_before[i].clone() - self.pads_after[i].clone());
        }
        Ok(vec![TensorType::new(d.dtype, dims)])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d, w] = args(x)?;
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::eval(d, &mut |d| first.eval(cx, &[d, w.clone()]));
        }
        let r = d.rank() - 2;
        let (xs, ws) = (d.shape(), w.shape());
        let mut out = Vec::with_capacity(r);
        let mut before = Vec::with_capacity(r);
        for i in 0..r {
            let (b, a) = (cx.expr(&self.pads_before[i])?, cx.expr(&self.pads_after[i])?);
            let n = (xs[2 + i] as i64 - 1) * self.strides[i] as i64
                + (self.dilations[i] * (ws[2 + i] - 1) + 1) as i64
                - b
                - a;
            out.push(
                usize::try_from(n).map_err(|_| Diag::input("ConvTranspose: padding cuts away everything"))?,
            );
            before.push(b);
        }
        let per = ws[1];
        let o = per * self.group;
        let in_per = xs[1] / self.group;
        let shape = [&[xs[0], o], out.as_slice()].concat();
        crate::tensor::storage_bytes(DType::F64, &shape)?;
        let (plane_in, plane_out, taps): (usize, usize, usize) =
            (xs[2..].iter().product(), out.iter().product(), ws[2..].iter().product());
        let (xv, wv) = (d.to_f64()?, w.to_f64()?);
        let mut y = vec![0f64; xs[0] * o * plane_out];
        let own = crate::numeric::strides(&out);
        for b in 0..xs[0] {
            for c in 0..xs[1] {
                let g = c / in_per.max(1);
                for p in 0..plane_in {
                    let v = xv[(b * xs[1] + c) * plane_in + p];
                    for t in 0..taps {
                        let (mut rp, mut rt, mut at) = (p, t, Some(0usize));
                        for i in (0..r).rev() {
                            let pos = (rp % xs[2 + i] * self.strides[i] + rt % ws[2 + i] * self.dilations[i])
                                as i64
                                - before[i];
                            rp /= xs[2 + i];
                            rt /= ws[2 + i];
                            let inside = usize::try_from(pos).ok().filter(|&q| q < out[i]);
                            at = at.zip(inside).map(|(a, q)| a + q * own[i]);
                        }
                        if let Some(at) = at {
                            for oc in 0..per {
                                y[(b * o + g * per + oc) * plane_out + at] +=
                                    v * wv[(c * per + oc) * taps + t];
                            }
                        }
                    }
                }
            }
        }
        Ok(vec![Tensor::from_f64(d.dtype(), shape, &y)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.pads_before.iter_mut().for_each(&mut *f);
        self.pads_after.iter_mut().for_each(&mut *f);
    }
}

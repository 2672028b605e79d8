//! `Pool`: pooling over spatial axes.

use super::OpSpec;
use super::args;
use super::channels;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Pooling reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PoolKind {
    Max,
    Average,
}

/// Pooling over spatial axes, channels first or last.
///
/// Inputs: `[x: [n, c, spatial..]]`. Results: `[y]`, and for Max with `indices` also i64 flat indices into x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Which reduction.
    pub kind: PoolKind,
    /// Window per spatial axis.
    pub kernel: Vec<Expr>,
    /// Per spatial axis.
    pub strides: Vec<usize>,
    /// Per spatial axis.
    pub dilations: Vec<usize>,
    /// Padding in front.
    pub pads_before: Vec<Expr>,
    /// Padding behind.
    pub pads_after: Vec<Expr>,
    /// Result dims round up.
    pub ceil_mode: bool,
    /// Average counts padding.
    pub count_include_pad: bool,
    /// Max also gives indices.
    pub indices: bool,
    /// Indices count spatial dims column-major (storage_order 1).
    pub column_major: bool,
    /// The data is `[n, spatial.., c]`, and so is the result; there are no indices then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub channels_last: bool,
}

impl OpSpec for Pool {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d] = args(x)?;
        if self.channels_last && self.indices {
            return Err(Diag::input("Pool with channels last gives no indices"));
        }
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::infer(s, d, &mut |s, d| first.infer(s, &[d]));
        }
        let r = d.rank().saturating_sub(2);
        let lens = [
            self.kernel.len(),
            self.strides.len(),
            self.dilations.len(),
            self.pads_before.len(),
            self.pads_after.len(),
        ];
        if r == 0
            || lens != [r; 5]
            || self.strides.iter().chain(&self.dilations).any(|&v| v == 0)
            || !(d.dtype.is_float() || d.dtype.is_int())
        {
            return Err(Diag::input(format!(
                "Pool {:?} does not take {}: ranks, types or attributes do not fit",
                self.kind,
                s.show_type(d)
            )));
        }
        let mut dims = d.dims[..2].to_vec();
        for i in 0..r {
            dims.push(self.out_dim(i, &d.dims[2 + i]));
        }
        let y = TensorType::new(d.dtype, dims);
        Ok(match self.indices {
            true => vec![y.clone(), TensorType::new(DType::I64, y.dims)],
            false => vec![y],
        })
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d] = args(x)?;
        if self.channels_last {
            let first = Self { channels_last: false, ..self.clone() };
            return channels::eval(d, &mut |d| first.eval(cx, &[d]));
        }
        let r = d.rank() - 2;
        let xs = d.shape();
        let kernel = cx.dims(&self.kernel)?;
        let mut out = Vec::with_capacity(r);
        let (mut before, mut after) = (vec![], vec![]);
        for i in 0..r {
            out.push(cx.dim(&self.out_dim(i, &xs[2 + i].into()))?);
            before.push(cx.expr(&self.pads_before[i])?);
            after.push(cx.expr(&self.pads_after[i])?);
        }
        let shape = [&xs[..2], out.as_slice()].concat();
        crate::tensor::storage_bytes(DType::I64, &shape)?;
        let plane: usize = xs[2..].iter().product();
        let plane_out: usize = out.iter().product();
        let taps: usize = kernel.iter().product();
        let v = d.to_f64()?;
        let (mut y, mut at) = (Vec::new(), Vec::new());
        for c in 0..xs[0] * xs[1] {
            for p in 0..plane_out {
                let (mut sum, mut best, mut count) = (0.0, None::<(f64, usize, usize)>, 0usize);
                for t in 0..taps {
                    let (mut rp, mut rt, mut o, mut padded) = (p, t, Some((0usize, 1usize)), true);
                    let mut column = Some((0usize, 1usize));
                    let mut coords = vec![0usize; r];
                    for i in (0..r).rev() {
                        let pos = (rp % out[i] * self.strides[i] + rt % kernel[i] * self.dilations[i]) as i64
                            - before[i];
                        rp /= out[i];
                        rt /= kernel[i];
                        padded &= pos < xs[2 + i] as i64 + after[i];
                        let inside = usize::try_from(pos).ok().filter(|&q| q < xs[2 + i]);
                        coords[i] = inside.unwrap_or(0);
                        o = o.zip(inside).map(|((a, step), q)| (a + q * step, step * xs[2 + i]));
                    }
                    for (i, &q) in coords.iter().enumerate() {
                        column = column.map(|(a, step)| (a + q * step, step * xs[2 + i]));
                    }
                    count += usize::from(if self.count_include_pad { padded } else { o.is_some() });
                    if let Some((o, _)) = o {
                        let e = v[c * plane + o];
                        sum += e;
                        if best.is_none_or(|(b, _, _)| e > b || (e.is_nan() && !b.is_nan())) {
                            best = Some((e, o, column.map_or(0, |c| c.0)));
                        }
                    }
                }
                match self.kind {
                    PoolKind::Max => {
                        let lowest = d.dtype().int_range().map_or(f64::NEG_INFINITY, |r| r.0 as f64);
                        y.push(best.map_or(lowest, |b| b.0));
                        at.push(
                            best.map_or(0, |b| {
                                (c * plane + if self.column_major { b.2 } else { b.1 }) as i64
                            }),
                        );
                    }
                    PoolKind::Average => y.push(sum / count as f64),
                }
            }
        }
        let mut outs = vec![Tensor::from_f64(d.dtype(), shape.clone(), &y)?];
        if self.indices {
            outs.push(Tensor::from_i64(DType::I64, shape, &at)?);
        }
        Ok(outs)
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.kernel.iter_mut().for_each(&mut *f);
        self.pads_before.iter_mut().for_each(&mut *f);
        self.pads_after.iter_mut().for_each(&mut *f);
    }
}

impl Pool {
    /// Result dim of a spatial axis. In ceil mode the last window must start inside the input or its left padding.
    fn out_dim(&self, i: usize, n: &Expr) -> Expr {
        let window = (self.kernel[i].clone() - 1.into()) * self.dilations[i].into() + 1.into();
        let (b, a, stride) = (&self.pads_before[i], &self.pads_after[i], Expr::from(self.strides[i]));
        let room = n.clone() + b.clone() + a.clone() - window;
        if !self.ceil_mode {
            return room.div(&stride) + 1.into();
        }
        let out = room.ceil_div(&stride) + 1.into();
        let last_start = (out.clone() - 1.into()) * stride;
        let beyond = last_start - n.clone() - b.clone();
        Expr::select_ge0(&beyond, &(out.clone() - 1.into()), &out)
    }
}

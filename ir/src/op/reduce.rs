//! `Reduce`: reduction over axes.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Reductions. On bool, Max is any and Min is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
    Mean,
}

/// reduction over axes.
///
/// Inputs: `[x]`. Empty sets give 0, 1, -inf/min, +inf/max for Sum, Prod, Max, Min.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reduce {
    /// Which reduction.
    pub kind: ReduceKind,
    /// Axes, sorted, each once; may be empty (then the identity).
    pub axes: Vec<usize>,
    /// Keep reduced axes as 1.
    pub keepdims: bool,
}

impl OpSpec for Reduce {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let arithmetic = x.dtype.is_float() || x.dtype.is_int();
        let logical = x.dtype == DType::Bool && matches!(self.kind, ReduceKind::Max | ReduceKind::Min);
        if !(arithmetic || logical)
            || !self.axes.is_sorted()
            || self.axes.last().is_some_and(|&a| a >= x.rank())
        {
            return Err(Diag::input(format!(
                "Reduce {:?} over axes {:?} does not take {x}",
                self.kind, self.axes
            )));
        }
        Ok(vec![TensorType::new(x.dtype, reduced_dims(&x.dims, &self.axes, self.keepdims, 1.into()))])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape = reduced_dims(x.shape(), &self.axes, self.keepdims, 1);
        let (outer, groups) = split(x.shape(), &self.axes);
        let count: usize = self.axes.iter().map(|&a| x.shape()[a]).product();
        let n = outer.iter().product::<usize>().max(usize::from(outer.is_empty()));
        let dtype = x.dtype();
        if dtype.is_float() {
            let start = match self.kind {
                ReduceKind::Sum | ReduceKind::Mean => 0.0,
                ReduceKind::Prod => 1.0,
                ReduceKind::Max => f64::NEG_INFINITY,
                ReduceKind::Min => f64::INFINITY,
            };
            let mut acc = vec![start; n];
            for (v, g) in x.to_f64()?.into_iter().zip(groups) {
                let a = &mut acc[g];
                *a = match self.kind {
                    ReduceKind::Sum | ReduceKind::Mean => *a + v,
                    ReduceKind::Prod => *a * v,
                    ReduceKind::Max if v.is_nan() || a.is_nan() => f64::NAN,
                    ReduceKind::Min if v.is_nan() || a.is_nan() => f64::NAN,
                    ReduceKind::Max => a.max(v),
                    ReduceKind::Min => a.min(v),
                };
            }
            if self.kind == ReduceKind::Mean {
                acc.iter_mut().for_each(|a| *a /= count as f64);
            }
            return Ok(vec![Tensor::from_f64(dtype, shape, &acc)?]);
        }
        // Integers: order-preserving map of u64 so that signed comparison is right.
        let flip = if dtype == DType::U64 { i64::MIN } else { 0 };
        let (lo, hi) = dtype.int_range().unwrap_or((0, 1));
        let start = match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => 0,
            ReduceKind::Prod => 1,
            ReduceKind::Max => lo as i64,
            ReduceKind::Min => hi as u64 as i64,
        };
        let mut acc = vec![start; n];
        for (v, g) in x.to_i64()?.into_iter().zip(groups) {
            let a = &mut acc[g];
            *a = match self.kind {
                ReduceKind::Sum | ReduceKind::Mean => a.wrapping_add(v),
                ReduceKind::Prod => a.wrapping_mul(v),
                ReduceKind::Max => (*a ^ flip).max(v ^ flip) ^ flip,
                ReduceKind::Min => (*a ^ flip).min(v ^ flip) ^ flip,
            };
        }
        if self.kind == ReduceKind::Mean {
            acc.iter_mut().for_each(|a| *a = a.checked_div(count as i64).unwrap_or(0));
        }
        Ok(vec![Tensor::from_i64(dtype, shape, &acc)?])
    }
}

/// Dims after removing axes, or keeping them as `one`.
pub(super) fn reduced_dims<D: Clone>(dims: &[D], axes: &[usize], keep: bool, one: D) -> Vec<D> {
    dims.iter()
        .enumerate()
        .filter(|(i, _)| keep || !axes.contains(i))
        .map(|(i, d)| if axes.contains(&i) { one.clone() } else { d.clone() })
        .collect()
}

/// The kept dims, and for every element the linear index of its group among them.
fn split(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect();
    let own = crate::numeric::strides(&kept);
    let mut next = own.iter();
    let steps: Vec<isize> = (0..shape.len())
        .map(|i| if axes.contains(&i) { 0 } else { next.next().map_or(0, |&s| s as isize) })
        .collect();
    let mut groups = Vec::with_capacity(shape.iter().product());
    crate::numeric::for_each_offset(shape, &steps, 0, &mut |o| groups.push(o as usize));
    (kept, groups)
}

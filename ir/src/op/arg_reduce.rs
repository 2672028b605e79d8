//! `ArgReduce`: index of the largest or smallest element along an axis, i64.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// index of the largest or smallest element along an axis, i64.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgReduce {
    /// ArgMax rather than ArgMin.
    pub largest: bool,
    /// Axis.
    pub axis: usize,
    /// Keep the axis as 1.
    pub keepdims: bool,
    /// Among equals take the last instead of the first.
    pub last: bool,
}

impl OpSpec for ArgReduce {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if self.axis >= x.rank() || !(x.dtype.is_float() || x.dtype.is_int()) {
            return Err(Diag::input(format!("ArgReduce along axis {} does not take {x}", self.axis)));
        }
        Ok(vec![TensorType::new(
            DType::I64,
            super::reduce::reduced_dims(&x.dims, &[self.axis], self.keepdims, 1.into()),
        )])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape = super::reduce::reduced_dims(x.shape(), &[self.axis], self.keepdims, 1);
        let len = x.shape()[self.axis];
        if len == 0 {
            return Err(Diag::input("ArgReduce along an empty axis"));
        }
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let outer = x.len() / (len * inner).max(1);
        let mut out = Vec::with_capacity(outer * inner);
        let mut search = |better: &dyn Fn(usize, usize) -> bool| {
            for o in 0..outer {
                for i in 0..inner {
                    let at = |k: usize| (o * len + k) * inner + i;
                    let best = (1..len).fold(0, |b, k| if better(at(k), at(b)) { k } else { b });
                    out.push(best as i64);
                }
            }
        };
        let (largest, last) = (self.largest, self.last);
        if x.dtype().is_float() {
            let v = x.to_f64()?;
            search(&|k, b| {
                let (k, b) = (v[k], v[b]);
                let beats = if largest { k > b } else { k < b };
                beats || (k.is_nan() && !b.is_nan()) || (last && k == b)
            });
        } else {
            let flip = if x.dtype() == DType::U64 { i64::MIN } else { 0 };
            let v = x.to_i64()?;
            search(&|k, b| {
                let (k, b) = (v[k] ^ flip, v[b] ^ flip);
                (if largest { k > b } else { k < b }) || (last && k == b)
            });
        }
        Ok(vec![Tensor::from_i64(DType::I64, shape, &out)?])
    }
}

//! `TopK`: k largest or smallest along an axis: `[values, indices: i64]`; equal values keep index order.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// k largest or smallest along an axis: `[values, indices: i64]`; equal values keep index order.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopK {
    /// How many.
    pub k: Expr,
    /// Axis.
    pub axis: usize,
    /// Largest rather than smallest.
    pub largest: bool,
    /// Results in order (always true here).
    pub sorted: bool,
}

impl OpSpec for TopK {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d] = args(x)?;
        if self.axis >= d.rank() || !(d.dtype.is_float() || d.dtype.is_int()) {
            return Err(Diag::input(format!(
                "TopK along axis {} does not take {}",
                self.axis,
                s.show_type(d)
            )));
        }
        let mut dims = d.dims.clone();
        dims[self.axis] = self.k.clone();
        Ok(vec![TensorType::new(d.dtype, dims.clone()), TensorType::new(DType::I64, dims)])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d] = args(x)?;
        let k = cx.dim(&self.k)?;
        let len = d.shape()[self.axis];
        if k > len {
            return Err(Diag::input(format!("TopK: k = {k} is larger than the axis ({len})")));
        }
        let inner: usize = d.shape()[self.axis + 1..].iter().product();
        let outer: usize = d.shape()[..self.axis].iter().product();
        let keys: Vec<f64> = d.to_f64()?;
        let exact = if d.dtype().is_int() { d.to_i64()? } else { vec![] };
        let flip = if d.dtype() == DType::U64 { i64::MIN } else { 0 };
        let order = |a: usize, b: usize| {
            let o = match exact.is_empty() {
                true => keys[a].total_cmp(&keys[b]),
                false => (exact[a] ^ flip).cmp(&(exact[b] ^ flip)),
            };
            if self.largest { o.reverse() } else { o }
        };
        let mut shape = d.shape().to_vec();
        shape[self.axis] = k;
        let n = outer * k * inner;
        let (mut picks, mut at) = (vec![0usize; n], vec![0i64; n]);
        for o in 0..outer {
            for i in 0..inner {
                let mut row: Vec<usize> = (0..len).collect();
                row.sort_by(|&a, &b| {
                    order((o * len + a) * inner + i, (o * len + b) * inner + i).then(a.cmp(&b))
                });
                for (j, &r) in row.iter().take(k).enumerate() {
                    picks[(o * k + j) * inner + i] = (o * len + r) * inner + i;
                    at[(o * k + j) * inner + i] = r as i64;
                }
            }
        }
        Ok(vec![d.pick(shape.clone(), &picks)?, Tensor::from_i64(DType::I64, shape, &at)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.k);
    }
}

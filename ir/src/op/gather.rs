//! `Gather`: `y[.., i.., ..] = x[.., index[i..], ..]` along an axis.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::numeric::index;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// `y[.., i.., ..] = x[.., index[i..], ..]` along an axis.
///
/// Inputs: `[x, indices: i32|i64]`. Negative indices count from the end; outside is a run-time error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gather {
    /// Axis of x.
    pub axis: usize,
}

impl OpSpec for Gather {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, indices] = args(x)?;
        if !matches!(indices.dtype, DType::I32 | DType::I64) || self.axis >= x.rank() {
            return Err(Diag::input(format!(
                "Gather along axis {} does not take {x} and {indices}",
                self.axis
            )));
        }
        let dims = [&x.dims[..self.axis], &indices.dims, &x.dims[self.axis + 1..]].concat();
        Ok(vec![TensorType::new(x.dtype, dims)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, indices] = args(x)?;
        let n = x.shape()[self.axis];
        let at = indices.to_i64()?.into_iter().map(|i| index(i, n)).collect::<Result<Vec<_>>>()?;
        let shape = [&x.shape()[..self.axis], indices.shape(), &x.shape()[self.axis + 1..]].concat();
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let outer: usize = x.shape()[..self.axis].iter().product();
        let mut picks = Vec::with_capacity(outer * at.len() * inner);
        for o in 0..outer {
            for &i in &at {
                let start = (o * n + i) * inner;
                picks.extend(start..start + inner);
            }
        }
        Ok(vec![x.pick(shape, &picks)?])
    }
}

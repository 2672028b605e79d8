//! `Softmax`: numerically stable softmax or log-softmax along one axis, float.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// numerically stable softmax or log-softmax along one axis, float.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Axis.
    pub axis: usize,
    /// Log-softmax.
    pub log: bool,
}

impl OpSpec for Softmax {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if self.axis >= x.rank() || !x.dtype.is_float() {
            return Err(Diag::input(format!("Softmax along axis {} does not take {x}", self.axis)));
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let len = x.shape()[self.axis];
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let mut v = x.to_f64()?;
        if !v.is_empty() {
            for row in v.chunks_exact_mut(len * inner) {
                for i in 0..inner {
                    let at = |k: usize| k * inner + i;
                    let max = (0..len).map(|k| row[at(k)]).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..len).map(|k| (row[at(k)] - max).exp()).sum();
                    for k in 0..len {
                        let d = row[at(k)] - max;
                        row[at(k)] = if self.log { d - sum.ln() } else { d.exp() / sum };
                    }
                }
            }
        }
        Ok(vec![Tensor::from_f64(x.dtype(), x.shape().to_vec(), &v)?])
    }
}

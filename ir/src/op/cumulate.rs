//! `Cumulate`: running sum or product along an axis.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// running sum or product along an axis.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cumulate {
    /// Product instead of sum.
    pub product: bool,
    /// Axis.
    pub axis: usize,
    /// Element i excludes x[i].
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

impl OpSpec for Cumulate {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if self.axis >= x.rank() || !(x.dtype.is_float() || x.dtype.is_int()) {
            return Err(Diag::input(format!("Cumulate along axis {} does not take {x}", self.axis)));
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let len = x.shape()[self.axis];
        let inner: usize = x.shape()[self.axis + 1..].iter().product();
        let shape = x.shape().to_vec();
        let y = if x.dtype().is_float() {
            let mut v = x.to_f64()?;
            let product = self.product;
            self.scan(&mut v, len, inner, if product { 1.0 } else { 0.0 }, |a, b| {
                if product { a * b } else { a + b }
            });
            Tensor::from_f64(x.dtype(), shape, &v)?
        } else {
            let mut v = x.to_i64()?;
            let product = self.product;
            self.scan(&mut v, len, inner, i64::from(product), |a, b| {
                if product { a.wrapping_mul(b) } else { a.wrapping_add(b) }
            });
            Tensor::from_i64(x.dtype(), shape, &v)?
        };
        Ok(vec![y])
    }
}

impl Cumulate {
    fn scan<T: Copy>(&self, v: &mut [T], len: usize, inner: usize, start: T, f: impl Fn(T, T) -> T) {
        if v.is_empty() {
            return;
        }
        for row in v.chunks_exact_mut(len * inner) {
            for i in 0..inner {
                let mut acc = start;
                for k in 0..len {
                    let k = if self.reverse { len - 1 - k } else { k };
                    let x = row[k * inner + i];
                    let next = f(acc, x);
                    row[k * inner + i] = if self.exclusive { acc } else { next };
                    acc = next;
                }
            }
        }
    }
}

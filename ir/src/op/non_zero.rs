//! `NonZero`: coordinates of non-zero elements, i64 `[rank, count]`, row-major order.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// coordinates of non-zero elements, i64 `[rank, count]`, row-major order.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonZero {
    /// Defined as the number of non-zero elements.
    pub count: Sym,
}

impl OpSpec for NonZero {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d] = args(x)?;
        Ok(vec![TensorType::new(DType::I64, vec![d.rank().into(), self.count.into()])])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d] = args(x)?;
        let on: Vec<usize> = if d.dtype().is_float() {
            d.to_f64()?.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect()
        } else {
            d.to_i64()?.iter().enumerate().filter(|(_, v)| **v != 0).map(|(i, _)| i).collect()
        };
        cx.define(self.count, on.len() as i64)?;
        let own = crate::numeric::strides(d.shape());
        let mut v = Vec::with_capacity(d.rank() * on.len());
        for (axis, &step) in own.iter().enumerate() {
            v.extend(on.iter().map(|i| (i / step % d.shape()[axis]) as i64));
        }
        Ok(vec![Tensor::from_i64(DType::I64, vec![d.rank(), on.len()], &v)?])
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
}

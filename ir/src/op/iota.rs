//! `Iota`: index along an axis: `y[i0..in] = i_axis`.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// index along an axis: `y[i0..in] = i_axis`.
///
/// Inputs: `[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iota {
    /// Result dtype, integer or float.
    pub dtype: DType,
    /// Result dims.
    pub dims: Vec<Expr>,
    /// Axis.
    pub axis: usize,
}

impl OpSpec for Iota {
    fn infer(&self, _: &mut Symbols, _: &[&TensorType]) -> Result<Vec<TensorType>> {
        if !(self.dtype.is_int() || self.dtype.is_float()) || self.axis >= self.dims.len() {
            return Err(Diag::input(format!("Iota of {} along axis {}", self.dtype, self.axis)));
        }
        Ok(vec![TensorType::new(self.dtype, self.dims.clone())])
    }
    fn eval(&self, cx: &mut EvalCx, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let shape = cx.dims(&self.dims)?;
        crate::tensor::storage_bytes(self.dtype, &shape)?;
        let inner: usize = shape[self.axis + 1..].iter().product();
        let n: usize = shape.iter().product();
        let v: Vec<i64> = (0..n).map(|i| (i / inner % shape[self.axis]) as i64).collect();
        Ok(vec![Tensor::from_i64(self.dtype, shape, &v)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

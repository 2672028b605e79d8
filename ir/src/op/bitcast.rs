//! `Bitcast`: the same bits under another dtype of the same width.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// the same bits under another dtype of the same width.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bitcast {
    /// Result dtype.
    pub to: DType,
}

impl OpSpec for Bitcast {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if x.dtype.bits() != self.to.bits() || x.dtype == DType::Str || self.to == DType::Str {
            return Err(Diag::input(format!("Bitcast of {x} to {}: the widths differ", self.to)));
        }
        Ok(vec![TensorType::new(self.to, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        Ok(vec![Tensor::from_bytes(self.to, x.shape().to_vec(), x.shared_bytes())?])
    }
}

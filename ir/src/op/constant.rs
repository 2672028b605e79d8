//! `Constant`: a tensor known at compile time.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{Result, Symbols, Tensor, TensorType};

/// A tensor known at compile time. Inputs: `[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// The value.
    pub tensor: Tensor,
}

impl OpSpec for Constant {
    fn infer(&self, _: &mut Symbols, _: &[&TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::of(&self.tensor)])
    }
    fn eval(&self, _: &mut EvalCx, _: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![self.tensor.load()?])
    }
}

//! `Identity`: the operand itself.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// the operand itself.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {}

impl OpSpec for Identity {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        Ok(vec![x.clone()])
    }
}

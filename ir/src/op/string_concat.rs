//! `StringConcat`: strings one behind the other.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Strings one behind the other.
///
/// Inputs: `[a: str, b: str]` of the same dims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringConcat {}

impl OpSpec for StringConcat {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new(DType::Str, super::string_equal::same_dims(s, x, "StringConcat")?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = args(x)?;
        let texts = a.strings().iter().zip(b.strings()).map(|(a, b)| format!("{a}{b}")).collect();
        Ok(vec![Tensor::from_strings(a.shape().to_vec(), texts)?])
    }
}

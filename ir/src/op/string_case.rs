//! `StringCase`: letters of strings in upper or lower case.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Letters of strings in upper or lower case, by Unicode's simple mapping: one letter for one.
///
/// Inputs: `[x: str]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringCase {
    /// Upper rather than lower case.
    pub upper: bool,
}

impl StringCase {
    /// The letter for a letter; those that become several (`ß`) stay.
    pub fn map(&self, c: char) -> char {
        let one = |mut it: Box<dyn Iterator<Item = char>>| match (it.next(), it.next()) {
            (Some(m), None) => m,
            _ => c,
        };
        if self.upper { one(Box::new(c.to_uppercase())) } else { one(Box::new(c.to_lowercase())) }
    }
}

impl OpSpec for StringCase {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if x.dtype != DType::Str {
            return Err(Diag::input(format!("StringCase does not take {}", s.show_type(x))));
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let texts = x.strings().iter().map(|s| s.chars().map(|c| self.map(c)).collect()).collect();
        Ok(vec![Tensor::from_strings(x.shape().to_vec(), texts)?])
    }
}

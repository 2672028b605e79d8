//! `StringFind`: index of each string in a list of words, i64, -1 where it is not there.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Index of each string in a list of words, i64, -1 where it is not there.
///
/// Inputs: `[x: str]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringFind {
    /// Words in ascending order of their bytes, each once.
    pub words: Vec<String>,
}

impl OpSpec for StringFind {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if x.dtype != DType::Str {
            return Err(Diag::input(format!("StringFind does not take {}", s.show_type(x))));
        }
        if !self.words.is_sorted_by(|a, b| a < b) {
            return Err(Diag::bug("StringFind: the words are not in ascending order"));
        }
        Ok(vec![TensorType::new(DType::I64, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let find = |s: &String| self.words.iter().position(|w| w == s).map_or(-1, |i| i as i64);
        let v: Vec<i64> = x.strings().iter().map(find).collect();
        Ok(vec![Tensor::from_i64(DType::I64, x.shape().to_vec(), &v)?])
    }
}

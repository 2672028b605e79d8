//! `Texts`: strings known at compile time of which machine code makes views; a constant otherwise.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Strings known at compile time of which machine code makes views; a constant otherwise.
///
/// Inputs: `[]`. Views hold addresses, which only exist at run time: that is why this is not a `Constant`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// Dims.
    pub dims: Vec<usize>,
    /// Elements, row-major.
    pub items: Vec<String>,
}

impl OpSpec for Texts {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [] = args(x)?;
        Ok(vec![TensorType::new(DType::Str, self.dims.iter().map(|&d| d.into()).collect())])
    }
    fn eval(&self, _: &mut EvalCx, _: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![Tensor::from_strings(self.dims.clone(), self.items.clone())?])
    }
}

//! `Transpose`: axis permutation: result dim i is operand dim `perm[i]`.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// axis permutation: result dim i is operand dim `perm[i]`.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transpose {
    /// Permutation.
    pub perm: Vec<usize>,
}

impl OpSpec for Transpose {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let mut seen = self.perm.clone();
        seen.sort_unstable();
        if seen.len() != x.rank() || seen.iter().enumerate().any(|(i, &p)| i != p) {
            return Err(Diag::input(format!("Transpose of {x} by {:?}: not a permutation", self.perm)));
        }
        Ok(vec![TensorType::new(x.dtype, self.perm.iter().map(|&p| x.dims[p].clone()).collect())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape: Vec<usize> = self.perm.iter().map(|&p| x.shape()[p]).collect();
        let own = crate::numeric::strides(x.shape());
        let steps: Vec<isize> = self.perm.iter().map(|&p| own[p] as isize).collect();
        let mut at = Vec::with_capacity(x.len());
        crate::numeric::for_each_offset(&shape, &steps, 0, &mut |o| at.push(o as usize));
        Ok(vec![x.pick(shape, &at)?])
    }
}

//! `Transpose`: axis permutation: result dim i is operand dim `perm[i]`.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
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
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Transpose: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Transpose: evaluator not written"))
    }
}

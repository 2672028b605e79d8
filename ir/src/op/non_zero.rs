//! `NonZero`: coordinates of non-zero elements, i64 `[rank, count]`, row-major order.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// coordinates of non-zero elements, i64 `[rank, count]`, row-major order.
/// 
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonZero {
    /// Defined as the number of non-zero elements.
    pub count: Sym,
}

impl OpSpec for NonZero {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("NonZero: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("NonZero: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
}

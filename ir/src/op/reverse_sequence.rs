//! `ReverseSequence`: reverses the first `len[b]` steps of each batch row.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// reverses the first `len[b]` steps of each batch row.
/// 
/// Inputs: `[x, lens: i64 [batch]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReverseSequence {
    /// 0 or 1.
    pub batch_axis: usize,
    /// 1 or 0.
    pub time_axis: usize,
}

impl OpSpec for ReverseSequence {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("ReverseSequence: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("ReverseSequence: evaluator not written"))
    }
}

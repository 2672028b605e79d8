//! `ArgReduce`: index of the largest or smallest element along an axis, i64.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// index of the largest or smallest element along an axis, i64.
/// 
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArgReduce {
    /// ArgMax rather than ArgMin.
    pub largest: bool,
    /// Axis.
    pub axis: usize,
    /// Keep the axis as 1.
    pub keepdims: bool,
    /// Among equals take the last instead of the first.
    pub last: bool,
}

impl OpSpec for ArgReduce {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("ArgReduce: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("ArgReduce: evaluator not written"))
    }
}

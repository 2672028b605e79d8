//! `Reduce`: reduction over axes.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Reductions. On bool, Max is any and Min is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ReduceKind {
    Sum,
    Prod,
    Max,
    Min,
    Mean,
}

/// reduction over axes.
/// 
/// Inputs: `[x]`. Empty sets give 0, 1, -inf/min, +inf/max for Sum, Prod, Max, Min.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reduce {
    /// Which reduction.
    pub kind: ReduceKind,
    /// Axes, sorted, each once; may be empty (then the identity).
    pub axes: Vec<usize>,
    /// Keep reduced axes as 1.
    pub keepdims: bool,
}

impl OpSpec for Reduce {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Reduce: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Reduce: evaluator not written"))
    }
}

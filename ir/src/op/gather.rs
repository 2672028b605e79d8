//! `Gather`: `y[.., i.., ..] = x[.., index[i..], ..]` along an axis.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// `y[.., i.., ..] = x[.., index[i..], ..]` along an axis.
/// 
/// Inputs: `[x, indices: i32|i64]`. Negative indices count from the end; outside is a run-time error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gather {
    /// Axis of x.
    pub axis: usize,
}

impl OpSpec for Gather {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Gather: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Gather: evaluator not written"))
    }
}

//! `GatherElements`: `y[i0..in] = x[i0.., indices[i0..in], ..in]`.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// `y[i0..in] = x[i0.., indices[i0..in], ..in]`.
/// 
/// Inputs: `[x, indices: i32|i64]` of the same rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatherElements {
    /// Axis.
    pub axis: usize,
}

impl OpSpec for GatherElements {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("GatherElements: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("GatherElements: evaluator not written"))
    }
}

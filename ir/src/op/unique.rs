//! `Unique`: ONNX Unique: `[y, first indices, inverse indices, counts]`, the last three i64.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX Unique: `[y, first indices, inverse indices, counts]`, the last three i64.
/// 
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// Axis of slices, or none for the flattened tensor.
    pub axis: Option<usize>,
    /// Ascending order rather than first occurrence.
    pub sorted: bool,
    /// Defined as the number of unique entries.
    pub count: Sym,
}

impl OpSpec for Unique {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Unique: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Unique: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
}

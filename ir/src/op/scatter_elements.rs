//! `ScatterElements`: copy of x with `y[.., indices[i], ..] op= updates[i]`.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Combination of scattered updates; `Set` keeps the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ScatterKind {
    Set,
    Add,
    Mul,
    Max,
    Min,
}

/// copy of x with `y[.., indices[i], ..] op= updates[i]`.
/// 
/// Inputs: `[x, indices: i32|i64, updates]`; indices and updates have one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScatterElements {
    /// Axis.
    pub axis: usize,
    /// How updates combine.
    pub reduction: ScatterKind,
}

impl OpSpec for ScatterElements {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("ScatterElements: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("ScatterElements: evaluator not written"))
    }
}

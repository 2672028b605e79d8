//! `Cumulate`: running sum or product along an axis.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// running sum or product along an axis.
/// 
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cumulate {
    /// Product instead of sum.
    pub product: bool,
    /// Axis.
    pub axis: usize,
    /// Element i excludes x[i].
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

impl OpSpec for Cumulate {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Cumulate: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Cumulate: evaluator not written"))
    }
}

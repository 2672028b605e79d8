//! `FromDims`: i64 tensor of symbolic integers (ONNX Shape and arithmetic on it).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// i64 tensor of symbolic integers (ONNX Shape and arithmetic on it).
/// 
/// Inputs: `[]`. Rank 1, or a scalar when `scalar`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromDims {
    /// Elements.
    pub values: Vec<Expr>,
    /// Rank 0; needs exactly one value.
    pub scalar: bool,
}

impl OpSpec for FromDims {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("FromDims: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("FromDims: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.values.iter_mut().for_each(&mut *f);
    }
}

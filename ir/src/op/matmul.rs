//! `MatMul`: matrix product with numpy batch broadcasting (rank >= 2 both).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// matrix product with numpy batch broadcasting (rank >= 2 both).
/// 
/// Inputs: `[a: [.., m, k], b: [.., k, n]]` of one dtype. f16/bf16 accumulate in f32; integers wrap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatMul {}

impl OpSpec for MatMul {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("MatMul: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("MatMul: evaluator not written"))
    }
}

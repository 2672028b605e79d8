//! `Quantize`: linear quantisation (ONNX QuantizeLinear).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// linear quantisation (ONNX QuantizeLinear).
/// 
/// Inputs: `[x, scale, zero_point]`; scale and zero_point are scalars, 1-D along `axis`, or blocked (same rank as x).
/// `y = saturate(round_half_even(x / scale) + zero_point)`; result dtype is that of zero_point. Float-8 results round to nearest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// Axis of a 1-D or blocked scale.
    pub axis: usize,
    /// Elements of `axis` that share one scale; 0: per tensor or per axis.
    pub block: usize,
}

impl OpSpec for Quantize {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Quantize: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Quantize: evaluator not written"))
    }
}

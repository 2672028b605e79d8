//! `Dequantize`: linear dequantisation (ONNX DequantizeLinear).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// linear dequantisation (ONNX DequantizeLinear).
/// 
/// Inputs: `[x, scale, zero_point]`; shapes as in Quantize. `y = (x - zero_point) * scale`, computed in f32 unless the result is f64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dequantize {
    /// Axis of a 1-D or blocked scale.
    pub axis: usize,
    /// Elements of `axis` that share one scale; 0: per tensor or per axis.
    pub block: usize,
    /// Result dtype (that of scale in ONNX).
    pub to: DType,
}

impl OpSpec for Dequantize {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Dequantize: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Dequantize: evaluator not written"))
    }
}

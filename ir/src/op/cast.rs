//! `Cast`: element-wise conversion (ONNX Cast semantics).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// element-wise conversion (ONNX Cast semantics).
/// 
/// Inputs: `[x]`. Float to int truncates; to bool is `!= 0`; to a narrower float rounds to nearest even.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// Result dtype.
    pub to: DType,
    /// For 8-bit floats: clamp to the largest finite value instead of NaN/inf. For float to int: clamp instead of wrap.
    pub saturate: bool,
}

impl OpSpec for Cast {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Cast: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Cast: evaluator not written"))
    }
}

//! `FromDims`: i64 tensor of symbolic integers (ONNX Shape and arithmetic on it).

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
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
    fn infer(&self, _: &mut Symbols, _: &[&TensorType]) -> Result<Vec<TensorType>> {
        if self.scalar && self.values.len() != 1 {
            return Err(Diag::bug("a scalar FromDims needs one value"));
        }
        let dims = if self.scalar { vec![] } else { vec![self.values.len().into()] };
        Ok(vec![TensorType::new(DType::I64, dims)])
    }
    fn eval(&self, cx: &mut EvalCx, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let v = self.values.iter().map(|e| cx.expr(e)).collect::<Result<Vec<_>>>()?;
        let shape = if self.scalar { vec![] } else { vec![v.len()] };
        Ok(vec![Tensor::from_i64(DType::I64, shape, &v)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.values.iter_mut().for_each(&mut *f);
    }
}

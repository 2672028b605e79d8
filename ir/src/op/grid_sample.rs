//! `GridSample`: ONNX GridSample, N-D.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// What lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum GridPadding {
    Zeros,
    Border,
    Reflection,
}

/// ONNX GridSample, N-D.
/// 
/// Inputs: `[x: [n, c, spatial..], grid: [n, out.., rank]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSample {
    /// Interpolation.
    pub mode: super::resize::ResizeMode,
    /// Outside the image.
    pub padding: GridPadding,
    /// -1 and 1 are centres of corner pixels.
    pub align_corners: bool,
}

impl OpSpec for GridSample {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("GridSample: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("GridSample: evaluator not written"))
    }
}

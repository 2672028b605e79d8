//! `RoiAlign`: ONNX RoiAlign.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX RoiAlign.
/// 
/// Inputs: `[x: [n,c,h,w], rois: [r,4], batch_indices: i64 [r]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoiAlign {
    /// Max rather than average.
    pub max: bool,
    /// Coordinates shifted by half a pixel.
    pub half_pixel: bool,
    /// Output height.
    pub height: usize,
    /// Output width.
    pub width: usize,
    /// Samples per bin and axis; 0: adaptive.
    pub sampling_ratio: usize,
    /// Scale from rois to x.
    pub spatial_scale: f32,
}

impl OpSpec for RoiAlign {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("RoiAlign: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("RoiAlign: evaluator not written"))
    }
}

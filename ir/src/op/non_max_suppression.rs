//! `NonMaxSuppression`: ONNX NonMaxSuppression: i64 `[count, 3]`.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX NonMaxSuppression: i64 `[count, 3]`.
/// 
/// Inputs: `[boxes: f32 [n,b,4], scores: f32 [n,c,b], max_per_class: i64 scalar, iou_threshold: f32 scalar, score_threshold: f32 scalar]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NonMaxSuppression {
    /// Boxes are centre/size rather than two corners.
    pub center_point_box: bool,
    /// Upper bound of boxes per class (at most b).
    pub max_out: Expr,
    /// Whether the score threshold applies.
    pub has_score_threshold: bool,
    /// Defined as the number of selected boxes.
    pub count: Sym,
}

impl OpSpec for NonMaxSuppression {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("NonMaxSuppression: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("NonMaxSuppression: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.max_out);
    }
}

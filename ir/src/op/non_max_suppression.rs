//! `NonMaxSuppression`: ONNX NonMaxSuppression: i64 `[count, 3]`.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Sym, Symbols, Tensor, TensorType};
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
        let [boxes, scores, ..] = x else { return Err(Diag::bug("NonMaxSuppression needs five operands")) };
        if x.len() != 5
            || boxes.rank() != 3
            || scores.rank() != 3
            || boxes.dtype != DType::F32
            || scores.dtype != DType::F32
        {
            return Err(Diag::input(format!(
                "NonMaxSuppression does not take {} and {}",
                s.show_type(boxes),
                s.show_type(scores)
            )));
        }
        s.require_eq(&boxes.dims[0], &scores.dims[0], "NonMaxSuppression batches")?;
        s.require_eq(&boxes.dims[1], &scores.dims[2], "NonMaxSuppression boxes")?;
        Ok(vec![TensorType::new(DType::I64, vec![self.count.into(), 3.into()])])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [boxes, scores, max, iou, threshold] = args(x)?;
        let (n, b, c) = (boxes.shape()[0], boxes.shape()[1], scores.shape()[1]);
        let max = usize::try_from(max.scalar_i64()?.max(0)).unwrap_or(0).min(b);
        let (iou, threshold) = (iou.scalar_f64()? as f32, threshold.scalar_f64()? as f32);
        let (bv, sv) = (boxes.to_f32()?, scores.to_f32()?);
        let mut out = Vec::new();
        for i in 0..n {
            for k in 0..c {
                let score = |j: usize| sv[(i * c + k) * b + j];
                let mut order: Vec<usize> =
                    (0..b).filter(|&j| !self.has_score_threshold || score(j) > threshold).collect();
                order.sort_by(|&p, &q| score(q).total_cmp(&score(p)).then(p.cmp(&q)));
                let mut kept: Vec<usize> = Vec::new();
                for j in order {
                    if kept.len() >= max {
                        break;
                    }
                    let corners = |j: usize| self.corners(&bv[(i * b + j) * 4..][..4]);
                    if kept.iter().all(|&q| overlap(corners(j), corners(q)) <= iou) {
                        kept.push(j);
                    }
                }
                kept.iter().for_each(|&j| out.extend([i as i64, k as i64, j as i64]));
            }
        }
        cx.define(self.count, out.len() as i64 / 3)?;
        Ok(vec![Tensor::from_i64(DType::I64, vec![out.len() / 3, 3], &out)?])
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.max_out);
    }
}

impl NonMaxSuppression {
    /// Low and high corner of a box.
    fn corners(&self, b: &[f32]) -> [f32; 4] {
        if self.center_point_box {
            let (x, y, w, h) = (b[0], b[1], b[2], b[3]);
            [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
        } else {
            [b[0].min(b[2]), b[1].min(b[3]), b[0].max(b[2]), b[1].max(b[3])]
        }
    }
}

/// Intersection over union.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0) * side(1);
    let union = area(a) + area(b) - both;
    if union > 0.0 { both / union } else { 0.0 }
}

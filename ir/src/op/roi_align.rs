//! `RoiAlign`: ONNX RoiAlign.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
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
    #[serde(with = "super::json_float")]
    pub spatial_scale: f32,
}

/// Largest sampling ratio and result height and width.
const MAX_SAMPLES: usize = 1 << 12;

impl OpSpec for RoiAlign {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d, rois, at] = args(x)?;
        if d.rank() != 4
            || rois.rank() != 2
            || at.rank() != 1
            || at.dtype != DType::I64
            || !d.dtype.is_float()
            || d.dtype != rois.dtype
        {
            return Err(Diag::input(format!(
                "RoiAlign does not take {}, {}, {}",
                s.show_type(d),
                s.show_type(rois),
                s.show_type(at)
            )));
        }
        if self.sampling_ratio > MAX_SAMPLES || self.height > MAX_SAMPLES || self.width > MAX_SAMPLES {
            return Err(Diag::limit(format!(
                "RoiAlign: more than {MAX_SAMPLES} samples or results per axis"
            )));
        }
        s.require_eq(&rois.dims[0], &at.dims[0], "RoiAlign regions")?;
        Ok(vec![TensorType::new(
            d.dtype,
            vec![rois.dims[0].clone(), d.dims[1].clone(), self.height.into(), self.width.into()],
        )])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d, rois, at] = args(x)?;
        let (c, h, w) = (d.shape()[1], d.shape()[2], d.shape()[3]);
        if h * w == 0 && at.len() * c * self.height * self.width > 0 {
            return Err(Diag::input(format!("RoiAlign of an image without pixels: {:?}", d.shape())));
        }
        let (v, rv, batch) = (d.to_f64()?, rois.to_f64()?, at.to_i64()?);
        let mut y = Vec::new();
        for (k, &b) in batch.iter().enumerate() {
            let b = crate::numeric::index(b, d.shape()[0])?;
            let shift = if self.half_pixel { 0.5 } else { 0.0 };
            let edge = |i: usize| rv[k * 4 + i] * f64::from(self.spatial_scale) - shift;
            let (x0, y0) = (edge(0), edge(1));
            let floor = if self.half_pixel { f64::NEG_INFINITY } else { 1.0 };
            let (rw, rh) = ((edge(2) - x0).max(floor), (edge(3) - y0).max(floor));
            let (bw, bh) = (rw / self.width as f64, rh / self.height as f64);
            let samples = |bin: f64| match self.sampling_ratio {
                0 => bin.ceil().clamp(0.0, 4096.0) as usize,
                n => n,
            };
            let (nx, ny) = (samples(bw), samples(bh));
            for ch in 0..c {
                let plane = &v[(b * c + ch) * h * w..][..h * w];
                for py in 0..self.height {
                    for px in 0..self.width {
                        let (mut sum, mut best) = (0.0, f64::NEG_INFINITY);
                        for iy in 0..ny {
                            for ix in 0..nx {
                                let sy = y0 + (py as f64 + (iy as f64 + 0.5) / ny as f64) * bh;
                                let sx = x0 + (px as f64 + (ix as f64 + 0.5) / nx as f64) * bw;
                                let parts = bilinear(plane, h, w, sy, sx);
                                sum += parts.iter().sum::<f64>();
                                best = parts.iter().fold(best, |m, &p| m.max(p));
                            }
                        }
                        y.push(match (self.max, nx * ny) {
                            (_, 0) => 0.0,
                            (true, _) => best,
                            (false, n) => sum / n as f64,
                        });
                    }
                }
            }
        }
        Ok(vec![Tensor::from_f64(d.dtype(), vec![batch.len(), c, self.height, self.width], &y)?])
    }
}

/// The four weighted neighbours of a point; zeros outside the image by more than a pixel.
fn bilinear(plane: &[f64], h: usize, w: usize, y: f64, x: f64) -> [f64; 4] {
    if y < -1.0 || y > h as f64 || x < -1.0 || x > w as f64 {
        return [0.0; 4];
    }
    let axis = |v: f64, n: usize| {
        let v = v.max(0.0);
        let lo = (v as usize).min(n - 1);
        if lo + 1 >= n { (lo, lo, 0.0) } else { (lo, lo + 1, v - lo as f64) }
    };
    let ((y0, y1, fy), (x0, x1, fx)) = (axis(y, h), axis(x, w));
    let at = |y: usize, x: usize| plane[y * w + x];
    [
        at(y0, x0) * (1.0 - fy) * (1.0 - fx),
        at(y0, x1) * (1.0 - fy) * fx,
        at(y1, x0) * fy * (1.0 - fx),
        at(y1, x1) * fy * fx,
    ]
}

//! `Resize`: ONNX Resize on every axis (axes that keep their dim and scale 1 are copied).

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::ops::{Add, Div, Mul, Sub};

/// Interpolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ResizeMode {
    Nearest,
    Linear,
    Cubic,
}

/// Coordinate transformations of ONNX Resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Coordinate {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
    TfHalfPixelForNn,
}

/// Rounding of nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// ONNX Resize on every axis (axes that keep their dim and scale 1 are copied).
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// Result dims.
    pub dims: Vec<Expr>,
    /// Scale per axis as given; none: result dim / operand dim.
    #[serde(with = "super::json_float")]
    pub scales: Vec<Option<f32>>,
    /// For tf_crop_and_resize: starts then ends, else empty.
    #[serde(with = "super::json_float")]
    pub roi: Vec<f32>,
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinate transformation.
    pub coordinate: Coordinate,
    /// Rounding of nearest.
    pub nearest: NearestMode,
    /// Cubic coefficient.
    #[serde(with = "super::json_float")]
    pub cubic_a: f32,
    /// Weights outside are 0, the rest renormalised.
    pub exclude_outside: bool,
    /// Value outside for tf_crop_and_resize.
    #[serde(with = "super::json_float")]
    pub extrapolation: f32,
    /// Widen the filter when shrinking.
    pub antialias: bool,
}

/// Most that an axis may shrink with antialias: every result element reads that many operand elements.
const MAX_SHRINK: f64 = 65536.0;

impl OpSpec for Resize {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d] = args(x)?;
        let r = d.rank();
        if self.dims.len() != r
            || self.scales.len() != r
            || !(self.roi.is_empty() || self.roi.len() == 2 * r)
            || !(d.dtype.is_float() || d.dtype.is_int())
        {
            return Err(Diag::input(format!(
                "Resize of {}: attributes do not fit its rank or type",
                s.show_type(d)
            )));
        }
        for (scale, (from, to)) in self.scales.iter().zip(d.dims.iter().zip(&self.dims)) {
            let shrink =
                scale.map_or(s.max(from) as f64 / s.range(to).0.max(1) as f64, |v| 1.0 / f64::from(v));
            if self.antialias && shrink > MAX_SHRINK {
                return Err(Diag::limit(format!(
                    "Resize with antialias of {}: an axis shrinks to less than 1/{MAX_SHRINK}",
                    s.show_type(d)
                )));
            }
        }
        Ok(vec![TensorType::new(d.dtype, self.dims.clone())])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d] = args(x)?;
        let out = cx.dims(&self.dims)?;
        crate::tensor::storage_bytes(DType::F64, &out)?;
        if d.is_empty() && out.iter().all(|&n| n > 0) {
            return Err(Diag::input(format!(
                "Resize of {:?} to {out:?}: there is nothing to take",
                d.shape()
            )));
        }
        let mut v = d.to_f64()?;
        let mut shape = d.shape().to_vec();
        // Separable: one axis after the other. Outside samples of tf_crop_and_resize are marked by NaN-free flags.
        let mut outside = vec![false; out.iter().product()];
        for axis in 0..shape.len() {
            let taps = self.taps(axis, shape[axis], out[axis]);
            let inner: usize = shape[axis + 1..].iter().product();
            let outer: usize = shape[..axis].iter().product();
            if !taps.is_identity(shape[axis]) {
                let mut next = vec![0.0; outer * out[axis] * inner];
                for o in 0..outer {
                    for (j, row) in taps.rows.iter().enumerate() {
                        for &(i, w) in row {
                            let (src, dst) = ((o * shape[axis] + i) * inner, (o * out[axis] + j) * inner);
                            (0..inner).for_each(|e| next[dst + e] += v[src + e] * w);
                        }
                    }
                }
                v = next;
                shape[axis] = out[axis];
            }
            let step: usize = out[axis + 1..].iter().product();
            for (p, flag) in outside.iter_mut().enumerate() {
                *flag |= taps.outside[p / step % out[axis]];
            }
        }
        for (e, _) in v.iter_mut().zip(outside).filter(|(_, o)| *o) {
            *e = f64::from(self.extrapolation);
        }
        if let Some((lo, hi)) = d.dtype().int_range() {
            v.iter_mut().for_each(|e| *e = e.clamp(lo as f64, hi as f64));
        }
        Ok(vec![Tensor::from_f64(d.dtype(), out, &v)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

/// Linear combination of operand positions for every result position of one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// `(operand index, weight)` per result index.
    pub rows: Vec<Vec<(usize, f64)>>,
    /// Result indices whose coordinate lies outside (tf_crop_and_resize).
    pub outside: Vec<bool>,
}

impl Taps {
    /// Whether the axis is copied as it is.
    pub fn is_identity(&self, n: usize) -> bool {
        self.rows.len() == n
            && self.rows.iter().enumerate().all(|(i, r)| matches!(r[..], [(j, w)] if i == j && w == 1.0))
    }
}

/// Arithmetic of coordinates.
trait Real:
    Copy
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
}
impl Real for f32 {}
impl Real for f64 {}

impl Resize {
    /// The taps of an axis with `n` operand and `m` result elements.
    pub fn taps(&self, axis: usize, n: usize, m: usize) -> Taps {
        let given = self.scales.get(axis).copied().flatten();
        let scale = given.map_or(m as f64 / n.max(1) as f64, f64::from);
        let identity =
            n == m && (scale - 1.0).abs() < f64::EPSILON && self.coordinate != Coordinate::TfCropAndResize;
        let mut taps = Taps { rows: Vec::with_capacity(m), outside: vec![false; m] };
        for o in 0..m {
            if identity {
                taps.rows.push(vec![(o, 1.0)]);
                continue;
            }
            // Which element is nearest can hang on the last bit: runtimes and frameworks decide it in f32.
            let c = if self.mode == ResizeMode::Nearest {
                let scale = given.unwrap_or(m as f32 / n.max(1) as f32);
                f64::from(self.source(axis, o as f32, n as f32, m as f32, scale))
            } else {
                self.source(axis, o as f64, n as f64, m as f64, scale)
            };
            if self.coordinate == Coordinate::TfCropAndResize {
                taps.outside[o] = c < 0.0 || c > n as f64 - 1.0;
            }
            taps.rows.push(self.row(c, n, scale));
        }
        taps
    }
    /// Operand coordinate of result coordinate `o`, for operand dim `n` and result dim `m`.
    fn source<T: Real>(&self, axis: usize, o: T, n: T, m: T, scale: T) -> T {
        let [zero, half, one, two]: [T; 4] = [0.0, 0.5, 1.0, 2.0].map(|v: f32| v.into());
        match self.coordinate {
            Coordinate::HalfPixel => (o + half) / scale - half,
            Coordinate::HalfPixelSymmetric => {
                let adjustment = m / (scale * n);
                n / two * (one - adjustment) + (o + half) / scale - half
            }
            Coordinate::PytorchHalfPixel if m > one => (o + half) / scale - half,
            Coordinate::PytorchHalfPixel => zero,
            Coordinate::AlignCorners if m > one => {
                // A given scale makes the result as long as it says, not a whole number of elements.
                let length = if self.scales[axis].is_some() { scale * n } else { m };
                o * (n - one) / (length - one)
            }
            Coordinate::AlignCorners => zero,
            Coordinate::Asymmetric => o / scale,
            Coordinate::TfHalfPixelForNn => (o + half) / scale,
            Coordinate::TfCropAndResize => {
                let rank = self.roi.len() / 2;
                let (a, b): (T, T) = match (self.roi.get(axis), self.roi.get(axis + rank)) {
                    (Some(&a), Some(&b)) => (a.into(), b.into()),
                    _ => (zero, one),
                };
                if m > one {
                    a * (n - one) + o * (b - a) * (n - one) / (m - one)
                } else {
                    half * (a + b) * (n - one)
                }
            }
        }
    }
    fn row(&self, c: f64, n: usize, scale: f64) -> Vec<(usize, f64)> {
        let last = n as i64 - 1;
        let clamp = |i: i64| i.clamp(0, last.max(0)) as usize;
        if self.mode == ResizeMode::Nearest {
            let i = match self.nearest {
                NearestMode::RoundPreferFloor => (c - 0.5).ceil(),
                NearestMode::RoundPreferCeil => (c + 0.5).floor(),
                NearestMode::Floor => c.floor(),
                NearestMode::Ceil => c.ceil(),
            };
            return vec![(clamp(i as i64), 1.0)];
        }
        // Shrinking with antialias stretches the filter by 1 / scale.
        let stretch = if self.antialias && scale < 1.0 { scale } else { 1.0 };
        let reach = if self.mode == ResizeMode::Cubic { 2.0 } else { 1.0 } / stretch;
        let (lo, hi) = ((c - reach).floor() as i64, (c + reach).ceil() as i64);
        let mut row: Vec<(usize, f64)> = Vec::new();
        let (mut sum, mut add) = (0.0, Vec::new());
        for i in lo..=hi {
            let d = ((i as f64 - c) * stretch).abs();
            let w = if self.mode == ResizeMode::Cubic {
                cubic(d, f64::from(self.cubic_a))
            } else {
                (1.0 - d).max(0.0)
            };
            let outside = i < 0 || i > last;
            if w == 0.0 || (self.exclude_outside && outside) {
                continue;
            }
            sum += w;
            add.push((clamp(i), w));
        }
        let norm = if stretch < 1.0 || self.exclude_outside { sum } else { 1.0 };
        for (i, w) in add {
            match row.iter_mut().find(|(j, _)| *j == i) {
                Some((_, v)) => *v += w / norm,
                None => row.push((i, w / norm)),
            }
        }
        row
    }
}

/// Keys' cubic convolution kernel.
fn cubic(d: f64, a: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

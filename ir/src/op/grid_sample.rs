//! `GridSample`: ONNX GridSample, N-D.

use super::OpSpec;
use super::args;
use super::resize::ResizeMode;
use crate::eval::EvalCx;
use crate::{Diag, Result, Symbols, Tensor, TensorType};
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
        let [d, grid] = args(x)?;
        let r = d.rank().saturating_sub(2);
        if r == 0
            || grid.rank() != d.rank()
            || !grid.dims[r + 1].is(r as i64)
            || !d.dtype.is_float()
            || !grid.dtype.is_float()
        {
            return Err(Diag::input(format!(
                "GridSample does not take {} and {}",
                s.show_type(d),
                s.show_type(grid)
            )));
        }
        s.require_eq(&d.dims[0], &grid.dims[0], "GridSample batches")?;
        Ok(vec![TensorType::new(d.dtype, [&d.dims[..2], &grid.dims[1..r + 1]].concat())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d, grid] = args(x)?;
        let r = d.rank() - 2;
        let xs = d.shape();
        let out = &grid.shape()[1..r + 1];
        let points: usize = out.iter().product();
        let plane: usize = xs[2..].iter().product();
        if plane == 0 && xs[0] * xs[1] * points > 0 {
            return Err(Diag::input(format!("GridSample of an image without pixels: {xs:?}")));
        }
        let (v, gv) = (d.to_f64()?, grid.to_f64()?);
        let mut y = Vec::with_capacity(xs[0] * xs[1] * points);
        for b in 0..xs[0] {
            for c in 0..xs[1] {
                let image = &v[(b * xs[1] + c) * plane..][..plane];
                for p in 0..points {
                    let at = &gv[(b * points + p) * r..][..r];
                    y.push(self.sample(image, &xs[2..], at));
                }
            }
        }
        Ok(vec![Tensor::from_f64(d.dtype(), [&xs[..2], out].concat(), &y)?])
    }
}

impl GridSample {
    /// Value at normalised coordinates, innermost axis first as in the grid.
    fn sample(&self, image: &[f64], dims: &[usize], at: &[f64]) -> f64 {
        let r = dims.len();
        // Per axis: (index or none for zero padding, weight).
        let taps: Vec<Vec<(Option<usize>, f64)>> = (0..r)
            .map(|i| {
                let n = dims[i] as f64;
                let g = at[r - 1 - i];
                let c = if self.align_corners {
                    (g + 1.0) / 2.0 * (n - 1.0)
                } else {
                    ((g + 1.0) * n - 1.0) / 2.0
                };
                self.axis(c, dims[i])
            })
            .collect();
        let mut sum = 0.0;
        let mut cursor = vec![0usize; r];
        'all: loop {
            let (mut o, mut w) = (Some(0usize), 1.0);
            for i in 0..r {
                let (j, f) = taps[i][cursor[i]];
                o = o.zip(j).map(|(o, j)| o * dims[i] + j);
                w *= f;
            }
            sum += o.map_or(0.0, |o| image[o] * w);
            for i in (0..r).rev() {
                cursor[i] += 1;
                if cursor[i] < taps[i].len() {
                    continue 'all;
                }
                cursor[i] = 0;
            }
            return sum;
        }
    }
    fn axis(&self, c: f64, n: usize) -> Vec<(Option<usize>, f64)> {
        let c = match self.padding {
            GridPadding::Border if self.mode != ResizeMode::Cubic => c.clamp(0.0, n as f64 - 1.0),
            GridPadding::Reflection if self.mode != ResizeMode::Cubic => self.reflect(c, n),
            _ => c,
        };
        let floor = c.floor();
        let f = c - floor;
        let weights: Vec<(f64, f64)> = match self.mode {
            ResizeMode::Nearest => vec![(c.round_ties_even(), 1.0)],
            ResizeMode::Linear => vec![(floor, 1.0 - f), (floor + 1.0, f)],
            ResizeMode::Cubic => {
                let a = -0.75;
                let near = |d: f64| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
                let far = |d: f64| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
                vec![
                    (floor - 1.0, far(f + 1.0)),
                    (floor, near(f)),
                    (floor + 1.0, near(1.0 - f)),
                    (floor + 2.0, far(2.0 - f)),
                ]
            }
        };
        weights.into_iter().map(|(i, w)| (self.place(i, n), w)).collect()
    }
    /// The pixel that stands for a whole coordinate.
    fn place(&self, i: f64, n: usize) -> Option<usize> {
        let last = n as f64 - 1.0;
        if (0.0..=last).contains(&i) {
            return Some(i as usize);
        }
        match self.padding {
            GridPadding::Zeros => None,
            GridPadding::Border => Some(i.clamp(0.0, last) as usize),
            GridPadding::Reflection => Some(self.reflect(i, n).round_ties_even().clamp(0.0, last) as usize),
        }
    }
    fn reflect(&self, c: f64, n: usize) -> f64 {
        let (lo, hi) = if self.align_corners { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64 - 0.5) };
        let span = hi - lo;
        if span <= 0.0 || !c.is_finite() {
            return 0.0;
        }
        let m = (c - lo).rem_euclid(2.0 * span);
        let r = lo + if m > span { 2.0 * span - m } else { m };
        r.clamp(0.0, n as f64 - 1.0)
    }
}

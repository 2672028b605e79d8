//! What the inputs of a product looked like when a model read a text.

use sinter_ir::{Diag, Result};

/// Second moments of the rows `x` that a matrix was multiplied with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Elements of a row.
    pub k: usize,
    /// Rows seen.
    pub rows: u64,
    /// Mean of `x^T x`: `[k, k]`, symmetric.
    pub gram: Vec<f32>,
    /// Mean of `|x|`.
    pub magnitude: Vec<f32>,
    /// Some of the rows, one behind the other.
    pub sample: Vec<f32>,
}

/// How a matrix and what stands for it differ in what they make of inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Difference {
    /// Sum of squares of the outputs.
    pub signal: f64,
    /// Sum of squares of the differences.
    pub noise: f64,
    /// Cosine of the angle between the outputs.
    pub cosine: f64,
}

impl Difference {
    /// Of energies: of what it was, of what it is, and of what lies between.
    pub fn of(signal: f64, new: f64, noise: f64) -> Self {
        let norm = (signal * new).sqrt();
        let cosine = if norm > 0.0 { (signal + new - noise) / 2.0 / norm } else { 1.0 };
        Self { signal, noise, cosine }
    }
    /// Signal to noise in decibels; large and finite where nothing is lost.
    pub fn decibels(&self) -> f64 {
        if self.noise <= 0.0 { 999.0 } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

/// Sum of products of two equally long rows.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let ((a, last_a), (b, last_b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a.iter().zip(b) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    let rest: f32 = last_a.iter().zip(last_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

impl Statistics {
    /// Checks that all is there and finite.
    pub fn new(rows: u64, gram: Vec<f32>, magnitude: Vec<f32>) -> Result<Self> {
        let k = magnitude.len();
        if gram.len() != k * k || rows == 0 {
            return Err(Diag::input(format!("statistics of {k} channels with {} moments", gram.len())));
        }
        let diagonal = gram.iter().step_by(k + 1);
        if gram.iter().chain(&magnitude).any(|v| !v.is_finite()) || diagonal.clone().any(|v| *v < 0.0) {
            return Err(Diag::input(
                "what goes into a product is not finite: the model cannot be calibrated",
            )
            .help("its weights, or activations on this text, overflow"));
        }
        Ok(Self { k, rows, gram, magnitude, ..Self::default() })
    }
    /// With some of the rows.
    pub fn seen(self, sample: Vec<f32>) -> Self {
        Self { sample, ..self }
    }
    /// Moments of rows, for tests and small data.
    pub fn of_rows(k: usize, x: &[f32]) -> Result<Self> {
        let rows = x.len() / k.max(1);
        let (mut gram, mut magnitude) = (vec![0f64; k * k], vec![0f64; k]);
        for row in x.chunks_exact(k.max(1)) {
            for (i, a) in row.iter().enumerate() {
                magnitude[i] += f64::from(a.abs());
                for (g, b) in gram[i * k..].iter_mut().zip(row) {
                    *g += f64::from(*a) * f64::from(*b);
                }
            }
        }
        let mean = |v: Vec<f64>| v.iter().map(|v| (v / rows.max(1) as f64) as f32).collect();
        Ok(Self::new(rows as u64, mean(gram), mean(magnitude))?.seen(x.to_vec()))
    }
    /// The same for inputs that are divided by a factor per channel.
    pub fn divided(&self, by: &[f32]) -> Self {
        let row =
            |(row, s): (&[f32], &f32)| -> Vec<f32> { row.iter().zip(by).map(|(g, t)| g / s / t).collect() };
        let gram = self.gram.chunks(self.k.max(1)).zip(by).flat_map(row).collect();
        let each = |v: &[f32]| v.iter().zip(by).map(|(m, s)| m / s).collect();
        let sample = self.sample.chunks(self.k.max(1)).flat_map(|row| -> Vec<f32> { each(row) }).collect();
        Self { k: self.k, rows: self.rows, gram, magnitude: each(&self.magnitude), sample }
    }
    /// Sum over rows `d` (one behind the other) of `d G d^T`: the mean squared output of these rows of weights.
    pub fn energy(&self, d: &[f32]) -> f64 {
        let k = self.k;
        let mut sum = 0f64;
        for (i, g) in self.gram.chunks_exact(k.max(1)).enumerate() {
            for row in d.chunks_exact(k) {
                let cross = dot(&g[..i], &row[..i]);
                sum += f64::from(row[i]) * (2.0 * f64::from(cross) + f64::from(row[i] * g[i]));
            }
        }
        sum.max(0.0)
    }
    /// What becomes of outputs when rows of weights are replaced by others.
    pub fn difference(&self, weights: &[f32], instead: &[f32]) -> Difference {
        let off: Vec<f32> = weights.iter().zip(instead).map(|(w, q)| w - q).collect();
        Difference::of(self.energy(weights), self.energy(instead), self.energy(&off))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn moments_give_the_error_of_outputs() {
        let x = [1.0, 2.0, -1.0, 0.5, 3.0, -2.0, 0.0, 1.0, 1.5];
        let s = Statistics::of_rows(3, &x).unwrap();
        let (w, q) = ([0.5, -1.0, 2.0], [0.5, -0.75, 1.5]);
        let out = |w: &[f32; 3]| -> Vec<f64> {
            x.chunks(3).map(|x| x.iter().zip(w).map(|(x, w)| f64::from(x * w)).sum()).collect()
        };
        let (a, b) = (out(&w), out(&q));
        let mean = |f: &dyn Fn(usize) -> f64| (0..3).map(f).sum::<f64>() / 3.0;
        let (signal, other) = (mean(&|i| a[i] * a[i]), mean(&|i| b[i] * b[i]));
        let d = s.difference(&w, &q);
        assert!((d.signal - signal).abs() < 1e-5, "{d:?}");
        assert!((d.noise - mean(&|i| (a[i] - b[i]).powi(2))).abs() < 1e-5, "{d:?}");
        assert!((d.cosine - mean(&|i| a[i] * b[i]) / (signal * other).sqrt()).abs() < 1e-6, "{d:?}");
        assert_eq!(s.magnitude, [1.5 / 3.0, 6.0 / 3.0, 4.5 / 3.0]);
    }

    #[test]
    fn dividing_inputs_and_multiplying_weights_changes_nothing() {
        let x: Vec<f32> = (0..60).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect();
        let s = Statistics::of_rows(6, &x).unwrap();
        let by = [1.0, 2.0, 0.5, 4.0, 1.0, 0.25];
        let w = [1.0, -2.0, 0.5, 3.0, 0.25, -1.0];
        let scaled: Vec<f32> = w.iter().zip(by).map(|(w, s)| w * s).collect();
        let (a, b) = (s.energy(&w), s.divided(&by).energy(&scaled));
        assert!((a - b).abs() < 1e-5 * a);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        assert!(Statistics::of_rows(2, &[1.0, f32::NAN]).is_err());
        assert!(Statistics::of_rows(2, &[]).is_err());
        assert!(Statistics::new(1, vec![1.0; 3], vec![1.0; 2]).is_err());
    }
}

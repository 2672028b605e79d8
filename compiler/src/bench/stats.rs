//! Times of many runs in three numbers.

use serde::Serialize;

/// Seconds per run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stats {
    /// Fastest run.
    pub min: f64,
    /// As many runs were faster as slower.
    pub median: f64,
    /// Nine of ten runs were at least as fast.
    pub p90: f64,
    /// Number of runs.
    pub runs: usize,
}

impl Stats {
    /// Of at least one time.
    pub fn of(times: &[f64]) -> Option<Self> {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let at = |i: usize| sorted.get(i.min(n.saturating_sub(1))).copied();
        Some(Self {
            min: at(0)?,
            median: (at((n.max(1) - 1) / 2)? + at(n / 2)?) / 2.0,
            p90: at(n * 9 / 10)?,
            runs: n,
        })
    }
}

/// Seconds for people.
pub fn show(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.3} s"),
    }
}

/// Largest difference of two tensors' numbers, relative to the largest magnitude among the second's. `None` when they
/// cannot be compared.
pub fn difference(got: &sinter_ir::Tensor, want: &sinter_ir::Tensor) -> Option<f64> {
    let (got, want) = (got.to_f64().ok()?, want.to_f64().ok()?);
    if got.len() != want.len() {
        return None;
    }
    let scale = want.iter().fold(0.0_f64, |m, v| if v.is_finite() { m.max(v.abs()) } else { m });
    let most = got.iter().zip(&want).fold(0.0_f64, |m, (g, w)| {
        let same = g == w || g.is_nan() && w.is_nan();
        if same { m } else { m.max((g - w).abs()).max(if (g - w).is_nan() { f64::INFINITY } else { 0.0 }) }
    });
    Some(if most == 0.0 { 0.0 } else { most / scale.max(f64::MIN_POSITIVE) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::{DType, Tensor};

    #[test]
    fn order_statistics() {
        let times: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        assert_eq!(Stats::of(&times), Some(Stats { min: 1.0, median: 5.5, p90: 10.0, runs: 10 }));
        assert_eq!(Stats::of(&[3.0]), Some(Stats { min: 3.0, median: 3.0, p90: 3.0, runs: 1 }));
        assert_eq!(Stats::of(&[]), None);
    }

    #[test]
    fn differences_see_nan() {
        let t = |v: &[f64]| Tensor::from_f64(DType::F32, vec![v.len()], v).unwrap();
        assert_eq!(difference(&t(&[1.0, 4.0]), &t(&[1.0, 5.0])), Some(0.2));
        assert_eq!(difference(&t(&[f64::NAN]), &t(&[f64::NAN])), Some(0.0));
        assert_eq!(difference(&t(&[f64::NAN]), &t(&[1.0])), Some(f64::INFINITY));
        assert_eq!(difference(&t(&[1.0]), &t(&[1.0, 2.0])), None);
    }
}

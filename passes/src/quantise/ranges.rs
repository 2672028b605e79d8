//! Calibrators: from what the elements of a value look like to the interval that bytes stand for.

use super::histogram::Histogram;
use sinter_ir::{DType, Result, Tensor};

/// How ranges are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Calibrator {
    /// From the smallest element to the largest.
    MinMax,
    /// Without the outermost hundred-thousandth on either side.
    Percentile,
    /// Least divergence of the distribution of magnitudes from what bytes can show of it.
    Entropy,
    /// Least squared error.
    #[default]
    Mse,
}

impl Calibrator {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::MinMax, Self::Percentile, Self::Entropy, Self::Mse];
    /// The word for it in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::MinMax => "minmax",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
            Self::Mse => "mse",
        }
    }
    /// The interval for a value whose bytes go up to `top`.
    pub fn range(self, h: &Histogram, top: u8) -> (f64, f64) {
        let whole = (f64::from(h.min.min(0.0)), f64::from(h.max.max(0.0)));
        match self {
            Self::MinMax => whole,
            Self::Percentile => percentile(h, whole),
            Self::Entropy => entropy(h, whole, usize::from(top).div_ceil(2)),
            Self::Mse => squared(h, whole, top),
        }
    }
}

/// Elements on either side that percentiles leave out.
const TAIL: f64 = 1e-5;
/// What takes the place of zeros in distributions.
const SMOOTH: f64 = 1e-4;
/// Ends of ranges that are tried for the least squared error, per side.
const CANDIDATES: usize = 64;

/// The largest byte.
pub const WHOLE: u8 = 255;
/// That of bytes whose products are summed in 16 bits.
pub const NARROW: u8 = 127;

/// Parameters of bytes: `scale * (byte - zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// Step.
    pub scale: f32,
    /// The byte that stands for zero.
    pub zero: u8,
    /// The largest byte.
    pub top: u8,
}

impl Params {
    /// For an interval that holds zero: its ends, moved by less than half a step so that a byte stands for zero.
    pub fn of((low, high): (f64, f64), top: u8) -> Self {
        let most = f64::from(top);
        let scale = ((high - low) / most) as f32;
        if !scale.is_normal() {
            return Self { scale: 1.0, zero: 0, top };
        }
        let zero = (-low / f64::from(scale)).round_ties_even().clamp(0.0, most) as u8;
        Self { scale, zero, top }
    }
    /// What a number becomes.
    pub fn round(&self, v: f64) -> f64 {
        let (scale, zero) = (f64::from(self.scale), f64::from(self.zero));
        scale * (((v / scale).round_ties_even() + zero).clamp(0.0, self.top.into()) - zero)
    }
    /// Scale and zero point as scalars.
    pub fn tensors(&self) -> Result<(Tensor, Tensor)> {
        Ok((Tensor::f32s(vec![], &[self.scale])?, Tensor::from_i64(DType::U8, vec![], &[self.zero.into()])?))
    }
}

fn percentile(h: &Histogram, whole: (f64, f64)) -> (f64, f64) {
    let out = (h.count as f64 * TAIL).floor() as u64;
    let half = h.width() / 2.0;
    fn end(mut bins: impl Iterator<Item = (f64, u64)>, out: u64) -> f64 {
        let mut sum = 0;
        let found = bins.find(|(_, n)| {
            sum += n;
            sum > out
        });
        found.map_or(0.0, |b| b.0)
    }
    let low = end(h.bins(), out) - half;
    let high = end(h.bins().rev(), out) + half;
    (low.min(0.0).max(whole.0), high.max(0.0).min(whole.1))
}

/// Kullback and Leibler's divergence of `p` from `q`, both counts.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let smooth = |v: &[f64]| -> Vec<f64> {
        let sum: f64 = v.iter().sum();
        let empty = v.iter().filter(|v| **v == 0.0).count();
        let full = v.len() - empty;
        if full == 0 || sum == 0.0 {
            return v.to_vec();
        }
        let less = SMOOTH * empty as f64 / full as f64;
        v.iter().map(|v| if *v == 0.0 { SMOOTH } else { (v / sum - less).max(1e-12) }).collect()
    };
    let (p, q) = (smooth(p), smooth(q));
    p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum()
}

/// Magnitudes up to `n` bins, those beyond in the last, and the same as bytes of so many levels show it.
fn shown(bins: &[u64], n: usize, levels: usize) -> (Vec<f64>, Vec<f64>) {
    let mut p: Vec<f64> = bins.iter().take(n).map(|b| *b as f64).collect();
    let mut q = vec![0.0; p.len()];
    for level in 0..levels {
        let (from, to) = (level * n / levels, (level + 1) * n / levels);
        let part = p.get(from..to).unwrap_or(&[]);
        let full = part.iter().filter(|v| **v > 0.0).count();
        let each = part.iter().sum::<f64>() / full.max(1) as f64;
        for i in from..to {
            q[i] = if p[i] > 0.0 { each } else { 0.0 };
        }
    }
    let beyond: u64 = bins.iter().skip(n).sum();
    if let Some(last) = p.last_mut() {
        *last += beyond as f64;
    }
    (p, q)
}

fn entropy(h: &Histogram, whole: (f64, f64), levels: usize) -> (f64, f64) {
    let mut bins = h.magnitudes();
    // Exact zeros say nothing of how wide steps may be; behind a rectifier they are half of all.
    if let Some(first) = bins.first_mut() {
        *first = 0;
    }
    let used = bins.iter().rposition(|b| *b > 0).map_or(0, |i| i + 1);
    if used <= levels {
        return whole;
    }
    let of = |n: usize| {
        let (p, q) = shown(&bins, n, levels);
        divergence(&p, &q)
    };
    let mut best = (f64::INFINITY, used);
    for n in (levels..=used).step_by(levels / 16).chain([used]) {
        let d = of(n);
        if d < best.0 {
            best = (d, n);
        }
    }
    let most = (best.1 as f64 + 0.5) * h.width();
    (whole.0.max(-most), whole.1.min(most))
}

/// Both ends are moved inwards in turn, as far as the squared error falls.
fn squared(h: &Histogram, whole: (f64, f64), top: u8) -> (f64, f64) {
    let width = h.width();
    let error = |range: (f64, f64)| -> f64 {
        let params = Params::of(range, top);
        let spread = width.min(f64::from(params.scale));
        h.bins()
            .map(|(v, n)| {
                // Within a step elements lie anywhere: where bins are finer than steps, exactly where they are.
                let off = v - params.round(v);
                let inside = (range.0..=range.1).contains(&v);
                let noise = if inside && width >= f64::from(params.scale) {
                    spread * spread / 12.0
                } else {
                    off * off
                };
                noise * n as f64
            })
            .sum()
    };
    let mut best = (error(whole), whole);
    for _ in 0..2 {
        for side in [0, 1] {
            let from = best.1;
            for i in 1..CANDIDATES {
                let part = i as f64 / CANDIDATES as f64;
                let range = if side == 0 { (whole.0 * part, from.1) } else { (from.0, whole.1 * part) };
                let e = error(range);
                if e < best.0 {
                    best = (e, range);
                }
            }
        }
    }
    best.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        h.add(values).unwrap();
        h
    }
    /// A bell curve cut at four deviations, and elements far out.
    fn bell(far: &[f32]) -> Histogram {
        let mut v: Vec<f32> = vec![];
        for i in -400..=400i32 {
            let x = i as f32 / 100.0;
            let n = ((-x * x / 2.0).exp() * 80.0).ceil() as usize;
            v.extend(std::iter::repeat_n(x, n));
        }
        v.extend(far);
        histogram(&v)
    }
    fn error(h: &Histogram, range: (f64, f64)) -> f64 {
        let p = Params::of(range, WHOLE);
        h.bins().map(|(v, n)| (v - p.round(v)).powi(2) * n as f64).sum()
    }

    #[test]
    fn bytes_of_an_interval() {
        assert_eq!(Params::of((-1.0, 1.55), WHOLE), Params { scale: 0.01, zero: 100, top: WHOLE });
        assert_eq!(Params::of((0.0, 0.0), WHOLE), Params { scale: 1.0, zero: 0, top: WHOLE });
        let p = Params::of((-0.3, 2.0), WHOLE);
        assert_eq!(p.round(0.0), 0.0);
        assert!((p.round(9.0) - 2.0).abs() < f64::from(p.scale));
        assert!((p.round(-9.0) + 0.3).abs() < f64::from(p.scale));
        for v in [-0.29, 0.001, 1.234] {
            assert!((p.round(v) - v).abs() <= f64::from(p.scale) * 0.5001, "{v}");
        }
        let narrow = Params::of((-0.5, 0.77), NARROW);
        assert_eq!(narrow, Params { scale: 0.01, zero: 50, top: NARROW });
        assert!((narrow.round(9.0) - 0.77).abs() < 1e-6);
    }

    #[test]
    fn minmax_holds_everything_and_zero() {
        assert_eq!(Calibrator::MinMax.range(&histogram(&[0.5, 3.0]), WHOLE), (0.0, 3.0));
        assert_eq!(Calibrator::MinMax.range(&histogram(&[-2.0, -1.0]), WHOLE), (-2.0, 0.0));
        for c in Calibrator::ALL {
            assert_eq!(c.range(&histogram(&[0.0, 0.0]), WHOLE), (0.0, 0.0), "{}", c.name());
            let (low, high) = c.range(&histogram(&[4.0; 100]), WHOLE);
            assert!(low == 0.0 && (high - 4.0).abs() < 0.1, "{}: {low} {high}", c.name());
        }
    }

    #[test]
    fn percentiles_leave_out_what_is_rare() {
        let mut v: Vec<f32> = (0..60_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        v[77] = 50.0;
        // One in 60,000 is more than a hundred-thousandth: it stays; two samples more, and it goes.
        let mut h = histogram(&v);
        assert_eq!(Calibrator::Percentile.range(&h, WHOLE).1, 50.0);
        v[77] = 0.5;
        h.add(&v).unwrap();
        let high = Calibrator::Percentile.range(&h, WHOLE).1;
        assert!((high - 1.0).abs() < 0.05, "{high}");
    }

    #[test]
    fn entropy_cuts_a_long_tail_and_no_flat_distribution() {
        let flat: Vec<f32> = (0..50_000).map(|i| i as f32 / 50_000.0).collect();
        let (_, high) = Calibrator::Entropy.range(&histogram(&flat), WHOLE);
        assert!(high > 0.97, "{high}");
        let (low, high) = Calibrator::Entropy.range(&bell(&[40.0]), WHOLE);
        assert!(high < 10.0 && high > 1.5 && low > -10.0, "{low} {high}");
    }

    #[test]
    fn divergence_is_zero_for_equals_and_positive_otherwise() {
        assert_eq!(divergence(&[1.0, 2.0, 0.0], &[2.0, 4.0, 0.0]), 0.0);
        assert!(divergence(&[1.0, 2.0], &[2.0, 1.0]) > 0.2);
        // Three bins to two levels each with the mean of those that hold something.
        let (p, q) = shown(&[1; 256], 256, 128);
        assert_eq!(p, q);
    }

    #[test]
    fn least_squares_is_no_worse_than_any_other() {
        for far in [&[][..], &[9.0], &[-30.0, 30.0], &[100.0; 20]] {
            let h = bell(far);
            let mine = error(&h, Calibrator::Mse.range(&h, WHOLE));
            for c in Calibrator::ALL {
                assert!(mine <= error(&h, c.range(&h, WHOLE)) * 1.001, "{far:?}: {}", c.name());
            }
        }
        // A single far element costs less cut off than every other costs with steps that reach it.
        let (low, high) = Calibrator::Mse.range(&bell(&[30.0]), WHOLE);
        assert!(high < 29.0 && low < -2.5, "{low} {high}");
    }
}

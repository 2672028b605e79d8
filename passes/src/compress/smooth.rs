//! SmoothQuant: channels whose activations stand out are made smaller, and the columns of weights that meet them larger,
//! so that both fit one scale.
//!
//! The factor of a channel is `max |x|^alpha / max |w|^(1 - alpha)`, with the largest weight of all matrices that read it.
//! Alpha is the best of a grid for what a sample of tokens gives through rounded activations and weights; no factors at
//! all are among what is tried.

use super::grid::{Grid, Rows};
use super::inputs::Inputs;
use super::stats::{Statistics, dot};
use super::{Scheme, awq};
use sinter_ir::{Diag, Result, Tensor};

/// Alphas tried: 0.3, 0.35, ... 0.95.
const ALPHAS: std::ops::Range<usize> = 6..20;
/// Choices of [`loss`] beside no factors.
pub const CHOICES: usize = ALPHAS.end - ALPHAS.start + 1;
/// Rows of a matrix, and of the sample, by which an alpha is judged.
const SAMPLE: usize = 64;

/// The largest weight of every channel, of all matrices.
pub fn largest(weights: &[&Tensor]) -> Result<Vec<f32>> {
    let mut most = vec![];
    for w in weights {
        let rows = Rows::new(w)?;
        most.resize(rows.k, 0f32);
        let mut row = vec![0f32; rows.k];
        for i in 0..rows.n {
            rows.read(i, &mut row);
            most.iter_mut().zip(&row).for_each(|(m, w)| *m = m.max(w.abs()));
        }
    }
    Ok(most)
}

/// Factors of channels from the largest activations and weights.
pub fn scales(peak: &[f32], largest: &[f32], alpha: f32) -> Vec<f32> {
    let one = |(x, w): (&f32, &f32)| {
        // Channels that are never used stay.
        if *x < 1e-8 || *w < 1e-8 { 1.0 } else { (x.powf(alpha) / w.powf(1.0 - alpha)).clamp(1e-5, 1e4) }
    };
    peak.iter().zip(largest).map(one).collect()
}

/// The factors of a choice; `None`: none.
pub fn choice(stats: &Statistics, largest: &[f32], i: usize) -> Option<Vec<f32>> {
    (i > 0).then(|| scales(&stats.peak, largest, (ALPHAS.start + i - 1) as f32 / 20.0))
}

/// Squared error of outputs on the sample, activations divided and weights multiplied by factors before both are rounded.
pub fn loss(
    weights: &[&Tensor],
    s: &Scheme,
    inputs: &Inputs,
    stats: &Statistics,
    by: Option<&[f32]>,
) -> Result<f64> {
    let k = stats.k.max(1);
    let tokens: Vec<&[f32]> = stats.sample.chunks_exact(k).collect();
    let step = tokens.len().div_ceil(SAMPLE).max(1);
    let tokens: Vec<&[f32]> = tokens.into_iter().step_by(step).collect();
    let rounded = |x: &&[f32]| {
        let mut x = x.to_vec();
        if let Some(by) = by {
            x.iter_mut().zip(by).for_each(|(x, s)| *x /= s);
        }
        inputs.round(&mut x);
        x
    };
    let coded: Vec<Vec<f32>> = tokens.iter().map(rounded).collect();
    let mut sum = 0f64;
    for w in weights {
        let scaled = by.map(|by| awq::scaled(w, by)).transpose()?;
        let (rows, new) = (Rows::new(w)?, Rows::new(scaled.as_ref().unwrap_or(w))?);
        if rows.k != k {
            return Err(Diag::bug(format!("statistics of {k} channels for {} weights", rows.k)));
        }
        let step = rows.n.div_ceil(SAMPLE).max(1);
        let (mut row, mut code) = (vec![0f32; k], vec![0f32; k]);
        for i in (0..rows.n).step_by(step) {
            rows.read(i, &mut row);
            new.read(i, &mut code);
            for part in code.chunks_mut(s.block(k)) {
                let g = Grid::best(part, s);
                part.iter_mut().for_each(|w| *w = g.value(g.code(*w)));
            }
            for (x, c) in tokens.iter().zip(&coded) {
                let off = f64::from(dot(x, &row) - dot(c, &code));
                sum += off * off * step as f64;
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn factors_by_hand() {
        let s = scales(&[10.0, 1.0, 0.5, 0.0], &[0.5, 0.25, 2.0, 1.0], 0.5);
        let want = [4.472_136, 2.0, 0.5, 1.0];
        assert!(s.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{s:?}");
        let w = Tensor::f32s(vec![2, 2], &[0.5, -2.0, -1.0, 0.25]).unwrap();
        assert_eq!(largest(&[&w]).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn an_outlier_channel_is_smoothed_and_equal_ones_are_left_alone() {
        let (k, n) = (128, 40);
        let s = Scheme { bits: 8, group: 0, ..Scheme::default() };
        let rows = Inputs { block: Some(0), nibbles: None };
        let w = samples::weights(n, k);
        let mut x = samples::inputs(3, 64, k);
        x.iter_mut().skip(7).step_by(k).for_each(|v| *v *= 300.0);
        let stats = Statistics::of_rows(k, &x).unwrap();
        let most = largest(&[&w]).unwrap();
        let of = |i| loss(&[&w], &s, &rows, &stats, choice(&stats, &most, i).as_deref()).unwrap();
        let all: Vec<f64> = (0..CHOICES).map(of).collect();
        let best = awq::choose(&all).unwrap();
        assert!(all[best] < 0.3 * all[0], "{all:?}");
        // Floats lose nothing, whatever the factors.
        let none = Inputs { block: None, nibbles: None };
        let fine = Scheme { bits: 8, group: 16, ..s };
        let a = loss(&[&w], &fine, &none, &stats, None).unwrap();
        assert!(a < 0.2 * all[0]);
    }
}

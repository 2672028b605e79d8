//! SmoothQuant: channels whose activations stand out are made smaller, and the columns of weights that meet them larger,
//! so that both fit one scale.
//!
//! Its authors' factor of a channel is `max |x|^alpha / max |w|^(1 - alpha)`, with the largest weight of all matrices that
//! read it. Here such factors, of the best alpha, are where a descent begins: it follows the gradient of what rounding
//! adds to outputs, estimated from [`steps`](super::steps), of activations and of weights.
//!
//! A few tokens, above all the first, have activations a thousand times larger than others. What is lost of them is lost
//! beside large outputs, so that a token counts less the larger it is.

use super::grid::Rows;
use super::steps::{Goal, Span};
use sinter_ir::{Diag, Result, Tensor};

/// Alphas tried for the start: 0, 1/20, ... 1.
const ALPHAS: u16 = 20;
/// Rows of weights that the estimate looks at, of all matrices together.
const SAMPLE: usize = 512;
/// Steps of the descent.
const STEPS: u16 = 200;
/// Length of its first step, in logarithms of factors; the last is nothing.
const RATE: f64 = 0.03;
/// Part of the noise that must go for factors to be worth their products.
const WORTH: f64 = 0.05;
/// Smallest and largest factor.
const LIMITS: (f32, f32) = (1e-5, 1e4);

/// Factors of channels from the largest activations and weights.
fn scales(peak: &[f32], largest: &[f32], alpha: f32) -> Vec<f32> {
    let one = |(x, w): (&f32, &f32)| {
        // Channels that are never used stay.
        if *x < 1e-8 || *w < 1e-8 {
            1.0
        } else {
            (x.powf(alpha) / w.powf(1.0 - alpha)).clamp(LIMITS.0, LIMITS.1)
        }
    };
    peak.iter().zip(largest).map(one).collect()
}

/// The largest number of every channel, of all rows, each multiplied with the square root of how much it counts.
fn largest(rows: &[f32], by: &[f32], k: usize) -> Vec<f32> {
    let mut most = vec![0f32; k];
    for (row, by) in rows.chunks_exact(k).zip(by) {
        most.iter_mut().zip(row).for_each(|(m, v)| *m = m.max(v.abs() * by.sqrt()));
    }
    most
}

/// The sum of squares of every channel, of all rows, each as often as it counts.
fn energy(rows: &[f32], by: &[f32], k: usize) -> Vec<f64> {
    let mut sum = vec![0f64; k];
    for (row, by) in rows.chunks_exact(k).zip(by) {
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += f64::from(by * v * v));
    }
    sum
}

/// Activations or weights: rows that are rounded.
struct Side {
    rows: Vec<f32>,
    /// How much each counts.
    by: Vec<f32>,
    span: Span,
    /// Squares of what the channels meet.
    meets: Vec<f64>,
}

impl Side {
    /// What rounding adds to the squares of outputs when channels are multiplied by factors, those they meet divided; and
    /// to the gradient, by the logarithms of the factors, as often as `sign` says.
    fn noise(&self, factors: &[f32], gradient: &mut [f64], sign: f64) -> f64 {
        let (k, share) = (factors.len(), self.span.share);
        let mut steps = vec![0f64; k.div_ceil(share)];
        let mut pull = vec![0f64; k];
        let mut scaled = vec![0f32; k];
        for (row, by) in self.rows.chunks_exact(k).zip(&self.by) {
            scaled.iter_mut().zip(row).zip(factors).for_each(|((z, v), f)| *z = v * f);
            let parts = scaled.chunks(share).zip(pull.chunks_mut(share)).zip(&mut steps);
            for ((part, pull), sum) in parts {
                let (step, ends) = self.span.step(part);
                *sum += f64::from(by * step * step);
                for (i, moved) in ends {
                    pull[i] += f64::from(2.0 * by * step * moved * part[i]);
                }
            }
        }
        let met = |(m, f): (&f64, &f32)| m / f64::from(*f).powi(2);
        let meets: Vec<f64> = self.meets.iter().zip(factors).map(met).collect();
        let mut sum = 0.0;
        for (((meets, pull), g), steps) in
            meets.chunks(share).zip(pull.chunks(share)).zip(gradient.chunks_mut(share)).zip(steps)
        {
            let all: f64 = meets.iter().sum();
            sum += steps * all;
            for ((g, pull), met) in g.iter_mut().zip(pull).zip(meets) {
                *g += sign * (pull * all - 2.0 * steps * met);
            }
        }
        sum
    }
}

/// Both sides of the products that read the same inputs.
struct Both {
    inputs: Side,
    weights: Side,
}

impl Both {
    /// `x` are rows of inputs. `None`: inputs are not rounded.
    fn new(matrices: &[&Tensor], x: &[f32], k: usize, goal: &Goal) -> Result<Option<Self>> {
        let Some(span) = goal.inputs(k) else { return Ok(None) };
        let sizes: Vec<f32> = x.chunks_exact(k).map(|x| x.iter().map(|v| v * v).sum()).collect();
        let mut sorted = sizes.clone();
        sorted.sort_by(f32::total_cmp);
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let counts: Vec<f32> = sizes.iter().map(|s| if *s > middle { middle / s } else { 1.0 }).collect();
        let (mut rows, mut by) = (vec![], vec![]);
        let total: usize = matrices.iter().map(|w| w.shape().first().copied().unwrap_or(0)).sum();
        let step = total.div_ceil(SAMPLE).max(1);
        let mut row = vec![0f32; k];
        for w in matrices {
            let all = Rows::new(w)?;
            if all.k != k {
                return Err(Diag::bug(format!("statistics of {k} channels for {} weights", all.k)));
            }
            for i in (0..all.n).step_by(step) {
                all.read(i, &mut row);
                rows.extend_from_slice(&row);
                by.push(step as f32);
            }
        }
        let (from_weights, from_inputs) = (energy(&rows, &by, k), energy(x, &counts, k));
        Ok(Some(Self {
            inputs: Side { rows: x.to_vec(), by: counts, span, meets: from_weights },
            weights: Side { rows, by, span: goal.weights(k), meets: from_inputs },
        }))
    }
    /// What rounding adds when inputs are divided by factors, and its gradient by their logarithms.
    fn noise(&self, factors: &[f32]) -> (f64, Vec<f64>) {
        let inverse: Vec<f32> = factors.iter().map(|f| 1.0 / f).collect();
        let mut gradient = vec![0f64; factors.len()];
        let sum = self.inputs.noise(&inverse, &mut gradient, -1.0)
            + self.weights.noise(factors, &mut gradient, 1.0);
        (sum, gradient)
    }
    /// Factors that the authors' formula gives for the best alpha, or none at all.
    fn start(&self, k: usize) -> Vec<f32> {
        let peak = largest(&self.inputs.rows, &self.inputs.by, k);
        let weights = largest(&self.weights.rows, &vec![1.0; self.weights.by.len()], k);
        let alphas = (0..=ALPHAS).map(|i| scales(&peak, &weights, f32::from(i) / f32::from(ALPHAS)));
        let all = std::iter::once(vec![1.0; k]).chain(alphas).map(|f| (self.noise(&f).0, f));
        all.min_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(|| vec![1.0; k], |best| best.1)
    }
    /// The best of a descent by Adam (Kingma and Ba) from some factors.
    fn descend(&self, start: Vec<f32>) -> (f64, Vec<f32>) {
        let mut logs: Vec<f64> = start.iter().map(|f| f64::from(*f).ln()).collect();
        let (mut mean, mut square) = (vec![0f64; logs.len()], vec![0f64; logs.len()]);
        let (low, high) = (f64::from(LIMITS.0).ln(), f64::from(LIMITS.1).ln());
        let mut best = (f64::INFINITY, start);
        for i in 0..=STEPS {
            let factors: Vec<f32> = logs.iter().map(|l| l.exp() as f32).collect();
            let (noise, gradient) = self.noise(&factors);
            if noise < best.0 {
                best = (noise, factors);
            }
            if noise <= 0.0 || !noise.is_finite() {
                break;
            }
            let rate = RATE * (1.0 - f64::from(i) / f64::from(STEPS));
            let (m, v) = (1.0 - 0.9f64.powi(i32::from(i) + 1), 1.0 - 0.999f64.powi(i32::from(i) + 1));
            for (j, g) in gradient.iter().enumerate() {
                // Nothing is known of channels that are never used.
                if self.weights.meets[j] <= 0.0 || self.inputs.meets[j] <= 0.0 {
                    continue;
                }
                let g = g / noise;
                mean[j] = 0.9 * mean[j] + 0.1 * g;
                square[j] = 0.999 * square[j] + 0.001 * g * g;
                logs[j] -= rate * (mean[j] / m) / ((square[j] / v).sqrt() + 1e-8);
                logs[j] = logs[j].clamp(low, high);
            }
        }
        best
    }
}

/// By what the channels of inputs are divided, and columns of all matrices that read them multiplied, before both are
/// rounded; `None`: that is not worth it. `x` are rows of inputs, `k` numbers each.
pub fn factors(matrices: &[&Tensor], x: &[f32], k: usize, goal: &Goal) -> Result<Option<Vec<f32>>> {
    let k = k.max(1);
    let Some(both) = Both::new(matrices, x, k, goal)? else { return Ok(None) };
    let none = both.noise(&vec![1.0; k]).0;
    let (noise, factors) = both.descend(both.start(k));
    Ok((noise < (1.0 - WORTH) * none).then_some(factors))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::grid::Grid;
    use super::super::inputs::Inputs;
    use super::super::stats::dot;
    use super::super::{Scheme, samples};
    use super::*;

    fn goal(group: usize) -> Goal {
        let weights = Scheme { bits: 8, group, ..Scheme::default() };
        Goal { inputs: Inputs { block: Some(group), nibbles: None }, weights }
    }

    /// Squared error of outputs when both sides are rounded.
    fn loss(w: &Tensor, x: &[f32], k: usize, goal: &Goal, by: &[f32]) -> f64 {
        let w = w.to_f32().unwrap();
        let round = |row: &[f32]| -> Vec<f32> {
            let mut row: Vec<f32> = row.iter().zip(by).map(|(w, f)| w * f).collect();
            for part in row.chunks_mut(goal.weights.block(k)) {
                let g = Grid::of(part, &goal.weights, 1.0);
                part.iter_mut().for_each(|w| *w = g.value(g.code(*w)));
            }
            row
        };
        let rounded: Vec<Vec<f32>> = w.chunks_exact(k).map(round).collect();
        let mut sum = 0f64;
        for x in x.chunks_exact(k) {
            let mut z: Vec<f32> = x.iter().zip(by).map(|(x, f)| x / f).collect();
            goal.inputs.round(&mut z);
            let off = |(w, r): (&[f32], &Vec<f32>)| f64::from(dot(x, w) - dot(&z, r)).powi(2);
            sum += w.chunks_exact(k).zip(&rounded).map(off).sum::<f64>();
        }
        sum
    }

    #[test]
    fn factors_by_hand() {
        let s = scales(&[10.0, 1.0, 0.5, 0.0], &[0.5, 0.25, 2.0, 1.0], 0.5);
        let want = [4.472_136, 2.0, 0.5, 1.0];
        assert!(s.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{s:?}");
        assert_eq!(largest(&[0.5, -2.0, -1.0, 0.25], &[1.0, 4.0], 2), [2.0, 2.0]);
    }

    #[test]
    fn an_outlier_channel_is_smoothed_and_equal_ones_are_left_alone() {
        let (k, n) = (128, 40);
        let w = samples::weights(n, k);
        let even = samples::weights(64, k).to_f32().unwrap();
        let mut x = even.clone();
        x.iter_mut().skip(7).step_by(k).for_each(|v| *v *= 300.0);
        for group in [0, 32] {
            let goal = goal(group);
            let by = factors(&[&w], &x, k, &goal).unwrap().unwrap();
            let (plain, smooth) = (loss(&w, &x, k, &goal, &vec![1.0; k]), loss(&w, &x, k, &goal, &by));
            assert!(smooth < 0.3 * plain, "{smooth} of {plain}");
            // Their formula alone does less.
            let both = Both::new(&[&w], &x, k, &goal).unwrap().unwrap();
            assert!(smooth < loss(&w, &x, k, &goal, &both.start(k)));
        }
        // Random numbers of one size in groups whose ends nothing can bring nearer to one another.
        let goal = Goal { inputs: Inputs { block: Some(1), nibbles: None }, ..goal(0) };
        let ones: Vec<f32> = even.iter().map(|v| v.signum()).collect();
        let signs = Tensor::f32s(vec![n, k], &ones[..n * k]).unwrap();
        assert_eq!(factors(&[&signs], &ones, k, &goal).unwrap(), None);
        let floats = Goal { inputs: Inputs { block: None, nibbles: None }, ..goal };
        assert_eq!(factors(&[&w], &x, k, &floats).unwrap(), None);
    }

    #[test]
    fn one_token_that_stands_out_does_not_decide() {
        let (k, n) = (64, 32);
        let w = samples::weights(n, k);
        let x = samples::inputs(5, 64, k);
        let mut large = x.clone();
        large[..k].iter_mut().step_by(9).for_each(|v| *v = 4000.0);
        let goal = goal(0);
        let by = factors(&[&w], &large, k, &goal).unwrap().unwrap();
        let rest = |by: &[f32]| loss(&w, &x[k..], k, &goal, by);
        assert!(rest(&by) < 1.1 * rest(&vec![1.0; k]), "{} of {}", rest(&by), rest(&vec![1.0; k]));
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let k = 24;
        let x = samples::inputs(3, 20, k);
        let both = Both::new(&[&samples::weights(9, k)], &x, k, &goal(8)).unwrap().unwrap();
        let logs: Vec<f64> = (0..k).map(|i| (i as f64).sin() / 3.0).collect();
        let at = |logs: &[f64]| both.noise(&logs.iter().map(|l| l.exp() as f32).collect::<Vec<_>>());
        let (_, gradient) = at(&logs);
        for (j, g) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let mut l = logs.clone();
                l[j] += by;
                at(&l).0
            };
            let want = (moved(1e-3) - moved(-1e-3)) / 2e-3;
            assert!((g - want).abs() < 0.02 * want.abs() + 1e-3 * at(&logs).0, "{j}: {g} for {want}");
        }
    }
}

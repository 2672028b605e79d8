//! How far the answers of a model are from those of the float model, over the same tokens.

use super::parallel;
use super::runner::{Instead, Runner, Stream};
use sinter_ir::{Diag, Result, Tensor};
use sinter_passes::compress::segments::Segment;

/// Rows of logits that are one piece of work.
const ROWS: usize = 16;

/// Sums over tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lost {
    /// Of the Kullback-Leibler divergence from the float model.
    divergence: f64,
    tokens: usize,
    /// Of what -ln p of the text's next token grew by.
    surprise: f64,
    predicted: usize,
}

impl Lost {
    /// Mean divergence.
    pub fn divergence(&self) -> f64 {
        (self.divergence / self.tokens.max(1) as f64).max(0.0)
    }
    /// What perplexity is multiplied by, less one.
    pub fn perplexity(&self) -> f64 {
        (self.surprise / self.predicted.max(1) as f64).exp_m1()
    }
    fn add(&mut self, other: &Self) {
        self.divergence += other.divergence;
        self.tokens += other.tokens;
        self.surprise += other.surprise;
        self.predicted += other.predicted;
    }
    /// Of one token, and the one that comes next.
    fn of(reference: &[f32], other: &[f32], next: Option<i64>) -> Self {
        let top = |l: &[f32]| l.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (a, b) = (top(reference), top(other));
        let [mut sum, mut off, mut others] = [0f64; 3];
        for (r, o) in reference.chunks(SPAN).zip(other.chunks(SPAN)) {
            let [s, d, t] = span(r, o, (a, b));
            (sum, off, others) = (sum + s, off + d, others + t);
        }
        let (a, b) = (f64::from(a), f64::from(b));
        let shift = others.ln() - sum.ln();
        let mut lost = Self { divergence: off / sum + shift, tokens: 1, ..Self::default() };
        let at = next.and_then(|n| usize::try_from(n).ok());
        if let Some((r, o)) = at.and_then(|i| Some((reference.get(i)?, other.get(i)?))) {
            lost.surprise = (f64::from(*r) - a) - (f64::from(*o) - b) + shift;
            lost.predicted = 1;
        }
        lost
    }
}

/// Logits that are summed up in f32.
const SPAN: usize = 512;
/// What is computed side by side.
const LANES: usize = 8;
/// What is less probable than e to this is as good as impossible.
const LEAST: f32 = -80.0;

/// Over a span of logits less their largest one: sums of e^r, of e^r (r - o), and of e^o.
fn span(reference: &[f32], other: &[f32], (a, b): (f32, f32)) -> [f64; 3] {
    let mut sums = [[0f32; LANES]; 3];
    let mut each = |reference: &[f32; LANES], other: &[f32; LANES]| {
        for (i, (r, o)) in reference.iter().zip(other).enumerate() {
            let (r, o) = (at_least(r - a), at_least(o - b));
            let p = exp(r);
            sums[0][i] += p;
            sums[1][i] += p * (r - o);
            sums[2][i] += exp(o);
        }
    };
    let (r, last) = reference.as_chunks();
    let (o, others) = other.as_chunks();
    r.iter().zip(o).for_each(|(r, o)| each(r, o));
    let fill = |rest: &[f32]| std::array::from_fn(|i| rest.get(i).copied().unwrap_or(f32::NEG_INFINITY));
    each(&fill(last), &fill(others));
    sums.map(|s| s.iter().map(|v| f64::from(*v)).sum())
}

/// What is no number stays none.
fn at_least(x: f32) -> f32 {
    if x < LEAST { LEAST } else { x }
}

/// e^x for `x` from [`LEAST`] to 0, without branches: the compiler makes vectors of it.
fn exp(x: f32) -> f32 {
    // Adding this leaves a whole number in the low bits.
    const WHOLE: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    // ln 2 in two parts, the first of few bits.
    let t = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let terms = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let e = terms.into_iter().fold(0f32, |sum, c| sum * t + c);
    f32::from_bits(shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127) << 23) * e
}

/// Answers of the float model.
pub struct Answers {
    logits: Vec<Tensor>,
    /// Tokens of every window.
    ids: Vec<Vec<i64>>,
    threads: usize,
}

impl Answers {
    /// What the last piece gives for the float model's stream.
    pub fn new(
        runner: &mut Runner,
        last: &Segment,
        float: &mut [Stream],
        threads: usize,
    ) -> Result<Self, Vec<Diag>> {
        let mut logits = vec![];
        runner.many(last, &Instead::new(), float, false, &mut |_, _, out| {
            logits.extend(out.first().cloned());
            Ok(())
        })?;
        let ids: Result<Vec<Vec<i64>>> = (0..logits.len()).map(|w| runner.ids(w)).collect();
        Ok(Self { ids: ids.map_err(|d| vec![d])?, logits, threads })
    }
    /// What is lost in other streams, whose answers the last piece gives.
    pub fn lost(
        &self,
        runner: &mut Runner,
        last: &Segment,
        instead: &Instead,
        streams: &mut [Stream],
    ) -> Result<Vec<Lost>, Vec<Diag>> {
        let mut all = vec![Lost::default(); streams.len()];
        runner.many(last, instead, streams, false, &mut |stream, window, out| {
            let known = self.logits.get(window).zip(self.ids.get(window)).zip(out.first());
            let ((reference, ids), other) = known.ok_or_else(|| Diag::bug("a window without answers"))?;
            let lost = self.window(reference, other, ids)?;
            all.iter_mut().skip(stream).take(1).for_each(|l| l.add(&lost));
            Ok(())
        })?;
        Ok(all)
    }
    fn window(&self, reference: &Tensor, other: &Tensor, ids: &[i64]) -> Result<Lost> {
        let width = reference.shape().last().copied().unwrap_or(0).max(1);
        let rows = reference.len() / width;
        let row = |t: &Tensor, i: usize| -> Vec<f32> {
            let bytes = t.bytes().get(4 * i * width..4 * (i + 1) * width).unwrap_or(&[]);
            bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let parts = parallel::map(rows.div_ceil(ROWS), self.threads, |part| {
            let mut sum = Lost::default();
            for i in part * ROWS..rows.min((part + 1) * ROWS) {
                sum.add(&Lost::of(&row(reference, i), &row(other, i), ids.get(i + 1).copied()));
            }
            Ok(sum)
        })?;
        let mut sum = Lost::default();
        parts.iter().for_each(|p| sum.add(p));
        match sum.divergence.is_finite() {
            true => Ok(sum),
            false => Err(Diag::input("the model's logits are not finite: it cannot be calibrated")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_e() {
        for i in 0..8000 {
            let x = i as f32 * -0.01;
            assert!((exp(x) / x.exp() - 1.0).abs() < 4e-7, "{x}: {} {}", exp(x), x.exp());
        }
    }

    #[test]
    fn closed_forms() {
        // Probabilities 1/4 and 3/4, then 1/2 each.
        let (reference, even) = ([7.0, 7.0 + 3f32.ln()], [-2.0, -2.0]);
        let lost = Lost::of(&reference, &even, Some(1));
        let kl = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((lost.divergence() - kl).abs() < 1e-6);
        assert!((lost.perplexity() - 0.5).abs() < 1e-6);
        assert_eq!(Lost::of(&reference, &reference, Some(0)).divergence(), 0.0);
        assert_eq!(Lost::of(&reference, &even, None).perplexity(), 0.0);
        assert!(!Lost::of(&[1.0, f32::NAN, 0.0], &[1.0, 2.0, 3.0], None).divergence.is_finite());
        assert!(!Lost::of(&[1.0, 2.0], &[f32::INFINITY, 0.0], None).divergence.is_finite());
        // What the reference excludes does not count.
        let lost = Lost::of(&[f32::NEG_INFINITY, 0.0], &[1.0, 1.0], Some(1));
        assert!((lost.divergence() - 2f64.ln()).abs() < 1e-6 && (lost.perplexity() - 1.0).abs() < 1e-6);
    }
}

//! The choice of tokens: penalties, temperature, the k best, the best of a mass, the least probability, then a draw, in
//! this order. Sums run in an order that the logits alone decide, so that a seed means the same everywhere.

mod exp;
mod penalty;
mod rng;
mod settings;

pub use rng::Rng;
pub use settings::Settings;

use crate::error::{Error, Result};
use exp::exp;
use penalty::Seen;
use std::cmp::Ordering;

/// Candidates that are sorted first when only a mass is asked for; most often it is enough.
const FIRST: usize = 64;

/// Chooses tokens. Allocates nothing after construction.
#[derive(Debug, Clone)]
pub struct Sampler {
    settings: Settings,
    rng: Rng,
    seen: Seen,
    /// Logits, later those that are left, with their tokens.
    candidates: Vec<(f32, u32)>,
    /// Weights of the candidates relative to the best.
    weights: Vec<f64>,
}

/// Better logits first; of equal ones the lower token.
fn better(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Sampler {
    /// For logits of `vocab` tokens.
    pub fn new(settings: Settings, vocab: usize) -> Result<Self> {
        settings.check()?;
        let random = settings.temperature > 0.0;
        let penalises = settings.penalises();
        let room = |yes: bool| if yes { vocab } else { 0 };
        Ok(Self {
            rng: Rng::new(settings.seed),
            seen: Seen::new(room(penalises)),
            candidates: Vec::with_capacity(room(random || penalises)),
            weights: Vec::with_capacity(room(random)),
            settings,
        })
    }
    /// How tokens are chosen.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
    /// Forgets what was said; the random numbers begin again.
    pub fn reset(&mut self) {
        self.seen.clear();
        self.rng = Rng::new(self.settings.seed);
    }
    /// Notes tokens of the prompt.
    pub fn prompt(&mut self, tokens: &[u32]) {
        tokens.iter().for_each(|&t| self.seen.add(t, false));
    }
    /// Chooses a token and notes it.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        let token = self.pick(logits)?;
        self.seen.add(token, true);
        Ok(token)
    }
    fn pick(&mut self, logits: &[f32]) -> Result<u32> {
        if logits.is_empty() || logits.iter().any(|l| l.is_nan() || *l == f32::INFINITY) {
            return Err(Error::model("the model gives logits that are no numbers"));
        }
        if self.settings.temperature == 0.0 && !self.settings.penalises() {
            return Ok(best(logits.iter().copied()));
        }
        self.candidates.clear();
        self.candidates.extend(logits.iter().zip(0..).map(|(&l, i)| (l, i)));
        self.seen.apply(&self.settings, &mut self.candidates);
        if self.settings.temperature == 0.0 {
            return Ok(best(self.candidates.iter().map(|c| c.0)));
        }
        self.keep_top_k();
        self.weigh();
        self.keep_top_p();
        self.keep_min_p();
        Ok(self.draw())
    }
    fn keep_top_k(&mut self) {
        let k = self.settings.top_k as usize;
        if k == 0 || k >= self.candidates.len() {
            return;
        }
        self.candidates.select_nth_unstable_by(k - 1, better);
        self.candidates.truncate(k);
        self.candidates.sort_unstable_by(better);
    }
    /// Fills in the weights of the candidates.
    fn weigh(&mut self) {
        let top = self.candidates.iter().map(|c| c.0).fold(f32::NEG_INFINITY, f32::max);
        let (top, t) = (f64::from(top), f64::from(self.settings.temperature));
        self.weights.clear();
        self.weights.extend(self.candidates.iter().map(|c| exp((f64::from(c.0) - top) / t)));
    }
    /// Keeps a candidate when those better than it make up less than the mass.
    fn keep_top_p(&mut self) {
        let p = f64::from(self.settings.top_p);
        if p >= 1.0 {
            return;
        }
        let mass = p * self.weights.iter().sum::<f64>();
        let (mut sorted, mut sum, mut kept) = (0, 0.0, 0);
        while kept < self.candidates.len() && (kept == 0 || sum < mass) {
            if kept == sorted {
                sorted = (sorted * 4).max(FIRST).min(self.candidates.len());
                let rest = self.candidates.get_mut(kept..).unwrap_or_default();
                if sorted - kept < rest.len() {
                    rest.select_nth_unstable_by(sorted - kept - 1, better);
                }
                if let Some(next) = rest.get_mut(..sorted - kept) {
                    next.sort_unstable_by(better);
                }
                // Weights follow their candidates.
                let (top, t) = (f64::from(self.candidates[0].0), f64::from(self.settings.temperature));
                for (w, c) in self.weights.iter_mut().zip(&self.candidates).take(sorted).skip(kept) {
                    *w = exp((f64::from(c.0) - top) / t);
                }
            }
            sum += self.weights[kept];
            kept += 1;
        }
        self.candidates.truncate(kept);
        self.weights.truncate(kept);
    }
    fn keep_min_p(&mut self) {
        let least = f64::from(self.settings.min_p);
        if least <= 0.0 {
            return;
        }
        // The best one has the weight 1 and stays.
        let mut kept = 0;
        for i in 0..self.candidates.len() {
            if self.weights[i] >= least {
                self.candidates.swap(kept, i);
                self.weights.swap(kept, i);
                kept += 1;
            }
        }
        self.candidates.truncate(kept);
        self.weights.truncate(kept);
    }
    fn draw(&mut self) -> u32 {
        let mut left = self.rng.unit() * self.weights.iter().sum::<f64>();
        for (c, w) in self.candidates.iter().zip(&self.weights) {
            if left < *w {
                return c.1;
            }
            left -= w;
        }
        // Rounding can leave a little behind the last one.
        self.candidates.iter().zip(&self.weights).rev().find(|(_, w)| **w > 0.0).map_or(0, |(c, _)| c.1)
    }
}

/// The first of the largest.
fn best(logits: impl Iterator<Item = f32>) -> u32 {
    let mut found = (f32::NEG_INFINITY, 0);
    for (l, i) in logits.zip(0..) {
        if l > found.0 {
            found = (l, i);
        }
    }
    found.1
}

#[cfg(test)]
mod tests;

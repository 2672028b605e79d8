//! How well a model predicts a text, and how close two models are.
//!
//! Protocol: the text's tokens without any special token, cut into windows of equal length, a shorter rest left out.
//! Every window begins anew; its first token is given, the others are predicted. Perplexity is e to the mean of
//! -ln p(token) over all predicted tokens of all windows.

use crate::error::{Error, Result};
use crate::model::Model;

/// What was measured of one model.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Perplexity {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Sum of -ln p.
    pub loss: f64,
    /// Tokens that were the most probable.
    pub hits: usize,
}

impl Perplexity {
    /// e to the mean loss.
    pub fn value(&self) -> f64 {
        (self.loss / self.tokens.max(1) as f64).exp()
    }
    /// Part of the tokens that were the most probable.
    pub fn accuracy(&self) -> f64 {
        self.hits as f64 / self.tokens.max(1) as f64
    }
    fn add(&mut self, logits: &[f32], token: u32) -> Result<()> {
        let logit = logits.get(token as usize);
        let logit =
            logit.ok_or_else(|| Error::input(format!("token {token}, the model knows {}", logits.len())))?;
        let loss = log_sum(logits) - f64::from(*logit);
        if loss.is_nan() {
            return Err(Error::model("the model gives logits that are no numbers"));
        }
        self.loss += loss;
        self.tokens += 1;
        self.hits += usize::from(best(logits) == token as usize);
        Ok(())
    }
}

/// How far a model is from a reference, over the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Distance {
    /// Sum over tokens of the Kullback-Leibler divergence of the model from the reference.
    pub divergence: f64,
    /// Sum of its squares.
    pub squares: f64,
    /// The largest one.
    pub worst: f64,
    /// Tokens where both have the same most probable one.
    pub agree: usize,
    /// Tokens compared.
    pub tokens: usize,
}

impl Distance {
    /// Mean divergence.
    pub fn mean(&self) -> f64 {
        self.divergence / self.tokens.max(1) as f64
    }
    /// Standard error of the mean, as if tokens knew nothing of each other.
    pub fn standard_error(&self) -> f64 {
        let n = self.tokens.max(1) as f64;
        ((self.squares / n - self.mean() * self.mean()).max(0.0) / n).sqrt()
    }
    /// Part of the tokens where both agree.
    pub fn agreement(&self) -> f64 {
        self.agree as f64 / self.tokens.max(1) as f64
    }
    /// Counts a token: its logits by the reference and by the model.
    pub fn add(&mut self, reference: &[f32], logits: &[f32]) {
        let (a, b) = (log_sum(reference), log_sum(logits));
        let term = |(r, l): (&f32, &f32)| {
            let log_p = f64::from(*r) - a;
            log_p.exp() * (log_p - (f64::from(*l) - b))
        };
        // Rounding can make it a little less than nothing.
        let kl = reference.iter().zip(logits).filter(|(r, _)| r.is_finite()).map(term).sum::<f64>().max(0.0);
        self.divergence += kl;
        self.squares += kl * kl;
        self.worst = self.worst.max(kl);
        self.agree += usize::from(best(reference) == best(logits));
        self.tokens += 1;
    }
}

/// ln of the sum of e^x.
fn log_sum(logits: &[f32]) -> f64 {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    top + logits.iter().map(|&l| (f64::from(l) - top).exp()).sum::<f64>().ln()
}

fn best(logits: &[f32]) -> usize {
    let mut found = 0;
    for (i, l) in logits.iter().enumerate() {
        if *l > logits[found] {
            found = i;
        }
    }
    found
}

/// The windows of a text; too short a text is an error.
fn windows(tokens: &[u32], window: usize, room: usize) -> Result<std::slice::ChunksExact<'_, u32>> {
    if window < 2 {
        return Err(Error::input(format!("a window of {window} tokens predicts nothing")));
    }
    if window > room {
        return Err(Error::limit(format!(
            "windows of {window} tokens do not fit the cache, which holds {room}"
        )));
    }
    if tokens.len() < window {
        return Err(Error::input(format!("the text has {} tokens, a window has {window}", tokens.len())));
    }
    Ok(tokens.chunks_exact(window))
}

/// Measures a model on at most `most` windows; `step` is told about every finished one.
pub fn perplexity(
    model: &mut dyn Model,
    tokens: &[u32],
    window: usize,
    most: usize,
    step: &mut dyn FnMut(&Perplexity),
) -> Result<Perplexity> {
    let mut p = Perplexity::default();
    for w in windows(tokens, window, model.capacity())?.take(most) {
        model.rewind(0)?;
        let mut problem = Ok(());
        // Nothing follows the last token.
        model.forward_each(&w[..window - 1], &mut |i, logits| {
            if problem.is_ok() {
                problem = p.add(logits, w[i + 1]);
            }
        })?;
        problem?;
        step(&p);
    }
    Ok(p)
}

/// Measures a model and its distance from a reference with the same vocabulary.
pub fn compare(
    model: &mut dyn Model,
    reference: &mut dyn Model,
    tokens: &[u32],
    window: usize,
    most: usize,
    step: &mut dyn FnMut(&Perplexity),
) -> Result<(Perplexity, Perplexity, Distance)> {
    let (n, m) = (model.vocab(), reference.vocab());
    if n != m {
        return Err(Error::input(format!("the models have {n} and {m} tokens: they cannot be compared")));
    }
    let (mut p, mut q, mut d) = (Perplexity::default(), Perplexity::default(), Distance::default());
    for w in windows(tokens, window, model.capacity().min(reference.capacity()))?.take(most) {
        model.rewind(0)?;
        reference.rewind(0)?;
        let chunk = model.chunk().min(reference.chunk()).clamp(1, 64);
        let mut kept: Vec<f32> = vec![];
        for (from, part) in (0..).step_by(chunk).zip(w[..window - 1].chunks(chunk)) {
            kept.clear();
            let mut problem = Ok(());
            reference.forward_each(part, &mut |i, logits| {
                kept.extend_from_slice(logits);
                if problem.is_ok() {
                    problem = q.add(logits, w[from + i + 1]);
                }
            })?;
            model.forward_each(part, &mut |i, logits| {
                if problem.is_ok() {
                    problem = p.add(logits, w[from + i + 1]);
                }
                if let Some(r) = kept.get(i * m..(i + 1) * m) {
                    d.add(r, logits);
                }
            })?;
            problem?;
        }
        step(&p);
    }
    Ok((p, q, d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms() {
        let mut p = Perplexity::default();
        // Probabilities 1/4 and 3/4.
        let logits = [0.0, 3f32.ln()];
        p.add(&logits, 0).unwrap_or_default();
        p.add(&logits, 1).unwrap_or_default();
        let want = (4.0f64 * 4.0 / 3.0).sqrt();
        assert!((p.value() - want).abs() < 1e-6 && p.accuracy() == 0.5, "{p:?}");
        assert!(p.add(&logits, 2).is_err() && p.add(&[f32::NAN, 0.0], 0).is_err());
        let mut d = Distance::default();
        d.add(&logits, &[0.0, 0.0]);
        let kl = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
        assert!((d.mean() - kl).abs() < 1e-6 && d.agree == 0, "{d:?}");
        d.add(&logits, &[5.0, 5.0 + 3f32.ln()]);
        assert!((d.divergence - kl).abs() < 1e-6 && d.agreement() == 0.5 && (d.worst - kl).abs() < 1e-6);
        // One of two divergences is nothing: mean and deviation are half of the other.
        assert!((d.standard_error() - kl / 2.0 / 2f64.sqrt()).abs() < 1e-6, "{d:?}");
        // What the reference excludes does not count.
        d.add(&[f32::NEG_INFINITY, 0.0], &[1.0, 1.0]);
        assert!((d.divergence - kl - 2f64.ln()).abs() < 1e-6, "{d:?}");
    }
}

//! Penalties for what was said before.

use super::Settings;

/// How often tokens came.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// By token: how often it was generated.
    counts: Vec<u32>,
    /// By token: whether it is in `tokens`.
    known: Vec<bool>,
    /// The tokens of the context, each once.
    tokens: Vec<u32>,
}

impl Seen {
    pub fn new(vocab: usize) -> Self {
        Self { counts: vec![0; vocab], known: vec![false; vocab], tokens: Vec::with_capacity(vocab) }
    }
    pub fn clear(&mut self) {
        for t in self.tokens.drain(..) {
            let t = t as usize;
            if let (Some(k), Some(c)) = (self.known.get_mut(t), self.counts.get_mut(t)) {
                (*k, *c) = (false, 0);
            }
        }
    }
    /// Notes a token of the prompt or one that was generated.
    pub fn add(&mut self, token: u32, generated: bool) {
        let t = token as usize;
        let (Some(k), Some(c)) = (self.known.get_mut(t), self.counts.get_mut(t)) else { return };
        if !*k {
            *k = true;
            self.tokens.push(token);
        }
        *c = c.saturating_add(u32::from(generated));
    }
    /// Changes candidates that are still in the order of their tokens.
    pub fn apply(&self, s: &Settings, candidates: &mut [(f32, u32)]) {
        for &t in &self.tokens {
            let Some((logit, _)) = candidates.get_mut(t as usize) else { continue };
            *logit *= if *logit > 0.0 { 1.0 / s.repetition_penalty } else { s.repetition_penalty };
            let n = self.counts.get(t as usize).copied().unwrap_or(0);
            if n > 0 {
                *logit -= s.presence_penalty + s.frequency_penalty * n as f32;
            }
        }
    }
}

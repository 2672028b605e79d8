//! How tokens are chosen.

use crate::error::{Error, Result};
use crate::info::Generation;

/// How tokens are chosen. The default takes the best one.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Logits are divided by it; 0 takes the best token.
    pub temperature: f32,
    /// Only the k best stay; 0: all.
    pub top_k: u32,
    /// Only the best stay that make up this mass together; 1: all.
    pub top_p: f32,
    /// Only those stay that are at least this probable relative to the best; 0: all.
    pub min_p: f32,
    /// Logits of tokens in the context are divided by it where positive and multiplied where negative; 1: as they are.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that were generated.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens for every time that they were generated.
    pub frequency_penalty: f32,
    /// Which random numbers.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Settings {
    /// What a checkpoint recommends.
    pub fn of(g: &Generation) -> Self {
        let d = Self::default();
        // A checkpoint that does not sample may still state the values for those who do.
        let temperature = if g.do_sample == Some(true) { g.temperature.unwrap_or(1.0) } else { 0.0 };
        Self {
            temperature,
            top_k: g.top_k.unwrap_or(d.top_k),
            top_p: g.top_p.unwrap_or(d.top_p),
            min_p: g.min_p.unwrap_or(d.min_p),
            repetition_penalty: g.repetition_penalty.unwrap_or(d.repetition_penalty),
            ..d
        }
    }
    /// Values that mean nothing are refused.
    pub fn check(&self) -> Result<()> {
        let checks = [
            ("temperature", self.temperature, self.temperature >= 0.0, "not negative"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            ("repetition_penalty", self.repetition_penalty, self.repetition_penalty > 0.0, "above 0"),
            ("presence_penalty", self.presence_penalty, true, "a number"),
            ("frequency_penalty", self.frequency_penalty, true, "a number"),
        ];
        for (name, value, ok, want) in checks {
            if !ok || !value.is_finite() {
                return Err(Error::input(format!("{name} is {value}, it must be {want}")));
            }
        }
        Ok(())
    }
    /// Whether logits depend on what came before.
    pub fn penalises(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

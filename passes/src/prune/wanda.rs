//! Wanda: weights compete within their row by `|w|` times the size of what they are multiplied with.

use super::magnitude::masked;
use super::mask::{Among, Pattern, zeros};
use crate::compress::stats::Statistics;

/// Weights `[n, k]` with those zero that say least.
pub fn prune(weights: &[f32], stats: &Statistics, pattern: Pattern) -> Vec<f32> {
    let k = stats.k.max(1);
    let size: Vec<f32> = stats.gram.iter().step_by(k + 1).map(|g| g.max(0.0).sqrt()).collect();
    let scores: Vec<f32> =
        weights.chunks(k).flat_map(|row| row.iter().zip(&size).map(|(w, s)| w.abs() * s)).collect();
    masked(weights, &zeros(&scores, k, pattern, Among::Row))
}

//! The smallest weights become zero, wherever in the matrix they are.

use super::mask::{Among, Pattern, zeros};

/// Weights `[n, k]` with the smallest of them zero.
pub fn prune(weights: &[f32], k: usize, pattern: Pattern) -> Vec<f32> {
    let scores: Vec<f32> = weights.iter().map(|w| w.abs()).collect();
    masked(weights, &zeros(&scores, k, pattern, Among::Matrix))
}

/// Weights with those zero that are marked.
pub(super) fn masked(weights: &[f32], zeros: &[bool]) -> Vec<f32> {
    weights.iter().zip(zeros).map(|(w, z)| if *z { 0.0 } else { *w }).collect()
}

//! What rounding makes of activations, as kernels do it.

use super::Recipe;
use sinter_ir::op::quantized_matmul::Activations;

/// Part of a token's range that activations of 4 bits keep: a token has so many that a few large ones would cost all
/// others their precision.
pub const CLIP: f32 = 0.9;

/// How activations of a product are rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inputs {
    /// Neighbours that share a scale; 0: all of a token, `None`: they stay floats.
    pub block: Option<usize>,
    /// Part of the range, where they are rounded to 4 bits.
    pub nibbles: Option<f32>,
}

impl Inputs {
    /// As a recipe says.
    pub fn of(r: &Recipe) -> Self {
        let block = match r.activations {
            Activations::Float => None,
            Activations::Rows => Some(0),
            Activations::Blocks | Activations::Coarse => Some(r.weights.group),
        };
        let clip = if r.activations == Activations::Rows { CLIP } else { 1.0 };
        Self { block, nibbles: r.four.then_some(clip) }
    }
    /// Activations of a token that share scales.
    pub fn share(&self, k: usize) -> usize {
        match self.block {
            Some(0) | None => k.max(1),
            Some(b) => b,
        }
    }
    /// Rounds a token's activations: what tests hold estimates against.
    #[cfg(test)]
    pub(super) fn round(&self, row: &mut [f32]) {
        if self.block.is_none() {
            return;
        }
        for part in row.chunks_mut(self.share(row.len())) {
            let (low, high) = part.iter().fold((0f32, 0f32), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
            let (scale, first, last) = match self.nibbles {
                None => (high.max(-low) / 127.0, -127.0, 127.0),
                Some(clip) => {
                    let scale = clip * (high - low) / 15.0;
                    let first = (clip * low / scale).round_ties_even();
                    (scale, first, first + 15.0)
                }
            };
            if scale > 0.0 {
                part.iter_mut()
                    .for_each(|v| *v = (*v / scale).round_ties_even().max(first).min(last) * scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_by_hand() {
        let mut x = [-5.0, 10.0, 0.4, 2.5, 0.0, 0.0, 0.0, 127.0, -63.4];
        let four = Inputs { block: Some(4), nibbles: Some(1.0) };
        four.round(&mut x[..7]);
        assert_eq!(x[..7], [-5.0, 10.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
        Inputs { block: Some(0), nibbles: None }.round(&mut x[7..]);
        assert_eq!(x[7..], [127.0, -63.0]);
        let kept = x;
        Inputs { block: None, nibbles: None }.round(&mut x);
        assert_eq!(x, kept);
        let mut x = [-1.0, 14.0, 15.0];
        Inputs { block: Some(0), nibbles: Some(0.5) }.round(&mut x);
        assert!(x[2] < 8.1 && x[0] > -1.1);
    }
}

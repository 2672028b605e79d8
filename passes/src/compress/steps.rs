//! Steps to which numbers are rounded, before any is: an estimate whose gradient can be followed.
//!
//! Numbers rounded to steps of `s` are off by `s^2 / 12` on average. The step of numbers that share a scale is their
//! range by the number of codes, so that it depends on the largest and the smallest of them alone.

use super::Scheme;
use super::inputs::Inputs;

/// What is rounded, and how.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// Activations.
    pub inputs: Inputs,
    /// Weights.
    pub weights: Scheme,
}

/// Numbers of a row that share a scale.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// How many.
    pub share: usize,
    /// The step is the largest minus the smallest, else the largest in size, ...
    both: bool,
    /// ... by the number of codes.
    by: f32,
}

/// An end of a range: its place, and by what it changes the step.
pub type End = (usize, f32);

impl Goal {
    /// Of rows of `k` activations; `None`: they stay floats.
    pub fn inputs(&self, k: usize) -> Option<Span> {
        self.inputs.block?;
        let (both, by) = match self.inputs.nibbles {
            Some(clip) => (true, clip / 15.0),
            None => (false, 1.0 / 127.0),
        };
        Some(Span { share: self.inputs.share(k), both, by })
    }
    /// Of rows of `k` weights.
    pub fn weights(&self, k: usize) -> Span {
        let half = (1u64 << (self.weights.bits.max(1) - 1)) as f32;
        let by = match (self.weights.asymmetric, self.weights.bits) {
            (true, _) => 1.0 / (2.0 * half - 1.0),
            (false, 8..) => 1.0 / (half - 1.0),
            (false, _) => 1.0 / half,
        };
        Span { share: self.weights.block(k), both: self.weights.asymmetric, by }
    }
}

impl Span {
    /// The step of numbers that share a scale, and the ends of their range that decide on it.
    pub fn step(&self, part: &[f32]) -> (f32, [End; 2]) {
        let (low, high) = range(part);
        // Ranges hold zero: an end that is no number of them stays where it is.
        let end = |value: f32, sign: f32| place(part, value).map_or((0, 0.0), |i| (i, sign * self.by));
        if self.both {
            return ((high - low) * self.by, [end(high, 1.0), end(low, -1.0)]);
        }
        let only = if high >= -low { end(high, 1.0) } else { end(low, -1.0) };
        (high.max(-low) * self.by, [only, (only.0, 0.0)])
    }
}

/// Numbers that are looked at together.
const LANES: usize = 16;

/// The smallest and the largest number, and zero.
fn range(part: &[f32]) -> (f32, f32) {
    let (chunks, rest) = part.as_chunks::<LANES>();
    let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
    for v in chunks {
        for ((low, high), v) in low.iter_mut().zip(&mut high).zip(v) {
            *low = if v < low { *v } else { *low };
            *high = if v > high { *v } else { *high };
        }
    }
    let low = low.iter().chain(rest).fold(0f32, |m, v| m.min(*v));
    (low, high.iter().chain(rest).fold(0f32, |m, v| m.max(*v)))
}

/// Where a number is first.
fn place(part: &[f32], value: f32) -> Option<usize> {
    let holds = |chunk: &[f32; LANES]| chunk.iter().fold(false, |any, v| any | (*v == value));
    let (chunks, _) = part.as_chunks::<LANES>();
    let before = LANES * chunks.iter().position(holds).unwrap_or(chunks.len());
    part.iter().skip(before).position(|v| *v == value).map(|i| before + i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_long_rows() {
        let mut x: Vec<f32> = (0..77).map(|i| ((i * 29) % 71) as f32 / 80.0).collect();
        for at in [0, 15, 16, 40, 63, 64, 76] {
            let kept = std::mem::replace(&mut x[at], -3.0);
            assert_eq!((range(&x).0, place(&x, -3.0)), (-3.0, Some(at)));
            x[at] = 3.0;
            assert_eq!((range(&x).1, place(&x, 3.0)), (3.0, Some(at)));
            x[at] = kept;
        }
        assert_eq!((place(&x, 5.0), range(&[])), (None, (0.0, 0.0)));
    }

    #[test]
    fn ends_by_hand() {
        let size = Span { share: 4, both: false, by: 0.5 };
        assert_eq!(size.step(&[1.0, -4.0, 3.0]), (2.0, [(1, -0.5), (1, 0.0)]));
        let range = Span { both: true, ..size };
        assert_eq!(range.step(&[1.0, -4.0, 3.0]), (3.5, [(2, 0.5), (1, -0.5)]));
        // Zero is a code, wherever the numbers are.
        assert_eq!(range.step(&[2.0, 6.0]), (3.0, [(1, 0.5), (0, 0.0)]));
        assert_eq!(size.step(&[0.0, 0.0]).0, 0.0);
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let x = [0.5f32, -1.5, 0.25, 2.0];
        for both in [false, true] {
            let span = Span { share: 4, both, by: 0.1 };
            let (step, ends) = span.step(&x);
            for (i, by) in ends {
                let mut y = x;
                y[i] += 1e-2;
                assert!((span.step(&y).0 - step - 1e-2 * by).abs() < 1e-6 || by == 0.0);
            }
        }
    }
}

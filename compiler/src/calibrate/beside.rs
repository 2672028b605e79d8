//! Errors that add up: the rounded model beside the float one, on a little of the text.

use super::runner::{Instead, Runner, Stream};
use sinter_ir::{Diag, Result, Tensor};
use sinter_passes::compress::segments::Segment;
use sinter_passes::compress::stats::Difference;
use std::slice;

/// Windows of text and most tokens of each: sums over all channels of so many rows vary by a few percent.
const WINDOWS: usize = 2;
const TOKENS: usize = 256;

/// Both models at the same cut.
pub struct Beside {
    runner: Runner,
    float: Stream,
    other: Stream,
}

impl Beside {
    /// At the beginning of the model.
    pub fn new(of: &Runner) -> Result<Self> {
        Ok(Self { runner: of.fewer(WINDOWS, TOKENS)?, float: vec![], other: vec![] })
    }
    /// What both have read so far, to be kept.
    pub fn streams(&self) -> [&[Tensor]; 2] {
        [&self.float, &self.other]
    }
    /// Goes on behind pieces that gave these.
    pub fn resume(&mut self, [float, other]: [Stream; 2]) {
        (self.float, self.other) = (float, other);
    }
    /// Runs a piece with its weights and with others: how far apart the models are behind it.
    pub fn piece(&mut self, s: &Segment, instead: &Instead) -> Result<Difference, Vec<Diag>> {
        let keep = &mut |_: usize, _: usize, _: &[Tensor]| Ok(());
        self.runner.many(s, &Instead::new(), slice::from_mut(&mut self.float), true, keep)?;
        self.runner.many(s, instead, slice::from_mut(&mut self.other), true, keep)?;
        Ok(difference(&self.float, &self.other))
    }
}

/// All windows together.
fn difference(float: &[Tensor], other: &[Tensor]) -> Difference {
    let numbers = |t: &Tensor| -> Vec<f64> {
        t.bytes().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
    };
    let (mut signal, mut new, mut noise) = (0f64, 0f64, 0f64);
    for (a, b) in float.iter().zip(other) {
        for (a, b) in numbers(a).into_iter().zip(numbers(b)) {
            (signal, new, noise) = (signal + a * a, new + b * b, noise + (a - b) * (a - b));
        }
    }
    Difference::of(signal, new, noise)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn windows_by_hand() {
        let rows = |v: &[f32]| {
            vec![Tensor::f32s(vec![2], &v[..2]).unwrap(), Tensor::f32s(vec![1], &v[2..]).unwrap()]
        };
        let d = difference(&rows(&[3.0, 0.0, 4.0]), &rows(&[3.0, 5.0, 4.0]));
        assert_eq!((d.signal, d.noise), (25.0, 25.0));
        assert!((d.cosine - 0.5f64.sqrt()).abs() < 1e-9 && d.decibels().abs() < 1e-9);
        let same = difference(&rows(&[1.0, 2.0, 3.0]), &rows(&[1.0, 2.0, 3.0]));
        assert_eq!((same.noise, same.cosine), (0.0, 1.0));
    }
}

//! What the elements of one value look like over all samples.

use sinter_ir::{Diag, Result};

/// Bins on either side of zero.
pub const HALF: usize = 2048;
/// Elements of one sample that are counted; of larger ones every so manieth.
const MOST: usize = 1 << 16;
/// Smallest width of all bins together: below are subnormal numbers.
const LEAST: f32 = 1e-30;

/// Counts of elements in bins of one width round zero, and their exact ends. The reach of the bins is a power of two that
/// doubles when an element lies beyond, pairs of bins becoming one: in which order samples come does not matter.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Smallest element seen.
    pub min: f32,
    /// Largest.
    pub max: f32,
    /// Elements counted.
    pub count: u64,
    reach: f32,
    /// `HALF` bins below zero, `HALF` above; none before the first element that is not zero.
    bins: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, count: 0, reach: 0.0, bins: vec![] }
    }
}

impl Histogram {
    /// Adds the elements of a sample. All must be finite.
    pub fn add(&mut self, values: &[f32]) -> Result<()> {
        let (mut min, mut max, mut sum) = (f32::INFINITY, f32::NEG_INFINITY, 0f32);
        for v in values {
            min = min.min(*v);
            max = max.max(*v);
            // What is not finite makes this NaN.
            sum += v * 0.0;
        }
        if sum != 0.0 {
            let bad = values.iter().filter(|v| !v.is_finite()).count();
            return Err(Diag::input(format!("{bad} of {} elements are not finite", values.len())));
        }
        (self.min, self.max) = (self.min.min(min), self.max.max(max));
        let most = if values.is_empty() { 0.0 } else { max.max(-min) };
        if most > self.reach && most > LEAST {
            self.grow(most);
        }
        // An odd step does not stay in one column of a picture.
        let step = values.len().div_ceil(MOST) | 1;
        for v in values.iter().step_by(step) {
            self.count += 1;
            let at = self.bin(*v);
            if let Some(n) = self.bins.get_mut(at) {
                *n += 1;
            }
        }
        Ok(())
    }
    fn bin(&self, v: f32) -> usize {
        let at = (v / self.reach * HALF as f32).floor() + HALF as f32;
        // A NaN, where nothing but zeros was seen, counts as zero.
        (at.max(0.0) as usize).min(2 * HALF - 1)
    }
    fn grow(&mut self, most: f32) {
        let mut reach = if self.reach > 0.0 { self.reach } else { most.log2().ceil().exp2() };
        if self.bins.is_empty() {
            self.bins = vec![0; 2 * HALF];
            // Zeros that came before.
            self.bins[HALF] = self.count;
        }
        while reach < most {
            if self.reach > 0.0 {
                let mut wide = vec![0; 2 * HALF];
                for (pair, sum) in self.bins.chunks(2).zip(wide.iter_mut().skip(HALF / 2)) {
                    *sum = pair.iter().sum();
                }
                self.bins = wide;
            }
            reach *= 2.0;
        }
        self.reach = reach;
    }
    /// Bins that hold elements: their middle, the width of bins, and how many.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + '_ {
        let width = self.width();
        let middle = move |i: usize| (i as f64 - HALF as f64 + 0.5) * width;
        self.bins.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(i, n)| (middle(i), *n))
    }
    /// Width of a bin.
    pub fn width(&self) -> f64 {
        f64::from(self.reach) / HALF as f64
    }
    /// Counts of magnitudes: element `i` those in `[i, i + 1)` bins from zero.
    pub fn magnitudes(&self) -> Vec<u64> {
        let (below, above) = self.bins.split_at(self.bins.len() / 2);
        below.iter().rev().zip(above).map(|(a, b)| a + b).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_depend_on_the_order_of_samples() {
        let parts: [&[f32]; 4] = [&[0.0, 0.0], &[0.3, -0.1], &[5.0, -17.0, 0.2], &[1e-3]];
        let of = |order: [usize; 4]| {
            let mut h = Histogram::default();
            order.iter().for_each(|i| h.add(parts[*i]).unwrap());
            h
        };
        let a = of([0, 1, 2, 3]);
        assert_eq!(a, of([2, 3, 1, 0]));
        assert_eq!(a, of([1, 0, 3, 2]));
        assert_eq!((a.min, a.max, a.count), (-17.0, 5.0, 8));
        assert_eq!(a.bins().map(|b| b.1).sum::<u64>(), 8);
        assert_eq!(a.width(), 32.0 / 2048.0);
        assert_eq!(a.magnitudes().iter().sum::<u64>(), 8);
        let far = a.bins().next().unwrap();
        assert!((far.0 + 17.0).abs() <= a.width(), "{far:?}");
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let e = Histogram::default().add(&[1.0, bad, -1.0]).unwrap_err();
            assert!(e.message.contains("1 of 3"), "{}", e.message);
        }
    }

    #[test]
    fn large_samples_are_counted_in_part_and_measured_whole() {
        let mut v = vec![0.5f32; 1 << 18];
        v[12345] = 9.0;
        let mut h = Histogram::default();
        h.add(&v).unwrap();
        assert_eq!(h.max, 9.0);
        assert!(h.count <= 1 << 16 && h.count > 1 << 15);
    }
}

//! Sets of bytes as disjoint ranges.

use std::collections::BTreeMap;

/// Disjoint, not touching, not empty ranges: end by start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `from..to`.
    pub fn insert(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..=to).next_back() {
            if e < from {
                break;
            }
            (from, to) = (from.min(s), to.max(e));
            self.0.remove(&s);
        }
        self.0.insert(from, to);
    }
    /// Takes `from..to` out.
    pub fn remove(&mut self, from: u64, to: u64) {
        while let Some((&s, &e)) = self.0.range(..to).next_back() {
            if e <= from || from >= to {
                break;
            }
            self.0.remove(&s);
            if s < from {
                self.0.insert(s, from);
            }
            if e > to {
                self.0.insert(to, e);
            }
        }
    }
    /// Whether all of `from..to` is inside.
    pub fn contains(&self, from: u64, to: u64) -> bool {
        from >= to || self.0.range(..=from).next_back().is_some_and(|(_, e)| *e >= to)
    }
    /// Adds all of another set.
    pub fn add(&mut self, other: &Ranges) {
        other.0.iter().for_each(|(s, e)| self.insert(*s, *e));
    }
    /// Keeps what another set has too.
    pub fn keep(&mut self, other: &Ranges) {
        let mut gap = 0;
        for (s, e) in &other.0 {
            self.remove(gap, *s);
            gap = *e;
        }
        self.remove(gap, u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain array of flags.
    #[test]
    fn like_a_set_of_bytes() {
        let mut state = 7u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let flags = |r: &Ranges| (0..40).map(|i| r.contains(i, i + 1)).collect::<Vec<_>>();
        let (mut a, mut b) = (Ranges::default(), Ranges::default());
        for _ in 0..5000 {
            let (s, n, kind) = (below(32), below(8), below(16));
            let (old, other) = (flags(&a), flags(&b));
            let inside = |i: u64| (s..s + n).contains(&i);
            let want: Vec<bool> = match kind {
                0 => (0..40).map(|i| old[i] && other[i]).collect(),
                1 => (0..40).map(|i| old[i] || other[i]).collect(),
                2..8 => (0..40u64).map(|i| old[i as usize] && !inside(i)).collect(),
                _ => (0..40u64).map(|i| old[i as usize] || inside(i)).collect(),
            };
            match kind {
                0 => a.keep(&b),
                1 => a.add(&b),
                2..8 => a.remove(s, s + n),
                _ => a.insert(s, s + n),
            }
            assert_eq!(flags(&a), want);
            assert_eq!(a.contains(s, s + n), (s..s + n).all(|i| want[i as usize]));
            assert!(a.0.iter().zip(a.0.iter().skip(1)).all(|(x, y)| x.1 < y.0), "{a:?}");
            if below(3) == 0 {
                std::mem::swap(&mut a, &mut b);
            }
        }
    }
}

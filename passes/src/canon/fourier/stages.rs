//! A transform of a length that factors, as two products of small matrices.
//!
//! With `n = b i + j` and `k = l + a m` for a length `a b`, `X[k] = Σ_j exp(-2πi k j / (a b)) Σ_i x[n] exp(-2πi l i / a)`:
//! the inner sums are one matrix for all `j`; the outer ones are a matrix for every `l`, which has taken the factors
//! between the sums into itself. A real signal needs half of the `l` only: the other bins are conjugates.

use super::basis::{Basis, Part, Row};
use std::collections::BTreeMap;
use std::f64::consts::TAU;

/// Times what the rows cost by themselves that two stages may.
const WORTH: f64 = 0.4;

/// How a length is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages {
    /// Length of the inner sums.
    pub inner: usize,
    /// Length of the outer sums.
    pub outer: usize,
}

impl Stages {
    /// The cheapest way, if it is cheaper than a sum of `taps` samples for each of `rows`.
    pub fn of(length: usize, taps: usize, rows: usize) -> Option<Self> {
        let all = (2..=length / 2).filter(|a| length.is_multiple_of(*a));
        let all = all.map(|inner| Self { inner, outer: length / inner });
        let best = all.min_by_key(Self::products)?;
        let direct = rows * taps;
        (best.products() as f64 <= WORTH * direct as f64).then_some(best)
    }
    /// Bins of the inner sums that are needed.
    pub fn half(&self) -> usize {
        self.inner / 2 + 1
    }
    /// Results of one outer matrix, and its terms: real parts, then imaginary parts.
    pub fn columns(&self) -> usize {
        2 * self.outer
    }
    fn products(&self) -> usize {
        2 * self.half() * self.inner * self.outer + self.half() * self.columns() * self.columns()
    }
    /// Real and imaginary rows of the inner sums in turns, `[2 * half][inner]`.
    pub fn inner_matrix(&self) -> Vec<f64> {
        let row = |l: usize, part: Part| (0..self.inner).map(move |i| turn(l * i, self.inner, part));
        (0..self.half()).flat_map(|l| row(l, Part::Re).chain(row(l, Part::Im))).collect()
    }
    /// The outer matrices, `[half][columns][terms]`, with the rows' factors; and which of their `half * columns` results
    /// each row is. None where two rows want the same result with different factors.
    pub fn outer_matrices(&self, basis: &Basis) -> Option<(Vec<f64>, Vec<i64>)> {
        let mut factors: BTreeMap<usize, f64> = BTreeMap::new();
        let mut places = Vec::with_capacity(basis.rows.len());
        for row in &basis.rows {
            let (place, sign) = self.place(row);
            if *factors.entry(place).or_insert(sign * row.factor) != sign * row.factor {
                return None;
            }
            places.push(place as i64);
        }
        let (columns, length) = (self.columns(), self.inner * self.outer);
        let mut all = vec![0.0; self.half() * columns * columns];
        for (&place, &factor) in &factors {
            let (l, column) = (place / columns, place % columns);
            let (part, m) = (column / self.outer, column % self.outer);
            for j in 0..self.outer {
                let (cos, sin) = (
                    turn((l + self.inner * m) * j, length, Part::Re),
                    turn((l + self.inner * m) * j, length, Part::Im),
                );
                // (re + i im) (cos + i sin), where sin has the minus.
                let (of_re, of_im) = if part == 0 { (cos, -sin) } else { (sin, cos) };
                let at = |term: usize| (l * columns + column) * columns + term;
                all[at(j)] = factor * of_re;
                all[at(self.outer + j)] = factor * of_im;
            }
        }
        Some((all, places))
    }
    /// The result that holds a row, and its sign.
    fn place(&self, row: &Row) -> (usize, f64) {
        let length = self.inner * self.outer;
        let at = |bin: usize| {
            let part = usize::from(row.part == Part::Im);
            (bin % self.inner) * self.columns() + part * self.outer + bin / self.inner
        };
        if row.bin % self.inner < self.half() {
            return (at(row.bin), 1.0);
        }
        (at(length - row.bin), if row.part == Part::Im { -1.0 } else { 1.0 })
    }
}

/// A part of `exp(-2πi turns / length)`, the angle reduced first.
fn turn(turns: usize, length: usize, part: Part) -> f64 {
    let angle = TAU * (turns % length) as f64 / length as f64;
    match part {
        Part::Re => angle.cos(),
        Part::Im => -angle.sin(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_stages_are_the_transform() {
        for (inner, outer) in [(4, 6), (5, 4), (8, 8), (3, 7), (2, 9)] {
            let (stages, length) = (Stages { inner, outer }, inner * outer);
            let part = |part| (0..=length / 2).map(move |bin| Row { bin, part, factor: 1.0 + bin as f64 });
            let rows: Vec<Row> = part(Part::Re).chain(part(Part::Im)).collect();
            let basis = Basis { length, window: vec![1.0; length], rows };
            let x: Vec<f64> = (0..length).map(|i| ((i * 13 + 5) % 17) as f64 - 8.0).collect();
            let first = stages.inner_matrix();
            let (second, places) = stages.outer_matrices(&basis).unwrap();
            let columns = stages.columns();
            // [2 * half][outer] is [half][columns].
            let halfway: Vec<f64> = first
                .chunks(inner)
                .flat_map(|row| {
                    (0..outer)
                        .map(|j| row.iter().zip(x.iter().skip(j).step_by(outer)).map(|(d, x)| d * x).sum())
                        .collect::<Vec<f64>>()
                })
                .collect();
            let result = |place: usize| -> f64 {
                let (l, column) = (place / columns, place % columns);
                (0..columns)
                    .map(|t| halfway[l * columns + t] * second[(l * columns + column) * columns + t])
                    .sum()
            };
            for (row, &place) in basis.rows.iter().zip(&places) {
                let want: f64 =
                    x.iter().enumerate().map(|(n, x)| x * turn(n * row.bin, length, row.part)).sum();
                let got = result(place as usize);
                assert!(
                    (got - row.factor * want).abs() < 1e-9,
                    "{row:?} of {inner} x {outer}: {got} for {want}"
                );
            }
        }
    }

    #[test]
    fn only_where_it_is_cheaper() {
        assert_eq!(Stages::of(512, 512, 514), Some(Stages { inner: 32, outer: 16 }));
        assert_eq!(Stages::of(512, 512, 8), None);
        assert_eq!(Stages::of(509, 509, 510), None);
    }
}

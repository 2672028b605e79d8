//! Which weights become zero: those with the lowest scores, in a pattern.

use std::fmt;
use std::ops::Range;

/// A pattern of zeros in a matrix `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// So many percent, anywhere.
    Part(u32),
    /// So many of every few neighbours in a row.
    Few {
        /// Weights that become zero.
        zeros: usize,
        /// Neighbours.
        of: usize,
    },
    /// So many percent of the blocks of every strip of rows.
    Blocks {
        /// Rows of a block.
        rows: usize,
        /// Columns of a block.
        columns: usize,
        /// Blocks that become zero.
        percent: u32,
    },
}

/// What competes with each other for being kept, where the pattern leaves that open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Weights of a row.
    Row,
    /// Weights of the matrix.
    Matrix,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(p) => write!(f, "{p}"),
            Self::Few { zeros, of } => write!(f, "{zeros}:{of}"),
            Self::Blocks { rows, columns, percent } => write!(f, "block{rows}x{columns}-{percent}"),
        }
    }
}

/// Indices of the lowest of some scores; of equal ones the first.
pub fn lowest(scores: &[f32], count: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..scores.len()).collect();
    let count = count.min(all.len());
    if count > 0 && count < all.len() {
        let score = |i: &usize| scores.get(*i).copied().unwrap_or(0.0);
        all.select_nth_unstable_by(count - 1, |a, b| score(a).total_cmp(&score(b)).then(a.cmp(b)));
    }
    all.truncate(count);
    all
}

/// Marks the weights of a matrix of rows of `k` that become zero, by their scores.
pub fn zeros(scores: &[f32], k: usize, pattern: Pattern, among: Among) -> Vec<bool> {
    let mut out = vec![false; scores.len()];
    let k = k.max(1);
    match pattern {
        Pattern::Part(percent) => {
            let run = if among == Among::Row { k } else { scores.len().max(1) };
            for (part, out) in scores.chunks(run).zip(out.chunks_mut(run)) {
                for i in lowest(part, part.len() * percent as usize / 100) {
                    out[i] = true;
                }
            }
        }
        Pattern::Few { zeros, of } => {
            for (row, out) in scores.chunks(k).zip(out.chunks_mut(k)) {
                // A shorter rest stays.
                for (part, out) in row.chunks_exact(of.max(1)).zip(out.chunks_exact_mut(of.max(1))) {
                    for i in lowest(part, zeros) {
                        out[i] = true;
                    }
                }
            }
        }
        Pattern::Blocks { rows, columns, percent } => {
            let strip = k * rows.max(1);
            for (part, out) in scores.chunks(strip).zip(out.chunks_mut(strip)) {
                let sums = blocks(part, k, columns);
                for b in lowest(&sums, sums.len() * percent as usize / 100) {
                    let at = span(b, columns, k);
                    out.chunks_mut(k).for_each(|row| row[at.clone()].fill(true));
                }
            }
        }
    }
    out
}

/// Columns of a block.
fn span(block: usize, columns: usize, k: usize) -> Range<usize> {
    (block * columns).min(k)..((block + 1) * columns).min(k)
}

/// Sums of scores over the blocks of a strip of rows.
fn blocks(strip: &[f32], k: usize, columns: usize) -> Vec<f32> {
    let columns = columns.max(1);
    let mut sums = vec![0f32; k.div_ceil(columns)];
    for row in strip.chunks(k) {
        for (sum, part) in sums.iter_mut().zip(row.chunks(columns)) {
            *sum += part.iter().sum::<f32>();
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f32], k: usize, pattern: Pattern, among: Among) -> Vec<u8> {
        zeros(scores, k, pattern, among).into_iter().map(u8::from).collect()
    }

    #[test]
    fn the_lowest_go_and_of_equal_ones_the_first() {
        assert_eq!(of(&[3.0, 1.0, 2.0, 1.0], 4, Pattern::Part(50), Among::Row), [0, 1, 0, 1]);
        assert_eq!(of(&[1.0; 4], 4, Pattern::Part(50), Among::Row), [1, 1, 0, 0]);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], 2, Pattern::Part(50), Among::Row), [1, 0, 1, 0]);
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0], 2, Pattern::Part(50), Among::Matrix), [1, 1, 0, 0]);
        assert_eq!(of(&[1.0, 2.0], 2, Pattern::Part(20), Among::Row), [0, 0]);
    }

    #[test]
    fn of_few_neighbours_and_what_is_left_over() {
        let few = Pattern::Few { zeros: 2, of: 4 };
        assert_eq!(of(&[9.0, 1.0, 2.0, 3.0, 0.0, 0.0], 6, few, Among::Row), [0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn blocks_go_as_a_whole() {
        // Two strips: of two rows and of the one that is left.
        let scores = [1.0, 5.0, 1.0, 5.0, 9.0, 0.0, 1.0, 0.0, 3.0, 2.0, 1.0, 0.0];
        let p = Pattern::Blocks { rows: 2, columns: 1, percent: 50 };
        assert_eq!(of(&scores, 4, p, Among::Matrix), [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1]);
        let p = Pattern::Blocks { rows: 2, columns: 2, percent: 50 };
        assert_eq!(of(&scores, 4, p, Among::Matrix), [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]);
    }
}

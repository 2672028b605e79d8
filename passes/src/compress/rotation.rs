//! Orthogonal changes of basis that weights take into themselves.
//!
//! Rows of weights read what is rotated: `W' = W R`, factors of channels (a norm's weights) first. Columns write it:
//! `W' = R^T W`. Values of heads are rotated head by head. See [`super::hadamard`] for how rotations are made, and
//! [`super::spin`] for how they are learned.

use super::hadamard::Transform;

/// Rows that are rotated together.
const ROWS: usize = 8;

/// An orthogonal matrix, `x -> x R` for rows `x`.
#[derive(Debug, Clone, PartialEq)]
pub enum Rotation {
    /// Nothing moves.
    None,
    /// A fast transform.
    Fast(Transform),
    /// Any matrix `[n, n]`, by rows.
    Dense(usize, Vec<f32>),
}

impl Rotation {
    /// Rotates a row.
    pub fn apply(&self, x: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Fast(t) => t.apply(x),
            Self::Dense(n, r) => {
                let mut out = vec![0f32; *n];
                for (x, row) in x.iter().zip(r.chunks((*n).max(1))) {
                    out.iter_mut().zip(row).for_each(|(o, r)| *o += x * r);
                }
                x.iter_mut().zip(out).for_each(|(x, o)| *x = o);
            }
        }
    }
    /// Rotates rows of `n`, one behind the other: a matrix is read once for some of them.
    pub fn apply_rows(&self, x: &mut [f32], n: usize) {
        let Self::Dense(_, matrix) = self else {
            x.chunks_mut(n.max(1)).for_each(|row| self.apply(row));
            return;
        };
        for rows in x.chunks_mut(ROWS * n.max(1)) {
            let mut out = vec![0f32; rows.len()];
            for (i, four) in (0..).step_by(4).zip(matrix.chunks(4 * n)) {
                for (row, out) in rows.chunks(n).zip(out.chunks_mut(n)) {
                    let by = row.get(i..(i + 4).min(n)).unwrap_or(&[]);
                    let mut of = four.chunks(n);
                    let rows = [of.next(), of.next(), of.next(), of.next()];
                    if let (&[a, b, c, d], [Some(p), Some(q), Some(r), Some(s)]) = (by, rows) {
                        let all = out.iter_mut().zip(p).zip(q).zip(r).zip(s);
                        all.for_each(|((((o, p), q), r), s)| *o += a * p + b * q + c * r + d * s);
                        continue;
                    }
                    for (by, r) in by.iter().zip(four.chunks(n)) {
                        out.iter_mut().zip(r).for_each(|(o, r)| *o += by * r);
                    }
                }
            }
            rows.copy_from_slice(&out);
        }
    }
    /// The matrix by rows.
    pub fn matrix(&self, n: usize) -> Vec<f32> {
        if let Self::Dense(_, r) = self {
            return r.clone();
        }
        let mut all = vec![0f32; n * n];
        for (i, row) in all.chunks_mut(n.max(1)).enumerate() {
            if let Some(v) = row.get_mut(i) {
                *v = 1.0;
            }
            self.apply(row);
        }
        all
    }
    /// The inverse.
    pub fn inverse(&self, n: usize) -> Self {
        if *self == Self::None {
            return Self::None;
        }
        let m = self.matrix(n);
        Self::Dense(n, (0..n * n).map(|i| m.get(i % n * n + i / n).copied().unwrap_or(0.0)).collect())
    }
}

/// How a language model is rotated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rotations {
    /// The stream between layers; by default a Hadamard transform behind random signs.
    pub stream: Option<std::sync::Arc<Rotation>>,
    /// A head's values in every layer, the last for all that follow; by default a Hadamard transform.
    pub values: Vec<std::sync::Arc<Rotation>>,
    /// Neighbouring activations that share a scale: Hadamard transforms stay within them; 0: all of a token do.
    pub group: usize,
    /// Whether queries and keys are transformed, for caches of few bits.
    pub keys: bool,
}

/// A rotation of some parts of a vector, each as long as it.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The rotation.
    pub rotation: std::sync::Arc<Rotation>,
    /// Elements of a part.
    pub size: usize,
    /// Where parts begin.
    pub at: Vec<usize>,
}

impl Side {
    /// Of a whole vector of `n`.
    pub fn whole(rotation: std::sync::Arc<Rotation>, n: usize) -> Self {
        Self { rotation, size: n, at: vec![0] }
    }
    /// Rotates the parts of all rows of `n`.
    pub fn apply_rows(&self, x: &mut [f32], n: usize) {
        match self.size == n && self.at == [0] {
            true => self.rotation.apply_rows(x, n),
            false => x.chunks_mut(n.max(1)).for_each(|row| self.apply(row)),
        }
    }
    /// Rotates the parts of a row.
    pub fn apply(&self, x: &mut [f32]) {
        for at in &self.at {
            if let Some(part) = x.get_mut(*at..at + self.size) {
                self.rotation.apply(part);
            }
        }
    }
}

/// What happens to a matrix `[out, in]` or to a bias `[out]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Factors of the inputs.
    pub factors: Option<Vec<f32>>,
    /// Of the inputs.
    pub input: Option<Side>,
    /// The mean of the outputs is taken away.
    pub centred: bool,
    /// Of the outputs.
    pub output: Option<Side>,
}

impl Change {
    /// Changes rows that are multiplied with inputs.
    pub fn rows(&self, w: &mut [f32], k: usize) {
        for row in w.chunks_mut(k.max(1)) {
            if let Some(f) = &self.factors {
                row.iter_mut().zip(f).for_each(|(w, f)| *w *= f);
            }
        }
        if let Some(side) = &self.input {
            side.apply_rows(w, k);
        }
    }
    /// Whether outputs change.
    pub fn writes(&self) -> bool {
        self.centred || self.output.is_some()
    }
    /// Changes outputs of `n`: a bias, or the columns of a matrix one behind the other.
    pub fn outputs(&self, w: &mut [f32], n: usize) {
        for column in w.chunks_mut(n.max(1)) {
            if self.centred {
                let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
                column.iter_mut().for_each(|v| *v -= mean as f32);
            }
        }
        if let Some(side) = &self.output {
            side.apply_rows(w, n);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::hadamard::{Random, orthogonal};
    use super::*;
    use std::sync::Arc;

    fn product(w: &[f32], x: &[f32]) -> Vec<f32> {
        w.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }
    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut r = Random::new(seed);
        (0..n).map(|_| r.unit() as f32 - 0.5).collect()
    }
    fn near(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
    }

    #[test]
    fn rows_together_are_rows_one_by_one() {
        for (n, rows) in [(1, 3), (6, 9), (24, 5), (31, 20)] {
            let x = numbers(n * rows, 7);
            let dense = Rotation::Dense(n, orthogonal(n, &mut Random::new(4)).values);
            let (mut together, mut apart) = (x.clone(), x);
            dense.apply_rows(&mut together, n);
            apart.chunks_mut(n).for_each(|row| dense.apply(row));
            assert!(near(&together, &apart), "{n}");
        }
    }

    #[test]
    fn rotated_inputs_of_rotated_weights_give_the_same() {
        let (n, k) = (5, 24);
        let (w, x, f) = (numbers(n * k, 1), numbers(k, 2), numbers(k, 3));
        let scaled: Vec<f32> = x.iter().zip(&f).map(|(x, f)| x * f).collect();
        let want = product(&w, &scaled);
        let dense = orthogonal(k, &mut Random::new(4));
        let all = [
            Rotation::None,
            Rotation::Fast(Transform::new(k, 60).randomised(9)),
            Rotation::Dense(k, dense.values),
        ];
        for r in all {
            let (mut turned, mut own) = (x.clone(), w.clone());
            r.apply(&mut turned);
            let input = Some(Side::whole(Arc::new(r.clone()), k));
            Change { factors: Some(f.clone()), input, ..Change::default() }.rows(&mut own, k);
            assert!(near(&product(&own, &turned), &want), "{r:?}");
            r.inverse(k).apply(&mut turned);
            assert!(near(&turned, &x), "{r:?}");
        }
    }

    #[test]
    fn outputs_turn_head_by_head_and_lose_their_mean() {
        let r = Arc::new(Rotation::Fast(Transform::new(4, 60)));
        let side = Side { rotation: r.clone(), size: 4, at: vec![4, 12] };
        let v = numbers(16, 5);
        let mut got = v.clone();
        Change { output: Some(side), ..Change::default() }.outputs(&mut got, 16);
        let mut head = v[12..].to_vec();
        r.apply(&mut head);
        assert!(near(&got[..4], &v[..4]) && near(&got[8..12], &v[8..12]) && near(&got[12..], &head));
        let mut got = v.clone();
        Change { centred: true, ..Change::default() }.outputs(&mut got, 16);
        assert!(got.iter().sum::<f32>().abs() < 1e-5);
    }
}

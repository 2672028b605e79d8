//! The triangular factor of an inverse, in f64.

use sinter_ir::{Diag, Result};

/// Columns that are worked on at once: what a row of them needs of earlier ones stays in the second cache.
const PANEL: usize = 64;

/// `U`, upper triangular with `H^-1 = U^T U`, of a symmetric positive definite `H[k, k]`, which is used up.
///
/// With `J` the reversal of order and `J H J = L L^T`, it is `J L^-1 J`: no inverse is formed.
pub fn inverse_factor(mut h: Vec<f64>, k: usize) -> Result<Vec<f64>> {
    if h.len() != k * k {
        return Err(Diag::bug("a matrix that is not square"));
    }
    // J H J of a row-major matrix: all elements in reverse.
    h.reverse();
    factor(&mut h, k)?;
    let mut inverse = invert(&h, k);
    inverse.reverse();
    Ok(inverse)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0f64; 8];
    let ((a, last_a), (b, last_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f64>() + last_a.iter().zip(last_b).map(|(a, b)| a * b).sum::<f64>()
}

/// `L` with `L L^T = A` in the lower triangle of `A`.
fn factor(a: &mut [f64], k: usize) -> Result<()> {
    for from in (0..k).step_by(PANEL) {
        let to = (from + PANEL).min(k);
        for i in from..k {
            // Rows above `i` of the panel are finished.
            let (above, row) = a.split_at_mut(i * k);
            for j in from..to.min(i) {
                let l = &above[j * k..];
                row[j] = (row[j] - dot(&row[..j], &l[..j])) / l[j];
            }
            if i < to {
                let left = row[i] - dot(&row[..i], &row[..i]);
                if !(left > 0.0 && left.is_finite()) {
                    return Err(Diag::input(format!("a matrix of moments that is singular at {i} of {k}")));
                }
                row[i] = left.sqrt();
            }
        }
    }
    Ok(())
}

/// The inverse of a lower triangular matrix.
fn invert(l: &[f64], k: usize) -> Vec<f64> {
    let mut x = vec![0f64; k * k];
    for i in 0..k {
        let (done, row) = x.split_at_mut(i * k);
        let row = &mut row[..k];
        let factors = &l[i * k..i * k + i];
        for (t, f) in factors.chunks(4).enumerate() {
            // Row j of the inverse ends at j: four rows are as long as the last.
            let rows = &done[4 * t * k..];
            let end = 4 * t + f.len();
            match *f {
                [a, b, c, d] => {
                    let part = |i: usize| &rows[i * k..i * k + end];
                    let all = part(0).iter().zip(part(1)).zip(part(2)).zip(part(3));
                    for (x, (((p, q), r), s)) in row.iter_mut().zip(all) {
                        *x -= a * p + b * q + c * r + d * s;
                    }
                }
                ref few => {
                    for (f, done) in few.iter().zip(rows.chunks(k)) {
                        row.iter_mut().zip(&done[..end]).for_each(|(x, d)| *x -= f * d);
                    }
                }
            }
        }
        let pivot = l[i * k + i];
        row[..i].iter_mut().for_each(|x| *x /= pivot);
        row[i] = 1.0 / pivot;
    }
    x
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn product(a: &[f64], b: &[f64], k: usize) -> Vec<f64> {
        let at = |i: usize| (0..k).map(|t| a[i / k * k + t] * b[t * k + i % k]).sum();
        (0..k * k).map(at).collect()
    }

    /// `A A^T` plus something on the diagonal.
    fn positive(k: usize) -> Vec<f64> {
        let a: Vec<f64> = (0..k * k).map(|i| ((i * i * 31 + i * 7) % 101) as f64 / 50.0 - 1.0).collect();
        let t: Vec<f64> = (0..k * k).map(|i| a[i % k * k + i / k]).collect();
        let mut h = product(&a, &t, k);
        (0..k).for_each(|i| h[i * k + i] += 0.5);
        h
    }

    #[test]
    fn the_factor_gives_the_inverse_at_sizes_around_the_panels() {
        for k in [1, 2, 3, 5, 63, 64, 65, 130] {
            let h = positive(k);
            let u = inverse_factor(h.clone(), k).unwrap();
            assert!((0..k * k).all(|i| i % k >= i / k || u[i] == 0.0), "upper triangular");
            let t: Vec<f64> = (0..k * k).map(|i| u[i % k * k + i / k]).collect();
            let one = product(&product(&t, &u, k), &h, k);
            let off = |i: usize| (one[i] - f64::from(u8::from(i % k == i / k))).abs();
            assert!((0..k * k).map(off).fold(0.0, f64::max) < 1e-8, "{k}");
        }
    }

    #[test]
    fn singular_matrices_are_refused() {
        assert!(inverse_factor(vec![1.0, 1.0, 1.0, 1.0], 2).is_err());
        assert!(inverse_factor(vec![f64::NAN], 1).is_err());
        assert!(inverse_factor(vec![1.0; 3], 2).is_err());
    }
}

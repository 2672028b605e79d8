//! Where weights come from, whatever the file format, and the forms in which graphs want them.

use super::codes::{Format, Part};
use bytes::Bytes;
use sinter_ir::{DType, Diag, Result, Tensor};

/// A model's tensors under their names in Hugging Face checkpoints.
pub trait Weights: std::fmt::Debug + Send + Sync {
    /// Dims of a tensor, outermost first; `None`: there is no such tensor.
    fn dims(&self, name: &str) -> Option<Vec<usize>>;
    /// Element type of what [`Weights::load`] gives.
    fn dtype(&self, name: &str) -> Option<DType>;
    /// Nothing of the files is needed for now: their memory may go.
    fn release(&self) {}
    /// The values as floats: 16 bits where the file has such floats, else f32.
    fn load(&self, name: &str) -> Result<Tensor>;
    /// The values of rows `from..to` of a matrix, as [`Weights::load`] gives them, where they can be read by themselves.
    fn rows(&self, _name: &str, _from: usize, _to: usize) -> Option<Result<Bytes>> {
        None
    }
    /// How a matrix is stored, where that is as codes. [`Weights::load`] gives its values all the same.
    fn format(&self, _name: &str) -> Option<Format> {
        None
    }
    /// A part of a matrix in codes.
    fn part(&self, name: &str, _part: Part) -> Result<Tensor> {
        Err(Diag::bug(format!("tensor {name} has no parts")))
    }
    /// Names of all tensors.
    fn names(&self) -> Vec<String>;
}

/// As f32.
pub fn wide(t: Tensor) -> Result<Tensor> {
    match t.dtype() {
        DType::F32 => Ok(t),
        _ => Tensor::f32s(t.shape().to_vec(), &t.to_f32()?),
    }
}

/// Edge of the squares in which matrices are transposed: both sides stay in the first cache.
const SQUARE: usize = 32;

/// The transposed matrix.
pub fn transposed(t: &Tensor) -> Result<Tensor> {
    let &[rows, columns] = t.shape() else { return Err(Diag::bug("only matrices are transposed")) };
    let size = t.dtype().bits() / 8;
    let bytes = match size {
        2 => swap::<2>(t.bytes(), rows, columns),
        4 => swap::<4>(t.bytes(), rows, columns),
        _ => return Err(Diag::unsupported(format!("weights of type {}", t.dtype()))),
    };
    Tensor::from_bytes(t.dtype(), vec![columns, rows], bytes)
}

fn swap<const N: usize>(from: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let (from, _) = from.as_chunks::<N>();
    let mut out = vec![0u8; from.len() * N];
    let (to, _) = out.as_chunks_mut::<N>();
    for r0 in (0..rows).step_by(SQUARE) {
        for c0 in (0..columns).step_by(SQUARE) {
            for r in r0..rows.min(r0 + SQUARE) {
                for c in c0..columns.min(c0 + SQUARE) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
    out
}

/// Tensors of one type and shape, stacked along a new first axis.
pub fn stacked(parts: &[Tensor]) -> Result<Tensor> {
    let first = parts.first().ok_or_else(|| Diag::bug("a stack of nothing"))?;
    if parts.iter().any(|p| p.dtype() != first.dtype() || p.shape() != first.shape()) {
        return Err(Diag::input("weights that belong together have different types"));
    }
    let bytes: Vec<u8> = parts.iter().flat_map(|p| p.bytes()).copied().collect();
    Tensor::from_bytes(first.dtype(), [&[parts.len()], first.shape()].concat(), bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn transposes_what_is_not_a_multiple_of_the_squares() {
        let v: Vec<f32> = (0..37 * 70).map(|i| i as f32).collect();
        let t = transposed(&Tensor::f32s(vec![37, 70], &v).unwrap()).unwrap();
        assert_eq!(t.shape(), [70, 37]);
        let got = t.to_f32().unwrap();
        assert!((0..70).all(|c| (0..37).all(|r| got[c * 37 + r] == v[r * 70 + c])));
        let half = Tensor::from_f32(DType::BF16, vec![1, 3], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(transposed(&half).unwrap().shape(), [3, 1]);
    }

    #[test]
    fn stacks_equal_shapes_only() {
        let t = |n: usize| Tensor::zeros(DType::F32, vec![n, 2]).unwrap();
        assert_eq!(stacked(&[t(3), t(3)]).unwrap().shape(), [2, 3, 2]);
        assert!(stacked(&[t(3), t(2)]).is_err() && stacked(&[]).is_err());
    }
}

//! Products of bf16: two neighbours along the terms of the sums are one word, and one instruction multiplies and adds
//! both.
//!
//! Both operands are bf16 already (passes `bf16` and `bf16-data`), and the result is f32. Everything else is a product
//! of words, half as many terms long.

use crate::lower::LowerCx;
use crate::lower::body::Body;
use sinter_ir::{DType, Expr, Result, Tensor, ValueId};

/// Whether a product of `x` with constant weights is one of pairs: `k` neighbours in both.
pub fn wanted(cx: &LowerCx, body: &Body, x: ValueId, w: &Tensor, k: &Expr) -> bool {
    cx.target.pairs()
        && body.input_index(x).is_some()
        && body.ty(x).dtype == DType::BF16
        && w.dtype() == DType::BF16
        && k.modulo(&2.into()).is(0)
}

/// The words of weights: neighbours along `axis` together, the first in the low half.
pub fn words(w: &Tensor, axis: usize) -> Result<Tensor> {
    let w = &w.load()?;
    let mut shape = w.shape().to_vec();
    let (k, inner) = (shape[axis], w.shape()[axis + 1..].iter().product::<usize>());
    shape[axis] /= 2;
    let mut out = Vec::with_capacity(w.bytes().len());
    for matrix in w.bytes().chunks_exact((2 * k * inner).max(1)) {
        for rows in matrix.chunks_exact((4 * inner).max(1)) {
            let (low, high) = rows.split_at(2 * inner);
            for (l, h) in low.chunks_exact(2).zip(high.chunks_exact(2)) {
                out.extend_from_slice(l);
                out.extend_from_slice(h);
            }
        }
    }
    Tensor::from_bytes(DType::U32, shape, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_along_an_axis_become_words() {
        let bytes: Vec<u8> = (0..12u16).flat_map(u16::to_le_bytes).collect();
        let t = Tensor::from_bytes(DType::BF16, vec![1, 4, 3], bytes).unwrap();
        let w = words(&t, 1).unwrap();
        assert_eq!(w.shape(), [1, 2, 3]);
        let pairs: Vec<i64> =
            [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]].map(|[l, h]| l | h << 16).into();
        assert_eq!(w.to_i64().unwrap(), pairs);
    }
}

//! Constant operands in the order in which kernels read them.

use bytes::Bytes;
use sinter_ir::{Diag, Result, Tensor};

/// Panels of `width` columns: `[outer][n / width][k][width]`, columns beyond `n` zero. `at(outer, k, n)` is the
/// position of an element in the tensor; none: zero.
pub fn panels(
    t: &Tensor,
    (outer, k, n): (usize, usize, usize),
    width: usize,
    at: impl Fn(usize, usize, usize) -> Option<usize>,
) -> Result<Bytes> {
    let size = t.dtype().bits() / 8;
    let count = n.div_ceil(width.max(1));
    let bytes = [outer, count, k, width, size].iter().try_fold(1usize, |p, &d| p.checked_mul(d));
    let bytes = bytes.filter(|&b| b <= sinter_ir::tensor::MAX_TENSOR_BYTES);
    let mut out = vec![0u8; bytes.ok_or_else(|| Diag::limit("a packed constant is too large"))?];
    let mut slots = out.chunks_exact_mut(size.max(1));
    for o in 0..outer {
        for p in 0..count {
            for i in 0..k {
                for j in p * width..(p + 1) * width {
                    let Some(slot) = slots.next() else { return Ok(out.into()) };
                    if let Some(from) = at(o, i, j).filter(|_| j < n) {
                        let from = from * size;
                        let source = t.bytes().get(from..from + size);
                        slot.copy_from_slice(
                            source.ok_or_else(|| Diag::bug("packing reads outside a constant"))?,
                        );
                    }
                }
            }
        }
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::DType;

    #[test]
    fn panels_are_padded_with_zeros() {
        let t = Tensor::from_bytes(DType::U8, vec![2, 3], vec![1, 2, 3, 4, 5, 6]).unwrap();
        let p = panels(&t, (1, 2, 3), 2, |_, k, n| Some(k * 3 + n)).unwrap();
        assert_eq!(p.as_ref(), [1, 2, 4, 5, 3, 0, 6, 0]);
    }
}

//! Products of bf16: two neighbours along the terms of the sums are one word, and one instruction multiplies and adds
//! both.
//!
//! The weights are bf16 already (pass `bf16`). The data is f32: a kernel in front rounds it into scratch memory, once
//! for all columns. Everything else is a product of words, half as many terms long.

use super::kernel::Source;
use super::num::Num;
use crate::lower::body::Body;
use crate::lower::{Arg, LowerCx, Lowered, Precision, elementwise};
use sinter_ir::op::Cast;
use sinter_ir::{DType, Expr, Op, Result, Tensor, TensorType, ValueId};

/// Whether a product of `x` with constant weights is one of pairs: `k` neighbours in both.
pub fn wanted(cx: &LowerCx, body: &Body, x: ValueId, w: &Tensor, k: &Expr) -> bool {
    cx.precision == Precision::Bf16
        && cx.target.has("avx512bf16")
        && body.input_index(x).is_some()
        && body.ty(x).dtype == DType::F32
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

/// The words of an f32 value, in scratch memory.
pub fn source(body: &Body, x: ValueId) -> Source {
    Source::Scratch(count(body.ty(x)))
}

fn count(ty: &TensorType) -> Expr {
    ty.numel().div(&2.into())
}

/// Elements of both operands.
pub fn num() -> Num {
    Num::bf16_pairs()
}

/// Puts the kernel that rounds `x` in front of one whose first scratch buffer is [`source`].
pub fn round_first(cx: &LowerCx, body: &Body, x: ValueId, lowered: Lowered) -> Result<Lowered> {
    let op: Op = Cast { to: DType::BF16, saturate: true }.into();
    let cast = elementwise::lower(cx, &Body::of(cx, &op, &[body.ty(x)])?)?;
    let index = body.input_index(x).unwrap_or(0);
    let mut out = lowered;
    let calls = cast.calls.into_iter().map(|mut call| {
        for arg in &mut call.args {
            *arg = match *arg {
                Arg::Output(_) => Arg::Scratch(0),
                Arg::Input(_) => Arg::Input(index),
                other => other,
            };
        }
        call
    });
    out.calls.splice(0..0, calls);
    Ok(out)
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

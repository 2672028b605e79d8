//! `MatMul`: matrix product with numpy batch broadcasting (rank >= 2 both).

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::numeric::{broadcast_offsets, broadcast_shape};
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// matrix product with numpy batch broadcasting (rank >= 2 both).
///
/// Inputs: `[a: [.., m, k], b: [.., k, n]]` of one dtype, or `b` of one that [weighs](DType::weighs) `a`. f16/bf16 accumulate in f32;
/// integers wrap. With `zero` the operands are bytes of any signedness, and the result is i32. `wide` sums of f16/bf16 stay f32.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatMul {
    /// Products of bytes: what each element of `a` is counted from, a value of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<i64>,
    /// Of products of bytes: what no element of `a` exceeds, where that is less than its type holds. With one that does,
    /// the result is left open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<i64>,
    /// Operands are 16-bit floats, and the result is f32.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wide: bool,
}

impl OpSpec for MatMul {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = args(x)?;
        let why = format!("MatMul of {} and {}", s.show_type(a), s.show_type(b));
        let types = match self.zero {
            Some(zero) => bytes(a.dtype, b.dtype, zero),
            None => b.dtype.weighs(a.dtype),
        };
        let Some(dtype) = sums(a.dtype, self.zero, self.wide).filter(|_| types) else {
            return Err(Diag::input(why));
        };
        if a.rank() < 2 || b.rank() < 2 || !(a.dtype.is_float() || a.dtype.is_int()) {
            return Err(Diag::input(why));
        }
        let (ar, br) = (a.rank(), b.rank());
        s.require_eq(&a.dims[ar - 1], &b.dims[br - 2], &why)?;
        let mut dims = s.broadcast_dims(&a.dims[..ar - 2], &b.dims[..br - 2], &why)?;
        dims.extend([a.dims[ar - 2].clone(), b.dims[br - 1].clone()]);
        Ok(vec![TensorType::new(dtype, dims)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = args(x)?;
        let (ash, bsh) = (a.shape(), b.shape());
        let (ar, br) = (ash.len(), bsh.len());
        let (m, k, n) = (ash[ar - 2], ash[ar - 1], bsh[br - 1]);
        if bsh[br - 2] != k {
            return Err(Diag::input(format!("MatMul of {ash:?} and {bsh:?}")));
        }
        let batch = broadcast_shape(&ash[..ar - 2], &bsh[..br - 2])?;
        let (ao, bo) = (broadcast_offsets(&ash[..ar - 2], &batch), broadcast_offsets(&bsh[..br - 2], &batch));
        let shape = [batch.as_slice(), &[m, n]].concat();
        crate::tensor::storage_bytes(a.dtype(), &shape)?;
        let size = (m, k, n);
        let y = if a.dtype() == DType::F64 {
            Tensor::from_f64(
                a.dtype(),
                shape,
                &product(&a.to_f64()?, &b.to_f64()?, size, &ao, &bo, |c, a, b| a.mul_add(b, c)),
            )?
        } else if a.dtype().is_float() {
            Tensor::from_f32(
                sums(a.dtype(), self.zero, self.wide).unwrap_or(a.dtype()),
                shape,
                &product(&a.to_f32()?, &b.to_f32()?, size, &ao, &bo, |c, a, b| a * b + c),
            )?
        } else {
            let zero = self.zero.unwrap_or(0);
            let v = product(&a.to_i64()?, &b.to_i64()?, size, &ao, &bo, |c: i64, a: i64, b: i64| {
                c.wrapping_add((a - zero).wrapping_mul(b))
            });
            Tensor::from_i64(if self.zero.is_some() { DType::I32 } else { a.dtype() }, shape, &v)?
        };
        Ok(vec![y])
    }
}

/// Whether these are operands of a contraction of bytes, the first with that zero point.
pub(super) fn bytes(data: DType, weights: DType, zero: i64) -> bool {
    let byte = |t| matches!(t, DType::I8 | DType::U8);
    byte(data) && byte(weights) && data.int_range().is_some_and(|(lo, hi)| (lo..=hi).contains(&zero.into()))
}

/// The type of a contraction's result.
pub(super) fn sums(data: DType, zero: Option<i64>, wide: bool) -> Option<DType> {
    match (zero, wide) {
        (Some(_), true) => None,
        (Some(_), false) => Some(DType::I32),
        (None, true) => matches!(data, DType::F16 | DType::BF16).then_some(DType::F32),
        (None, false) => Some(data),
    }
}

/// Row-major products of every matrix pair; `ao`, `bo` are the matrix numbers per batch.
fn product<T: Copy + Default>(
    a: &[T],
    b: &[T],
    (m, k, n): (usize, usize, usize),
    ao: &[usize],
    bo: &[usize],
    mul_add: impl Fn(T, T, T) -> T,
) -> Vec<T> {
    let mut out = vec![T::default(); ao.len() * m * n];
    for (t, (&ai, &bi)) in ao.iter().zip(bo).enumerate() {
        let (am, bm) = (&a[ai * m * k..][..m * k], &b[bi * k * n..][..k * n]);
        for i in 0..m {
            let row = &mut out[(t * m + i) * n..][..n];
            for p in 0..k {
                let v = am[i * k + p];
                row.iter_mut().zip(&bm[p * n..][..n]).for_each(|(c, &b)| *c = mul_add(*c, v, b));
            }
        }
    }
    out
}

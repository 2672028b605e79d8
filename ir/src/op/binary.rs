//! `Binary`: element-wise function of two operands of one dtype, numpy broadcasting.

use self::BinaryKind as K;
use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::numeric::{broadcast_offsets, broadcast_shape};
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Element-wise functions of two operands. `Rem` has the sign of the dividend (C), `Mod` that of the divisor (Python); And/Or/Xor are logical on bool, bitwise on integers; Shr is logical for unsigned, arithmetic for signed; amounts outside the width shift every bit out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Mod,
    Pow,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// element-wise function of two operands of one dtype, numpy broadcasting.
///
/// Inputs: `[a, b]`. Integer arithmetic wraps; integer division truncates, by zero gives 0. Float Min/Max propagate NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Which function.
    pub kind: BinaryKind,
}

impl OpSpec for Binary {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = args(x)?;
        let int = a.dtype.is_int();
        let ok = a.dtype == b.dtype
            && match self.kind {
                K::And | K::Or | K::Xor => int || a.dtype == DType::Bool,
                K::Shl | K::Shr => int,
                K::Min | K::Max => int || a.dtype.is_float() || a.dtype == DType::Bool,
                _ => int || a.dtype.is_float(),
            };
        if !ok {
            return Err(Diag::input(format!(
                "{:?} does not take {} and {}",
                self.kind,
                s.show_type(a),
                s.show_type(b)
            )));
        }
        let why = format!("{:?} of {} and {}", self.kind, s.show_type(a), s.show_type(b));
        Ok(vec![TensorType::new(a.dtype, s.broadcast_dims(&a.dims, &b.dims, &why)?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = args(x)?;
        let dtype = a.dtype();
        let shape = broadcast_shape(a.shape(), b.shape())?;
        let y = if dtype == DType::F64 {
            let v = zip(&a.to_f64()?, &b.to_f64()?, a, b, &shape, |p, q| real(self.kind, p, q));
            Tensor::from_f64(dtype, shape, &v)?
        } else if dtype.is_float() {
            let kind = self.kind;
            let (p, q) = (a.to_f32()?, b.to_f32()?);
            let v = match kind {
                K::Add => zip(&p, &q, a, b, &shape, |p, q| p + q),
                K::Sub => zip(&p, &q, a, b, &shape, |p, q| p - q),
                K::Mul => zip(&p, &q, a, b, &shape, |p, q| p * q),
                K::Div => zip(&p, &q, a, b, &shape, |p, q| p / q),
                _ => zip(&p, &q, a, b, &shape, |p, q| real(kind, f64::from(p), f64::from(q)) as f32),
            };
            Tensor::from_f32(dtype, shape, &v)?
        } else {
            let v = zip(&a.to_i64()?, &b.to_i64()?, a, b, &shape, |p, q| whole(self.kind, p, q, dtype));
            Tensor::from_i64(dtype, shape, &v)?
        };
        Ok(vec![y])
    }
}

/// Element-wise application under broadcasting; `p` and `q` are the elements of `a` and `b`.
pub(super) fn zip<T: Copy, U>(
    p: &[T],
    q: &[T],
    a: &Tensor,
    b: &Tensor,
    shape: &[usize],
    f: impl Fn(T, T) -> U,
) -> Vec<U> {
    match (a.shape() == shape, b.shape() == shape) {
        (true, true) => p.iter().zip(q).map(|(&p, &q)| f(p, q)).collect(),
        (true, false) if q.len() == 1 => p.iter().map(|&p| f(p, q[0])).collect(),
        (false, true) if p.len() == 1 => q.iter().map(|&q| f(p[0], q)).collect(),
        _ => {
            let (i, j) = (broadcast_offsets(a.shape(), shape), broadcast_offsets(b.shape(), shape));
            i.into_iter().zip(j).map(|(i, j)| f(p[i], q[j])).collect()
        }
    }
}

fn real(kind: K, a: f64, b: f64) -> f64 {
    match kind {
        K::Add => a + b,
        K::Sub => a - b,
        K::Mul => a * b,
        K::Div => a / b,
        K::Rem => a % b,
        K::Mod => {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        }
        K::Pow => a.powf(b),
        K::Min if a.is_nan() || b.is_nan() => f64::NAN,
        K::Max if a.is_nan() || b.is_nan() => f64::NAN,
        K::Min => a.min(b),
        K::Max => a.max(b),
        K::And | K::Or | K::Xor | K::Shl | K::Shr => f64::NAN,
    }
}

fn whole(kind: K, a: i64, b: i64, dtype: DType) -> i64 {
    let unsigned = dtype == DType::U64;
    let (ua, ub) = (a as u64, b as u64);
    let bits = dtype.bits() as i64;
    match kind {
        K::Add => a.wrapping_add(b),
        K::Sub => a.wrapping_sub(b),
        K::Mul => a.wrapping_mul(b),
        K::Div | K::Rem | K::Mod if b == 0 => 0,
        K::Div if unsigned => (ua / ub) as i64,
        K::Div => a.wrapping_div(b),
        K::Rem | K::Mod if unsigned => (ua % ub) as i64,
        K::Rem => a.wrapping_rem(b),
        K::Mod => {
            let r = a.wrapping_rem(b);
            if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
        }
        K::Pow => int_pow(a, b),
        K::Min if unsigned => ua.min(ub) as i64,
        K::Max if unsigned => ua.max(ub) as i64,
        K::Min => a.min(b),
        K::Max => a.max(b),
        K::And => a & b,
        K::Or => a | b,
        K::Xor => a ^ b,
        K::Shl => {
            if ub >= bits as u64 {
                0
            } else {
                a << ub
            }
        }
        K::Shr if dtype.is_signed_int() => a >> ub.min(63),
        K::Shr => ua.checked_shr(ub.min(64) as u32).unwrap_or(0) as i64,
    }
}

/// Wrapping power; negative exponents truncate towards zero.
fn int_pow(base: i64, exp: i64) -> i64 {
    if exp < 0 {
        return match base {
            1 => 1,
            -1 => {
                if exp % 2 == 0 {
                    1
                } else {
                    -1
                }
            }
            _ => 0,
        };
    }
    let (mut r, mut b, mut e) = (1i64, base, exp);
    while e > 0 {
        if e & 1 == 1 {
            r = r.wrapping_mul(b);
        }
        b = b.wrapping_mul(b);
        e >>= 1;
    }
    r
}

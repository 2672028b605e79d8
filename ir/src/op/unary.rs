//! `Unary`: element-wise function of one operand, same dtype and shape.

use self::UnaryKind as K;
use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Element-wise functions of one operand. `Round` is half-to-even; `Not` is logical on bool and bitwise on integers; `IsInfPos`/`IsInfNeg` test one sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum UnaryKind {
    Neg,
    Abs,
    Ceil,
    Floor,
    Round,
    Trunc,
    Sqrt,
    Exp,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Erf,
    Sigmoid,
    Recip,
    Sign,
    Not,
    IsNan,
    IsInf,
    IsInfPos,
    IsInfNeg,
}

/// element-wise function of one operand, same dtype and shape.
///
/// Inputs: `[x]`. IsNan/IsInf give bool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unary {
    /// Which function.
    pub kind: UnaryKind,
}

impl OpSpec for Unary {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let float_only = !matches!(
            self.kind,
            K::Neg | K::Abs | K::Sign | K::Not | K::Ceil | K::Floor | K::Round | K::Trunc
        );
        let ok = match self.kind {
            K::Not => x.dtype == DType::Bool || x.dtype.is_int(),
            _ if float_only => x.dtype.is_float(),
            _ => x.dtype.is_float() || x.dtype.is_int(),
        };
        if !ok {
            return Err(Diag::input(format!("{:?} does not take {x}", self.kind)));
        }
        let flags = matches!(self.kind, K::IsNan | K::IsInf | K::IsInfPos | K::IsInfNeg);
        Ok(vec![TensorType::new(if flags { DType::Bool } else { x.dtype }, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let (dtype, shape) = (x.dtype(), x.shape().to_vec());
        let flag = |f: fn(f64) -> bool| -> Result<Tensor> {
            let v: Vec<i64> = x.to_f64()?.into_iter().map(|v| i64::from(f(v))).collect();
            Tensor::from_i64(DType::Bool, shape.clone(), &v)
        };
        let y = match self.kind {
            K::IsNan => flag(f64::is_nan)?,
            K::IsInf => flag(f64::is_infinite)?,
            K::IsInfPos => flag(|v| v == f64::INFINITY)?,
            K::IsInfNeg => flag(|v| v == f64::NEG_INFINITY)?,
            _ if dtype == DType::F64 => {
                let v: Vec<f64> = x.to_f64()?.into_iter().map(|v| real(self.kind, v)).collect();
                Tensor::from_f64(dtype, shape, &v)?
            }
            _ if dtype.is_float() => {
                // One rounding from f64: the correctly rounded f32 in nearly all cases.
                let v: Vec<f32> =
                    x.to_f32()?.into_iter().map(|v| real(self.kind, f64::from(v)) as f32).collect();
                Tensor::from_f32(dtype, shape, &v)?
            }
            _ => {
                let v: Vec<i64> = x.to_i64()?.into_iter().map(|v| whole(self.kind, v, dtype)).collect();
                Tensor::from_i64(dtype, shape, &v)?
            }
        };
        Ok(vec![y])
    }
}

fn whole(kind: K, v: i64, dtype: DType) -> i64 {
    match kind {
        K::Neg => v.wrapping_neg(),
        K::Abs if dtype.is_signed_int() => v.wrapping_abs(),
        K::Sign if dtype == DType::U64 => i64::from(v != 0),
        K::Sign => v.signum(),
        K::Not if dtype == DType::Bool => i64::from(v == 0),
        K::Not => !v,
        _ => v,
    }
}

fn real(kind: K, v: f64) -> f64 {
    match kind {
        K::Neg => -v,
        K::Abs => v.abs(),
        K::Ceil => v.ceil(),
        K::Floor => v.floor(),
        K::Round => v.round_ties_even(),
        K::Trunc => v.trunc(),
        K::Sqrt => v.sqrt(),
        K::Exp => v.exp(),
        K::Log => v.ln(),
        K::Sin => v.sin(),
        K::Cos => v.cos(),
        K::Tan => v.tan(),
        K::Asin => v.asin(),
        K::Acos => v.acos(),
        K::Atan => v.atan(),
        K::Sinh => v.sinh(),
        K::Cosh => v.cosh(),
        K::Tanh => v.tanh(),
        K::Asinh => v.asinh(),
        K::Acosh => v.acosh(),
        K::Atanh => v.atanh(),
        K::Erf => erf(v),
        K::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        K::Recip => 1.0 / v,
        K::Sign if v == 0.0 || v.is_nan() => v,
        K::Sign => v.signum(),
        K::Not | K::IsNan | K::IsInf | K::IsInfPos | K::IsInfNeg => v,
    }
}

/// Error function to about 1e-15: a series of positive terms near 0, continued fraction of erfc beyond.
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 3.0 {
        // erf(a) = 2/sqrt(pi) exp(-a^2) sum 2^n a^(2n+1) / (2n+1)!!: nothing cancels.
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > 1e-18 * sum && n < 200.0 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return (sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    if a > 6.0 {
        return 1f64.copysign(x);
    }
    let mut f = 0.0;
    for k in (1..=60).rev() {
        f = f64::from(k) / 2.0 / (a + f);
    }
    let erfc = (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + f);
    (1.0 - erfc).copysign(x)
}

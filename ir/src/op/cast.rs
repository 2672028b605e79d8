//! `Cast`: element-wise conversion (ONNX Cast semantics).

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// element-wise conversion (ONNX Cast semantics).
///
/// Inputs: `[x]`. Float to int truncates; to bool is `!= 0`; to a narrower float rounds to nearest even.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// Result dtype.
    pub to: DType,
    /// For 8-bit floats: clamp to the largest finite value instead of NaN/inf. For float to int: clamp instead of wrap.
    pub saturate: bool,
}

impl OpSpec for Cast {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let complex = |d| matches!(d, DType::C64 | DType::C128);
        if complex(x.dtype) != complex(self.to) {
            return Err(Diag::unsupported(format!("Cast of {x} to {}", self.to)));
        }
        Ok(vec![TensorType::new(self.to, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape = x.shape().to_vec();
        let (from, to) = (x.dtype(), self.to);
        let y = if from == to {
            x.clone()
        } else if from == DType::Str {
            let parse = |s: &String| {
                s.trim().parse::<f64>().map_err(|_| Diag::input(format!("Cast of the text `{s}` to {to}")))
            };
            if to.is_int() {
                let v = x
                    .strings()
                    .iter()
                    .map(|s| s.trim().parse::<i64>().or_else(|_| parse(s).map(|v| v as i64)));
                Tensor::from_i64(to, shape, &v.collect::<Result<Vec<_>>>()?)?
            } else {
                Tensor::from_f64(to, shape, &x.strings().iter().map(parse).collect::<Result<Vec<_>>>()?)?
            }
        } else if to == DType::Str {
            let v = if from.is_float() {
                x.to_f32()?.into_iter().map(show).collect()
            } else {
                let unsigned = from == DType::U64;
                let text = |v: i64| if unsigned { (v as u64).to_string() } else { v.to_string() };
                x.to_i64()?.into_iter().map(text).collect()
            };
            Tensor::from_strings(shape, v)?
        } else if from.is_float() {
            let v = x.to_f64()?;
            match to.int_range() {
                Some((lo, hi)) if self.saturate => {
                    let v: Vec<i64> = v.into_iter().map(|v| (v as i128).clamp(lo, hi) as i64).collect();
                    Tensor::from_i64(to, shape, &v)?
                }
                _ => Tensor::from_f64_sat(to, shape, &v, self.saturate)?,
            }
        } else if from == DType::U64 && to.is_float() {
            Tensor::from_f64(to, shape, &x.to_f64()?)?
        } else {
            Tensor::from_i64(to, shape, &x.to_i64()?)?
        };
        Ok(vec![y])
    }
}

/// Shortest text that reads back as the same f32, numpy style for the specials.
fn show(v: f32) -> String {
    if v.is_nan() {
        "NaN".to_owned()
    } else if v.is_infinite() {
        if v > 0.0 { "INF" } else { "-INF" }.to_owned()
    } else {
        format!("{v}")
    }
}

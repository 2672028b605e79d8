//! `Dequantize`: linear dequantisation (ONNX DequantizeLinear).

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// linear dequantisation (ONNX DequantizeLinear).
///
/// Inputs: `[x, scale, zero_point]`; shapes as in Quantize. `y = (x - zero_point) * scale`, computed in f32 unless the result is f64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dequantize {
    /// Axis of a 1-D or blocked scale.
    pub axis: usize,
    /// Elements of `axis` that share one scale; 0: per tensor or per axis.
    pub block: usize,
    /// Result dtype (that of scale in ONNX).
    pub to: DType,
}

impl OpSpec for Dequantize {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, scale, zero] = args(x)?;
        super::quantize::check_scale(s, x, scale, zero, self.axis, self.block)?;
        if x.dtype != zero.dtype || !self.to.is_float() {
            return Err(Diag::input(format!("Dequantize of {x} with zero point {zero} to {}", self.to)));
        }
        Ok(vec![TensorType::new(self.to, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, scale, zero] = args(x)?;
        let at = super::quantize::scale_offsets(x.shape(), scale.shape(), self.axis, self.block);
        let (sv, zv) = (scale.to_f64()?, zero.to_f64()?);
        let wide = self.to == DType::F64;
        let v: Vec<f64> = x
            .to_f64()?
            .into_iter()
            .zip(at)
            .map(
                |(v, i)| {
                    if wide { (v - zv[i]) * sv[i] } else { f64::from((v - zv[i]) as f32 * sv[i] as f32) }
                },
            )
            .collect();
        Ok(vec![Tensor::from_f64(self.to, x.shape().to_vec(), &v)?])
    }
}

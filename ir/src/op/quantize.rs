//! `Quantize`: linear quantisation (ONNX QuantizeLinear).

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// linear quantisation (ONNX QuantizeLinear).
///
/// Inputs: `[x, scale, zero_point]`; scale and zero_point are scalars, 1-D along `axis`, or blocked (same rank as x).
/// `y = saturate(round_half_even(x / scale) + zero_point)`; result dtype is that of zero_point. NaN gives the
/// lowest integer. Float-8 results round to nearest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// Axis of a 1-D or blocked scale.
    pub axis: usize,
    /// Elements of `axis` that share one scale; 0: per tensor or per axis.
    pub block: usize,
    /// The largest code, where integers saturate below the end of their type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<i64>,
}

impl OpSpec for Quantize {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, scale, zero] = args(x)?;
        check_scale(s, x, scale, zero, self.axis, self.block)?;
        if !x.dtype.is_float() && x.dtype != DType::I32 {
            return Err(Diag::input(format!("Quantize does not take {x}")));
        }
        let within =
            |top: &i64| zero.dtype.int_range().is_some_and(|(lo, hi)| (lo..=hi).contains(&(*top).into()));
        if let Some(top) = self.top.filter(|top| !within(top)) {
            return Err(Diag::input(format!("Quantize to {} has no code {top}", zero.dtype)));
        }
        Ok(vec![TensorType::new(zero.dtype, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, scale, zero] = args(x)?;
        let to = zero.dtype();
        let at = scale_offsets(x.shape(), scale.shape(), self.axis, self.block);
        let (sv, zv) = (scale.to_f32()?, zero.to_f64()?);
        let v: Vec<f64> = x
            .to_f32()?
            .into_iter()
            .zip(at)
            .map(|(v, i)| {
                let q = v / sv[i];
                match to.int_range() {
                    Some((lo, hi)) => {
                        let hi = self.top.map_or(hi as f64, |top| top as f64);
                        (f64::from(q.round_ties_even()) + zv[i]).max(lo as f64).min(hi)
                    }
                    None => f64::from(q) + zv[i],
                }
            })
            .collect();
        Ok(vec![Tensor::from_f64(to, x.shape().to_vec(), &v)?])
    }
}

/// Checks the shapes of scale and zero point against x (shared with `Dequantize`).
pub(super) fn check_scale(
    s: &mut Symbols,
    x: &TensorType,
    scale: &TensorType,
    zero: &TensorType,
    axis: usize,
    block: usize,
) -> Result<()> {
    let bad = |what: &str| {
        Diag::input(format!(
            "quantisation of {x} with scale {scale}, zero point {zero}, axis {axis}, block {block}: {what}"
        ))
    };
    if !scale.dtype.is_float() {
        return Err(bad("the scale is not a float"));
    }
    if scale.dims != zero.dims {
        return Err(bad("scale and zero point differ in shape"));
    }
    let scalar = scale.dims.iter().all(|d| d.is(1));
    match scale.rank() {
        _ if scalar && (scale.rank() <= 1 || block == 0) => Ok(()),
        1 if block == 0 => {
            let dim = x.dims.get(axis).ok_or_else(|| bad("axis is outside x"))?;
            s.require_eq(dim, &scale.dims[0], "quantisation axis").map(|_| ())
        }
        r if r == x.rank() && axis < r && block > 0 => {
            for (i, (a, b)) in x.dims.iter().zip(&scale.dims).enumerate() {
                let want = if i == axis { a.ceil_div(&block.into()) } else { a.clone() };
                s.require_eq(&want, b, "quantisation blocks")?;
            }
            Ok(())
        }
        _ => Err(bad("scale must be a scalar, 1-D along the axis, or blocked with the rank of x")),
    }
}

/// For every element of x the linear index of its scale.
pub(super) fn scale_offsets(shape: &[usize], scale: &[usize], axis: usize, block: usize) -> Vec<usize> {
    let n: usize = shape.iter().product();
    if scale.iter().product::<usize>() == 1 {
        return vec![0; n];
    }
    let inner: usize = shape[axis + 1..].iter().product();
    let len = shape[axis].max(1);
    if scale.len() == 1 {
        return (0..n).map(|i| i / inner.max(1) % len).collect();
    }
    let groups = scale[axis];
    (0..n)
        .map(|i| {
            let (outer, a, rest) = (i / (inner * len), i / inner % len, i % inner);
            (outer * groups + a / block) * inner + rest
        })
        .collect()
}

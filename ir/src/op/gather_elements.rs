//! `GatherElements`: `y[i0..in] = x[i0.., indices[i0..in], ..in]`.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// `y[i0..in] = x[i0.., indices[i0..in], ..in]`.
///
/// Inputs: `[x, indices: i32|i64]` of the same rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatherElements {
    /// Axis.
    pub axis: usize,
}

impl OpSpec for GatherElements {
    fn infer(&self, _: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, indices] = args(x)?;
        let ints = matches!(indices.dtype, DType::I32 | DType::I64);
        if !ints || self.axis >= x.rank() || indices.rank() != x.rank() {
            return Err(Diag::input(format!(
                "GatherElements along axis {} does not take {x} and {indices}",
                self.axis
            )));
        }
        Ok(vec![TensorType::new(x.dtype, indices.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, indices] = args(x)?;
        let at = element_offsets(x.shape(), indices, self.axis)?;
        Ok(vec![x.pick(indices.shape().to_vec(), &at)?])
    }
}

/// For every element of `indices` the linear offset in a tensor of `shape` that it addresses along `axis`.
pub(super) fn element_offsets(shape: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>> {
    let own = crate::numeric::strides(shape);
    let short = indices.shape().iter().zip(shape).enumerate().any(|(i, (a, b))| i != axis && a > b);
    if short {
        return Err(Diag::input(format!(
            "indices {:?} are larger than the operand {shape:?}",
            indices.shape()
        )));
    }
    let steps: Vec<isize> =
        own.iter().enumerate().map(|(i, &s)| if i == axis { 0 } else { s as isize }).collect();
    let mut base = Vec::with_capacity(indices.len());
    crate::numeric::for_each_offset(indices.shape(), &steps, 0, &mut |o| base.push(o as usize));
    let at = indices.to_i64()?.into_iter().zip(base);
    at.map(|(i, b)| Ok(b + crate::numeric::index(i, shape[axis])? * own[axis])).collect()
}

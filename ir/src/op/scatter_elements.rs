//! `ScatterElements`: copy of x with `y[.., indices[i], ..] op= updates[i]`.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Combination of scattered updates; `Set` keeps the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ScatterKind {
    Set,
    Add,
    Mul,
    Max,
    Min,
}

/// copy of x with `y[.., indices[i], ..] op= updates[i]`.
///
/// Inputs: `[x, indices: i32|i64, updates]`; indices and updates have one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScatterElements {
    /// Axis.
    pub axis: usize,
    /// How updates combine.
    pub reduction: ScatterKind,
}

impl OpSpec for ScatterElements {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, indices, updates] = args(x)?;
        let ints = matches!(indices.dtype, DType::I32 | DType::I64);
        if !ints
            || self.axis >= x.rank()
            || indices.rank() != x.rank()
            || updates.dtype != x.dtype
            || updates.rank() != x.rank()
        {
            return Err(Diag::input(format!(
                "ScatterElements along axis {} does not take {x}, {indices}, {updates}",
                self.axis
            )));
        }
        for (a, b) in indices.dims.iter().zip(&updates.dims) {
            s.require_eq(a, b, "ScatterElements indices and updates")?;
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, indices, updates] = args(x)?;
        let at = super::gather_elements::element_offsets(x.shape(), indices, self.axis)?;
        Ok(vec![scatter(x, &at, updates, self.reduction)?])
    }
}

/// Copy of `x` with element `at[i]` combined with `updates[i]`, in order.
pub(super) fn scatter(x: &Tensor, at: &[usize], updates: &Tensor, kind: ScatterKind) -> Result<Tensor> {
    let shape = x.shape().to_vec();
    if kind == ScatterKind::Set {
        let mut picks: Vec<(usize, usize)> = (0..x.len()).map(|i| (0, i)).collect();
        at.iter().enumerate().for_each(|(u, &i)| picks[i] = (1, u));
        return Tensor::pick_many(&[x, updates], shape, &picks);
    }
    if x.dtype().is_float() {
        let mut v = x.to_f64()?;
        for (u, &i) in updates.to_f64()?.into_iter().zip(at) {
            v[i] = match kind {
                ScatterKind::Add => v[i] + u,
                ScatterKind::Mul => v[i] * u,
                ScatterKind::Max => v[i].max(u),
                ScatterKind::Min => v[i].min(u),
                ScatterKind::Set => u,
            };
        }
        return Tensor::from_f64(x.dtype(), shape, &v);
    }
    let flip = if x.dtype() == DType::U64 { i64::MIN } else { 0 };
    let mut v = x.to_i64()?;
    for (u, &i) in updates.to_i64()?.into_iter().zip(at) {
        v[i] = match kind {
            ScatterKind::Add => v[i].wrapping_add(u),
            ScatterKind::Mul => v[i].wrapping_mul(u),
            ScatterKind::Max => (v[i] ^ flip).max(u ^ flip) ^ flip,
            ScatterKind::Min => (v[i] ^ flip).min(u ^ flip) ^ flip,
            ScatterKind::Set => u,
        };
    }
    Tensor::from_i64(x.dtype(), shape, &v)
}

//! `Concat`: concatenation along an axis.

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// concatenation along an axis.
///
/// Inputs: one or more of one dtype and rank.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concat {
    /// Axis.
    pub axis: usize,
}

impl OpSpec for Concat {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let first = *x.first().ok_or_else(|| Diag::input("Concat of nothing"))?;
        if self.axis >= first.rank() {
            return Err(Diag::input(format!("Concat along axis {} of {first}", self.axis)));
        }
        let mut dims = first.dims.clone();
        for t in &x[1..] {
            let why =
                format!("Concat along axis {} of {} and {}", self.axis, s.show_type(first), s.show_type(t));
            if t.dtype != first.dtype || t.rank() != first.rank() {
                return Err(Diag::input(why));
            }
            for (i, (all, own)) in dims.iter_mut().zip(&t.dims).enumerate() {
                *all = if i == self.axis { all.clone() + own.clone() } else { s.require_eq(all, own, &why)? };
            }
        }
        Ok(vec![TensorType::new(first.dtype, dims)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let first = x.first().ok_or_else(|| Diag::bug("Concat of nothing"))?;
        let mut shape = first.shape().to_vec();
        shape[self.axis] = x.iter().map(|t| t.shape()[self.axis]).sum();
        if x.iter()
            .any(|t| t.shape().iter().zip(&shape).enumerate().any(|(i, (a, b))| i != self.axis && a != b))
        {
            return Err(Diag::input(format!("Concat along axis {}: other dims differ", self.axis)));
        }
        let inner: usize = shape[self.axis + 1..].iter().product();
        let outer: usize = shape[..self.axis].iter().product();
        let mut picks = Vec::with_capacity(shape.iter().product());
        for o in 0..outer {
            for (t, tensor) in x.iter().enumerate() {
                let run = tensor.shape()[self.axis] * inner;
                picks.extend((o * run..(o + 1) * run).map(|i| (t, i)));
            }
        }
        Ok(vec![Tensor::pick_many(&x.iter().collect::<Vec<_>>(), shape, &picks)?])
    }
}

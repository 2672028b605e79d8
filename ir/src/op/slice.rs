//! `Slice`: strided window on every axis: `y[i] = x[start + i * step]`.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// strided window on every axis: `y[i] = x[start + i * step]`.
///
/// Inputs: `[x]`. Starts are already normalised into the axis; with a negative step they are the highest index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// First index per axis.
    pub starts: Vec<Expr>,
    /// Result dims.
    pub sizes: Vec<Expr>,
    /// Step per axis, not 0.
    pub steps: Vec<Expr>,
}

impl OpSpec for Slice {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let r = x.rank();
        if self.starts.len() != r
            || self.sizes.len() != r
            || self.steps.len() != r
            || self.steps.iter().any(|e| e.is(0))
        {
            return Err(Diag::input(format!(
                "Slice of {x}: starts, sizes and steps must have {r} entries and no step 0"
            )));
        }
        for i in 0..r {
            let last = self.starts[i].clone() + (self.sizes[i].clone() - 1.into()) * self.steps[i].clone();
            for (edge, e) in [("first", &self.starts[i]), ("last", &last)] {
                let (lo, hi) = s.range(&(x.dims[i].clone() - e.clone()));
                let (low, high) = s.range(e);
                if s.range(&self.sizes[i]).0 > 0 && (hi <= 0 || high < 0) {
                    return Err(Diag::input(format!(
                        "Slice of {}: {edge} index {} is outside axis {i}",
                        s.show_type(x),
                        s.show(e)
                    )));
                }
                let _ = (lo, low);
            }
        }
        Ok(vec![TensorType::new(x.dtype, self.sizes.clone())])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape = cx.dims(&self.sizes)?;
        let own = crate::numeric::strides(x.shape());
        let mut start = 0isize;
        let mut steps = Vec::with_capacity(shape.len());
        for i in 0..shape.len() {
            let (first, step) = (cx.expr(&self.starts[i])?, cx.expr(&self.steps[i])?);
            let last = first + (shape[i] as i64 - 1).max(0) * step;
            let n = x.shape()[i] as i64;
            if shape[i] > 0 && !((0..n).contains(&first) && (0..n).contains(&last)) {
                return Err(Diag::input(format!(
                    "Slice from {first} to {last} is outside axis {i} of {:?}",
                    x.shape()
                )));
            }
            start += first as isize * own[i] as isize;
            steps.push(step as isize * own[i] as isize);
        }
        let mut at = Vec::new();
        if !shape.contains(&0) {
            crate::numeric::for_each_offset(&shape, &steps, start, &mut |o| at.push(o as usize));
        }
        Ok(vec![x.pick(shape, &at)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.starts.iter_mut().for_each(&mut *f);
        self.sizes.iter_mut().for_each(&mut *f);
        self.steps.iter_mut().for_each(&mut *f);
    }
}

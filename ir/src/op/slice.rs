//! `Slice`: strided window on every axis: `y[i] = x[start + i * step]`.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
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
        let _ = (s, x);
        Err(Diag::bug("Slice: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Slice: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.starts.iter_mut().for_each(&mut *f);
        self.sizes.iter_mut().for_each(&mut *f);
        self.steps.iter_mut().for_each(&mut *f);
    }
}

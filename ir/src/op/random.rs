//! `Random`: random numbers by a counter-based generator: the same seed and index give the same value everywhere.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// random numbers by a counter-based generator: the same seed and index give the same value everywhere.
/// 
/// Inputs: `[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Result dtype.
    pub dtype: DType,
    /// Result dims.
    pub dims: Vec<Expr>,
    /// Normal(a, b) rather than uniform [a, b).
    pub normal: bool,
    /// Mean or low.
    pub a: f64,
    /// Standard deviation or high.
    pub b: f64,
    /// Seed.
    pub seed: u64,
}

impl OpSpec for Random {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Random: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Random: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

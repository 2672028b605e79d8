//! `Reshape`: same elements, new dims.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// same elements, new dims.
///
/// Inputs: `[x]`. The element counts must agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reshape {
    /// New dims.
    pub dims: Vec<Expr>,
}

impl OpSpec for Reshape {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let to = TensorType::new(x.dtype, self.dims.clone());
        let why = format!("Reshape of {} to {}", s.show_type(x), s.show_type(&to));
        s.require_eq(&x.numel(), &to.numel(), &why)?;
        Ok(vec![to])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        Ok(vec![x.reshaped(cx.dims(&self.dims)?)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

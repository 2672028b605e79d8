//! `ReadSyms`: defines symbols from the elements of an integer tensor; no results.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// defines symbols from the elements of an integer tensor; no results.
///
/// Inputs: `[x: i32|i64]` with as many elements as symbols. A value outside a symbol's range is a run-time error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadSyms {
    /// Symbols, in element order.
    pub syms: Vec<Sym>,
}

impl OpSpec for ReadSyms {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if !matches!(x.dtype, DType::I32 | DType::I64) {
            return Err(Diag::input(format!("ReadSyms does not take {x}")));
        }
        s.require_eq(&x.numel(), &self.syms.len().into(), "values read as dims")?;
        Ok(vec![])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        for (&sym, v) in self.syms.iter().zip(x.to_i64()?) {
            cx.define(sym, v)?;
        }
        Ok(vec![])
    }
    fn defines(&self) -> Vec<Sym> {
        self.syms.clone()
    }
}

//! `ReadSyms`: defines symbols from the elements of an integer tensor; no results.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
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
        let _ = (s, x);
        Err(Diag::bug("ReadSyms: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("ReadSyms: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        self.syms.clone()
    }
}

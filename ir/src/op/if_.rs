//! `If`: runs one of two regions.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A symbol whose value depends on the region taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchSym {
    /// Defined symbol.
    pub sym: Sym,
    /// Its value after the then region.
    pub then_value: Expr,
    /// Its value after the else region.
    pub else_value: Expr,
}

/// runs one of two regions.
/// 
/// Inputs: `[cond: bool scalar, captures..]`; both regions take the captures. Results as in `types`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct If {
    /// Taken when true.
    #[serde(skip)]
    pub then_body: Graph,
    /// Taken when false.
    #[serde(skip)]
    pub else_body: Graph,
    /// Result types; dims that differ between the regions are symbols of `defs`.
    pub types: Vec<TensorType>,
    /// Symbols defined by the taken region.
    pub defs: Vec<BranchSym>,
}

impl OpSpec for If {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("If: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("If: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        self.defs.iter().map(|d| d.sym).collect()
    }
}

//! `If`: runs one of two regions.

use super::OpSpec;
use crate::eval::EvalCx;
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
        let (cond, rest) = x.split_first().ok_or_else(|| Diag::bug("If without condition"))?;
        if cond.dtype != DType::Bool || !cond.numel().is(1) {
            return Err(Diag::input(format!("If condition must be one bool, got {cond}")));
        }
        for (body, what) in [(&self.then_body, "then branch"), (&self.else_body, "else branch")] {
            super::group::check_operands(s, body, rest, what)?;
            let same = |(&v, t): (&crate::ValueId, &TensorType)| {
                body.ty(v).dtype == t.dtype && body.ty(v).rank() == t.rank()
            };
            if body.outputs.len() != self.types.len() || !body.outputs.iter().zip(&self.types).all(same) {
                return Err(Diag::input(format!("If: the results of the {what} do not fit")));
            }
        }
        Ok(self.types.clone())
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let (cond, rest) = x.split_first().ok_or_else(|| Diag::bug("If without condition"))?;
        let taken = cond.scalar_i64()? != 0;
        let out = crate::eval::graph(if taken { &self.then_body } else { &self.else_body }, cx, rest)?;
        for d in &self.defs {
            let v = cx.expr(if taken { &d.then_value } else { &d.else_value })?;
            cx.define(d.sym, v)?;
        }
        Ok(out)
    }
    fn defines(&self) -> Vec<Sym> {
        self.defs.iter().map(|d| d.sym).collect()
    }
}

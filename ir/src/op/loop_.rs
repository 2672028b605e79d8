//! `Loop`: counted and conditional loop (ONNX Loop; Scan imports to it).

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A symbol that describes the shape of a carried value and may change per iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarriedSym {
    /// Symbol, valid in the body and, with its last value, after the loop.
    pub sym: Sym,
    /// Value before the first iteration.
    pub init: Expr,
    /// Value after an iteration, in terms of the symbols of the body.
    pub next: Expr,
}

/// counted and conditional loop (ONNX Loop; Scan imports to it).
/// 
/// Inputs: `[trip: i64 scalar, cond: bool scalar, carried.., captures..]`. Body inputs: `[iteration: i64 scalar, carried.., captures..]`; body outputs: `[cond: bool scalar, carried.., scanned..]`.
/// Results: `[carried.., scanned..]`; each scanned result has the leading dim `count`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loop {
    /// Body region.
    #[serde(skip)]
    pub body: Graph,
    /// Number of carried values.
    pub carried: usize,
    /// Number of scanned outputs.
    pub scanned: usize,
    /// Defined as the number of iterations run; its range bounds the loop.
    pub count: Sym,
    /// Symbols in the dims of carried values.
    pub shape_syms: Vec<CarriedSym>,
}

impl OpSpec for Loop {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Loop: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Loop: evaluator not written"))
    }
    fn defines(&self) -> Vec<Sym> {
        std::iter::once(self.count).chain(self.shape_syms.iter().map(|c| c.sym)).collect()
    }
}

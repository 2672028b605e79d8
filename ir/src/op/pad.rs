//! `Pad`: padding, or cropping where negative.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Fill of Pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// padding, or cropping where negative.
/// 
/// Inputs: `[x, value]`; value is a scalar of the same dtype, used by `Constant` only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// What fills the new elements.
    pub mode: PadMode,
    /// Elements added in front, per axis; may be negative.
    pub before: Vec<Expr>,
    /// Elements added behind, per axis; may be negative.
    pub after: Vec<Expr>,
}

impl OpSpec for Pad {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Pad: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Pad: evaluator not written"))
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.before.iter_mut().for_each(&mut *f);
        self.after.iter_mut().for_each(&mut *f);
    }
}

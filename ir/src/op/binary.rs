//! `Binary`: element-wise function of two operands of one dtype, numpy broadcasting.

use super::OpSpec;
use crate::eval::EvalCx;
#[allow(unused_imports)]
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Element-wise functions of two operands. `Rem` has the sign of the dividend (C), `Mod` that of the divisor (Python); And/Or/Xor are logical on bool, bitwise on integers; Shr is logical for unsigned, arithmetic for signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BinaryKind {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Mod,
    Pow,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// element-wise function of two operands of one dtype, numpy broadcasting.
/// 
/// Inputs: `[a, b]`. Integer arithmetic wraps; integer division truncates, by zero gives 0. Float Min/Max propagate NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Which function.
    pub kind: BinaryKind,
}

impl OpSpec for Binary {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let _ = (s, x);
        Err(Diag::bug("Binary: shape rule not written"))
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let _ = (cx, x);
        Err(Diag::bug("Binary: evaluator not written"))
    }
}

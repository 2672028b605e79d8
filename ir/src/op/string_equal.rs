//! `StringEqual`: whether strings have the same bytes.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Whether strings have the same bytes.
///
/// Inputs: `[a: str, b: str]` of the same dims. Result: bool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringEqual {}

impl OpSpec for StringEqual {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new(DType::Bool, same_dims(s, x, "StringEqual")?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = args(x)?;
        let v: Vec<i64> = a.strings().iter().zip(b.strings()).map(|(a, b)| i64::from(a == b)).collect();
        Ok(vec![Tensor::from_i64(DType::Bool, a.shape().to_vec(), &v)?])
    }
}

/// Dims of two string operands, which must be equal.
pub(super) fn same_dims(s: &mut Symbols, x: &[&TensorType], op: &str) -> Result<Vec<crate::Expr>> {
    let [a, b] = args(x)?;
    let why = format!("{op} of {} and {}", s.show_type(a), s.show_type(b));
    if a.dtype != DType::Str || b.dtype != DType::Str || a.rank() != b.rank() {
        return Err(Diag::input(why));
    }
    a.dims.iter().zip(&b.dims).map(|(p, q)| s.require_eq(p, q, &why)).collect()
}

//! `Compare`: element-wise comparison, numpy broadcasting, bool result.

use self::CompareKind as K;
use super::OpSpec;
use super::args;
use super::binary::zip;
use crate::eval::EvalCx;
use crate::numeric::broadcast_shape;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Relations; with NaN only `Ne` is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CompareKind {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// element-wise comparison, numpy broadcasting, bool result.
///
/// Inputs: `[a, b]` of one dtype.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Which relation.
    pub kind: CompareKind,
}

impl OpSpec for Compare {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = args(x)?;
        let ordered = !matches!(self.kind, K::Eq | K::Ne);
        let textual = a.dtype == DType::Str || matches!(a.dtype, DType::C64 | DType::C128);
        if a.dtype != b.dtype || (ordered && (textual || a.dtype == DType::Bool)) {
            return Err(Diag::input(format!(
                "{:?} does not compare {} and {}",
                self.kind,
                s.show_type(a),
                s.show_type(b)
            )));
        }
        let why = format!("{:?} of {} and {}", self.kind, s.show_type(a), s.show_type(b));
        Ok(vec![TensorType::new(DType::Bool, s.broadcast_dims(&a.dims, &b.dims, &why)?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b] = args(x)?;
        let shape = broadcast_shape(a.shape(), b.shape())?;
        let k = self.kind;
        let v = if a.dtype() == DType::Str {
            let (p, q): (Vec<&str>, Vec<&str>) = (
                a.strings().iter().map(|s| s.as_str()).collect(),
                b.strings().iter().map(|s| s.as_str()).collect(),
            );
            zip(&p, &q, a, b, &shape, |p, q| i64::from(holds(k, p.partial_cmp(q))))
        } else if a.dtype().is_float() {
            zip(&a.to_f64()?, &b.to_f64()?, a, b, &shape, |p, q| i64::from(holds(k, p.partial_cmp(&q))))
        } else if a.dtype() == DType::U64 {
            zip(&a.to_i64()?, &b.to_i64()?, a, b, &shape, |p, q| {
                i64::from(holds(k, Some((p as u64).cmp(&(q as u64)))))
            })
        } else {
            zip(&a.to_i64()?, &b.to_i64()?, a, b, &shape, |p, q| i64::from(holds(k, Some(p.cmp(&q)))))
        };
        Ok(vec![Tensor::from_i64(DType::Bool, shape, &v)?])
    }
}

fn holds(kind: K, order: Option<Ordering>) -> bool {
    match kind {
        K::Eq => order == Some(Ordering::Equal),
        K::Ne => order != Some(Ordering::Equal),
        K::Lt => order == Some(Ordering::Less),
        K::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        K::Gt => order == Some(Ordering::Greater),
        K::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

//! `Select`: element-wise choice, numpy broadcasting.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::numeric::{broadcast_offsets, broadcast_shape};
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// element-wise choice, numpy broadcasting.
///
/// Inputs: `[cond: bool, a, b]`; a and b of one dtype.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {}

impl OpSpec for Select {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [c, a, b] = args(x)?;
        if c.dtype != DType::Bool || a.dtype != b.dtype {
            return Err(Diag::input(format!("Select does not take {c}, {a}, {b}")));
        }
        let why = format!("Select of {}, {}, {}", s.show_type(c), s.show_type(a), s.show_type(b));
        let dims = s.broadcast_dims(&a.dims, &b.dims, &why)?;
        Ok(vec![TensorType::new(a.dtype, s.broadcast_dims(&c.dims, &dims, &why)?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [c, a, b] = args(x)?;
        let shape = broadcast_shape(c.shape(), &broadcast_shape(a.shape(), b.shape())?)?;
        let cond = c.bytes();
        let at = |t: &Tensor| broadcast_offsets(t.shape(), &shape);
        let picks: Vec<(usize, usize)> = at(c)
            .into_iter()
            .zip(at(a).into_iter().zip(at(b)))
            .map(|(c, (a, b))| if cond[c] != 0 { (0, a) } else { (1, b) })
            .collect();
        Ok(vec![Tensor::pick_many(&[a, b], shape, &picks)?])
    }
}

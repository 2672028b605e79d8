//! `MulAdd`: element-wise `a * b + c`, numpy broadcasting.

use super::{OpSpec, args};
use crate::eval::EvalCx;
use crate::numeric::{broadcast_offsets, broadcast_shape};
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Element-wise `a * b + c` of floats, rounded once (targets without fused multiply-add round the product as well).
///
/// Inputs: `[a, b, c]` of one float dtype.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MulAdd {}

impl OpSpec for MulAdd {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [a, b, c] = args(x)?;
        if !a.dtype.is_float() || a.dtype != b.dtype || a.dtype != c.dtype {
            return Err(Diag::input(format!("MulAdd does not take {a}, {b}, {c}")));
        }
        let why = format!("MulAdd of {}, {}, {}", s.show_type(a), s.show_type(b), s.show_type(c));
        let dims = s.broadcast_dims(&a.dims, &b.dims, &why)?;
        Ok(vec![TensorType::new(a.dtype, s.broadcast_dims(&dims, &c.dims, &why)?)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [a, b, c] = args(x)?;
        let shape = broadcast_shape(&broadcast_shape(a.shape(), b.shape())?, c.shape())?;
        crate::tensor::storage_bytes(a.dtype(), &shape)?;
        let at = [a, b, c].map(|t| broadcast_offsets(t.shape(), &shape));
        let indices = at[0].iter().zip(&at[1]).zip(&at[2]);
        if a.dtype() == DType::F64 {
            let (a, b, c) = (a.to_f64()?, b.to_f64()?, c.to_f64()?);
            let v: Vec<f64> = indices.map(|((&i, &j), &k)| a[i].mul_add(b[j], c[k])).collect();
            return Ok(vec![Tensor::from_f64(DType::F64, shape, &v)?]);
        }
        let dtype = a.dtype();
        let (a, b, c) = (a.to_f32()?, b.to_f32()?, c.to_f32()?);
        let v: Vec<f32> = indices.map(|((&i, &j), &k)| a[i].mul_add(b[j], c[k])).collect();
        Ok(vec![Tensor::from_f32(dtype, shape, &v)?])
    }
}

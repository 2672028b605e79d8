//! `Broadcast`: numpy broadcast to given dims.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// numpy broadcast to given dims.
///
/// Inputs: `[x]`, rank at most that of dims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// Result dims.
    pub dims: Vec<Expr>,
}

impl OpSpec for Broadcast {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        let to = TensorType::new(x.dtype, self.dims.clone());
        let why = format!("Broadcast of {} to {}", s.show_type(x), s.show_type(&to));
        let lead = to.rank().checked_sub(x.rank()).ok_or_else(|| Diag::input(why.clone()))?;
        for (d, t) in x.dims.iter().zip(&to.dims[lead..]) {
            if !d.is(1) {
                s.require_eq(d, t, &why)?;
            }
        }
        Ok(vec![to])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let shape = cx.dims(&self.dims)?;
        crate::tensor::storage_bytes(x.dtype(), &shape)?;
        if crate::numeric::broadcast_shape(x.shape(), &shape)? != shape {
            return Err(Diag::input(format!("{:?} does not broadcast to {shape:?}", x.shape())));
        }
        Ok(vec![x.pick(shape.clone(), &crate::numeric::broadcast_offsets(x.shape(), &shape))?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.dims.iter_mut().for_each(&mut *f);
    }
}

//! `GatherNd`: ONNX GatherND.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX GatherND.
///
/// Inputs: `[x, indices: i64]`; the last dim of indices must be a constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatherNd {
    /// Leading dims shared by x and indices.
    pub batch_dims: usize,
}

impl OpSpec for GatherNd {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, indices] = args(x)?;
        let b = self.batch_dims;
        let k = indices.dims.last().and_then(Expr::as_const).and_then(|k| usize::try_from(k).ok());
        let k =
            k.ok_or_else(|| Diag::unsupported(format!("GatherNd with indices {indices} of unknown depth")))?;
        if indices.dtype != DType::I64 || b >= indices.rank() || b + k > x.rank() {
            return Err(Diag::input(format!("GatherNd with {b} batch dims does not take {x} and {indices}")));
        }
        for i in 0..b {
            s.require_eq(&x.dims[i], &indices.dims[i], "GatherNd batch dims")?;
        }
        let dims = [&indices.dims[..indices.rank() - 1], &x.dims[b + k..]].concat();
        Ok(vec![TensorType::new(x.dtype, dims)])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, indices] = args(x)?;
        let b = self.batch_dims;
        let k = *indices.shape().last().ok_or_else(|| Diag::bug("GatherNd without indices"))?;
        let own = crate::numeric::strides(x.shape());
        let shape = [&indices.shape()[..indices.rank() - 1], &x.shape()[b + k..]].concat();
        let inner: usize = x.shape()[b + k..].iter().product();
        let batches: usize = x.shape()[..b].iter().product();
        let batch_step: usize = x.shape()[b..].iter().product();
        let v = indices.to_i64()?;
        let rows = shape.iter().product::<usize>() / inner.max(1);
        let mut picks = Vec::with_capacity(rows * inner);
        for r in 0..if inner == 0 { 0 } else { rows } {
            let mut start = rows.checked_div(batches).map_or(0, |per| r / per.max(1) * batch_step);
            for j in 0..k {
                start += crate::numeric::index(v[r * k + j], x.shape()[b + j])? * own[b + j];
            }
            picks.extend(start..start + inner);
        }
        Ok(vec![x.pick(shape, &picks)?])
    }
}

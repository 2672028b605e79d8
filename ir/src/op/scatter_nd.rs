//! `ScatterNd`: ONNX ScatterND.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX ScatterND.
///
/// Inputs: `[x, indices: i64, updates]`; the last dim of indices must be a constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScatterNd {
    /// How updates combine.
    pub reduction: super::scatter_elements::ScatterKind,
}

impl OpSpec for ScatterNd {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, indices, updates] = args(x)?;
        let k = indices.dims.last().and_then(Expr::as_const).and_then(|k| usize::try_from(k).ok());
        let k =
            k.ok_or_else(|| Diag::unsupported(format!("ScatterNd with indices {indices} of unknown depth")))?;
        let lead = indices.rank().saturating_sub(1);
        if indices.dtype != DType::I64
            || k > x.rank()
            || updates.dtype != x.dtype
            || updates.rank() != lead + x.rank() - k
        {
            return Err(Diag::input(format!("ScatterNd does not take {x}, {indices}, {updates}")));
        }
        let want = indices.dims[..lead].iter().chain(&x.dims[k..]);
        for (a, b) in want.zip(&updates.dims) {
            s.require_eq(a, b, "ScatterNd updates")?;
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, indices, updates] = args(x)?;
        let k = *indices.shape().last().ok_or_else(|| Diag::bug("ScatterNd without indices"))?;
        let own = crate::numeric::strides(x.shape());
        let inner: usize = x.shape()[k..].iter().product();
        let v = indices.to_i64()?;
        let rows = indices.shape()[..indices.rank() - 1].iter().product::<usize>();
        let mut at = Vec::with_capacity(rows * inner);
        for r in 0..rows {
            let mut start = 0;
            for j in 0..k {
                start += crate::numeric::index(v[r * k + j], x.shape()[j])? * own[j];
            }
            at.extend(start..start + inner);
        }
        Ok(vec![super::scatter_elements::scatter(x, &at, updates, self.reduction)?])
    }
}

//! `ReverseSequence`: reverses the first `len[b]` steps of each batch row.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// reverses the first `len[b]` steps of each batch row.
///
/// Inputs: `[x, lens: i64 [batch]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReverseSequence {
    /// 0 or 1.
    pub batch_axis: usize,
    /// 1 or 0.
    pub time_axis: usize,
}

impl OpSpec for ReverseSequence {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d, lens] = args(x)?;
        if !matches!((self.batch_axis, self.time_axis), (0, 1) | (1, 0))
            || d.rank() < 2
            || lens.dtype != DType::I64
            || lens.rank() != 1
        {
            return Err(Diag::input(format!(
                "ReverseSequence does not take {} and {}",
                s.show_type(d),
                s.show_type(lens)
            )));
        }
        s.require_eq(&d.dims[self.batch_axis], &lens.dims[0], "ReverseSequence lengths")?;
        Ok(vec![(*d).clone()])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d, lens] = args(x)?;
        let lens = lens.to_i64()?;
        let inner: usize = d.shape()[2..].iter().product();
        let second = d.shape()[1];
        let steps = d.shape()[self.time_axis] as i64;
        if lens.iter().any(|l| !(0..=steps).contains(l)) {
            return Err(Diag::input(format!("ReverseSequence: a length is outside 0..={steps}")));
        }
        let picks: Vec<usize> = (0..d.len())
            .map(|p| {
                let (i, j, rest) = (p / (inner * second), p / inner % second, p % inner);
                let (b, t) = if self.batch_axis == 0 { (i, j) } else { (j, i) };
                let t = if (t as i64) < lens[b] { (lens[b] - 1) as usize - t } else { t };
                let (i, j) = if self.batch_axis == 0 { (b, t) } else { (t, b) };
                (i * second + j) * inner + rest
            })
            .collect();
        Ok(vec![d.pick(d.shape().to_vec(), &picks)?])
    }
}

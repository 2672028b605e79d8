//! `Unique`: ONNX Unique: `[y, first indices, inverse indices, counts]`, the last three i64.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// ONNX Unique: `[y, first indices, inverse indices, counts]`, the last three i64.
///
/// Inputs: `[x]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// Axis of slices, or none for the flattened tensor.
    pub axis: Option<usize>,
    /// Ascending order rather than first occurrence.
    pub sorted: bool,
    /// Defined as the number of unique entries.
    pub count: Sym,
}

impl OpSpec for Unique {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [d] = args(x)?;
        if self.axis.is_some_and(|a| a >= d.rank()) {
            return Err(Diag::input(format!("Unique along axis {:?} of {}", self.axis, s.show_type(d))));
        }
        let count: Expr = self.count.into();
        let (dims, len) = match self.axis {
            Some(a) => {
                let mut dims = d.dims.clone();
                let len = std::mem::replace(&mut dims[a], count.clone());
                (dims, len)
            }
            None => (vec![count.clone()], d.numel()),
        };
        let i64s = |n: Expr| TensorType::new(DType::I64, vec![n]);
        Ok(vec![TensorType::new(d.dtype, dims), i64s(count.clone()), i64s(len), i64s(count)])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [d] = args(x)?;
        let (outer, len, inner) = match self.axis {
            Some(a) => (d.shape()[..a].iter().product(), d.shape()[a], d.shape()[a + 1..].iter().product()),
            None => (1, d.len(), 1),
        };
        let keys = if d.dtype() == DType::Str { vec![] } else { d.to_f64()? };
        let at = |k: usize, o: usize, i: usize| (o * len + k) * inner + i;
        let order = |a: usize, b: usize| {
            let cells = (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
            let mut cmps = cells.map(|(o, i)| match keys.is_empty() {
                true if d.dtype() == DType::Str => d.strings()[at(a, o, i)].cmp(&d.strings()[at(b, o, i)]),
                _ => keys[at(a, o, i)].total_cmp(&keys[at(b, o, i)]),
            });
            cmps.find(|c| c.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
        };
        let mut sorted: Vec<usize> = (0..len).collect();
        sorted.sort_by(|&a, &b| order(a, b).then(a.cmp(&b)));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for k in sorted {
            match groups.last_mut() {
                Some(g) if order(g[0], k).is_eq() => g.push(k),
                _ => groups.push(vec![k]),
            }
        }
        if !self.sorted {
            groups.sort_by_key(|g| g[0]);
        }
        cx.define(self.count, groups.len() as i64)?;
        let mut inverse = vec![0i64; len];
        groups.iter().enumerate().for_each(|(n, g)| g.iter().for_each(|&k| inverse[k] = n as i64));
        let n = groups.len();
        let mut shape = match self.axis {
            Some(_) => d.shape().to_vec(),
            None => vec![0],
        };
        shape[self.axis.unwrap_or(0)] = n;
        let mut picks = Vec::with_capacity(outer * n * inner);
        for o in 0..outer {
            for g in &groups {
                picks.extend((0..inner).map(|i| at(g[0], o, i)));
            }
        }
        let i64s = |v: Vec<i64>| Tensor::i64s(&v);
        Ok(vec![
            d.pick(shape, &picks)?,
            i64s(groups.iter().map(|g| g[0] as i64).collect()),
            i64s(inverse),
            i64s(groups.iter().map(|g| g.len() as i64).collect()),
        ])
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
}

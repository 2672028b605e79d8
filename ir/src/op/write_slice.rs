//! `WriteSlice`: a tensor with some rows along one axis replaced; in place where the tensor is a state.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// a tensor with the rows from `at` on along `axis` replaced.
///
/// Inputs: `[x, rows]` of one dtype and, but for `axis`, of the same dims. `at >= 0` and `at + rows.dims[axis] <=
/// x.dims[axis]` must hold. The result takes the memory of `x` where nothing else needs it: of a
/// [state](crate::graph::State) always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteSlice {
    /// Axis.
    pub axis: usize,
    /// First index that is replaced.
    pub at: Expr,
}

impl OpSpec for WriteSlice {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, rows] = args(x)?;
        let why = format!(
            "WriteSlice of {} into {} at {} on axis {}",
            s.show_type(rows),
            s.show_type(x),
            s.show(&self.at),
            self.axis
        );
        if x.dtype != rows.dtype || x.rank() != rows.rank() || self.axis >= x.rank() {
            return Err(Diag::input(why));
        }
        for (i, (a, b)) in x.dims.iter().zip(&rows.dims).enumerate() {
            if i != self.axis {
                s.require_eq(a, b, &why)?;
                continue;
            }
            // The end may not lie behind the axis: the larger of both is the axis.
            let end = self.at.clone() + b.clone();
            if s.range(&(a.clone() - end.clone())).0 < 0 {
                s.require_eq(a, &a.max_of(&end), &why)?;
            }
        }
        if s.range(&self.at).0 < 0 {
            s.require_eq(&self.at, &self.at.max_of(&0.into()), &why)?;
        }
        Ok(vec![(*x).clone()])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, rows] = args(x)?;
        let (own, new) = (x.shape(), rows.shape());
        let at = cx.dim(&self.at)?;
        let fits = own.iter().zip(new).enumerate().all(|(i, (a, b))| match i == self.axis {
            true => at.checked_add(*b).is_some_and(|end| end <= *a),
            false => a == b,
        });
        if !fits || own.len() != new.len() {
            return Err(Diag::input(format!("{new:?} at {at} on axis {} is outside {own:?}", self.axis)));
        }
        let inner: usize = own[self.axis + 1..].iter().product();
        let (of, put) = (own[self.axis] * inner, new[self.axis] * inner);
        let from = at * inner;
        let pick = |i: usize| {
            let (outer, j) = (i / of, i % of);
            match (from..from + put).contains(&j) {
                true => (1, outer * put + j - from),
                false => (0, i),
            }
        };
        let picks: Vec<(usize, usize)> = (0..x.len()).map(pick).collect();
        Ok(vec![Tensor::pick_many(&[x, rows], own.to_vec(), &picks)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.at);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_replace_what_lies_there_and_nothing_else() {
        let x = Tensor::f32s(vec![2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let rows = Tensor::f32s(vec![2, 1], &[7.0, 8.0]).unwrap();
        let put = |axis, at: i64, rows: &Tensor| {
            WriteSlice { axis, at: at.into() }.eval(&mut EvalCx::default(), &[x.clone(), rows.clone()])
        };
        assert_eq!(put(1, 1, &rows).unwrap()[0].to_f32().unwrap(), [0.0, 7.0, 2.0, 3.0, 8.0, 5.0]);
        assert!(put(1, 3, &rows).is_err() && put(1, -1, &rows).is_err() && put(0, 0, &rows).is_err());
        let one = Tensor::f32s(vec![1, 3], &[7.0, 8.0, 9.0]).unwrap();
        assert_eq!(put(0, 1, &one).unwrap()[0].to_f32().unwrap(), [0.0, 1.0, 2.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn room_that_is_not_proven_becomes_a_constraint() {
        let mut s = Symbols::default();
        let [at, n, room] = ["at", "n", "room"].map(|k| s.fresh(k, 0, 8, crate::SymKind::Input));
        let ty = |d: crate::Sym| TensorType::new(crate::DType::F32, vec![2.into(), d.into()]);
        let op = WriteSlice { axis: 1, at: at.into() };
        assert_eq!(op.infer(&mut s, &[&ty(room), &ty(n)]).unwrap(), [ty(room)]);
        assert_eq!(s.constraints.len(), 1);
        let fixed = |n: i64| TensorType::new(crate::DType::F32, vec![2.into(), n.into()]);
        assert!(op.infer(&mut s, &[&fixed(2), &fixed(3)]).is_err());
        assert!(op.infer(&mut s, &[&fixed(20), &fixed(3)]).is_ok());
        assert_eq!(s.constraints.len(), 1);
    }
}

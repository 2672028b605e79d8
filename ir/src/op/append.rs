//! `Append`: rows of new positions go into a cache, in place where that is a state.

use super::OpSpec;
use super::args;
use super::pages::slot;
use crate::eval::EvalCx;
use crate::{Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// a cache of rows by position, with the rows of the positions from `at` on replaced.
///
/// Inputs: `[cache, rows]` of one dtype, rows `[n, heads, size]`. With a `block` of 1 the cache is `[heads, slots, size]`;
/// otherwise it is `[heads, slots / block, size, block]`: the rows of `block` positions are transposed, so that
/// neighbours in memory are the same element of neighbouring positions. Position `p` is in slot `p`, in a `ring` in slot
/// `p` modulo their number; the first `sinks` positions keep slots of their own in front of that ring. `at >= 0`, `n <= slots - sinks` and, but for rings, `at + n <= slots` must hold. The result takes the
/// memory of the cache where nothing else needs it: of a [state](crate::graph::State) always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// First position that is replaced.
    pub at: Expr,
    /// Positions that are transposed together.
    pub block: i64,
    /// Later positions take the place of earlier ones.
    pub ring: bool,
    /// Positions from 0 on whose place later ones never take, in a ring.
    #[serde(default, skip_serializing_if = "is_none")]
    pub sinks: i64,
}

fn is_none(sinks: &i64) -> bool {
    *sinks == 0
}

/// Slots of a cache whose positions are transposed in groups of `block`.
pub fn slots(cache: &TensorType, block: i64) -> Option<Expr> {
    let blocks = cache.dims.get(1)?.clone();
    let shape = if block == 1 { cache.rank() == 3 } else { cache.rank() == 4 && cache.dims[3].is(block) };
    (block >= 1 && shape).then(|| blocks * block.into())
}

/// Index of an element in a cache of `slots` slots.
pub fn place([slots, size, block]: [usize; 3], [head, slot, element]: [usize; 3]) -> usize {
    ((head * slots + slot - slot % block) * size) + element * block + slot % block
}

impl OpSpec for Append {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [cache, rows] = args(x)?;
        let why = format!(
            "Append of {} to {} at {} in blocks of {}",
            s.show_type(rows),
            s.show_type(cache),
            s.show(&self.at),
            self.block
        );
        let bad = || Diag::input(why.clone());
        let slots = slots(cache, self.block).ok_or_else(bad)?;
        let [n, heads, size] = rows.dims.as_slice() else { return Err(bad()) };
        if cache.dtype != rows.dtype {
            return Err(bad());
        }
        s.require_eq(&cache.dims[0], heads, &why)?;
        s.require_eq(&cache.dims[2], size, &why)?;
        if self.sinks < 0 || self.sinks > 0 && !self.ring {
            return Err(bad());
        }
        // The end may not lie behind the slots: the larger of both is their number.
        let end = if self.ring { n.clone() + self.sinks.into() } else { self.at.clone() + n.clone() };
        if s.range(&(slots.clone() - end.clone())).0 < 0 {
            s.require_eq(&slots, &slots.max_of(&end), &why)?;
        }
        if s.range(&self.at).0 < 0 {
            s.require_eq(&self.at, &self.at.max_of(&0.into()), &why)?;
        }
        Ok(vec![(*cache).clone()])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [cache, rows] = args(x)?;
        let at = cx.dim(&self.at)?;
        let bad = || Diag::input(format!("{:?} at {at} does not fit {:?}", rows.shape(), cache.shape()));
        let block = usize::try_from(self.block).map_err(|_| bad())?;
        let (&[n, heads, size], &[kept, blocks, depth, ..]) = (rows.shape(), cache.shape()) else {
            return Err(bad());
        };
        let slots = blocks * block;
        let sinks = usize::try_from(self.sinks).map_err(|_| bad())?;
        let room = if self.ring {
            n <= slots.saturating_sub(sinks)
        } else {
            at.checked_add(n).is_some_and(|end| end <= slots)
        };
        if (kept, depth) != (heads, size) || !room || cache.len() != heads * slots * size {
            return Err(bad());
        }
        let mut picks: Vec<(usize, usize)> = (0..cache.len()).map(|i| (0, i)).collect();
        for i in 0..rows.len() {
            let (row, head, element) = (i / size / heads, i / size % heads, i % size);
            let slot = slot(at + row, sinks, slots);
            picks[place([slots, size, block], [head, slot, element])] = (1, i);
        }
        Ok(vec![Tensor::pick_many(&[cache, rows], cache.shape().to_vec(), &picks)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.at);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn put(op: Append, shape: Vec<usize>, rows: &[f32], n: usize) -> Result<Vec<f32>> {
        let cache = Tensor::f32s(shape.clone(), &vec![0.0; shape.iter().product()]).unwrap();
        let rows = Tensor::f32s(vec![n, 1, 2], rows).unwrap();
        op.eval(&mut EvalCx::default(), &[cache, rows])?[0].to_f32()
    }

    #[test]
    fn blocks_are_transposed_and_rings_begin_anew() {
        let rows = [1.0, 2.0, 3.0, 4.0];
        let op = |at: i64, block, ring| Append { at: at.into(), block, ring, sinks: 0 };
        assert_eq!(put(op(1, 1, false), vec![1, 4, 2], &rows, 2).unwrap(), [0., 0., 1., 2., 3., 4., 0., 0.]);
        assert_eq!(
            put(op(1, 2, false), vec![1, 2, 2, 2], &rows, 2).unwrap(),
            [0., 1., 0., 2., 3., 0., 4., 0.]
        );
        assert_eq!(put(op(7, 1, true), vec![1, 4, 2], &rows, 2).unwrap(), [3., 4., 0., 0., 0., 0., 1., 2.]);
        let kept = Append { sinks: 1, ..op(3, 1, true) };
        assert_eq!(put(kept, vec![1, 4, 2], &rows, 2).unwrap(), [0., 0., 3., 4., 0., 0., 1., 2.]);
        assert!(put(op(3, 1, false), vec![1, 4, 2], &rows, 2).is_err());
        assert!(put(op(0, 1, true), vec![1, 1, 2], &rows, 2).is_err());
    }

    #[test]
    fn room_that_is_not_proven_becomes_a_constraint() {
        let mut s = Symbols::default();
        let [at, n, room] = ["at", "n", "room"].map(|k| s.fresh(k, 0, 8, crate::SymKind::Input));
        let ty = |dims: &[Expr]| TensorType::new(crate::DType::F32, dims.to_vec());
        let cache = ty(&[2.into(), room.into(), 3.into()]);
        let op = Append { at: at.into(), block: 1, ring: false, sinks: 0 };
        let rows = ty(&[n.into(), 2.into(), 3.into()]);
        assert_eq!(op.infer(&mut s, &[&cache, &rows]).unwrap(), std::slice::from_ref(&cache));
        assert_eq!(s.constraints.len(), 1);
        let other = ty(&[n.into(), 2.into(), 4.into()]);
        assert!(op.infer(&mut s, &[&cache, &other]).is_err());
        assert!(Append { block: 4, ..op }.infer(&mut s, &[&cache, &rows]).is_err());
    }
}

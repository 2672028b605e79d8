//! How far from zero values can be.

use super::Puller;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::{DType, Node, Op, Tensor, ValueId};

/// Constants of more elements are not looked through.
const MOST: usize = 1 << 16;

impl Puller<'_> {
    /// An upper bound of the magnitude of a value, which is never NaN then; none where nothing is known. Rounding may
    /// bring floats beyond it by little.
    pub(super) fn reach(&mut self, v: ValueId) -> Option<f64> {
        if let Some(known) = self.reaches.get(&v) {
            return *known;
        }
        let reach = self.reach_of(v).filter(|r| r.is_finite());
        self.reaches.insert(v, reach);
        reach
    }
    fn reach_of(&mut self, v: ValueId) -> Option<f64> {
        let dtype = self.ty(v).dtype;
        let range = dtype.int_range().map(|(lo, hi)| (hi as f64).max(-(lo as f64)));
        if let Some(t) = self.body.const_of(v) {
            let all = if t.len() <= MOST { t.to_f64().ok() } else { None };
            let known = all.filter(|all| all.iter().all(|v| v.is_finite()));
            return known.map(|all| all.iter().fold(0.0, |m, v| v.abs().max(m))).or(range);
        }
        let inside = self.body.input_index(v).is_none();
        let node = self.body.graph.def(v).filter(|_| inside);
        let known = node.and_then(|n| self.reach_of_node(n));
        match (known, range) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
    fn reach_of_node(&mut self, node: &Node) -> Option<f64> {
        let x = &node.inputs;
        let of = |s: &mut Self, i: usize| x.get(i).and_then(|&v| s.reach(v));
        Some(match &node.op {
            // Other casts of floats may wrap.
            Op::Cast(c) if c.to == DType::F32 => of(self, 0)?,
            Op::Reshape(_) | Op::Broadcast(_) | Op::Transpose(_) | Op::Slice(_) | Op::Identity(_) => {
                of(self, 0)?
            }
            Op::Binary(b) => match b.kind {
                BinaryKind::Add | BinaryKind::Sub => of(self, 0)? + of(self, 1)?,
                BinaryKind::Mul => of(self, 0)? * of(self, 1)?,
                _ => return None,
            },
            Op::MulAdd(_) => of(self, 0)? * of(self, 1)? + of(self, 2)?,
            Op::Dequantize(_) => (of(self, 0)? + of(self, 2)?) * of(self, 1)?,
            Op::Conv(c) => self.contraction(x, c.zero?, 0)?,
            Op::MatMul(m) => self.contraction(x, m.zero?, self.ty(x[1]).rank().checked_sub(1)?)?,
            _ => return None,
        })
    }
    /// Sums of bytes, counted from a zero point, with constant weights whose columns are an axis.
    fn contraction(&self, x: &[ValueId], zero: i64, axis: usize) -> Option<f64> {
        let (lo, hi) = self.ty(x[0]).dtype.int_range()?;
        let farthest = (hi as f64 - zero as f64).max(zero as f64 - lo as f64);
        let w = self.body.const_of(x[1]).filter(|w| w.dtype() == DType::I8)?;
        largest_sum(w, axis).map(|s| s * farthest)
    }
}

/// The largest sum of magnitudes along all axes but one.
fn largest_sum(w: &Tensor, axis: usize) -> Option<f64> {
    let n = *w.shape().get(axis)?;
    let inner: usize = w.shape()[axis + 1..].iter().product();
    let mut sums = vec![0u64; n.max(1)];
    for (i, &byte) in w.bytes().iter().enumerate() {
        sums[i / inner.max(1) % n.max(1)] += u64::from((byte as i8).unsigned_abs());
    }
    sums.into_iter().max().map(|s| s as f64)
}

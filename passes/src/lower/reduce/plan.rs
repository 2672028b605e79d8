//! The passes over a row that a group of reductions needs.

use super::combine::Sum;
use crate::fuse::policy;
use crate::lower::body::Body;
use crate::lower::merge::Merge;
use crate::lower::{LowerCx, access};
use sinter_ir::expr::product;
use sinter_ir::tile::Elem;
use sinter_ir::{DType, Diag, Expr, Op, Result, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Reductions over the same axes of values with the same dims, and what hangs on them.
pub struct Plan<'a> {
    /// The group.
    pub body: &'a Body,
    /// Dims of all operands of reductions.
    pub dims: &'a [Expr],
    /// Reduced axes.
    pub axes: &'a [usize],
    /// Reduced axes in runs that are walked as one.
    pub runs: Vec<Range<usize>>,
    /// Reductions by pass.
    pub passes: Vec<Vec<Sum<'a>>>,
    /// Values kept for later passes, by the pass that computes them.
    pub kept: Vec<Vec<ValueId>>,
    /// Results with one element per row, and with one per element.
    pub outputs: [Vec<usize>; 2],
    /// Values that are read at other indices than that of the element being computed.
    moved: BTreeSet<ValueId>,
}

impl<'a> Plan<'a> {
    /// For a body all of whose roots are reductions.
    pub fn new(cx: &LowerCx, body: &'a Body) -> Result<Self> {
        let mut level = vec![0usize; body.graph.value_count()];
        let mut passes: Vec<Vec<Sum>> = vec![];
        let mut space: Option<(&'a [Expr], &'a [usize])> = None;
        for (_, node) in body.graph.iter() {
            let at = node.inputs.iter().map(|v| level[v.0 as usize]).max().unwrap_or(0);
            let Op::Reduce(op) = &node.op else {
                node.outputs.iter().for_each(|v| level[v.0 as usize] = at);
                continue;
            };
            let (x, y) = (node.inputs[0], node.outputs[0]);
            level[y.0 as usize] = at + 1;
            let ty = body.ty(x);
            let (dims, axes) = *space.get_or_insert((&ty.dims, &op.axes));
            let same = dims.len() == ty.dims.len()
                && dims.iter().zip(&ty.dims).all(|(a, b)| cx.symbols.known_eq(a, b));
            if !same || *axes != op.axes {
                return Err(Diag::bug("a group of reductions over different rows"));
            }
            passes.resize(passes.len().max(at + 1), vec![]);
            passes[at].push(Sum::new(op, ty.dtype, x, y));
        }
        let (dims, axes) = space.ok_or_else(|| Diag::bug("a group without reductions"))?;
        let full = |i: &usize| {
            let own = &body.ty(body.graph.outputs[*i]).dims;
            own.len() == dims.len() && own.iter().zip(dims).all(|(a, b)| cx.symbols.known_eq(a, b))
        };
        let (per_element, per_row) = (0..body.graph.outputs.len()).partition(full);
        let mut plan = Self {
            body,
            dims,
            axes,
            runs: vec![],
            kept: vec![vec![]; passes.len()],
            passes,
            outputs: [per_row, per_element],
            moved: moved(body),
        };
        plan.runs = plan.runs();
        plan.keep(cx, &level)?;
        Ok(plan)
    }
    /// Whether a value is the result of a reduction.
    pub fn is_sum(&self, v: ValueId) -> bool {
        self.passes.iter().flatten().any(|s| s.y == v)
    }
    /// Values computed per element in a pass; the last one stores results.
    pub fn demands(&self, pass: usize) -> Vec<ValueId> {
        match self.passes.get(pass) {
            Some(sums) => sums.iter().map(|s| s.x).collect(),
            None => self.outputs[1].iter().map(|&i| self.body.graph.outputs[i]).collect(),
        }
    }
    fn runs(&self) -> Vec<Range<usize>> {
        let merge = Merge { body: self.body, dims: self.dims, stop: &|v| self.is_sum(v) };
        let all: Vec<ValueId> = (0..=self.passes.len()).flat_map(|p| self.demands(p)).collect();
        let mut out: Vec<Range<usize>> = vec![];
        for &a in self.axes {
            let joined = out.last().filter(|r| r.end == a).map(|r| r.start..a + 1);
            match joined.filter(|r| all.iter().all(|&v| merge.value(v, r))) {
                Some(r) => {
                    out.pop();
                    out.push(r);
                }
                None => out.push(a..a + 1),
            }
        }
        out
    }
    /// Whether a value, whose dims align with those of the rows at the last axis, is the same all along a row.
    pub fn is_per_row(&self, v: ValueId) -> bool {
        let own = &self.body.ty(v).dims;
        let lead = self.dims.len().wrapping_sub(own.len());
        own.len() <= self.dims.len()
            && self.axes.iter().all(|a| a.checked_sub(lead).is_none_or(|i| own[i].is(1)))
    }
    /// Values that per-element code of a pass needs and that are the same all along a row, apart from immediates.
    pub fn per_row(&self, pass: usize, given: impl Fn(ValueId) -> bool) -> Vec<ValueId> {
        let (mut seen, mut out) = (BTreeSet::new(), vec![]);
        let mut work = self.demands(pass);
        while let Some(v) = work.pop() {
            let immediate = self.body.const_of(v).is_some_and(|t| t.len() == 1);
            if given(v) || immediate || !seen.insert(v) {
                continue;
            }
            if self.is_per_row(v) && !self.axes.is_empty() && !self.moved.contains(&v) {
                out.push(v);
                continue;
            }
            if let Some(n) = self.inner(v)
                && keeps_index(&n.op)
            {
                work.extend(&n.inputs);
            }
        }
        out
    }
    fn inner(&self, v: ValueId) -> Option<&'a sinter_ir::Node> {
        self.body.graph.def(v).filter(|_| self.body.input_index(v).is_none())
    }
    /// Chooses what to keep: the topmost values that an earlier pass computes and that are dear to repeat.
    fn keep(&mut self, cx: &LowerCx, level: &[usize]) -> Result<()> {
        let row = cx.symbols.max(&product(self.axes.iter().map(|&a| &self.dims[a])));
        let mut computed: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut kept: BTreeSet<ValueId> = BTreeSet::new();
        for pass in 0..=self.passes.len() {
            let (mut seen, mut work) = (BTreeSet::new(), self.demands(pass));
            let mut now = vec![];
            while let Some(v) = work.pop() {
                if kept.contains(&v) || self.is_per_row(v) || !seen.insert(v) {
                    continue;
                }
                let Some(node) = self.inner(v) else { continue };
                let float = access::compute(self.body.ty(v).dtype)? == Elem::F32
                    && self.body.ty(v).dtype != DType::Bool;
                // As large as all that the rows consist of, so that every element has its place.
                let whole = self.body.ty(v).dims == self.dims && !self.moved.contains(&v);
                if let Some(&p) = computed.get(&v)
                    && float
                    && whole
                    && level[v.0 as usize] <= p
                    && self.cost(v, &kept) >= policy::DEAR
                    && row.saturating_mul(4 * (kept.len() as i64 + 1)) <= policy::MOST_KEPT
                {
                    self.kept[p].push(v);
                    kept.insert(v);
                    continue;
                }
                now.push(v);
                work.extend(&node.inputs);
            }
            now.into_iter().for_each(|v| {
                computed.entry(v).or_insert(pass);
            });
        }
        Ok(())
    }
    fn cost(&self, v: ValueId, kept: &BTreeSet<ValueId>) -> u64 {
        let (mut seen, mut work, mut sum) = (BTreeSet::new(), vec![v], 0);
        while let Some(v) = work.pop() {
            if kept.contains(&v) || self.is_per_row(v) || !seen.insert(v) {
                continue;
            }
            if let Some(n) = self.inner(v) {
                sum += policy::cost(&n.op);
                work.extend(&n.inputs);
            }
        }
        sum
    }
}

/// Whether an element is computed from elements at its own (broadcast) index.
fn keeps_index(op: &Op) -> bool {
    op.is_pointwise() || matches!(op, Op::Identity(_) | Op::Broadcast(_))
}

fn moved(body: &Body) -> BTreeSet<ValueId> {
    let mut out = BTreeSet::new();
    let nodes: Vec<_> = body.graph.iter().map(|(_, n)| n).collect();
    for n in nodes.into_iter().rev() {
        let own = n.outputs.iter().any(|v| out.contains(v));
        if own || !(keeps_index(&n.op) || matches!(n.op, Op::Reduce(_))) {
            out.extend(&n.inputs);
        }
    }
    out
}

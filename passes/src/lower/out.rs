//! The way of a root's finished elements through the epilogue into the outputs.

use super::LowerCx;
use super::body::Body;
use super::contract::gemm::Finish;
use super::epilogue::Epilogue;
use super::index::{Idx, unravel};
use super::pull::Puller;
use sinter_ir::tile::Reg;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{Op, Result, ValueId};

/// A linear index over several neighbouring axes of the result.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Value.
    pub at: Reg,
    /// Number of axes it spans.
    pub axes: usize,
}

/// An [`Epilogue`] that is addressed by groups of axes.
pub struct Out<'a> {
    /// The consumers, and the kernel's parameters.
    pub end: Epilogue<'a>,
    scalar: bool,
}

impl<'a> Out<'a> {
    /// Behind the first result of the body's root. `scalar`: one element at a time.
    pub fn new(cx: &'a LowerCx<'a>, body: &'a Body, scalar: bool) -> Result<Self> {
        Ok(Self { end: Epilogue::new(Puller::new(cx, body))?, scalar })
    }
    /// Whether results come one at a time.
    pub fn is_scalar(&self) -> bool {
        self.scalar
    }
    /// How contractions should hand their tiles on.
    pub fn finish(&self) -> Finish {
        let cost: usize = self.end.puller.body.graph.iter().map(|(_, n)| cost(&n.op)).sum();
        match self.scalar {
            true => Finish::Scalars,
            false if cost <= MOST_REPEATED => Finish::Registers,
            false => Finish::Memory,
        }
    }
    /// Takes the element at `index` (of a vector: the elements from there on along the last group) in arithmetic
    /// form.
    pub fn put(&mut self, b: &mut KernelBuilder, index: &[Index], value: Reg) -> Result<()> {
        let lanes = b.ty(value).lanes;
        let (body, root) = (self.end.puller.body, self.end.root);
        let dims = &body.ty(root).dims;
        let mut idx = Vec::with_capacity(dims.len());
        for g in index {
            let first = idx.len();
            let axes = first..first + g.axes;
            if g.axes == 0 {
                continue;
            }
            let mut at = Idx::reg(g.at);
            if axes.end == dims.len() && lanes > 1 {
                at.step = 1;
            }
            let open = dims[axes.clone()].iter().filter(|d| !d.is(1)).count();
            if open <= 1 || self.merges(axes.clone()) {
                // Row-major strides make a linear index on the last axis reach every element.
                let last = axes.clone().rev().find(|&i| !dims[i].is(1)).unwrap_or(axes.end - 1);
                idx.extend(axes.map(|i| if i == last { at.clone() } else { Idx::default() }));
            } else {
                idx.extend(unravel(b, &at, &dims[axes])?);
            }
        }
        self.end.emit(b, &idx, value, None)
    }
    /// Whether every value behind the root that varies along one of the axes varies along all of them in the
    /// root's own order, so that a linear index over them is enough.
    fn merges(&self, axes: std::ops::Range<usize>) -> bool {
        let body = self.end.puller.body;
        body.graph.outputs.iter().all(|&v| merges(body, self.end.root, v, &axes))
    }
}

/// Cost of epilogues that may be repeated for every register of a tile.
const MOST_REPEATED: usize = 8;

fn cost(op: &Op) -> usize {
    use sinter_ir::op::unary::UnaryKind as U;
    match op {
        Op::Unary(u)
            if !matches!(
                u.kind,
                U::Neg | U::Abs | U::Sqrt | U::Recip | U::Floor | U::Ceil | U::Trunc | U::Round | U::Not
            ) =>
        {
            16
        }
        Op::Quantize(_) => 6,
        Op::Dequantize(_) => 3,
        Op::Unary(_) | Op::Compare(_) | Op::Select(_) | Op::MulAdd(_) => 1,
        Op::Binary(_) | Op::Cast(_) => 2,
        _ => 0,
    }
}

fn merges(body: &Body, root: ValueId, v: ValueId, axes: &std::ops::Range<usize>) -> bool {
    let (dims, full) = (&body.ty(v).dims, &body.ty(root).dims);
    let lead = full.len().saturating_sub(dims.len());
    let own = |i: usize| i.checked_sub(lead).and_then(|j| dims.get(j));
    // Broadcast along all of the axes.
    if dims.len() <= full.len() && axes.clone().all(|i| own(i).is_none_or(|d| d.is(1))) {
        return true;
    }
    if dims.len() > full.len() || axes.clone().any(|i| own(i) != Some(&full[i])) {
        return false;
    }
    let Some(node) = body.graph.def(v).filter(|_| v != root && body.input_index(v).is_none()) else {
        return true;
    };
    match &node.op {
        Op::Constant(_) => true,
        op if op.is_pointwise() || matches!(op, Op::Identity(_) | Op::Broadcast(_)) => {
            node.inputs.iter().all(|&x| merges(body, root, x, axes))
        }
        Op::Quantize(sinter_ir::op::Quantize { axis, block, .. })
        | Op::Dequantize(sinter_ir::op::Dequantize { axis, block, .. }) => {
            // Scales along one of the axes need its coordinate.
            let apart = node.inputs[1..]
                .iter()
                .all(|&s| body.ty(s).numel().is(1) || (*block == 0 && !axes.contains(&(axis + lead))));
            apart && merges(body, root, node.inputs[0], axes)
        }
        _ => false,
    }
}

//! The way of a root's finished elements through the epilogue into the outputs.

use super::LowerCx;
use super::body::Body;
use super::contract::gemm::Finish;
use super::epilogue::Epilogue;
use super::index::{Idx, unravel};
use super::merge::{Merge, spread};
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
        match self.together() {
            _ if self.scalar => Finish::Scalars,
            1 if cost <= MOST_REPEATED => Finish::Registers,
            together => Finish::Memory(together),
        }
    }
    /// Vectors of 32-bit elements that are finished as one: where results are narrower, and the target narrows several
    /// vectors into one more cheaply than each by itself.
    fn together(&self) -> usize {
        let body = self.end.puller.body;
        let bits = |v: &ValueId| body.ty(*v).dtype.bits();
        let widest = body.graph.outputs.iter().map(bits).max().unwrap_or(32);
        match widest {
            8 if self.end.puller.cx.target.has("avx512bw") => 4,
            16 if self.end.puller.cx.target.pairs() => 2,
            _ => 1,
        }
    }
    /// Takes the element at `index` (of a vector: the elements from there on along the last group, of which `tail`
    /// count) in arithmetic form.
    pub fn put(
        &mut self,
        b: &mut KernelBuilder,
        index: &[Index],
        value: Reg,
        tail: Option<Reg>,
    ) -> Result<()> {
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
                idx.extend(spread(&at, &dims[axes]));
            } else {
                idx.extend(unravel(b, &at, &dims[axes])?);
            }
        }
        self.end.emit(b, &idx, value, tail)
    }
    /// Whether every value behind the root that varies along one of the axes varies along all of them in the
    /// root's own order, so that a linear index over them is enough.
    fn merges(&self, axes: std::ops::Range<usize>) -> bool {
        let body = self.end.puller.body;
        let root = self.end.root;
        let all = Merge { body, dims: &body.ty(root).dims, stop: &|v| v == root };
        body.graph.outputs.iter().all(|&v| all.value(v, &axes))
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
        Op::Quantize(_) => 4,
        Op::Dequantize(_) | Op::Lookup(_) => 3,
        Op::Unary(_) | Op::Compare(_) | Op::Select(_) | Op::MulAdd(_) => 1,
        Op::Binary(_) | Op::Cast(_) => 2,
        _ => 0,
    }
}

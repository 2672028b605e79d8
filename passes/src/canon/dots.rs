//! `dots`: contractions of `Cast(x) - zero` with byte weights, in i32 or exactly in f32, become contractions of the
//! bytes `x` themselves, for targets that multiply bytes.
//!
//! What a constant zero point takes away is part of the new contraction. One that is only known while running becomes
//! a product with the sums of the weights, element by element: `Σ (x - z) w = Σ x w - z Σ w`.

use super::integers::{EXACT, channel_sums};
use super::largest::largest;
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::eval::EvalCx;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::{Binary, Cast, Constant, Conv, MatMul, Pad, Reshape};
use sinter_ir::{DType, Graph, Module, Node, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Runs the pass. Regions keep their form.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport) -> Result<Graph> {
    let mut pass = Dots { rb: Rebuild::new(g, symbols, report), sums: BTreeMap::new() };
    for (_, node) in g.iter() {
        let inputs = pass.rb.operands(node)?;
        let new = match &node.op {
            Op::Conv(Conv { zero: None, .. }) | Op::MatMul(MatMul { zero: None, .. }) => {
                pass.contraction(node, &inputs)?
            }
            Op::Cast(Cast { to: DType::I32, .. }) => pass.sums.get(&inputs[0]).copied(),
            _ => None,
        };
        match new {
            Some(v) => pass.rb.bind_all(node, &[v])?,
            None => drop(pass.rb.copy(node)?),
        }
    }
    pass.rb.finish(true)
}

struct Dots<'a> {
    rb: Rebuild<'a>,
    /// The integers behind exact sums in f32.
    sums: BTreeMap<ValueId, ValueId>,
}

/// What bytes are counted from.
#[derive(Clone, Copy)]
enum Zero {
    Known(i64),
    /// A scalar of i32.
    Value(ValueId),
}

impl Dots<'_> {
    fn producer(&self, v: ValueId) -> Option<&Node> {
        self.rb.graph.value(v).def.map(|(id, _)| self.rb.graph.node(id))
    }
    fn dtype(&self, v: ValueId) -> DType {
        self.rb.graph.ty(v).dtype
    }
    /// A constant, or what a few operations make of constants.
    fn known(&self, v: ValueId, depth: u32) -> Option<Tensor> {
        let node = self.producer(v)?;
        match &node.op {
            Op::Constant(c) => Some(c.tensor.clone()),
            Op::Cast(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Binary(_) | Op::Identity(_)
                if depth > 0 =>
            {
                let args: Option<Vec<Tensor>> =
                    node.inputs.iter().map(|&v| self.known(v, depth - 1)).collect();
                let bounded = |t: &Tensor| t.len() <= MOST_WEIGHTS;
                let args = args.filter(|a| a.iter().all(bounded))?;
                node.op.eval(&mut EvalCx::default(), &args).ok()?.into_iter().next()
            }
            _ => None,
        }
    }
    /// The bytes behind centred data and what they are counted from.
    fn data(&self, v: ValueId) -> Option<(ValueId, Zero)> {
        let node = self.producer(v)?;
        match (&node.op, node.inputs.as_slice()) {
            (Op::Binary(Binary { kind: BinaryKind::Sub }), &[a, z]) => {
                let (x, Zero::Known(0)) = self.data(a)? else { return None };
                if !self.rb.graph.ty(z).numel().is(1) || self.rb.graph.ty(z).rank() > 1 {
                    return None;
                }
                let Some(zero) = self.known(z, 4) else {
                    let same = self.byte_behind(z) == Some(self.dtype(x)) && self.dtype(z) == DType::I32;
                    return same.then_some((x, Zero::Value(z)));
                };
                let zero = zero.to_f64().ok()?.first().copied()?;
                let (lo, hi) = self.dtype(x).int_range()?;
                let byte = zero.fract() == 0.0 && (lo as f64..=hi as f64).contains(&zero);
                byte.then_some((x, Zero::Known(zero as i64)))
            }
            (Op::Cast(_), &[x]) if matches!(self.dtype(x), DType::U8 | DType::I8) => {
                Some((x, Zero::Known(0)))
            }
            _ => None,
        }
    }
    /// The type of the byte that a number was cast from.
    fn byte_behind(&self, v: ValueId) -> Option<DType> {
        let node = self.producer(v)?;
        match &node.op {
            Op::Reshape(_) => self.byte_behind(node.inputs[0]),
            Op::Cast(_) => {
                let from = self.dtype(node.inputs[0]);
                matches!(from, DType::U8 | DType::I8).then_some(from)
            }
            _ => None,
        }
    }
    /// Centred data behind operations that move elements: those operations, last one first.
    fn moved(&self, mut v: ValueId) -> Option<(Vec<Node>, ValueId, Zero)> {
        let mut moves = vec![];
        loop {
            if let Some((x, zero)) = self.data(v) {
                return Some((moves, x, zero));
            }
            let node = self.producer(v)?;
            match &node.op {
                Op::Transpose(_) | Op::Reshape(_) => {}
                Op::Pad(p) if p.mode == PadMode::Constant => {
                    let fill = self.known(node.inputs[1], 4)?;
                    fill.to_f64().ok()?.iter().all(|v| *v == 0.0).then_some(())?;
                }
                _ => return None,
            }
            v = *node.inputs.first()?;
            moves.push(node.clone());
        }
    }
    /// Weights that are whole numbers of a signed byte.
    fn weights(&self, v: ValueId) -> Option<Tensor> {
        let t = self.known(v, 4)?;
        if t.dtype() == DType::I8 || t.len() > MOST_WEIGHTS {
            return Some(t).filter(|t| t.dtype() == DType::I8);
        }
        let whole = t.dtype().is_int() || t.dtype() == DType::F32;
        let values = t.to_f64().ok().filter(|_| whole)?;
        let byte = |v: &f64| v.fract() == 0.0 && (-128.0..=127.0).contains(v);
        values.iter().all(byte).then(|| Tensor::from_f64(DType::I8, t.shape().to_vec(), &values).ok())?
    }

    fn contraction(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, w] = inputs else { return Ok(None) };
        let to = self.dtype(x);
        if !matches!(to, DType::F32 | DType::I32) {
            return Ok(None);
        }
        let Some((moves, bytes, zero)) = self.moved(x) else { return Ok(None) };
        let Some(weights) = self.weights(w) else { return Ok(None) };
        let conv = matches!(node.op, Op::Conv(_));
        let (rank, channel) = (weights.rank(), if conv { 0 } else { weights.rank().saturating_sub(1) });
        if rank < 2 || !conv && rank != 2 {
            return Ok(None);
        }
        if to == DType::F32 {
            let most = channel_sums(&weights, channel)?.into_iter().fold(0.0, f64::max);
            let (Zero::Known(z), Some((lo, hi))) = (zero, self.dtype(bytes).int_range()) else {
                return Ok(None);
            };
            let farthest = (hi - i128::from(z)).max(i128::from(z) - lo);
            if most * farthest as f64 >= EXACT {
                return Ok(None);
            }
        }
        let y = self.rebuild(node, (moves, bytes, zero), weights, channel)?;
        self.rb.report.fired("dots/bytes");
        if to == DType::I32 {
            return Ok(Some(y));
        }
        let float = self.rb.add1(Cast { to, saturate: true }, &[y], &node.origin)?;
        self.sums.insert(float, y);
        Ok(Some(float))
    }
    /// The contraction of the bytes, in i32.
    fn rebuild(
        &mut self,
        node: &Node,
        (moves, bytes, zero): (Vec<Node>, ValueId, Zero),
        weights: Tensor,
        channel: usize,
    ) -> Result<ValueId> {
        let origin = &node.origin;
        let dtype = self.dtype(bytes);
        let mut fill = match zero {
            Zero::Known(z) => self.number(dtype, z, origin)?,
            Zero::Value(z) => {
                let z = self.rb.add1(Reshape { dims: vec![] }, &[z], origin)?;
                self.rb.add1(Cast { to: dtype, saturate: true }, &[z], origin)?
            }
        };
        let mut x = bytes;
        for m in moves.into_iter().rev() {
            let operands = if matches!(m.op, Op::Pad(_)) { vec![x, fill] } else { vec![x] };
            x = self.rb.add1(m.op, &operands, &m.origin)?;
        }
        let mut op = node.op.clone();
        let largest = largest(&self.rb.graph, x).filter(|_| matches!(zero, Zero::Known(_)));
        let (known, value) = match zero {
            Zero::Known(z) => (z, None),
            Zero::Value(z) => (0, Some(z)),
        };
        match &mut op {
            Op::Conv(c) => {
                (c.zero, c.largest) = (Some(known), largest);
                if value.is_some() && !c.pads_before.iter().chain(&c.pads_after).all(|p| p.is(0)) {
                    // Elements beyond the border count as zero points, like all others.
                    let at = if c.channels_last { 1 } else { 2 };
                    let all = |pads: &mut Vec<sinter_ir::Expr>, rank: usize| {
                        let mut full = vec![sinter_ir::Expr::from(0); rank];
                        full.iter_mut().skip(at).zip(pads).for_each(|(f, p)| std::mem::swap(f, p));
                        full
                    };
                    let rank = c.pads_before.len() + 2;
                    let (before, after) = (all(&mut c.pads_before, rank), all(&mut c.pads_after, rank));
                    x = self.rb.add1(Pad { mode: PadMode::Constant, before, after }, &[x, fill], origin)?;
                }
            }
            Op::MatMul(m) => (m.zero, m.largest) = (Some(known), largest),
            _ => {}
        }
        let sums: Vec<i64> = channel_sums_signed(&weights, channel)?;
        let last = matches!(&op, Op::Conv(c) if c.channels_last) || matches!(op, Op::MatMul(_));
        let rank = weights.rank();
        let w = self.rb.add1(Constant { tensor: weights }, &[], origin)?;
        let y = self.rb.add1(op, &[x, w], origin)?;
        let Some(z) = value else { return Ok(y) };
        // One number per output channel, in the rank of a convolution's result.
        let mut shape = vec![1; if last { 1 } else { rank - 1 }];
        shape[0] = sums.len();
        let sums = Tensor::from_i64(DType::I32, shape, &sums)?;
        let sums = self.rb.add1(Constant { tensor: sums }, &[], origin)?;
        fill = self.rb.add1(Reshape { dims: vec![] }, &[z], origin)?;
        let less = self.rb.add1(Binary { kind: BinaryKind::Mul }, &[sums, fill], origin)?;
        self.rb.add1(Binary { kind: BinaryKind::Sub }, &[y, less], origin)
    }
    /// A scalar constant.
    fn number(&mut self, dtype: DType, v: i64, origin: &Origin) -> Result<ValueId> {
        let tensor = Tensor::from_i64(dtype, vec![], &[v])?;
        self.rb.add1(Constant { tensor }, &[], origin)
    }
}

/// Weights that are looked at number by number.
const MOST_WEIGHTS: usize = 1 << 28;

/// Sums of the weights per index of `axis`.
fn channel_sums_signed(t: &Tensor, axis: usize) -> Result<Vec<i64>> {
    let inner: usize = t.shape()[axis + 1..].iter().product();
    let mut sums = vec![0; t.shape()[axis]];
    let n = sums.len().max(1);
    for (i, v) in t.to_i64()?.into_iter().enumerate() {
        if let Some(s) = sums.get_mut(i / inner.max(1) % n) {
            *s += v;
        }
    }
    Ok(sums)
}

//! Operations whose results, row by row along one axis, need a few rows of their operands only.

use sinter_ir::{Expr, Graph, Node, Op, ValueId};

/// What a row of a result needs of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All of it.
    Whole,
    /// Rows along an axis of its own.
    Rows {
        /// The operand's axis.
        axis: usize,
        /// Which of them.
        window: Window,
    },
}

/// Row `r` needs the operand's rows from `r * stride - before` on, `span` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Window {
    pub stride: i64,
    pub before: i64,
    pub span: i64,
}

impl Window {
    /// The same row.
    pub const ONE: Self = Self { stride: 1, before: 0, span: 1 };
    /// What rows `lo .. hi` need, edges outside of the operand included.
    pub fn of(self, (lo, hi): (i64, i64)) -> (i64, i64) {
        let first = lo * self.stride - self.before;
        (first, first + (hi - 1 - lo) * self.stride + self.span)
    }
}

fn same(axis: usize) -> Need {
    Need::Rows { axis, window: Window::ONE }
}

/// What rows along an axis of a node's only result need of every operand; none where they need more than rows.
pub fn needs(g: &Graph, node: &Node, axis: usize) -> Option<Vec<Need>> {
    let &[out] = node.outputs.as_slice() else { return None };
    let (rank, first) = (g.ty(out).rank(), node.inputs.first().copied());
    let others = |first: Need| {
        let rest = std::iter::repeat_n(Need::Whole, node.inputs.len().saturating_sub(1));
        Some(std::iter::once(first).chain(rest).collect())
    };
    match &node.op {
        Op::Unary(_) | Op::Identity(_) | Op::Cast(_) | Op::Lookup(_) => Some(vec![same(axis)]),
        Op::Binary(_) | Op::Compare(_) | Op::MulAdd(_) | Op::Select(_) => {
            node.inputs.iter().map(|&v| aligned(g, v, rank, axis)).collect()
        }
        Op::Quantize(q) => scaled(g, node, (q.axis, q.block), axis).then(|| others(same(axis)))?,
        Op::Dequantize(q) => scaled(g, node, (q.axis, q.block), axis).then(|| others(same(axis)))?,
        Op::Conv(c) => {
            let i = spatial(axis, rank, c.channels_last)?;
            let taps = g.ty(*node.inputs.get(1)?).dims.get(2 + i)?.as_const()?;
            others(windows(axis, (c.strides[i], c.dilations[i]), taps, &c.pads_before[i])?)
        }
        Op::Pool(p) if !p.indices => {
            let i = spatial(axis, rank, p.channels_last)?;
            let taps = p.kernel.get(i)?.as_const()?;
            others(windows(axis, (p.strides[i], p.dilations[i]), taps, &p.pads_before[i])?)
        }
        Op::Concat(c) if c.axis != axis => Some(vec![same(axis); node.inputs.len()]),
        Op::Transpose(t) => Some(vec![same(*t.perm.get(axis)?)]),
        Op::Reshape(_) => Some(vec![same(kept_axis(g, first?, out, axis)?)]),
        Op::Slice(s) => {
            let whole =
                s.starts[axis].is(0) && s.steps[axis].is(1) && s.sizes[axis] == g.ty(first?).dims[axis];
            whole.then(|| vec![same(axis)])
        }
        Op::Pad(p) => (p.before[axis].is(0) && p.after[axis].is(0)).then(|| others(same(axis)))?,
        Op::Broadcast(_) => Some(vec![aligned(g, first?, rank, axis)?]),
        Op::MatMul(_) => {
            let matrix = g.ty(*node.inputs.get(1)?).rank() == 2;
            (matrix && axis + 1 < rank).then(|| others(same(axis)))?
        }
        Op::Reduce(r) => {
            let inner = if r.keepdims { axis } else { (0..).filter(|i| !r.axes.contains(i)).nth(axis)? };
            (!r.axes.contains(&inner)).then(|| vec![same(inner)])
        }
        _ => None,
    }
}

/// The op that computes some rows: `rows` of the result, with so much padding in front of and behind the first operand.
pub fn of_rows(op: &Op, axis: usize, rank: usize, rows: i64, (before, after): (i64, i64)) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Conv(c) => {
            if let Some(i) = spatial(axis, rank, c.channels_last) {
                (c.pads_before[i], c.pads_after[i]) = (before.into(), after.into());
            }
        }
        Op::Pool(p) => {
            if let Some(i) = spatial(axis, rank, p.channels_last) {
                (p.pads_before[i], p.pads_after[i]) = (before.into(), after.into());
            }
        }
        Op::Reshape(r) => r.dims[axis] = rows.into(),
        Op::Broadcast(b) => b.dims[axis] = rows.into(),
        Op::Slice(s) => s.sizes[axis] = rows.into(),
        _ => {}
    }
    op
}

/// An operand whose axes stand below the last ones of the result.
fn aligned(g: &Graph, v: ValueId, rank: usize, axis: usize) -> Option<Need> {
    let dims = &g.ty(v).dims;
    let Some(own) = (axis + dims.len()).checked_sub(rank) else { return Some(Need::Whole) };
    match dims.get(own)?.as_const()? {
        1 => Some(Need::Whole),
        _ => Some(same(own)),
    }
}

/// Whether scales of a quantisation are the same for all rows.
fn scaled(g: &Graph, node: &Node, (own, block): (usize, usize), axis: usize) -> bool {
    block == 0
        && node.inputs.iter().skip(1).all(|&v| g.ty(v).rank() == 0 || g.ty(v).rank() == 1 && own != axis)
}

/// Which spatial axis an axis of data is.
fn spatial(axis: usize, rank: usize, channels_last: bool) -> Option<usize> {
    match channels_last {
        true if axis + 1 < rank => axis.checked_sub(1),
        true => None,
        false => axis.checked_sub(2),
    }
}

fn windows(axis: usize, (stride, dilation): (usize, usize), taps: i64, before: &Expr) -> Option<Need> {
    let (stride, dilation) = (i64::try_from(stride).ok()?, i64::try_from(dilation).ok()?);
    let span = (taps - 1).checked_mul(dilation)?.checked_add(1)?;
    Some(Need::Rows { axis, window: Window { stride, before: before.as_const()?, span } })
}

/// The axis of a reshaped operand that an axis of the result is: as long, with as many elements in front of it.
fn kept_axis(g: &Graph, from: ValueId, to: ValueId, axis: usize) -> Option<usize> {
    let (x, y) = (g.ty(from).const_dims()?, g.ty(to).const_dims()?);
    let front: usize = y.get(..axis)?.iter().product();
    (0..x.len()).find(|&i| x[i] == y[axis] && x[..i].iter().product::<usize>() == front && x[i] > 1)
}

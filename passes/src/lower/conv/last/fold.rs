//! Neighbouring points of a row as columns, so that results of few channels fill vectors.
//!
//! A convolution to `o` channels is one to `p * o` channels that steps over `p` points at a time: its windows reach
//! `p - 1` strides farther, and the weights of point `i` begin `i` strides behind those of the first; the others are
//! zero. Its results lie in memory as those of the original do.

use super::super::Layer;
use crate::layout::Sizes;
use crate::lower::out::{Index, Out};
use crate::lower::window::Axis;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
use sinter_ir::{Expr, Result, Tensor, TensorType};

/// Part of the time that must remain at most: multiplications with zero are made for it.
const WORTH: f64 = 0.75;

/// The convolution that takes several points for one.
pub struct Folded {
    pub weights: Tensor,
    pub ty: TensorType,
    pub axes: Vec<Axis>,
    /// Points per step.
    pub points: i64,
}

impl Folded {
    /// Where that is faster.
    pub fn new(layer: &Layer, w: &Tensor, axes: &[Axis]) -> Result<Option<Self>> {
        let lanes = i64::from(layer.cx.target.lanes(layer.num.acc.bits()));
        let (Some(axis), outputs) = (axes.last(), w.shape()[0] as i64) else { return Ok(None) };
        let Some(taps) = axis.taps.as_const().filter(|&k| k > 1) else { return Ok(None) };
        let float = layer.num.acc.is_float();
        if layer.op.group != 1
            || axis.dilation != 1
            || lanes % outputs != 0
            || layer.cx.exact_convolutions
            || !float
        {
            return Ok(None);
        }
        let count = Sizes::new(layer.cx.symbols).of(&axis.points);
        let time = |p: i64| {
            let vectors = (outputs * p + lanes - 1) / lanes;
            (count / p as f64).ceil() * (vectors * (taps + (p - 1) * axis.stride)) as f64
        };
        let all = (1..).map(|e| 1i64 << e).take_while(|p| p * outputs <= 2 * lanes);
        let best = all.map(|p| (time(p), p)).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, points)) = best.filter(|(t, _)| *t <= WORTH * time(1)) else { return Ok(None) };
        let mut axes = axes.to_vec();
        if let Some(axis) = axes.last_mut() {
            axis.points = axis.points.ceil_div(&points.into());
            axis.taps = (taps + (points - 1) * axis.stride).into();
            axis.stride *= points;
        }
        let weights =
            widened(w, taps as usize, points as usize, layer.op.strides.last().copied().unwrap_or(1))?;
        Ok(Some(Self { ty: TensorType::of(&weights), weights, axes, points }))
    }
}

/// The weights of all points of a step, `[point][output][..][tap]`.
fn widened(w: &Tensor, taps: usize, points: usize, stride: usize) -> Result<Tensor> {
    let size = w.dtype().bits() / 8;
    let wide = taps + (points - 1) * stride;
    let rows: Vec<&[u8]> = w.bytes().chunks_exact(taps * size).collect();
    let mut bytes = vec![0; points * rows.len() * wide * size];
    for (at, to) in bytes.chunks_exact_mut(wide * size).enumerate() {
        let from = (at / rows.len().max(1)) * stride * size;
        if let (Some(to), Some(row)) =
            (to.get_mut(from..from + taps * size), rows.get(at % rows.len().max(1)))
        {
            to.copy_from_slice(row);
        }
    }
    let mut shape = w.shape().to_vec();
    shape[0] *= points;
    if let Some(last) = shape.last_mut() {
        *last = wide;
    }
    Tensor::from_bytes(w.dtype(), shape, bytes)
}

/// The way of results back to the points that they belong to.
pub struct Unfold {
    /// Points per step.
    pub points: i64,
    /// Output channels.
    pub outputs: i64,
    /// Points of a row.
    pub row: Expr,
    /// Room for one vector, where it holds several points of several channels.
    pub memory: Option<(Buf, Reg)>,
}

impl Unfold {
    /// Takes what belongs to columns from `index`'s last on.
    pub fn put(
        &self,
        b: &mut KernelBuilder,
        index: &[Reg],
        (value, tail): (Reg, Option<Reg>),
        out: &mut Out,
    ) -> Result<()> {
        let [outer @ .., step, column] = index else { return Ok(()) };
        let ty = b.ty(value);
        let outputs = b.i64(self.outputs);
        let ahead = b.bin(BinOp::DivS, *column, outputs);
        let (size, row) = (b.i64(self.points), b.dim(&self.row));
        let first = b.mul(*step, size);
        let first = b.add(first, ahead);
        let single = |at: Reg| Index { at, axes: 1 };
        let place = |x: Reg, channel: Reg| -> Vec<Index> {
            outer.iter().copied().chain([x, channel]).map(single).collect()
        };
        let mut done = Ok(());
        if ty.lanes == 1 {
            let channel = b.bin(BinOp::RemS, *column, outputs);
            let inside = b.cmp(CmpOp::Lt, first, row);
            b.if_(inside, |b| done = out.put(b, &place(first, channel), value, None), |_| {});
            return done;
        }
        let lanes = i64::from(ty.lanes);
        let left = b.sub(row, first);
        let Some((buf, start)) = self.memory else {
            // One channel: a vector of points.
            let most = tail.unwrap_or_else(|| b.i64(lanes));
            let zero = b.i64(0);
            let index: Vec<Index> =
                outer.iter().copied().map(single).chain([Index { at: first, axes: 2 }]).collect();
            if self.row.modulo(&self.points.into()).is(0) {
                return out.put(b, &index, value, tail);
            }
            let some = b.cmp(CmpOp::Gt, left, zero);
            b.if_(
                some,
                |b| {
                    let count = b.bin(BinOp::MinS, left, most);
                    done = out.put(b, &index, value, Some(count));
                },
                |_| {},
            );
            return done;
        };
        b.store(buf, Addr::reg(start), value, None);
        let most = b.i64(self.points.min(lanes / self.outputs));
        let count = b.bin(BinOp::MinS, left, most);
        b.for_(Bound::Const(0), Bound::Reg(count), 1, LoopKind::Serial, |b, i| {
            let at = Addr::reg(start).plus(i, self.outputs);
            let value = b.load(ty.elem, ty.lanes, buf, at, Some(outputs));
            let (x, channel) = (b.add(first, i), b.i64(0));
            done = out.put(b, &place(x, channel), value, Some(outputs));
        });
        done
    }
}

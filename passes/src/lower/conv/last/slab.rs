//! Rows of an image copied with the zeros of their padding, in the form of the arithmetic.

use super::super::run;
use super::direct::Item;
use crate::lower::access;
use crate::lower::contract::gemm::{add_const, scaled};
use crate::lower::window::{Axis, Span};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, Elem, LoopKind, Reg};

/// A slab to fill.
pub struct Slab<'a> {
    pub item: &'a Item<'a>,
    /// Elements between points.
    pub pitch: i64,
    /// Offset of its first element.
    pub home: Reg,
    pub buf: Buf,
    /// Taps inside of the outer axes but the last.
    pub spans: &'a [Span],
}

impl Slab<'_> {
    /// Copies all rows that lie inside the image; sums leave out the others.
    pub fn fill(&self, b: &mut KernelBuilder) {
        let image = b.dim(&self.item.plan.image());
        let image = b.mul(self.item.at[0], image);
        let none = b.i64(0);
        self.planes(b, 0, image, none);
    }
    /// Taps of outer axis `level` and those inside; `plane` counts what has been passed.
    fn planes(&self, b: &mut KernelBuilder, level: usize, from: Reg, plane: Reg) {
        let plan = self.item.plan;
        let Some(span) = self.spans.get(level) else { return self.rows(b, from, plane) };
        let axis = &plan.outer[level];
        b.for_(span.lo.clone(), span.hi.clone(), 1, LoopKind::Serial, |b, t| {
            let shift = scaled(b, t, axis.dilation);
            let position = b.add(span.start, shift);
            let pitch = b.dim(&plan.pitch(level));
            let ahead = b.mul(position, pitch);
            let from = b.add(from, ahead);
            let taps = b.dim(&axis.taps);
            let up = b.mul(plane, taps);
            let plane = b.add(up, t);
            self.planes(b, level + 1, from, plane);
        });
    }
    /// The rows of one plane.
    fn rows(&self, b: &mut KernelBuilder, from: Reg, plane: Reg) {
        let plan = self.item.plan;
        let width = b.dim(&plan.width());
        let line = scaled(b, width, self.pitch);
        let Some(axis) = plan.outer.last() else { return self.line(b, Some(from), self.home) };
        let rows = b.dim(&plan.slab_rows());
        let first = b.mul(plane, rows);
        let (lo, hi) = self.item.row_span(b, axis);
        let before = b.dim(&axis.before);
        let start = scaled(b, lo, axis.stride);
        let start = b.sub(start, before);
        let reach = reach(b, axis, (lo, hi));
        let (zero, size) = (b.i64(0), b.dim(&axis.size));
        let under = b.sub(zero, start);
        let lo = b.bin(BinOp::MaxS, under, zero);
        let room = b.sub(size, start);
        let hi = b.bin(BinOp::MinS, room, reach);
        let pitch = b.dim(&plan.pitch(plan.outer.len() - 1));
        let lines = |b: &mut KernelBuilder, (lo, hi): (Reg, Reg), inside: bool| {
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, r| {
                let position = b.add(start, r);
                let ahead = b.mul(position, pitch);
                let from = inside.then(|| b.add(from, ahead));
                let to = b.add(first, r);
                let to = b.mul(to, line);
                let to = b.add(self.home, to);
                self.line(b, from, to);
            });
        };
        lines(b, (lo, hi), true);
        if plan.fills_rows() {
            let above = b.bin(BinOp::MinS, lo, reach);
            let below = b.bin(BinOp::MaxS, hi, above);
            lines(b, (zero, above), false);
            lines(b, (below, reach), false);
        }
    }
    /// One row: zeros, points inside, zeros; all zeros without a source.
    fn line(&self, b: &mut KernelBuilder, from: Option<Reg>, to: Reg) {
        let plan = self.item.plan;
        let (lo, hi) = self.item.span(b);
        let before = b.dim(&plan.inner.before);
        let start = scaled(b, lo, plan.inner.stride);
        let start = b.sub(start, before);
        let (zero, width, size) = (b.i64(0), b.dim(&plan.width()), b.dim(&plan.inner.size));
        // Of a block for many points, only what the points of this item read.
        let reach = reach(b, &plan.inner, (lo, hi));
        let reach = b.bin(BinOp::MaxS, reach, zero);
        let width = b.bin(BinOp::MinS, width, reach);
        let Some(from) = from else { return self.points(b, None, to, (zero, width)) };
        let under = b.sub(zero, start);
        let first = b.bin(BinOp::MaxS, under, zero);
        let first = b.bin(BinOp::MinS, first, width);
        let room = b.sub(size, start);
        let last = b.bin(BinOp::MaxS, room, first);
        let last = b.bin(BinOp::MinS, last, width);
        let ahead = scaled(b, start, plan.source());
        let from = b.add(from, ahead);
        self.points(b, None, to, (zero, first));
        self.points(b, Some(from), to, (first, last));
        self.points(b, None, to, (last, width));
    }
    /// Points `lo .. hi` of a row: zeros without a source.
    fn points(&self, b: &mut KernelBuilder, from: Option<Reg>, to: Reg, (lo, hi): (Reg, Reg)) {
        let channels = self.item.plan.channels;
        if channels == self.pitch && self.item.plan.bytes.is_none() {
            let (lo, hi) = (scaled(b, lo, channels), scaled(b, hi, channels));
            return self.elements(b, (from, to), (lo, hi));
        }
        let each = |b: &mut KernelBuilder, lo, hi, whole: bool| {
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, p| {
                let skip = scaled(b, p, self.pitch);
                let to = b.add(to, skip);
                let from = from.map(|f| {
                    let skip = scaled(b, p, self.item.plan.source());
                    b.add(f, skip)
                });
                if let Some(bytes) = self.item.plan.bytes {
                    return self.words(b, (from, to), (!whole).then_some(bytes));
                }
                let (zero, n) = (b.i64(0), b.i64(channels));
                self.elements(b, (from, to), (zero, n));
            });
        };
        let (Some(bytes), true) = (self.item.plan.bytes, from.is_some()) else {
            return each(b, lo, hi, false);
        };
        // Bytes of the points behind fill the last word, as far as there are any: their weights are zeros.
        let others = (4 * channels - bytes + bytes - 1) / bytes;
        let end = add_const(b, hi, -others);
        let end = b.bin(BinOp::MaxS, end, lo);
        each(b, lo, end, true);
        each(b, end, hi, false);
    }
    /// A point as whole words; `count`: its bytes, where none may be read behind them.
    fn words(&self, b: &mut KernelBuilder, (from, to): (Option<Reg>, Reg), count: Option<i64>) {
        let plan = self.item.plan;
        let lanes = 4 * plan.channels as u16;
        let value = match from {
            Some(f) => {
                let tail = count.map(|n| b.i64(n));
                let x = b.load(Elem::I8, lanes, self.item.x, Addr::reg(f), tail);
                let flip = access::whole(b, Elem::I8, lanes, 0x80);
                if plan.layer.num.flips() { b.bin(BinOp::Xor, x, flip) } else { x }
            }
            None => access::whole(b, Elem::I8, lanes, plan.zero),
        };
        b.store(self.buf, Addr { terms: vec![(to, 4)], offset: 0 }, value, None);
    }
    fn elements(&self, b: &mut KernelBuilder, (from, to): (Option<Reg>, Reg), (lo, hi): (Reg, Reg)) {
        let num = self.item.plan.layer.num;
        let lanes = self.item.plan.layer.cx.target.lanes(num.acc.bits());
        let fill = i64::from(i32::from_le_bytes([self.item.plan.zero as u8; 4]));
        run::fill(b, (num, lanes), from.map(|f| (self.item.x, f)), (self.buf, to), (lo, hi), fill);
    }
}

/// Positions that the windows of the points `lo .. hi` reach.
fn reach(b: &mut KernelBuilder, axis: &Axis, (lo, hi): (Reg, Reg)) -> Reg {
    let count = b.sub(hi, lo);
    let steps = add_const(b, count, -1);
    let steps = scaled(b, steps, axis.stride);
    let window = b.dim(&axis.window());
    b.add(steps, window)
}

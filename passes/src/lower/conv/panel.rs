//! Gathers the inputs of a few neighbouring output points into a `[k][nr]` panel, so that the register tile
//! reads them as whole vectors whatever the stride, dilation and padding are. One panel serves all output
//! channels of its group; it stays in the first-level cache.

use super::super::contract::gemm::{add_const, scaled};
use super::super::contract::micro::{Tile, copy};
use super::super::contract::num::Num;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg, Ty};

/// One spatial axis: output point `q` under tap `t` reads position `q * stride + base + t * dilation`.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Number of output points.
    pub points: Reg,
    /// Input positions per output point.
    pub stride: i64,
    /// Position of point 0, tap 0.
    pub base: Reg,
    /// Distance of taps; may be negative.
    pub dilation: i64,
    /// Number of taps.
    pub taps: Reg,
    /// Number of input positions.
    pub size: Reg,
    /// Elements between input positions.
    pub pitch: Reg,
}

/// What a panel is gathered from and to.
#[derive(Debug, Clone)]
pub struct Gather<'a> {
    /// Spatial axes, outermost first.
    pub axes: &'a [Axis],
    /// Input.
    pub x: (Buf, Num),
    /// Element offset of the first channel.
    pub origin: Reg,
    /// Number of channels.
    pub channels: Reg,
    /// Elements between channels.
    pub channel_pitch: Reg,
    /// The panel, elements of the arithmetic type, k in the order (channel, taps..).
    pub panel: Buf,
    /// Element offset of the panel.
    pub at: Reg,
    /// Register tile it is meant for.
    pub tile: Tile,
}

impl Gather<'_> {
    /// Emits the gathering of points `first .. first + nr` (linear over all axes; points beyond `count` repeat
    /// the last).
    pub fn emit(&self, b: &mut KernelBuilder, first: Reg, count: Reg) {
        let Some(last) = self.axes.last().filter(|a| a.stride == 1) else {
            return self.by_points(b, first, count);
        };
        // Whole vectors where the tile lies in one row and no tap leaves the row.
        let nr = self.tile.nr() as i64;
        let coords = self.coords(b, first);
        let (zero, one) = (b.i64(0), b.i64(1));
        let q = coords.last().copied().unwrap_or(zero);
        let end = add_const(b, q, nr);
        let in_row = b.cmp(CmpOp::Le, end, last.points);
        let from = b.add(q, last.base);
        let reach = b.sub(last.taps, one);
        let reach = scaled(b, reach, last.dilation);
        let (back, ahead) = (b.bin(BinOp::MinS, reach, zero), b.bin(BinOp::MaxS, reach, zero));
        let lo = b.add(from, back);
        let hi = b.add(from, ahead);
        let hi = add_const(b, hi, nr);
        let (lo_ok, hi_ok) = (b.cmp(CmpOp::Ge, lo, zero), b.cmp(CmpOp::Le, hi, last.size));
        let inside = b.bin(BinOp::And, lo_ok, hi_ok);
        let whole = b.bin(BinOp::And, inside, in_row);
        b.if_(whole, |b| self.by_vectors(b, &coords), |b| self.by_points(b, first, count));
    }

    fn coords(&self, b: &mut KernelBuilder, point: Reg) -> Vec<Reg> {
        let mut rest = point;
        let mut out = Vec::with_capacity(self.axes.len());
        for (i, a) in self.axes.iter().enumerate().rev() {
            if i == 0 {
                out.push(rest);
            } else {
                out.push(b.bin(BinOp::RemS, rest, a.points));
                rest = b.bin(BinOp::DivS, rest, a.points);
            }
        }
        out.reverse();
        out
    }

    /// Position under tap 0 on every axis.
    fn starts(&self, b: &mut KernelBuilder, coords: &[Reg]) -> Vec<Reg> {
        let mut start = |(a, &q): (&Axis, &Reg)| {
            let s = scaled(b, q, a.stride);
            b.add(s, a.base)
        };
        self.axes.iter().zip(coords).map(&mut start).collect()
    }

    fn by_vectors(&self, b: &mut KernelBuilder, coords: &[Reg]) {
        let starts = self.starts(b, coords);
        let ok = b.bool(1, true);
        let zero = b.i64(0);
        let copy = Copy {
            starts: &starts,
            to: self.at,
            lanes: self.tile.lanes,
            vectors: self.tile.nv,
            row_checked: true,
        };
        self.nest(b, 0, &copy, (self.origin, ok, zero));
    }

    fn by_points(&self, b: &mut KernelBuilder, first: Reg, count: Reg) {
        let last = add_const(b, count, -1);
        b.for_(Bound::Const(0), Bound::Const(self.tile.nr() as i64), 1, LoopKind::Serial, |b, j| {
            let p = b.add(first, j);
            let p = b.bin(BinOp::MinS, p, last);
            let coords = self.coords(b, p);
            let starts = self.starts(b, &coords);
            let ok = b.bool(1, true);
            let zero = b.i64(0);
            let to = b.add(self.at, j);
            let copy = Copy { starts: &starts, to, lanes: 1, vectors: 1, row_checked: false };
            self.nest(b, 0, &copy, (self.origin, ok, zero));
        });
    }

    /// Loops over the taps of `axis` and those inside; then copies all channels of one tap.
    fn nest(&self, b: &mut KernelBuilder, axis: usize, c: &Copy, (from, ok, tap): (Reg, Reg, Reg)) {
        let Some(a) = self.axes.get(axis) else {
            let nr = self.tile.nr() as i64;
            let to = scaled(b, tap, nr);
            let to = b.add(to, c.to);
            return b.if_(ok, |b| self.channels(b, c, to, Some(from)), |b| self.channels(b, c, to, None));
        };
        b.for_(Bound::Const(0), Bound::Reg(a.taps), 1, LoopKind::Serial, |b, t| {
            let shift = scaled(b, t, a.dilation);
            let pos = b.add(c.starts[axis], shift);
            let ok = if c.row_checked && axis + 1 == self.axes.len() {
                ok
            } else {
                let inside = b.cmp(CmpOp::LtU, pos, a.size);
                b.bin(BinOp::And, ok, inside)
            };
            let step = b.mul(pos, a.pitch);
            let from = b.add(from, step);
            let tap = b.mul(tap, a.taps);
            let tap = b.add(tap, t);
            self.nest(b, axis + 1, c, (from, ok, tap));
        });
    }

    /// Copies the elements of all channels, or zeros.
    fn channels(&self, b: &mut KernelBuilder, c: &Copy, to: Reg, from: Option<Reg>) {
        let (buf, num) = self.x;
        let (to, from) = (copy(b, to), from.map(|f| copy(b, f)));
        let nr = b.i64(self.tile.nr() as i64);
        let pitch = self.axes.iter().fold(nr, |p, a| b.mul(p, a.taps));
        let zero = b.zero(Ty { elem: num.acc, lanes: c.lanes });
        b.for_(Bound::Const(0), Bound::Reg(self.channels), 1, LoopKind::Serial, |b, _| {
            for v in 0..c.vectors {
                let o = (v * usize::from(c.lanes)) as i64;
                let value = from.map_or(zero, |f| num.load(b, c.lanes, buf, Addr::reg(f).offset(o), None));
                b.store(self.panel, Addr::reg(to).offset(o), value, None);
            }
            let next = b.add(to, pitch);
            b.copy_to(to, next);
            if let Some(f) = from {
                let next = b.add(f, self.channel_pitch);
                b.copy_to(f, next);
            }
        });
    }
}

/// How one pass over the taps copies.
struct Copy<'a> {
    starts: &'a [Reg],
    to: Reg,
    lanes: u16,
    vectors: usize,
    /// The innermost axis needs no check.
    row_checked: bool,
}

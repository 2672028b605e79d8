//! Loops over the points of channels-last data, with lanes along the channels.
//!
//! Whole rows of points are handed to threads. Up to four neighbouring points whose windows lie inside share the
//! taps, so that what is loaded per tap (weights) serves all of them.

use super::contract::gemm::{add_const, unravel};
use super::index::Idx;
use super::out::Out;
use super::window::{Axis, Tap, Window, for_each_tap, for_each_window_of};
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Bound, LoopKind, Reg};
use sinter_ir::{Expr, Result};

/// What the loops run over.
#[derive(Debug)]
pub struct Nest<'a> {
    /// Outer dims: images, and groups of channels if they are apart.
    pub outer: &'a [Expr],
    /// Spatial axes.
    pub axes: &'a [Axis],
    /// Channels of one group.
    pub channels: &'a Expr,
    /// Channels at a time.
    pub lanes: u16,
}

/// A few neighbouring points and a vector of channels.
#[derive(Debug)]
pub struct Block<'a> {
    /// Coordinates of the outer dims.
    pub outer: &'a [Reg],
    /// The points: one per vector of the window, whose own lanes are 1.
    pub points: &'a Window<'a>,
    /// First channel.
    pub channel: Reg,
    /// Channels.
    pub lanes: u16,
    /// How many of them count, if not all.
    pub tail: Option<Reg>,
}

/// Computes the results of a block.
pub type Compute<'f> = dyn FnMut(&mut KernelBuilder, &Block) -> Result<()> + 'f;

impl Nest<'_> {
    /// Emits the loops.
    pub fn emit(&self, b: &mut KernelBuilder, f: &mut Compute) -> Result<()> {
        let rows = (self.axes.len() > 1).then(|| &self.axes[0]);
        let split: Vec<Expr> = self.outer.iter().chain(rows.map(|a| &a.points)).cloned().collect();
        let mut done = Ok(());
        b.parallel(&product(&split), |b, p| {
            let mut at = unravel(b, p, &split);
            let (mut first, mut spans, mut rest) = (vec![], vec![], self.axes);
            if let (Some(axis), Some(row)) = (rows, at.get(self.outer.len()).copied()) {
                at.truncate(self.outer.len());
                spans.push(axis.inside(b, row));
                first.push(row);
                rest = &self.axes[1..];
            }
            done = for_each_window_of(b, rest, 1, (first, spans), &mut |b, w| self.channels(b, &at, w, f));
        });
        done
    }

    /// Whole vectors of channels, then the rest.
    fn channels(&self, b: &mut KernelBuilder, outer: &[Reg], points: &Window, f: &mut Compute) -> Result<()> {
        let lanes = i64::from(self.lanes);
        let whole = self.channels.clone() - self.channels.modulo(&lanes.into());
        let mut done = Ok(());
        let mut block = |b: &mut KernelBuilder, channel: Reg, tail: Option<Reg>| {
            let block = Block { outer, points, channel, lanes: self.lanes, tail };
            done = done.clone().and_then(|()| f(b, &block));
        };
        if !whole.is(0) {
            let end = b.bound(&whole);
            b.for_(Bound::Const(0), end, lanes, LoopKind::Serial, |b, c| block(b, c, None));
        }
        let left = self.channels.clone() - whole.clone();
        if !left.is(0) {
            // At most one trip.
            let (lo, hi) = (b.bound(&whole), b.bound(self.channels));
            b.for_(lo, hi, lanes, LoopKind::Serial, |b, c| {
                let left = b.dim(&left);
                block(b, c, Some(left));
            });
        }
        done
    }
}

impl Block<'_> {
    /// Emits `f` for every tap inside, with the number of the tap and the operand's position (in points, from the
    /// image's first) for each of the block's points.
    pub fn for_each_tap(
        &self,
        b: &mut KernelBuilder,
        axes: &[Axis],
        f: &mut dyn FnMut(&mut KernelBuilder, &Idx, &[Idx]),
    ) {
        let none = (Idx::default(), Idx::default());
        for_each_tap(b, axes, self.points.spans, none, &mut |b, t: &Tap| {
            let ahead = |v: usize| t.input.plus(&Idx::at(v as i64 * self.points.pitch));
            let at: Vec<Idx> = (0..self.points.vectors).map(ahead).collect();
            f(b, &t.tap, &at);
        });
    }
    /// Hands the results on, one per point. `image` and `channel` are coordinates of the result.
    pub fn put(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        (image, channel): (Reg, Reg),
        values: &[Reg],
    ) -> Result<()> {
        for (v, &value) in values.iter().enumerate() {
            let mut idx: Vec<Idx> = [&[image], self.points.at].concat().into_iter().map(Idx::reg).collect();
            if let Some(last) = idx.last_mut() {
                let point = last.materialise(b);
                *last = Idx::reg(add_const(b, point, v as i64));
            }
            idx.push(Idx { step: i64::from(self.lanes > 1), ..Idx::reg(channel) });
            out.end.emit(b, &idx, value, self.tail)?;
        }
        Ok(())
    }
}

/// The offset of an element: `(image * plane + point) * pitch + channel`.
pub fn offset(
    b: &mut KernelBuilder,
    (image, plane): (Reg, &Expr),
    point: &Idx,
    pitch: &Expr,
    channel: Reg,
) -> Idx {
    let point = Idx::reg(image).times_expr(b, plane).map_or(Idx::default(), |i| i.plus(point));
    let at = match pitch.as_const() {
        Some(c) => point.times(c),
        None => {
            let (p, c) = (point.materialise(b), b.dim(pitch));
            Idx::reg(b.mul(p, c))
        }
    };
    at.plus(&Idx::reg(channel))
}

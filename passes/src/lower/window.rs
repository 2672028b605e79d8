//! Loops over sliding windows of one channel: depthwise convolution and pooling.
//!
//! Tap ranges are clamped once per row, and for the innermost axis once per point; points whose windows lie
//! inside the row are done in whole vectors when the stride is 1, else a few at a time.

use super::contract::gemm::{add_const, scaled};
use super::contract::micro::copy;
use super::index::Idx;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, LoopKind, Reg};
use sinter_ir::{Expr, Result};

/// One spatial axis: output `o` under tap `t` reads input `o * stride + t * dilation - before`.
#[derive(Debug, Clone)]
pub struct Axis {
    /// Input positions.
    pub size: Expr,
    /// Output points.
    pub points: Expr,
    /// Taps.
    pub taps: Expr,
    /// Input positions per output point.
    pub stride: i64,
    /// Input positions per tap.
    pub dilation: i64,
    /// Padding in front.
    pub before: Expr,
}

/// Taps of one axis that lie inside the input.
#[derive(Debug, Clone)]
pub struct Span {
    /// Input position of tap 0; may be outside.
    pub start: Reg,
    /// First tap inside.
    pub lo: Bound,
    /// One past the last.
    pub hi: Bound,
}

/// A window, or the windows of neighbouring points on the innermost axis.
#[derive(Debug)]
pub struct Window<'a> {
    /// Coordinates of the (first) output point.
    pub at: &'a [Reg],
    /// Taps inside, per axis.
    pub spans: &'a [Span],
    /// Lanes per vector; 1: one point.
    pub lanes: u16,
    /// Vectors.
    pub vectors: usize,
    /// Input elements from one vector to the next.
    pub pitch: i64,
}

impl Axis {
    /// An axis of one position that a window of one tap reads.
    pub fn single() -> Self {
        Self { size: 1.into(), points: 1.into(), taps: 1.into(), stride: 1, dilation: 1, before: 0.into() }
    }
    fn start(&self, b: &mut KernelBuilder, o: Reg) -> Reg {
        let s = scaled(b, o, self.stride);
        match self.before.as_const() {
            Some(p) => add_const(b, s, -p),
            None => {
                let p = b.dim(&self.before);
                b.sub(s, p)
            }
        }
    }
    /// The clamped taps of one point.
    fn span(&self, b: &mut KernelBuilder, o: Reg) -> Span {
        let start = self.start(b, o);
        let (zero, taps, size) = (b.i64(0), b.dim(&self.taps), b.dim(&self.size));
        let under = b.sub(zero, start);
        let lo = self.tap_count(b, under);
        let lo = b.bin(BinOp::MaxS, lo, zero);
        let room = b.sub(size, start);
        let hi = self.tap_count(b, room);
        let hi = b.bin(BinOp::MinS, hi, taps);
        Span { start, lo: Bound::Reg(lo), hi: Bound::Reg(hi) }
    }
    /// The taps of a point that lie inside.
    pub fn inside(&self, b: &mut KernelBuilder, o: Reg) -> Span {
        if self.unpadded() { full(b, self, o) } else { self.span(b, o) }
    }
    /// Taps from `start` on whose position is below `end`.
    pub fn taps_below(&self, b: &mut KernelBuilder, start: Reg, end: Reg) -> Reg {
        let room = b.sub(end, start);
        let n = self.tap_count(b, room);
        let taps = b.dim(&self.taps);
        b.bin(BinOp::MinS, n, taps)
    }
    /// Taps below a distance: `ceil(distance / dilation)`, for negative distances anything not positive.
    fn tap_count(&self, b: &mut KernelBuilder, distance: Reg) -> Reg {
        if self.dilation == 1 {
            return distance;
        }
        let up = add_const(b, distance, self.dilation - 1);
        let d = b.i64(self.dilation);
        b.bin(BinOp::DivS, up, d)
    }
    /// Input positions from the first tap of a point to its last.
    pub fn window(&self) -> Expr {
        (self.taps.clone() - 1.into()) * self.dilation.into() + 1.into()
    }
    /// Whether no tap of any point can lie outside.
    pub fn unpadded(&self) -> bool {
        let reach = (self.points.clone() - 1.into()) * self.stride.into() + self.window();
        let room = self.size.clone() - reach + self.before.clone();
        self.before.is(0) && room.as_const().is_some_and(|r| r >= 0)
    }
    /// The points `[lo, hi)` whose windows lie inside.
    pub fn interior(&self) -> (Expr, Expr) {
        let stride = Expr::from(self.stride);
        let lo = self.before.ceil_div(&stride).max_of(&0.into()).min_of(&self.points);
        let hi = (self.size.clone() + self.before.clone() - self.window()).div(&stride) + 1.into();
        (lo.clone(), hi.min_of(&self.points).max_of(&lo))
    }
}

/// Emits loops over all points of one channel. `f` computes the results of a [`Window`].
pub fn for_each_window(
    b: &mut KernelBuilder,
    axes: &[Axis],
    lanes: u16,
    f: &mut dyn FnMut(&mut KernelBuilder, &Window) -> Result<()>,
) -> Result<()> {
    for_each_window_of(b, axes, lanes, (vec![], vec![]), f)
}

/// The same with the coordinates and spans of the axes in front of `axes` given.
pub fn for_each_window_of(
    b: &mut KernelBuilder,
    axes: &[Axis],
    lanes: u16,
    (mut at, mut spans): (Vec<Reg>, Vec<Span>),
    f: &mut dyn FnMut(&mut KernelBuilder, &Window) -> Result<()>,
) -> Result<()> {
    outer(b, axes, lanes, &mut at, &mut spans, f)
}

fn outer(
    b: &mut KernelBuilder,
    axes: &[Axis],
    lanes: u16,
    at: &mut Vec<Reg>,
    spans: &mut Vec<Span>,
    f: &mut dyn FnMut(&mut KernelBuilder, &Window) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    match axes {
        [] => {}
        [last] => done = inner(b, last, lanes, at, spans, f),
        [axis, rest @ ..] => b.range(&axis.points, |b, o| {
            let span = axis.inside(b, o);
            at.push(o);
            spans.push(span);
            done = outer(b, rest, lanes, at, spans, f);
            at.pop();
            spans.pop();
        }),
    }
    done
}

fn full(b: &mut KernelBuilder, axis: &Axis, o: Reg) -> Span {
    let start = axis.start(b, o);
    Span { start, lo: Bound::Const(0), hi: b.bound(&axis.taps) }
}

/// One row of points.
fn inner(
    b: &mut KernelBuilder,
    axis: &Axis,
    lanes: u16,
    at: &[Reg],
    spans: &[Span],
    f: &mut dyn FnMut(&mut KernelBuilder, &Window) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    let mut window = |b: &mut KernelBuilder, o: Reg, span: Span, lanes: u16, vectors: usize| {
        let (at, spans) = ([at, &[o]].concat(), [spans, &[span]].concat());
        let w = Window { at: &at, spans: &spans, lanes, vectors, pitch: axis.stride * i64::from(lanes) };
        done = done.clone().and_then(|()| f(b, &w));
    };
    let lanes = if axis.stride == 1 { lanes } else { 1 };
    let (lo, hi) = axis.interior();
    let (lo, hi, points) = (b.dim(&lo), b.dim(&hi), b.dim(&axis.points));
    let zero = b.i64(0);
    let o = copy(b, zero);
    b.while_(
        |b| b.cmp(CmpOp::Lt, o, points),
        |b| {
            // Widest first: its vectors (with a stride: its elements) share each weight.
            let fits = |b: &mut KernelBuilder, n: i64| {
                let end = add_const(b, o, n);
                let (l, h) = (b.cmp(CmpOp::Ge, o, lo), b.cmp(CmpOp::Le, end, hi));
                b.bin(BinOp::And, l, h)
            };
            let step = b.reg(sinter_ir::tile::Elem::I64, 1);
            let mut run = |b: &mut KernelBuilder, lanes: u16, vectors: usize| {
                let n = i64::from(lanes) * vectors as i64;
                let span = if n == 1 { axis.span(b, o) } else { full(b, axis, o) };
                window(b, o, span, lanes, vectors);
                let n = b.i64(n);
                b.copy_to(step, n);
            };
            let run = std::cell::RefCell::new(&mut run);
            let wide = fits(b, WIDE as i64 * i64::from(lanes));
            b.if_(
                wide,
                |b| run.borrow_mut()(b, lanes, WIDE),
                |b| {
                    if lanes == 1 {
                        return run.borrow_mut()(b, 1, 1);
                    }
                    let narrow = fits(b, lanes.into());
                    b.if_(narrow, |b| run.borrow_mut()(b, lanes, 1), |b| run.borrow_mut()(b, 1, 1));
                },
            );
            let next = b.add(o, step);
            b.copy_to(o, next);
        },
    );
    done
}

/// Vectors per wide step.
const WIDE: usize = 4;

/// A tap and what it reads.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    /// Input position per axis.
    pub pos: Vec<Idx>,
    /// Row-major offset of that position, from the origin given.
    pub input: Idx,
    /// Row-major number of the tap, from the origin given.
    pub tap: Idx,
}

/// Taps of the innermost axis up to this number are written out when all of them are inside.
const UNROLL: i64 = 7;

/// Emits `f` for every tap inside. Offsets start at `input` and `tap`; what does not change along the innermost
/// axis is computed outside of its loop.
pub fn for_each_tap(
    b: &mut KernelBuilder,
    axes: &[Axis],
    spans: &[Span],
    (input, tap): (Idx, Idx),
    f: &mut dyn FnMut(&mut KernelBuilder, &Tap),
) {
    taps(b, axes, spans, Tap { pos: vec![], input, tap }, f);
}

fn taps(
    b: &mut KernelBuilder,
    axes: &[Axis],
    spans: &[Span],
    at: Tap,
    f: &mut dyn FnMut(&mut KernelBuilder, &Tap),
) {
    let ([axis, axes @ ..], [span, spans @ ..]) = (axes, spans) else { return f(b, &at) };
    let last = axes.is_empty();
    let mut base = at.clone();
    if last {
        base.input = Idx::reg(at.input.plus(&Idx::reg(span.start)).materialise(b));
    }
    let mut visit = |b: &mut KernelBuilder, t: Idx| {
        let shift = t.times(axis.dilation);
        let pos = shift.plus(&Idx::reg(span.start));
        let mut own = base.clone();
        own.pos.push(pos.clone());
        if last {
            (own.input, own.tap) = (base.input.plus(&shift), base.tap.plus(&t));
        } else {
            let (size, count) = (
                b.dim(&product(axes.iter().map(|a| &a.size))),
                b.dim(&product(axes.iter().map(|a| &a.taps))),
            );
            let (p, t) = (pos.materialise(b), t.materialise(b));
            let (p, t) = (b.mul(p, size), b.mul(t, count));
            own.input = Idx::reg(base.input.plus(&Idx::reg(p)).materialise(b));
            own.tap = Idx::reg(base.tap.plus(&Idx::reg(t)).materialise(b));
        }
        taps(b, axes, spans, own, f);
    };
    match (&span.lo, &span.hi) {
        (Bound::Const(lo), Bound::Const(hi)) if last && hi - lo <= UNROLL => {
            (*lo..*hi).for_each(|t| visit(b, Idx::at(t)))
        }
        (lo, hi) => b.for_(lo.clone(), hi.clone(), 1, LoopKind::Serial, |b, t| visit(b, Idx::reg(t))),
    }
}

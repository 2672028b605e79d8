//! Convolution of every channel by itself, channels last: lanes along the channels, several neighbouring points at a
//! time, so that a weight serves all of them and an element all points whose windows hold it.
//!
//! Rows of points are work items. With known sizes a row is cut into tiles whose taps beyond the image are left out
//! of the code of the first and the last tile; otherwise points at its ends are done one by one.

use super::super::Layer;
use super::columns::{Columns, Rows};
use crate::lower::Lowered;
use crate::lower::contract::gemm::{add_const, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::contract::nest::{for_tiles, reg};
use crate::lower::contract::num::Num;
use crate::lower::contract::{pack, slots};
use crate::lower::out::{Index, Out};
use crate::lower::window::{Axis, Span};
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, Ty};
use sinter_ir::{DType, Expr, Result, Tensor, TensorType};

/// Taps of a row that are written out; more are looped over.
const WRITTEN: i64 = 7;

/// Lowers a depthwise convolution.
pub fn lower(layer: &Layer, w: &Tensor, axes: &[Axis]) -> Result<Lowered> {
    if layer.cx.target.halves() && short(layer, w) {
        let w = Tensor::from_i64(DType::I16, w.shape().to_vec(), &w.to_i64()?)?;
        let (num, weights) = (Num { acc: Elem::I16, ..layer.num }, Num::plain(DType::I16, Elem::I16));
        let wt = TensorType::of(&w);
        return lower_as(&Layer { num, weights, wt: &wt, ..*layer }, &w, axes);
    }
    lower_as(layer, w, axes)
}

/// Whether no sum of bytes leaves the range of 16 bits.
fn short(layer: &Layer, w: &Tensor) -> bool {
    let (Some(zero), Some((lo, hi))) = (layer.op.zero, layer.xt.dtype.int_range()) else { return false };
    let hi = layer.op.largest.unwrap_or(hi as i64);
    // Padding adds nothing.
    let (least, most) = ((lo as i64 - zero).min(0), (hi - zero).max(0));
    let taps = w.shape()[2..].iter().product::<usize>().max(1);
    let fits = |w: &[u8]| {
        let ends = w.iter().map(|&w| i64::from(w as i8)).map(|w| [w * least, w * most]);
        let (low, high) = ends.fold((0, 0), |(low, high), [a, b]| (low + a.min(b), high + a.max(b)));
        low >= i16::MIN.into() && high <= i16::MAX.into()
    };
    w.dtype() == DType::I8 && w.bytes().chunks(taps).all(fits)
}

fn lower_as(layer: &Layer, w: &Tensor, axes: &[Axis]) -> Result<Lowered> {
    let (channels, taps) = (w.shape()[0], w.shape()[2..].iter().product::<usize>());
    let Some((inner, outer)) = axes.split_last() else {
        return Err(sinter_ir::Diag::bug("a convolution without axes"));
    };
    let work: Vec<Expr> = layer.xt.dims[..1].iter().chain(outer.iter().map(|a| &a.points)).cloned().collect();
    let trips = product(&work);
    build(layer.cx, layer.body, &layer.name("dwconv_last"), |k| {
        let lanes = if k.out.is_scalar() { 1 } else { layer.cx.target.lanes(layer.num.acc.bits()) };
        let width = usize::from(lanes);
        let vectors = (channels.div_ceil(width) * taps) as i64;
        let ops = (trips.clone() * inner.points.clone()).as_const().and_then(|p| p.checked_mul(vectors));
        let slots = slots::for_work(layer.cx.target, &trips, ops.as_ref());
        // [vector of channels][tap][lane]
        let columns = Columns::of(layer, w, axes, width)?.filter(|_| Row::tiles(inner, layer).is_some());
        let (packed, dtype) = match &columns {
            Some(c) => (c.weights.clone(), DType::I32),
            None => {
                let packed = pack::panels(w, (1, taps, channels), width, |_, tap, c| Some(c * taps + tap))?;
                (packed, layer.wt.dtype)
            }
        };
        let weights = k.source(Source::Packed(packed, dtype))?;
        let first = columns.as_ref().and_then(|c| c.start.clone());
        let first = first.map(|s| k.source(Source::Packed(s, DType::I32))).transpose()?;
        let x = k.source(Source::Value(layer.x))?;
        let Kernel { b, out, .. } = k;
        let mut done = Ok(());
        slots::for_each(
            b,
            slots,
            &trips,
            |_, _| (),
            |b, (), t| {
                let at = unravel(b, t, &work);
                let spans: Vec<Span> = outer.iter().zip(&at[1..]).map(|(a, &o)| a.inside(b, o)).collect();
                let image = b.dim(&product(&layer.xt.dims[1..]));
                let image = b.mul(at[0], image);
                let mut origin = image;
                let mut steps = vec![];
                for (i, span) in spans.iter().enumerate() {
                    let pitch = b.dim(&product(&layer.xt.dims[2 + i..]));
                    let from = b.mul(span.start, pitch);
                    origin = b.add(origin, from);
                    steps.push(scaled(b, pitch, outer[i].dilation));
                }
                let rows = columns.as_ref().zip(outer.last()).map(|(c, axis)| {
                    let pitch = b.dim(&product(&layer.xt.dims[1 + outer.len()..]));
                    Rows::under(b, c, (x, weights, first), lanes, axis, at[outer.len()], (image, pitch))
                });
                let row = Row {
                    rows: rows.as_ref(),
                    layer,
                    inner,
                    outer,
                    channels: channels as i64,
                    taps: taps as i64,
                    lanes,
                    weights,
                    x,
                    at: &at,
                    spans: &spans,
                    origin,
                    steps: &steps,
                };
                done = row.emit(b, out);
            },
        );
        done
    })
}

/// One row of points.
struct Row<'a> {
    /// Rows to be taken by columns.
    rows: Option<&'a Rows<'a>>,
    layer: &'a Layer<'a>,
    inner: &'a Axis,
    outer: &'a [Axis],
    channels: i64,
    taps: i64,
    lanes: u16,
    weights: Buf,
    x: Buf,
    /// Coordinates of the image and the row.
    at: &'a [Reg],
    /// Taps of the outer axes.
    spans: &'a [Span],
    /// Offset under tap 0 of all outer axes.
    origin: Reg,
    /// What a tap of each of them adds.
    steps: &'a [Reg],
}

/// A row of known size in tiles, of which those from `first` to `last` need no care.
struct Tiles {
    points: i64,
    size: i64,
    before: i64,
    tile: i64,
    tiles: i64,
    first: i64,
    last: i64,
}

/// Which taps of which points of a tile count.
type Counts<'c> = &'c dyn Fn(i64, i64) -> bool;

impl Row<'_> {
    fn emit(&self, b: &mut KernelBuilder, out: &mut Out) -> Result<()> {
        let a = self.inner;
        let Some(Tiles { points, size, before, tile, tiles, first, last }) = Self::tiles(a, self.layer)
        else {
            return self.open(b, out, Self::most(a, self.layer));
        };
        let inside = |x: i64, k: i64| (0..size).contains(&(x * a.stride + k * a.dilation - before));
        let mut done = Ok(());
        for t in (0..first).chain(first..first + i64::from(last > first)).chain(last..tiles) {
            if (first..last).contains(&t) {
                let (lo, hi) = (Bound::Const(first * tile), Bound::Const(last * tile));
                b.for_(lo, hi, tile, LoopKind::Serial, |b, x| {
                    done = done.clone().and_then(|()| self.points(b, out, x, tile, &|_, _| true));
                });
            } else {
                let (x, count) = (b.i64(t * tile), tile.min(points - t * tile));
                done = done.and_then(|()| self.points(b, out, x, count, &|i, k| inside(t * tile + i, k)));
            }
        }
        done
    }
    /// How a row of known size is cut into tiles; none: it cannot be.
    fn tiles(a: &Axis, layer: &Layer) -> Option<Tiles> {
        let kernel = a.taps.as_const().filter(|&k| k <= WRITTEN)?;
        let (points, size, before) = (a.points.as_const()?, a.size.as_const()?, a.before.as_const()?);
        let tile = fitting(points, Self::most(a, layer));
        let position = |x: i64, k: i64| x * a.stride + k * a.dilation - before;
        // The tiles that need no care lie between the first and the last.
        let tiles = (points + tile - 1) / tile;
        let whole = |t: i64| {
            position(t * tile, 0) >= 0
                && (t + 1) * tile <= points
                && position((t + 1) * tile - 1, kernel - 1) < size
        };
        let first = i64::from(tiles > 0 && !whole(0));
        let last = tiles - i64::from(tiles > first && !whole(tiles - 1));
        (first..last).all(whole).then_some(Tiles { points, size, before, tile, tiles, first, last })
    }
    /// Points at a time: accumulators, a row of weights and an element must fit the registers.
    fn most(a: &Axis, layer: &Layer) -> i64 {
        let kernel = a.taps.as_const().unwrap_or(1);
        let weights = if kernel > WRITTEN { 1 } else { kernel };
        let target = layer.cx.target;
        let registers = i64::from(target.vector_registers);
        (registers - weights - 2).min(target.cost.depthwise / weights.max(3)).max(1)
    }

    /// A row of an open size: the points whose windows lie inside in tiles, the others by themselves.
    fn open(&self, b: &mut KernelBuilder, out: &mut Out, most: i64) -> Result<()> {
        let (lo, hi) = self.inner.interior();
        let count = hi - lo.clone();
        let tile = match count.as_const() {
            Some(n) => fitting(n, most),
            None => 1 << most.ilog2(),
        };
        let (mut done, mut ends) = (Ok(()), Ok(()));
        let (first, n, zero) = (b.dim(&lo), b.dim(&count), b.i64(0));
        let uniform = self.layer.cx.target.cost.uniform;
        for_tiles(b, &count, (tile as usize, uniform), (zero, n), &mut |b, x, points| {
            let x = b.add(first, x);
            done = done.clone().and_then(|()| self.points(b, out, x, points as i64, &|_, _| true));
        });
        b.range(&(self.inner.points.clone() - count), |b, e| {
            let behind = b.add(e, n);
            let front = b.cmp(CmpOp::Lt, e, first);
            let x = b.select(front, e, behind);
            ends = self.one(b, out, x);
        });
        done.and(ends)
    }

    /// Loops over vectors of channels; `f` gets the first channel and the lanes that count.
    fn vectors(&self, b: &mut KernelBuilder, f: &mut dyn FnMut(&mut KernelBuilder, Reg, Option<Reg>)) {
        let lanes = i64::from(self.lanes);
        b.for_(Bound::Const(0), Bound::Const(self.channels), lanes, LoopKind::Serial, |b, c| {
            let tail = (self.channels % lanes != 0).then(|| {
                let (all, full) = (b.i64(self.channels), b.i64(lanes));
                let left = b.sub(all, c);
                b.bin(BinOp::MinS, left, full)
            });
            f(b, c, tail);
        });
    }
    /// Loops over the taps of the outer axes; `f` gets the offset and the first tap of the row.
    fn rows(
        &self,
        b: &mut KernelBuilder,
        level: usize,
        from: Reg,
        tap: Reg,
        f: &mut dyn FnMut(&mut KernelBuilder, Reg, Reg),
    ) {
        let Some(span) = self.spans.get(level) else {
            let kernel = b.dim(&self.inner.taps);
            let tap = b.mul(tap, kernel);
            return f(b, from, tap);
        };
        b.for_(span.lo.clone(), span.hi.clone(), 1, LoopKind::Serial, |b, t| {
            let ahead = b.mul(t, self.steps[level]);
            let from = b.add(from, ahead);
            let taps = b.dim(&self.outer[level].taps);
            let tap = b.mul(tap, taps);
            let tap = b.add(tap, t);
            self.rows(b, level + 1, from, tap, f);
        });
    }
    /// The offset of the position under tap 0 of a point.
    fn start(&self, b: &mut KernelBuilder, x: Reg) -> Reg {
        let at = scaled(b, x, self.inner.stride);
        let before = b.dim(&self.inner.before);
        let at = b.sub(at, before);
        let at = scaled(b, at, self.channels);
        b.add(self.origin, at)
    }
    fn weight(&self, b: &mut KernelBuilder, channel: Reg, tap: Reg, k: Addr) -> Reg {
        let at = Addr {
            offset: k.offset * i64::from(self.lanes),
            terms: k.terms.iter().map(|&(r, s)| (r, s * i64::from(self.lanes))).collect(),
        };
        let at = at.plus(channel, self.taps).plus(tap, self.lanes.into());
        self.layer.weights.load(b, self.lanes, self.weights, at, None)
    }
    fn zeros(&self, b: &mut KernelBuilder, n: i64) -> Vec<Reg> {
        (0..n).map(|_| b.zero(Ty { elem: self.layer.num.acc, lanes: self.lanes })).collect()
    }

    /// `count` points from `x` on.
    fn points(&self, b: &mut KernelBuilder, out: &mut Out, x: Reg, count: i64, counts: Counts) -> Result<()> {
        if let Some(rows) = self.rows {
            return self.by_columns(b, out, rows, x, count, counts);
        }
        let (stride, dilation) = (self.inner.stride, self.inner.dilation);
        let kernel = self.inner.taps.as_const().unwrap_or(1);
        let start = self.start(b, x);
        let mut done = Ok(());
        self.vectors(b, &mut |b, channel, tail| {
            let acc = self.zeros(b, count);
            let none = b.i64(0);
            self.rows(b, 0, start, none, &mut |b, from, tap| {
                if kernel > WRITTEN {
                    let taps = b.i64(kernel);
                    return self.looped(b, (channel, tail), (from, tap), (none, taps), &acc);
                }
                let weights: Vec<Reg> =
                    (0..kernel).map(|k| self.weight(b, channel, tap, Addr::at(k))).collect();
                for position in 0..(count - 1) * stride + (kernel - 1) * dilation + 1 {
                    let mut value = None;
                    for (k, &weight) in (0..kernel).zip(&weights) {
                        let ahead = position - k * dilation;
                        let i = ahead / stride;
                        if ahead < 0 || ahead % stride != 0 || i >= count || !counts(i, k) {
                            continue;
                        }
                        let v = *value.get_or_insert_with(|| {
                            let at = Addr::reg(from).plus(channel, 1).offset(position * self.channels);
                            self.layer.num.load(b, self.lanes, self.x, at, tail)
                        });
                        let sum = acc[i as usize];
                        b.set(sum, Inst::MulAdd(weight, v, sum));
                    }
                }
            });
            for (i, &sum) in acc.iter().enumerate() {
                let x = add_const(b, x, i as i64);
                done = done.clone().and_then(|()| self.put(b, out, x, channel, (sum, tail)));
            }
        });
        done
    }
    /// The same, column by column of the windows.
    fn by_columns(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        rows: &Rows,
        x: Reg,
        count: i64,
        counts: Counts,
    ) -> Result<()> {
        let (stride, dilation) = (self.inner.stride, self.inner.dilation);
        let kernel = self.inner.taps.as_const().unwrap_or(1);
        let before = b.dim(&self.inner.before);
        let start = scaled(b, x, stride);
        let start = b.sub(start, before);
        let start = scaled(b, start, self.channels);
        let mut done = Ok(());
        self.vectors(b, &mut |b, channel, tail| {
            let acc = rows.sums(b, channel, count);
            let weights: Vec<Vec<Reg>> = (0..kernel).map(|k| rows.weights(b, channel, k)).collect();
            for position in 0..(count - 1) * stride + (kernel - 1) * dilation + 1 {
                // The points and taps that read here.
                let reads = (0..kernel).filter_map(|k| {
                    let ahead = position - k * dilation;
                    let i = ahead / stride;
                    (ahead >= 0 && ahead % stride == 0 && i < count).then_some((i, k))
                });
                let reads: Vec<(i64, i64)> = reads.collect();
                let Some(&(i, k)) = reads.first() else { continue };
                let at = Addr::reg(start).plus(channel, 1).offset(position * self.channels);
                let column = rows.column(b, counts(i, k).then_some(at), tail);
                for (i, k) in reads {
                    rows.add(b, acc[i as usize], &column, &weights[k as usize]);
                }
            }
            for (i, &sum) in acc.iter().enumerate() {
                let x = add_const(b, x, i as i64);
                done = done.clone().and_then(|()| self.put(b, out, x, channel, (sum, tail)));
            }
        });
        done
    }
    /// A point at an end of the row: its taps are clipped.
    fn one(&self, b: &mut KernelBuilder, out: &mut Out, x: Reg) -> Result<()> {
        let start = self.start(b, x);
        let span = self.inner.inside(b, x);
        let mut done = Ok(());
        self.vectors(b, &mut |b, channel, tail| {
            let acc = self.zeros(b, 1);
            let none = b.i64(0);
            self.rows(b, 0, start, none, &mut |b, from, tap| {
                let (lo, hi) = (reg(b, &span.lo), reg(b, &span.hi));
                self.looped(b, (channel, tail), (from, tap), (lo, hi), &acc);
            });
            done = done.clone().and_then(|()| self.put(b, out, x, channel, (acc[0], tail)));
        });
        done
    }
    /// Taps `lo .. hi` of a row for neighbouring points.
    fn looped(
        &self,
        b: &mut KernelBuilder,
        (channel, tail): (Reg, Option<Reg>),
        (from, tap): (Reg, Reg),
        (lo, hi): (Reg, Reg),
        acc: &[Reg],
    ) {
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, k| {
            let weight = self.weight(b, channel, tap, Addr::reg(k));
            for (i, &sum) in (0..).zip(acc) {
                let at = Addr::reg(from).plus(channel, 1).plus(k, self.inner.dilation * self.channels);
                let at = at.offset(i * self.inner.stride * self.channels);
                let value = self.layer.num.load(b, self.lanes, self.x, at, tail);
                b.set(sum, Inst::MulAdd(weight, value, sum));
            }
        });
    }
    fn put(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        x: Reg,
        channel: Reg,
        (value, tail): (Reg, Option<Reg>),
    ) -> Result<()> {
        let index: Vec<Index> =
            self.at.iter().chain([&x, &channel]).map(|&at| Index { at, axes: 1 }).collect();
        let short = b.ty(value).elem == Elem::I16;
        let value = if short { b.cvt(CvtOp::SExt, Elem::I32, value) } else { value };
        out.put(b, &index, value, tail)
    }
}

/// A size of at most `most` that cuts `n` into equal parts as well as can be.
fn fitting(n: i64, most: i64) -> i64 {
    let parts = (n + most - 1) / most.max(1);
    ((n + parts - 1) / parts.max(1)).max(1)
}

//! Convolutions to a few channels, channels first: lanes along the points of a row, every vector of data serves all
//! output channels.
//!
//! Work items are blocks of rows. What their windows reach is copied with the zeros of its padding, so that no window
//! is clipped: neighbouring rows and all taps of a row read whole vectors of the copy.

use super::Layer;
use super::run;
use crate::lower::Lowered;
use crate::lower::contract::gemm::{add_const, block_bytes, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::contract::slots;
use crate::lower::out::{Index, Out};
use crate::lower::window::Axis;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, Inst, LoopKind, Reg, Ty};
use sinter_ir::{Expr, Result};

/// Taps of a row that are written out; more are looped over.
const WRITTEN: i64 = 7;
/// Sums at a time: enough to hide the latency of a multiply-add.
const SUMS: i64 = 12;

/// How a convolution is cut up.
struct Plan<'a> {
    layer: &'a Layer<'a>,
    /// Rows; one for one-dimensional data.
    outer: Axis,
    inner: Axis,
    /// Channels of the result.
    outputs: i64,
    lanes: u16,
    /// Vectors per step along a row.
    vectors: i64,
    /// Rows per work item.
    rows: i64,
}

/// Whether this is the way to lower a convolution.
pub fn fits(layer: &Layer) -> bool {
    let most = i64::from(layer.cx.target.vector_registers / 4);
    let few = layer.wt.dims[0].as_const().is_some_and(|o| o <= most);
    few && layer.op.group == 1 && layer.xt.rank() <= 4 && layer.op.strides.last() == Some(&1)
}

/// Lowers a convolution that [`fits`].
pub fn lower(layer: &Layer) -> Result<Lowered> {
    build(layer.cx, layer.body, &layer.name("conv_narrow"), |k| {
        let lanes = if k.out.is_scalar() { 1 } else { layer.cx.target.lanes(layer.num.acc.bits()) };
        let plan = Plan::new(layer, lanes);
        let work = plan.work();
        let trips = product(&work);
        let slots = slots::for_work(layer.cx.target, &trips, plan.vector_ops().as_ref());
        let weights = k.source(Source::Value(layer.w))?;
        let x = k.source(Source::Value(layer.x))?;
        let size = plan.channels() * plan.slab_rows() * plan.pitch();
        let slab = k.scratch(&(size.clone() * slots.into()), layer.num.acc);
        let Kernel { b, out, .. } = k;
        let mut done = Ok(());
        let start = |b: &mut KernelBuilder, slot| {
            let size = b.dim(&size);
            b.mul(slot, size)
        };
        slots::for_each(b, slots, &trips, start, |b, &home, t| {
            let at = unravel(b, t, &work);
            let lo = scaled(b, at[1], plan.rows);
            let (end, all) = (add_const(b, lo, plan.rows), b.dim(&plan.outer.points));
            let hi = b.bin(BinOp::MinS, end, all);
            let item = Item { plan: &plan, x, weights, slab: (slab, home), image: at[0], rows: (lo, hi) };
            item.fill(b);
            done = item.emit(b, out);
        });
        done
    })
}

impl<'a> Plan<'a> {
    fn new(layer: &'a Layer<'a>, lanes: u16) -> Self {
        let one = || Axis {
            size: 1.into(),
            points: 1.into(),
            taps: 1.into(),
            stride: 1,
            dilation: 1,
            before: 0.into(),
        };
        let mut axes = layer.axes();
        let inner = axes.pop().unwrap_or_else(one);
        let outer = axes.pop().unwrap_or_else(one);
        let outputs = layer.wt.dims[0].as_const().unwrap_or(1);
        let most = (SUMS / outputs.max(1)).max(2);
        let vectors = match inner.points.as_const() {
            // Steps of equal length.
            Some(n) => {
                let all = (n + i64::from(lanes) - 1) / i64::from(lanes);
                let steps = (all + most - 1) / most;
                ((all + steps - 1) / steps.max(1)).max(1)
            }
            None => 2,
        };
        let mut plan = Self { layer, outer, inner, outputs, lanes, vectors, rows: 1 };
        // A copy for these rows stays in the second-level cache.
        let most = |e: &Expr| layer.cx.symbols.range(e).1.max(1);
        let row = most(&(plan.channels() * plan.pitch())).saturating_mul(layer.num.ready().bytes());
        let room = block_bytes(layer.cx.target) / row - most(&plan.outer.window());
        plan.rows = (room / plan.outer.stride + 1).clamp(1, most(&plan.outer.points));
        plan
    }
    fn channels(&self) -> Expr {
        self.layer.wt.dims[1].clone()
    }
    /// Images and blocks of rows.
    fn work(&self) -> [Expr; 2] {
        [self.layer.xt.dims[0].clone(), self.outer.points.ceil_div(&self.rows.into())]
    }
    /// Points of a step.
    fn step(&self) -> i64 {
        self.vectors * i64::from(self.lanes)
    }
    /// Rows of the data that an item reads.
    fn slab_rows(&self) -> Expr {
        Expr::from((self.rows - 1) * self.outer.stride) + self.outer.window()
    }
    /// Elements of a row of the copy: what all steps read.
    fn pitch(&self) -> Expr {
        self.inner.points.ceil_div(&self.step().into()) * self.step().into() + self.inner.window() - 1.into()
    }
    fn vector_ops(&self) -> Option<i64> {
        let row = self.inner.points.ceil_div(&i64::from(self.lanes).into());
        let all = [self.layer.xt.dims[0].clone(), self.outer.points.clone(), row];
        (product(&all) * product(&self.layer.wt.dims)).as_const()
    }
}

/// A block of rows of one image.
struct Item<'a> {
    plan: &'a Plan<'a>,
    x: Buf,
    weights: Buf,
    /// `[channel][row][pitch]`.
    slab: (Buf, Reg),
    image: Reg,
    /// First row of points, and one past the last.
    rows: (Reg, Reg),
}

impl Item<'_> {
    /// Copies what the windows of all points reach.
    fn fill(&self, b: &mut KernelBuilder) {
        let plan = self.plan;
        let (num, size) = (plan.layer.num, b.dim(&plan.inner.size));
        let (height, slab_rows, pitch) =
            (b.dim(&plan.outer.size), b.dim(&plan.slab_rows()), b.dim(&plan.pitch()));
        let channels = b.dim(&plan.channels());
        let first = self.first_row(b);
        let zero = b.i64(0);
        // Where a row of the image lies in a row of the copy.
        let before = b.dim(&plan.inner.before);
        let lo = b.bin(BinOp::MaxS, before, zero);
        let lo = b.bin(BinOp::MinS, lo, pitch);
        let hi = b.add(before, size);
        let hi = b.bin(BinOp::MaxS, hi, lo);
        let hi = b.bin(BinOp::MinS, hi, pitch);
        b.for_(Bound::Const(0), Bound::Reg(channels), 1, LoopKind::Serial, |b, c| {
            b.for_(Bound::Const(0), Bound::Reg(slab_rows), 1, LoopKind::Serial, |b, r| {
                let to = b.mul(c, slab_rows);
                let to = b.add(to, r);
                let to = b.mul(to, pitch);
                let to = (self.slab.0, b.add(self.slab.1, to));
                let row = b.add(first, r);
                let (under, over) = (b.cmp(CmpOp::Ge, row, zero), b.cmp(CmpOp::Lt, row, height));
                let inside = b.bin(BinOp::And, under, over);
                let kind = (num, plan.lanes);
                b.if_(
                    inside,
                    |b| {
                        let from = b.mul(self.image, channels);
                        let from = b.add(from, c);
                        let from = b.mul(from, height);
                        let from = b.add(from, row);
                        let from = b.mul(from, size);
                        let from = b.sub(from, before);
                        run::fill(b, kind, None, to, (zero, lo), 0);
                        run::fill(b, kind, Some((self.x, from)), to, (lo, hi), 0);
                        run::fill(b, kind, None, to, (hi, pitch), 0);
                    },
                    |b| run::fill(b, kind, None, to, (zero, pitch), 0),
                );
            });
        });
    }
    /// The row of the data under the first row of the copy.
    fn first_row(&self, b: &mut KernelBuilder) -> Reg {
        let row = scaled(b, self.rows.0, self.plan.outer.stride);
        let before = b.dim(&self.plan.outer.before);
        b.sub(row, before)
    }
    fn emit(&self, b: &mut KernelBuilder, out: &mut Out) -> Result<()> {
        let plan = self.plan;
        let points = b.bound(&plan.inner.points);
        let pitch = b.dim(&plan.pitch());
        let mut done = Ok(());
        b.for_(Bound::Reg(self.rows.0), Bound::Reg(self.rows.1), 1, LoopKind::Serial, |b, y| {
            let ahead = b.sub(y, self.rows.0);
            let ahead = scaled(b, ahead, plan.outer.stride);
            let ahead = b.mul(ahead, pitch);
            let from = b.add(self.slab.1, ahead);
            b.for_(Bound::Const(0), points, plan.step(), LoopKind::Serial, |b, x| {
                let from = b.add(from, x);
                let ty = Ty { elem: plan.layer.num.acc, lanes: plan.lanes };
                let sums: Vec<Reg> = (0..plan.outputs * plan.vectors).map(|_| b.zero(ty)).collect();
                self.sums(b, from, &sums);
                done = self.put(b, (y, x), &sums, out);
            });
        });
        done
    }
    /// Sums over all channels and taps; `from` is the first point in the copy.
    fn sums(&self, b: &mut KernelBuilder, from: Reg, sums: &[Reg]) {
        let plan = self.plan;
        let (channels, taps, slab_rows) =
            (b.dim(&plan.channels()), b.dim(&plan.outer.taps), b.dim(&plan.slab_rows()));
        let (pitch, line) = (b.dim(&plan.pitch()), b.dim(&plan.inner.taps));
        let step = scaled(b, pitch, plan.outer.dilation);
        b.for_(Bound::Const(0), Bound::Reg(channels), 1, LoopKind::Serial, |b, c| {
            let plane = b.mul(slab_rows, pitch);
            let plane = b.mul(c, plane);
            let from = b.add(from, plane);
            b.for_(Bound::Const(0), Bound::Reg(taps), 1, LoopKind::Serial, |b, t| {
                let ahead = b.mul(t, step);
                let from = b.add(from, ahead);
                let weight = b.mul(c, taps);
                let weight = b.add(weight, t);
                let weight = b.mul(weight, line);
                match plan.inner.taps.as_const() {
                    Some(n) if n <= WRITTEN => {
                        (0..n).for_each(|k| {
                            self.tap(
                                b,
                                Addr::reg(from).offset(k * plan.inner.dilation),
                                Addr::reg(weight).offset(k),
                                sums,
                            )
                        });
                    }
                    _ => b.range(&plan.inner.taps, |b, k| {
                        let from = Addr::reg(from).plus(k, plan.inner.dilation);
                        self.tap(b, from, Addr::reg(weight).plus(k, 1), sums);
                    }),
                }
            });
        });
    }
    /// One tap of all points and output channels.
    fn tap(&self, b: &mut KernelBuilder, from: Addr, weight: Addr, sums: &[Reg]) {
        let plan = self.plan;
        let (num, lanes) = (plan.layer.num.ready(), plan.lanes);
        let data: Vec<Reg> = (0..plan.vectors)
            .map(|v| num.load(b, lanes, self.slab.0, from.clone().offset(v * i64::from(lanes)), None))
            .collect();
        let depth = plan.layer.depth();
        for (o, sums) in (0..).zip(sums.chunks(plan.vectors as usize)) {
            let at = match depth.as_const() {
                Some(d) => weight.clone().offset(o * d),
                None => {
                    let ahead = b.dim(&(depth.clone() * o.into()));
                    weight.clone().plus(ahead, 1)
                }
            };
            let w = plan.layer.weights.load(b, 1, self.weights, at, None);
            let w = b.splat(w, lanes);
            for (&sum, &x) in sums.iter().zip(&data) {
                b.set(sum, Inst::MulAdd(w, x, sum));
            }
        }
    }
    /// Hands the points of a step on, those inside the row.
    fn put(&self, b: &mut KernelBuilder, (y, x): (Reg, Reg), sums: &[Reg], out: &mut Out) -> Result<()> {
        let plan = self.plan;
        let points = b.dim(&plan.inner.points);
        let lanes = i64::from(plan.lanes);
        let whole = plan.inner.points.modulo(&plan.step().into()).is(0);
        let mut done = Ok(());
        for (o, sums) in (0..).zip(sums.chunks(plan.vectors as usize)) {
            let channel = b.i64(o);
            for (v, &sum) in (0..).zip(sums) {
                let x = add_const(b, x, v * lanes);
                let mut index = vec![self.image, channel, y, x];
                if plan.layer.xt.rank() == 3 {
                    index.remove(2);
                }
                let index: Vec<Index> = index.into_iter().map(|at| Index { at, axes: 1 }).collect();
                if whole {
                    out.put(b, &index, sum, None)?;
                    continue;
                }
                let left = b.sub(points, x);
                let zero = b.i64(0);
                let some = b.cmp(CmpOp::Gt, left, zero);
                b.if_(
                    some,
                    |b| {
                        let most = b.i64(lanes);
                        let tail = (lanes > 1).then(|| b.bin(BinOp::MinS, left, most));
                        let put = out.put(b, &index, sum, tail);
                        done = done.clone().and(put);
                    },
                    |_| {},
                );
            }
        }
        done
    }
}

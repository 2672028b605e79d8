//! Any convolution of channels-last data: tiles of neighbouring points of one row by panels of output channels.
//!
//! Sums run over the taps of the outer axes, clipped per row of points, and over the innermost taps with the
//! channels, one run of neighbouring elements where nothing lies between them. Innermost taps are never clipped:
//! where windows leave the image, a padded copy of a few rows stands for it.

use super::super::Layer;
use super::fold::{Folded, Unfold};
use super::plan::Plan;
use super::slab::Slab;
use crate::lower::Lowered;
use crate::lower::contract::finish::{Strip, Tiles};
use crate::lower::contract::gemm::{Finish, add_const, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::contract::micro::{Depth, Operand, Step, Tile, contract, sums};
use crate::lower::contract::nest::{for_tiles, reg};
use crate::lower::contract::num::Num;
use crate::lower::contract::slots;
use crate::lower::contract::words::Words;
use crate::lower::out::Index;
use crate::lower::window::{Axis, Span};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
use sinter_ir::{DType, Result, Tensor};

/// Lowers a convolution.
pub fn lower(layer: &Layer, w: &Tensor, axes: Vec<Axis>, words: Option<&Words>) -> Result<Lowered> {
    let name = if words.is_some() { "conv_dot" } else { "conv_last" };
    let folded = if words.is_some() { None } else { Folded::new(layer, w, &axes)? };
    let Some(folded) = folded else { return emit(layer, w, axes, words, 1, name) };
    let wide = Layer { wt: &folded.ty, ..*layer };
    emit(&wide, &folded.weights, folded.axes, None, folded.points, "conv_folded")
}

/// A convolution whose points stand for `fold` neighbours each.
fn emit(
    layer: &Layer,
    w: &Tensor,
    axes: Vec<Axis>,
    words: Option<&Words>,
    fold: i64,
    name: &str,
) -> Result<Lowered> {
    let mut plan = Plan::new(layer, w, axes, words);
    plan.split(slots::wanted(layer.cx.target, plan.vector_ops().as_ref()));
    let slots = slots::for_work(layer.cx.target, &plan.trips(), plan.vector_ops().as_ref());
    let packed = plan.pack(w)?;
    let first = words.and_then(|w| w.start(layer.op.group, plan.tile.nr()));
    build(layer.cx, layer.body, &layer.name(name), |k| {
        let weights = k.source(Source::Packed(packed.clone(), layer.wt.dtype))?;
        let first = first.clone().map(|s| k.source(Source::Packed(s, DType::I32))).transpose()?;
        let x = k.source(Source::Value(layer.x))?;
        let finish = k.out.finish();
        let spill_elems = (plan.tile.mr * plan.tile.nr()) as i64;
        let spill =
            (finish != Finish::Registers).then(|| k.scratch(&(spill_elems * slots).into(), layer.num.acc));
        let size = plan.slab.map(|pitch| plan.slab_size(pitch));
        let slab = size.clone().map(|s| k.scratch(&(s * slots.into()), layer.num.acc));
        let outputs = plan.columns / fold;
        let lanes = i64::from(plan.tile.lanes);
        let points = (fold > 1 && outputs > 1).then(|| k.scratch(&(lanes * slots).into(), layer.num.acc));
        let Kernel { b, out, .. } = k;
        let start = |b: &mut KernelBuilder, slot| {
            let home = size.as_ref().map(|s| {
                let s = b.dim(s);
                b.mul(slot, s)
            });
            let mut piece = |buf: Option<Buf>, size| buf.map(|s| (s, scaled(b, slot, size)));
            (home.zip(slab), piece(spill, spill_elems), piece(points, lanes))
        };
        let mut done = Ok(());
        slots::for_each_run(b, slots, &plan.work(), start, |b, &(home, spill, memory), at, lo, hi| {
            let row = layer.yt.dims[layer.yt.rank() - 2].clone();
            let unfold = Unfold { points: fold, outputs, row, memory };
            let mut put = |b: &mut KernelBuilder, index: &[Reg], value: Reg, tail: Option<Reg>| {
                if fold > 1 {
                    return unfold.put(b, index, (value, tail), out);
                }
                let index: Vec<Index> = index.iter().map(|&at| Index { at, axes: 1 }).collect();
                out.put(b, &index, value, tail)
            };
            let item = Item { plan: &plan, x, weights, first, home, spill, finish, at };
            done = item.emit(b, lo, hi, &mut put);
        });
        done
    })
}

/// One work item.
pub struct Item<'a> {
    pub plan: &'a Plan<'a>,
    pub x: Buf,
    weights: Buf,
    /// What the sums of all panels start with.
    first: Option<Buf>,
    /// Offset and memory of the slab.
    pub home: Option<(Reg, Buf)>,
    spill: Option<(Buf, Reg)>,
    finish: Finish,
    /// Coordinates.
    pub at: &'a [Reg],
}

/// Takes a vector at the coordinates of the result.
type Put<'p> = dyn FnMut(&mut KernelBuilder, &[Reg], Reg, Option<Reg>) -> Result<()> + 'p;

/// What the tiles of a panel read.
struct Panel {
    group: Reg,
    /// Column within the group.
    col: Reg,
    /// First weight.
    weights: Reg,
    /// Where its sums start, in columns of all panels.
    first: Reg,
    strip: Strip,
}

impl Item<'_> {
    /// The first position of the innermost axis, and one past the last.
    pub fn span(&self, b: &mut KernelBuilder) -> (Reg, Reg) {
        let all = b.dim(&self.plan.inner.points);
        match (self.plan.points, self.at.last()) {
            (Some(n), Some(&block)) => {
                let lo = scaled(b, block, n);
                let end = add_const(b, lo, n);
                (lo, b.bin(BinOp::MinS, end, all))
            }
            _ => (b.i64(0), all),
        }
    }
    /// The rows of points of the last outer axis.
    pub fn row_span(&self, b: &mut KernelBuilder, axis: &Axis) -> (Reg, Reg) {
        let lo = scaled(b, self.at[self.plan.outer.len()], self.plan.rows);
        let end = add_const(b, lo, self.plan.rows);
        let all = b.dim(&axis.points);
        (lo, b.bin(BinOp::MinS, end, all))
    }
    fn emit(&self, b: &mut KernelBuilder, lo: Bound, hi: Bound, put: &mut Put) -> Result<()> {
        let plan = self.plan;
        let outer = plan.outer.len().saturating_sub(1);
        let spans: Vec<Span> =
            plan.outer[..outer].iter().zip(&self.at[1..]).map(|(a, &o)| a.inside(b, o)).collect();
        if let (Some(pitch), Some((home, buf))) = (plan.slab, self.home) {
            Slab { item: self, pitch, home, buf, spans: &spans }.fill(b);
        }
        let (panels, nr) = (plan.panels(), plan.tile.nr() as i64);
        let whole = plan.columns / nr;
        let size = plan.depth() * plan.panel_row();
        let mut done = Ok(());
        let (lo, hi) = (reg(b, &lo), reg(b, &hi));
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, q| {
            let at = unravel(b, q, &[plan.layer.op.group.into(), panels.into()]);
            let weights = scaled(b, q, size);
            let col = scaled(b, at[1], nr);
            let first = scaled(b, q, nr);
            let mut panel = |b: &mut KernelBuilder, strip: Strip| {
                let p = Panel { group: at[0], col, weights, first, strip };
                done = done.clone().and_then(|()| self.panel(b, &p, &spans, put));
            };
            if whole == panels {
                return panel(b, Strip::Whole);
            }
            let left = plan.columns - whole * nr;
            let last = Strip::last(left, plan.tile);
            if whole == 0 {
                return panel(b, last);
            }
            let end = b.i64(whole);
            let inside = b.cmp(CmpOp::Lt, at[1], end);
            let panel = std::cell::RefCell::new(panel);
            b.if_(inside, |b| panel.borrow_mut()(b, Strip::Whole), |b| panel.borrow_mut()(b, last));
        });
        done
    }

    /// All points of the item in one panel.
    fn panel(&self, b: &mut KernelBuilder, p: &Panel, spans: &[Span], put: &mut Put) -> Result<()> {
        let mut done = Ok(());
        let Some(axis) = self.plan.outer.last() else { return self.row(b, p, (spans, None), put) };
        let (lo, hi) = self.row_span(b, axis);
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, y| {
            let span = axis.inside(b, y);
            let ahead = b.sub(y, lo);
            let ahead = scaled(b, ahead, axis.stride);
            done = self.row(b, p, (&[spans, &[span]].concat(), Some((y, ahead))), put);
        });
        done
    }

    /// One row of points: `row` is its coordinate and the row of the slab that tap 0 reads.
    fn row(
        &self,
        b: &mut KernelBuilder,
        p: &Panel,
        (spans, row): (&[Span], Option<(Reg, Reg)>),
        put: &mut Put,
    ) -> Result<()> {
        let plan = self.plan;
        let (lo, hi) = self.span(b);
        let per = scaled(b, p.group, plan.per_group);
        // Offset under tap 0 of all outer axes, and what a tap adds.
        let width = b.dim(&plan.width());
        let (mut base, mut steps) = (per, vec![]);
        match (plan.slab, self.home) {
            (Some(pitch), Some((home, _))) => {
                base = b.add(base, home);
                let line = scaled(b, width, pitch);
                if let Some((_, ahead)) = row {
                    let at = b.mul(ahead, line);
                    base = b.add(base, at);
                }
                let mut step = line;
                for (i, a) in plan.outer.iter().enumerate().rev() {
                    if i + 1 < plan.outer.len() {
                        let inner = if i + 2 == plan.outer.len() {
                            plan.slab_rows()
                        } else {
                            plan.outer[i + 1].taps.clone()
                        };
                        let inner = b.dim(&inner);
                        step = b.mul(step, inner);
                        steps.push(step);
                    } else {
                        steps.push(scaled(b, line, a.dilation));
                    }
                }
                steps.reverse();
            }
            _ => {
                let image = b.dim(&plan.image());
                let image = b.mul(self.at[0], image);
                base = b.add(base, image);
                for (i, (a, s)) in plan.outer.iter().zip(spans).enumerate() {
                    let pitch = b.dim(&plan.pitch(i));
                    let at = b.mul(s.start, pitch);
                    base = b.add(base, at);
                    steps.push(scaled(b, pitch, a.dilation));
                }
                let first = scaled(b, lo, plan.inner.stride * plan.channels);
                base = b.add(base, first);
            }
        }
        let mut coordinates = vec![b.i64(0); plan.layer.xt.rank()];
        coordinates[0] = self.at[0];
        for (i, &place) in plan.places.iter().enumerate().take(plan.outer.len()) {
            coordinates[1 + place] = self.at[1 + i];
        }
        if let (Some((y, _)), Some(&place)) = (row, plan.places.iter().rev().nth(1)) {
            coordinates[1 + place] = y;
        }
        let channel = scaled(b, p.group, plan.columns);
        let mut done = Ok(());
        for_tiles(b, &plan.inner.points, (plan.tile.mr, plan.tile.uniform), (lo, hi), &mut |b, x, mr| {
            let tile = Tile { mr, nv: p.strip.vectors(plan.tile), ..plan.tile };
            let num = plan.layer.num;
            let acc = sums(b, tile, num, self.first.map(|buf| (buf, p.first)));
            let ahead = b.sub(x, lo);
            let pitch = plan.slab.unwrap_or(plan.channels);
            let ahead = scaled(b, ahead, plan.inner.stride * pitch);
            let from = b.add(base, ahead);
            let none = b.i64(0);
            let sums = Sums { item: self, p, spans, steps: &steps, tile, pitch, acc: &acc };
            sums.taps(b, 0, from, none);
            let tiles = Tiles { tile, num, finish: self.finish, batch: &[], col: p.col };
            let result = tiles.put(b, x, &p.strip, &acc, self.spill, &mut |b, at, value| {
                let mut index = coordinates.clone();
                if let Some(&place) = plan.places.last() {
                    index[1 + place] = at.row;
                }
                if let Some(last) = index.last_mut() {
                    *last = b.add(channel, at.col);
                }
                put(b, &index, value, at.tail)
            });
            done = done.clone().and(result);
        });
        done
    }
}

/// The sums of one tile.
struct Sums<'a> {
    item: &'a Item<'a>,
    p: &'a Panel,
    spans: &'a [Span],
    /// Elements that a tap of each outer axis adds.
    steps: &'a [Reg],
    tile: Tile,
    /// Elements between points.
    pitch: i64,
    acc: &'a [Reg],
}

impl Sums<'_> {
    /// Loops over the taps of outer axis `level` and those inside.
    fn taps(&self, b: &mut KernelBuilder, level: usize, from: Reg, tap: Reg) {
        let Some((axis, span)) = self.item.plan.outer.get(level).zip(self.spans.get(level)) else {
            return self.runs(b, from, tap);
        };
        let (lo, hi) = match self.item.plan.fills_rows() {
            true => (Bound::Const(0), b.bound(&axis.taps)),
            false => (span.lo.clone(), span.hi.clone()),
        };
        b.for_(lo, hi, 1, LoopKind::Serial, |b, t| {
            let ahead = b.mul(t, self.steps[level]);
            let from = b.add(from, ahead);
            let taps = b.dim(&axis.taps);
            let tap = b.mul(tap, taps);
            let tap = b.add(tap, t);
            self.taps(b, level + 1, from, tap);
        });
    }
    /// The innermost taps with all channels.
    fn runs(&self, b: &mut KernelBuilder, from: Reg, tap: Reg) {
        let plan = self.item.plan;
        let taps = plan.inner.taps.as_const().unwrap_or(1);
        let line = taps * plan.per_group * plan.panel_row();
        let at = scaled(b, tap, line);
        let weights = b.add(self.p.weights, at);
        let merged = plan.inner.dilation == 1 && plan.per_group == self.pitch;
        if merged || taps == 1 {
            return self.run(b, from, weights, taps * plan.per_group);
        }
        b.for_(Bound::Const(0), Bound::Const(taps), 1, LoopKind::Serial, |b, t| {
            let ahead = scaled(b, t, plan.inner.dilation * self.pitch);
            let from = b.add(from, ahead);
            let ahead = scaled(b, t, plan.per_group * plan.panel_row());
            let weights = b.add(weights, ahead);
            self.run(b, from, weights, plan.per_group);
        });
    }
    fn run(&self, b: &mut KernelBuilder, from: Reg, weights: Reg, count: i64) {
        let plan = self.item.plan;
        let (buf, num): (Buf, Num) = match self.item.home {
            Some((_, buf)) => (buf, plan.layer.num.ready()),
            None => (self.item.x, plan.layer.num),
        };
        let distance = plan.inner.stride * self.pitch;
        let x = Operand {
            buf,
            num,
            starts: vec![from],
            parts: (0..self.tile.mr as i64).map(|i| (0, i * distance)).collect(),
            step: Step::Const(1),
        };
        let y = Operand {
            buf: self.item.weights,
            num: plan.layer.weights,
            starts: vec![weights],
            parts: vec![(0, 0)],
            step: Step::Const(plan.panel_row()),
        };
        let depth = Depth { all: Bound::Const(count), ragged: None, list: None };
        contract(b, self.tile, &depth, &x, &y, self.acc);
    }
}

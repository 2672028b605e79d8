//! Code of the passes over rows.

use super::plan::Plan;
use crate::fuse::policy;
use crate::lower::contract::slots;
use crate::lower::index::{Idx, dim, int, linear, unravel};
use crate::lower::line::{self, Line, Place, first_lanes};
use crate::lower::merge::spread;
use crate::lower::pull::{Given, Puller};
use crate::lower::{Arg, LowerCx, WORTH_THREADS, access, parallel_if};
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result, TensorType, ValueId};

/// Emits the passes of one plan into one kernel.
pub struct Rows<'a> {
    cx: &'a LowerCx<'a>,
    plan: &'a Plan<'a>,
    /// Values and parameters.
    pub puller: Puller<'a>,
    /// Kept values, and their bytes.
    pub scratch: Option<(Buf, Expr)>,
    lanes: u16,
    /// The axis that lanes run along; reduced or not.
    axis: usize,
    /// Whether that axis is reduced.
    along: bool,
}

/// Rows that are computed together: one, or a vector of them side by side.
struct Unit {
    at: Vec<Idx>,
    /// Rows that count, of a vector.
    tail: Option<Reg>,
    /// What is known per row.
    given: Given,
    /// Lanes of what is known per row.
    lanes: u16,
    /// First element in the kept values, and distance of neighbours along the row.
    kept: Option<(Idx, i64)>,
}

impl<'a> Rows<'a> {
    /// Code with vectors of some lanes.
    pub fn new(cx: &'a LowerCx<'a>, plan: &'a Plan<'a>, puller: Puller<'a>, lanes: u16) -> Self {
        let axis = plan.dims.iter().rposition(|d| !d.is(1)).unwrap_or(plan.dims.len().saturating_sub(1));
        let along = plan.axes.contains(&axis) || plan.dims.is_empty();
        let lanes = if plan.dims.is_empty() { 1 } else { lanes };
        Self { cx, plan, puller, scratch: None, lanes, axis, along }
    }
    fn unroll(&self) -> usize {
        if self.lanes > 1 { line::unroll(self.plan.body) } else { 1 }
    }
    fn work(&self) -> u64 {
        let cost: u64 = self.plan.body.graph.iter().map(|(_, n)| policy::cost(&n.op) + 1).sum();
        let n = self.cx.symbols.max(&product(self.plan.dims)).max(0) as u64;
        n.saturating_mul(cost)
    }
    /// Emits the kernel.
    pub fn emit(&mut self, b: &mut KernelBuilder) -> Result<()> {
        let across = !self.along && self.lanes > 1;
        let rows: Vec<usize> = (0..self.plan.dims.len())
            .filter(|i| !(self.plan.axes.contains(i) || across && *i == self.axis))
            .collect();
        let outer: Vec<Expr> = rows.iter().map(|&i| self.plan.dims[i].clone()).collect();
        // Vectors side by side hide the latency of sums; no more than there are.
        let n = self.plan.dims.get(self.axis).cloned().unwrap_or(1.into());
        let most = self.cx.symbols.max(&n).max(1) as usize / usize::from(self.lanes);
        let vectors = if across { self.unroll().min(most.max(1)) } else { 1 };
        let block = vectors as i64 * i64::from(self.lanes);
        let blocks = if across { n.ceil_div(&block.into()) } else { 1.into() };
        let trips = product(&outer) * blocks.clone();
        let inner = [&outer[..], std::slice::from_ref(&blocks)].concat();
        let mut done = Ok(());
        self.each(
            b,
            &trips,
            block,
            &mut |me, b, slot, t| {
                let parts = unravel(b, &Idx::reg(t), &inner)?;
                let mut at = vec![Idx::default(); me.plan.dims.len()];
                rows.iter().zip(&parts).for_each(|(&i, p)| at[i] = p.clone());
                if across {
                    let c = parts.last().map_or(Idx::default(), |p| p.times(block));
                    me.block(b, at, (c, &n, vectors), slot)
                } else {
                    let kept = slot.map(|s| (s, 1));
                    me.rows(b, vec![Unit { at, tail: None, given: Given::new(), lanes: 1, kept }])
                }
            },
            &mut done,
        );
        done
    }
    /// The outermost loop. With kept values every step owns a part of them; it sees where that starts.
    fn each(
        &mut self,
        b: &mut KernelBuilder,
        trips: &Expr,
        block: i64,
        f: &mut Trip<'_, 'a>,
        done: &mut Result<()>,
    ) {
        let kept = self.plan.kept.iter().flatten().count() as i64;
        let work = self.work();
        if kept == 0 {
            return parallel_if(b, work, trips, |b, t| {
                *done = f(self, b, None, t);
                self.puller.forget();
            });
        }
        let size = self.stride(block) * kept.into();
        let slots = if work < WORTH_THREADS { 1 } else { slots::count(self.cx.target, trips) };
        let bytes = size.clone() * (4 * slots).into();
        let ty = TensorType::new(DType::I8, vec![bytes.clone()]);
        self.scratch = Some((self.puller.params.buf(b, Arg::Scratch(0), Access::ReadWrite, &ty), bytes));
        let start = |b: &mut KernelBuilder, slot: Reg| {
            let size = dim(b, &size);
            Idx::reg(b.mul(slot, size))
        };
        let mut each = |b: &mut KernelBuilder, at: &Idx, t: Reg| {
            *done = f(self, b, Some(at.clone()), t);
            self.puller.forget();
        };
        if slots == 1 {
            return b.range(trips, |b, t| each(b, &Idx::default(), t));
        }
        slots::for_each(b, slots, trips, start, |b, at, t| each(b, at, t));
    }
    /// Elements of one kept value, with room for whole vectors.
    fn stride(&self, block: i64) -> Expr {
        let row = product(self.plan.axes.iter().map(|&a| &self.plan.dims[a]));
        if self.along { row + i64::from(self.lanes).into() } else { row * block.into() }
    }
    /// Rows side by side from `c` on: whole vectors together, what is left one vector after the other.
    fn block(
        &mut self,
        b: &mut KernelBuilder,
        at: Vec<Idx>,
        (c, n, vectors): (Idx, &Expr, usize),
        slot: Option<Idx>,
    ) -> Result<()> {
        let (lanes, block) = (i64::from(self.lanes), vectors as i64 * i64::from(self.lanes));
        let (axis, own) = (self.axis, self.lanes);
        let unit = |c: Idx, v: usize, tail: Option<Reg>| {
            let mut at = at.clone();
            at[axis] = Idx { step: 1, ..c.plus(&Idx::at(v as i64 * lanes)) };
            let kept = slot.clone().map(|s| (s.plus(&Idx::at(v as i64 * lanes)), block));
            Unit { at, tail, given: Given::new(), lanes: own, kept }
        };
        let whole: Vec<Unit> = (0..vectors).map(|v| unit(c.clone(), v, None)).collect();
        if n.modulo(&block.into()).is(0) {
            return self.rows(b, whole);
        }
        let (from, end, size) = (c.materialise(b), dim(b, n), int(b, block));
        let next = b.add(from, size);
        let fits = b.cmp(CmpOp::Le, next, end);
        let before = self.puller.snapshot();
        let (mut done, mut rest) = (Ok(()), Ok(()));
        let me = std::cell::RefCell::new(self);
        b.if_(
            fits,
            |b| {
                let mut me = me.borrow_mut();
                done = me.rows(b, whole);
                me.puller.restore(&before);
            },
            |b| {
                b.for_(Bound::Reg(from), Bound::Reg(end), lanes, LoopKind::Serial, |b, i| {
                    let mut me = me.borrow_mut();
                    let left = b.sub(end, i);
                    let most = int(b, lanes);
                    let tail = b.bin(BinOp::MinS, left, most);
                    rest = me.rows(b, vec![unit(Idx::reg(i), 0, Some(tail))]);
                    me.puller.restore(&before);
                });
            },
        );
        done.and(rest)
    }
    /// All passes over some units.
    fn rows(&mut self, b: &mut KernelBuilder, mut units: Vec<Unit>) -> Result<()> {
        let line = Line { lanes: self.lanes, unroll: if self.along { self.unroll() } else { 1 } };
        for pass in 0..self.plan.passes.len() {
            let copies = if self.along { line.unroll } else { units.len() };
            let lanes = self.lanes;
            let sums = &self.plan.passes[pass];
            let mut acc: Vec<Vec<Reg>> = vec![];
            for _ in 0..copies {
                acc.push(sums.iter().map(|s| s.start(b, lanes)).collect::<Result<_>>()?);
            }
            self.over(b, &mut units, pass, line, &mut |me, b, unit, at, place, copy| {
                let inside = place.tail.filter(|_| me.along).map(|t| first_lanes(b, t, place.lanes));
                for (sum, &acc) in sums.iter().zip(&acc[copy]) {
                    let v = me.puller.at(b, sum.x, at, place.lanes)?;
                    sum.step(b, &mut me.puller, (acc, v), inside)?;
                }
                for v in &me.plan.kept[pass] {
                    me.keep(b, unit, at, *v, place.lanes)?;
                }
                Ok(())
            })?;
            for (s, sum) in sums.iter().enumerate() {
                for (u, unit) in units.iter_mut().enumerate() {
                    let mut all = acc[if self.along { 0 } else { u }][s];
                    if self.along {
                        for other in &acc[1..] {
                            all = sum.combine(b, all, other[s])?;
                        }
                        all = sum.fold(b, all);
                    }
                    let v = sum.finish(b, &mut self.puller, all, self.plan.dims)?;
                    unit.given.insert((sum.y, b.ty(v).lanes), v);
                }
            }
        }
        if !self.plan.outputs[1].is_empty() {
            self.over(b, &mut units, self.plan.passes.len(), line, &mut |me, b, _, at, place, _| {
                me.plan.outputs[1].iter().try_for_each(|&i| me.store(b, i, at, place.lanes, place.tail))
            })?;
        }
        for unit in &units {
            self.enter(unit);
            for &i in &self.plan.outputs[0] {
                let rank = self.plan.body.ty(self.plan.body.graph.outputs[i]).dims.len();
                let all = rank == self.plan.dims.len();
                let at = unit.at.iter().enumerate().filter(|(a, _)| all || !self.plan.axes.contains(a));
                let at: Vec<Idx> = at.map(|(_, i)| i.clone()).collect();
                self.store(b, i, &at, unit.lanes, unit.tail)?;
            }
        }
        self.puller.tail = None;
        Ok(())
    }
    fn enter(&mut self, unit: &Unit) {
        *self.puller.given() = unit.given.clone();
        self.puller.tail = unit.tail;
    }
    /// Stores an output at an element, or some from there.
    fn store(
        &mut self,
        b: &mut KernelBuilder,
        output: usize,
        at: &[Idx],
        lanes: u16,
        tail: Option<Reg>,
    ) -> Result<()> {
        let v = self.plan.body.graph.outputs[output];
        let r = self.puller.at(b, v, at, lanes)?;
        let r = b.splat(r, lanes);
        let ty = self.plan.body.ty(v);
        let buf = self.puller.output(b, output);
        let at = linear(b, at, &ty.dims)?;
        access::store(b, ty.dtype, buf, &at, r, tail)
    }
    /// Emits `f` for every element of the rows. Before that, everything that is the same all along a row.
    fn over(
        &mut self,
        b: &mut KernelBuilder,
        units: &mut [Unit],
        pass: usize,
        line: Line,
        f: &mut Element<'_, 'a>,
    ) -> Result<()> {
        for unit in units.iter_mut() {
            self.enter(unit);
            let known = |v: ValueId| unit.given.contains_key(&(v, self.lanes));
            for v in self.plan.per_row(pass, known) {
                let at = self.puller.aligned(v, &unit.at);
                let one = self.puller.at(b, v, &at, unit.lanes)?;
                let wide = b.splat(one, self.lanes);
                unit.given.extend([((v, unit.lanes), one), ((v, self.lanes), wide)]);
            }
        }
        if let [unit] = &*units {
            self.enter(unit);
        }
        let mut at = vec![];
        self.walk(
            b,
            &mut at,
            &mut |me, b, axes, place| {
                for (u, unit) in units.iter().enumerate() {
                    let mut at = unit.at.clone();
                    me.plan.axes.iter().zip(axes).for_each(|(&a, i)| at[a] = i.clone());
                    let place =
                        if me.along { place } else { Place { lanes: me.lanes, tail: unit.tail, ..place } };
                    let copy = match me.along {
                        true => (place.offset / i64::from(place.lanes)) as usize,
                        false => u,
                    };
                    if units.len() > 1 {
                        me.enter(unit);
                    }
                    me.recall(b, unit, &at, pass, place.lanes)?;
                    f(me, b, unit, &at, place, copy)?;
                }
                Ok(())
            },
            line,
        )
    }
    /// Loops over the reduced axes: coordinates of all runs so far are in `axes`.
    fn walk(
        &mut self,
        b: &mut KernelBuilder,
        axes: &mut Vec<Idx>,
        f: &mut Inner<'_, 'a>,
        line: Line,
    ) -> Result<()> {
        let Some(run) = self.plan.runs.iter().find(|r| self.plan.axes.get(axes.len()) == Some(&r.start))
        else {
            let zero = int(b, 0);
            return f(self, b, axes, Place { at: zero, offset: 0, lanes: 1, tail: None });
        };
        let dims = &self.plan.dims[run.clone()];
        let (n, before) = (product(dims), axes.len());
        let hi = b.bound(&n);
        let last = before + run.len() == self.plan.axes.len();
        let mut done = Ok(());
        if self.along && last {
            return line.emit(b, (Bound::Const(0), hi), &n, &mut |b, place| {
                let (outside, tail) = (self.puller.snapshot(), self.puller.tail);
                axes.extend(spread(&place.idx(), dims));
                self.puller.tail = place.tail;
                let done = f(self, b, axes, place);
                self.puller.tail = tail;
                self.puller.restore(&outside);
                axes.truncate(before);
                done
            });
        }
        b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, i| {
            let outside = self.puller.snapshot();
            axes.extend(spread(&Idx::reg(i), dims));
            done = self.walk(b, axes, f, line);
            axes.truncate(before);
            self.puller.restore(&outside);
        });
        done
    }
    /// Where an element of a kept value is.
    fn kept_at(&self, b: &mut KernelBuilder, unit: &Unit, at: &[Idx], v: ValueId, lanes: u16) -> Result<Idx> {
        let (first, step) = unit.kept.clone().unwrap_or_default();
        let number = self.plan.kept.iter().flatten().position(|k| *k == v).unwrap_or(0);
        let (coords, dims): (Vec<Idx>, Vec<Expr>) =
            self.plan.axes.iter().map(|&a| (at[a].clone(), self.plan.dims[a].clone())).unzip();
        let inside = linear(b, &coords, &dims)?.times(step);
        let block = self.stride(step);
        let first = first.plus(&Idx::at(1).times_expr(b, &(block * (number as i64).into()))?);
        Ok(Idx { step: i64::from(lanes > 1), ..first.plus(&inside) })
    }
    fn keep(&mut self, b: &mut KernelBuilder, unit: &Unit, at: &[Idx], v: ValueId, lanes: u16) -> Result<()> {
        let Some((buf, _)) = self.scratch else { return Ok(()) };
        let r = self.puller.at(b, v, at, lanes)?;
        let r = b.splat(r, lanes);
        let place = self.kept_at(b, unit, at, v, lanes)?;
        b.store(buf, place.addr(), r, None);
        Ok(())
    }
    /// Loads what earlier passes kept.
    fn recall(
        &mut self,
        b: &mut KernelBuilder,
        unit: &Unit,
        at: &[Idx],
        pass: usize,
        lanes: u16,
    ) -> Result<()> {
        let Some((buf, _)) = self.scratch else { return Ok(()) };
        for v in self.plan.kept.iter().take(pass).flatten() {
            let place = self.kept_at(b, unit, at, *v, lanes)?;
            let r = b.load(Elem::F32, lanes, buf, place.addr(), None);
            self.puller.give(b, *v, r);
        }
        Ok(())
    }
}

type Trip<'e, 'a> = dyn FnMut(&mut Rows<'a>, &mut KernelBuilder, Option<Idx>, Reg) -> Result<()> + 'e;
type Element<'e, 'a> =
    dyn FnMut(&mut Rows<'a>, &mut KernelBuilder, &Unit, &[Idx], Place, usize) -> Result<()> + 'e;
type Inner<'e, 'a> = dyn FnMut(&mut Rows<'a>, &mut KernelBuilder, &[Idx], Place) -> Result<()> + 'e;

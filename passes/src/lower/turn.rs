//! Matrices turned: transposes whose last axis comes from elsewhere, with element-wise ops and reshapes round them.
//!
//! Vectors run along the result's contiguous axes, the rows, and are gathered from as many rows of the operand; those are
//! walked in step along the operand's contiguous axes, the columns, so that every cache line is read once. Few rows (the
//! colours of an image, the blocks of a pixel shuffle) are interleaved: a table says which rows the lanes of a few vectors
//! take, and which places of the run in front of them in the result.

use super::access;
use super::body::Body;
use super::contract::gemm::{add_const, dot, unravel};
use super::elementwise::name;
use super::epilogue::store_outputs;
use super::index::{Idx, int};
use super::pull::{Puller, is_not_vector};
use super::{LowerCx, Lowered, parallel_if};
use crate::fuse::policy;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg};
use sinter_ir::{DType, Expr, Node, Op, Result, Tensor, ValueId};

/// Columns of the operand that one step of the parallel loop turns.
const COLUMNS: i64 = 64;

/// A group that turns matrices.
struct Turn<'a> {
    cx: &'a LowerCx<'a>,
    body: &'a Body,
    /// The only operand of more than one element.
    x: ValueId,
    /// Operand and result of the transpose.
    from: ValueId,
    to: ValueId,
    /// Which axes are rows and columns.
    exchange: Exchange,
    lanes: u16,
}

/// Lowers a group that turns matrices; `None` for all others.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Option<Lowered>> {
    let Some(turn) = Turn::of(cx, body) else { return Ok(None) };
    match turn.kernel() {
        Err(d) if is_not_vector(&d) => Ok(None),
        other => other.map(Some),
    }
}

/// Whether groups that turn matrices may hold an op besides constants.
pub fn takes(op: &Op) -> bool {
    op.is_pointwise()
        || matches!(
            op,
            Op::Transpose(_) | Op::Reshape(_) | Op::Identity(_) | Op::Quantize(_) | Op::Dequantize(_)
        )
}

/// Axes that a transpose keeps together, as one.
#[derive(Debug, Clone)]
pub struct Run {
    size: Expr,
    /// Elements from one to the next in the operand.
    from: Expr,
    /// The same in the result.
    to: Expr,
}

/// A transpose as matrices that are turned.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Everything else, in the order of the result.
    outer: Vec<Run>,
    /// Contiguous in the result.
    rows: Run,
    /// Contiguous in the operand.
    columns: Run,
}

/// Rows and columns of a transpose; none where both orders end with the same axis. Axes of one element do not count.
pub fn exchanged(dims: &[Expr], perm: &[usize]) -> Option<Exchange> {
    let axes: Vec<usize> = (0..dims.len()).filter(|&i| !dims[i].is(1)).collect();
    let next = |a: usize| axes.iter().find(|&&b| b > a).copied();
    let mut runs: Vec<Vec<usize>> = vec![];
    for &p in perm.iter().filter(|&&p| !dims[p].is(1)) {
        match runs.last_mut() {
            Some(run) if run.last().and_then(|&a| next(a)) == Some(p) => run.push(p),
            _ => runs.push(vec![p]),
        }
    }
    let all = |axes: &[usize]| product(axes.iter().map(|&a| &dims[a]));
    let mut made: Vec<Run> = vec![];
    let mut to = Expr::from(1);
    for run in runs.iter().rev() {
        let (size, end) = (all(run), run.last().map_or(0, |a| a + 1));
        made.push(Run { size: size.clone(), from: product(&dims[end..]), to: to.clone() });
        to = to * size;
    }
    made.reverse();
    let rows = made.pop()?;
    let columns = made.remove(made.iter().position(|r| r.from.is(1))?);
    Some(Exchange { outer: made, rows, columns })
}

impl<'a> Turn<'a> {
    fn of(cx: &'a LowerCx<'a>, body: &'a Body) -> Option<Self> {
        let g = &body.graph;
        let mut turned = g.iter().filter(|(_, n)| matches!(n.op, Op::Transpose(_)));
        let (Some((_, node)), None, [y]) = (turned.next(), turned.next(), &g.outputs[..]) else {
            return None;
        };
        let Op::Transpose(t) = &node.op else { return None };
        let (from, to) = (node.inputs[0], node.outputs[0]);
        let one = |v: &ValueId| body.ty(*v).numel().is(1);
        let mut large =
            g.inputs.iter().chain(g.iter().filter(|(_, n)| is_constant(&n.op)).map(|(_, n)| &n.outputs[0]));
        let x = *large.find(|v| !one(v))?;
        let straight = |n: &Node| match n.op {
            Op::Transpose(_) | Op::Reshape(_) => true,
            _ => n.inputs.iter().all(|v| one(v) || body.ty(*v).dims == body.ty(n.outputs[0]).dims),
        };
        let mut values = g.iter().flat_map(|(_, n)| n.inputs.iter().chain(&n.outputs));
        let typed = |v: &ValueId| access::vectorises(body.ty(*v).dtype);
        if large.any(|v| !one(v))
            || body.const_of(x).is_some()
            || !g.iter().all(|(_, n)| is_constant(&n.op) || takes(&n.op) && straight(n))
            || !values.all(typed)
            || body.ty(*y).numel() != body.ty(to).numel()
        {
            return None;
        }
        let dims = &body.ty(from).dims;
        let exchange = exchanged(dims, &t.perm)?;
        let lanes = cx.target.lanes(32);
        // Distances of lanes are 32 bits wide: of rows, of places in front of them, or of both.
        let apart = |r: &Run| cx.symbols.max(&r.from);
        let farthest = exchange.outer.last().map_or(0, apart).max(apart(&exchange.rows));
        let near = farthest < i64::from(i32::MAX) / 2 / i64::from(lanes.max(1));
        (lanes > 1 && near).then_some(Self { cx, body, x, from, to, exchange, lanes })
    }

    fn kernel(&self) -> Result<Lowered> {
        let mut b = KernelBuilder::new(name(self.body, "turn"));
        let mut p = Puller::new(self.cx, self.body);
        p.flat = true;
        let x = p.params.value(&mut b, self.body, self.x)?;
        let Exchange { outer, rows, columns } = &self.exchange;
        let few = rows.size.as_const().filter(|&r| r < i64::from(self.lanes));
        // What a step goes through in parts, and what it walks whole.
        let (outer, parts, whole) = match (few, outer.split_last()) {
            (Some(r), Some((last, outer))) if !columns.to.is(r) => (outer, last, Some(columns)),
            _ => (&outer[..], columns, None),
        };
        let per_step = if few.is_some() && whole.is_none() { COLUMNS * COLUMNS } else { COLUMNS };
        let chunks = parts.size.ceil_div(&per_step.into());
        let cost: u64 = self.body.graph.iter().map(|(_, n)| policy::cost(&n.op)).sum();
        let size = self.cx.symbols.max(&self.body.ty(self.from).numel()).max(0) as u64;
        let work: Vec<Expr> = outer.iter().map(|r| &r.size).chain([&chunks]).cloned().collect();
        let mut done = Ok(());
        parallel_if(&mut b, size.saturating_mul(cost + 1), &product(&work), |b, step| {
            let at = unravel(b, step, &work);
            let (chunk, at) = (at[outer.len()], &at[..outer.len()]);
            let (c, s) = (int(b, per_step), b.dim(&parts.size));
            let lo = b.mul(chunk, c);
            let hi = b.add(lo, c);
            let hi = b.bin(BinOp::MinS, hi, s);
            let strides = |f: fn(&Run) -> &Expr| outer.iter().map(|r| f(r).clone()).collect::<Vec<_>>();
            let from = dot(b, at, &strides(|r| &r.from));
            let to = dot(b, at, &strides(|r| &r.to));
            let Some(r) = few else {
                done = self.rows(b, &mut p, x, (from, to), (lo, hi));
                return;
            };
            let table = match self.table(b, &mut p, r, parts) {
                Ok(table) => table,
                Err(d) => return done = Err(d),
            };
            let mut interleave = |b: &mut KernelBuilder, from, to| {
                let made = self.interleave(b, &mut p, x, (from, to), (lo, hi), (&table, parts));
                done = done.clone().and(made);
            };
            match whole {
                None => interleave(b, from, to),
                Some(whole) => {
                    let end = b.bound(&whole.size);
                    b.for_(Bound::Const(0), end, 1, LoopKind::Serial, |b, i| {
                        let ahead = dot(b, &[i], std::slice::from_ref(&whole.to));
                        let (from, to) = (b.add(from, i), b.add(to, ahead));
                        interleave(b, from, to);
                    });
                }
            }
        });
        done?;
        Ok(p.params.finish(b))
    }

    /// Vectors along the rows of the result, for the columns `lo .. hi`.
    fn rows(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        x: Buf,
        (from, to): (Reg, Reg),
        (lo, hi): (Reg, Reg),
    ) -> Result<()> {
        let Exchange { rows, columns, .. } = &self.exchange;
        let lanes = i64::from(self.lanes);
        let pitch = b.dim(&rows.from);
        let pitch = b.cvt(CvtOp::Narrow, Elem::I32, pitch);
        let pitch = b.splat(pitch, self.lanes);
        let lane = b.hoist(Elem::I32, self.lanes, Inst::LaneIndex);
        let index = b.mul(lane, pitch);
        let whole = rows.size.clone() - rows.size.modulo(&lanes.into());
        let mut done = Ok(());
        let mut strip = |b: &mut KernelBuilder, row: Reg, tail: Option<Reg>| {
            let (apart, step) = (b.dim(&rows.from), b.dim(&columns.to));
            let first = b.mul(row, apart);
            let first = b.add(from, first);
            let to = b.add(to, row);
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, col| {
                let at = Addr::reg(first).plus(col, 1);
                let put = b.mul(col, step);
                let put = Idx::reg(to).plus(&Idx::reg(put));
                done = done.clone().and_then(|()| self.put(b, p, (x, at), index, &put, tail));
            });
        };
        if !whole.is(0) {
            let end = b.bound(&whole);
            b.for_(Bound::Const(0), end, lanes, LoopKind::Serial, |b, row| strip(b, row, None));
        }
        let left = rows.size.clone() - whole.clone();
        if !left.is(0) {
            // At most one trip.
            let (from, end) = (b.bound(&whole), b.bound(&rows.size));
            b.for_(from, end, lanes, LoopKind::Serial, |b, row| {
                let left = b.dim(&left);
                strip(b, row, Some(left));
            });
        }
        done
    }

    /// Where the lanes of `r` vectors are that hold few rows for as many places as there are lanes.
    fn table(&self, b: &mut KernelBuilder, p: &mut Puller, r: i64, places: &Run) -> Result<Vec<Reg>> {
        let lanes = i64::from(self.lanes);
        // Rows, then places, of the lanes of all vectors.
        let all = 0..r * lanes;
        let table: Vec<i64> = all.clone().map(|i| i % r).chain(all.map(|i| i / r)).collect();
        let table = Tensor::from_i64(DType::I32, vec![table.len()], &table)?;
        let table = p.params.pack(b, table.shared_bytes(), DType::I32);
        let [rows, places] = [&self.exchange.rows.from, &places.from].map(|apart| {
            let apart = b.dim(apart);
            let apart = b.cvt(CvtOp::Narrow, Elem::I32, apart);
            b.splat(apart, self.lanes)
        });
        let vector = |v| {
            let row = b.load(Elem::I32, self.lanes, table, Addr::at(v * lanes), None);
            let place = b.load(Elem::I32, self.lanes, table, Addr::at((r + v) * lanes), None);
            let place = b.mul(place, places);
            b.mul_add(row, rows, place)
        };
        Ok((0..r).map(vector).collect())
    }

    /// Few rows, for the places from `lo` to `hi`.
    fn interleave(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        x: Buf,
        (from, to): (Reg, Reg),
        (lo, hi): (Reg, Reg),
        (table, places): (&[Reg], &Run),
    ) -> Result<()> {
        let (lanes, r) = (i64::from(self.lanes), table.len() as i64);
        let count = b.sub(hi, lo);
        let mask = int(b, -lanes);
        let whole = b.bin(BinOp::And, count, mask);
        let whole = b.add(lo, whole);
        let mut done = Ok(());
        let mut block = |b: &mut KernelBuilder, place: Reg, left: Option<Reg>| {
            let apart = dot(b, &[place], std::slice::from_ref(&places.from));
            let from = Addr::reg(from).plus(apart, 1);
            let times = int(b, r);
            let put = b.mul(place, times);
            let put = b.add(to, put);
            for (v, &index) in table.iter().enumerate() {
                let ahead = v as i64 * lanes;
                let tail = left.map(|n| {
                    let n = add_const(b, n, -ahead);
                    let (zero, most) = (int(b, 0), int(b, lanes));
                    let n = b.bin(BinOp::MaxS, n, zero);
                    b.bin(BinOp::MinS, n, most)
                });
                let put = Idx::reg(put).plus(&Idx::at(ahead));
                done = done.clone().and_then(|()| self.put(b, p, (x, from.clone()), index, &put, tail));
            }
        };
        b.for_(Bound::Reg(lo), Bound::Reg(whole), lanes, LoopKind::Serial, |b, place| {
            block(b, place, None);
        });
        b.for_(Bound::Reg(whole), Bound::Reg(hi), lanes, LoopKind::Serial, |b, place| {
            let (left, times) = (b.sub(hi, place), int(b, r));
            let left = b.mul(left, times);
            block(b, place, Some(left));
        });
        done
    }

    /// Gathers a vector, computes and stores it.
    fn put(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        (x, at): (Buf, Addr),
        index: Reg,
        to: &Idx,
        tail: Option<Reg>,
    ) -> Result<()> {
        let dtype = self.body.ty(self.x).dtype;
        let raw = b.reg(access::memory(dtype), self.lanes);
        b.set(raw, Inst::LoadGather { buf: x, at, index, tail });
        let value = access::widen(b, dtype, raw);
        let before = p.snapshot();
        let to = [Idx { step: 1, ..to.clone() }];
        p.give(b, self.x, value);
        let turned = p.at(b, self.from, &to, self.lanes)?;
        p.give(b, self.to, turned);
        store_outputs(b, p, &to, self.lanes, tail)?;
        p.forget();
        p.restore(&before);
        Ok(())
    }
}

fn is_constant(op: &Op) -> bool {
    matches!(op, Op::Constant(_))
}

//! Products on their way to the epilogue.

use super::{Block, Place};
use crate::lower::contract::gemm::{Finish, add_const, scaled, unravel};
use crate::lower::out::{Index, Out};
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, CmpOp, LoopKind, Reg};

impl Block<'_> {
    /// Transforms the products of all tiles by panel `q` and hands the results on.
    pub(super) fn output(&self, b: &mut KernelBuilder, q: Reg, finish: Finish, out: &mut Out) -> Result<()> {
        let plan = self.plan;
        let (first, end) = self.tiles;
        let (lanes, nr) = (i64::from(plan.tile.lanes), plan.tile.nr() as i64);
        let columns = b.i64(plan.columns);
        let lo = scaled(b, q, nr);
        let hi = add_const(b, lo, nr);
        let hi = b.bin(BinOp::MinS, hi, columns);
        let mut done = Ok(());
        b.for_(Bound::Reg(first), Bound::Reg(end), 1, LoopKind::Serial, |b, t| {
            let at = unravel(b, t, &plan.tile_dims());
            let tile = b.sub(t, first);
            let from = scaled(b, tile, plan.column_pitch());
            let from = b.add(self.sums.start, from);
            b.for_(Bound::Reg(lo), Bound::Reg(hi), lanes, LoopKind::Serial, |b, column| {
                let tail = (plan.columns % lanes != 0).then(|| {
                    let (left, full) = (b.sub(columns, column), b.i64(lanes));
                    b.bin(BinOp::MinS, left, full)
                });
                let ahead = b.sub(column, lo);
                let from = b.add(from, ahead);
                self.columns(b, from);
                done = self.rows(b, &Corner { at: &at, column, tail }, finish, out);
            });
        });
        done
    }
    /// The first pass, into scratch.
    fn columns(&self, b: &mut KernelBuilder, from: Reg) {
        let plan = self.plan;
        let (lanes, n) = (plan.tile.lanes, plan.points.products() as i64);
        let (width, plane) = (i64::from(lanes), plan.plane(plan.column_pitch()));
        let Place { buf, start } = self.rest;
        b.for_(Bound::Const(0), Bound::Const(n), 1, LoopKind::Serial, |b, j| {
            let z: Vec<Reg> = (0..n)
                .map(|i| {
                    let at = Addr::reg(from).plus(j, plane).offset(i * n * plane);
                    b.load(plan.layer.num.acc, lanes, self.sums.buf, at, None)
                })
                .collect();
            for (i, y) in (0..).zip(plan.points.result(b, &z)) {
                b.store(buf, Addr::reg(start).plus(j, width).offset(i * n * width), y, None);
            }
        });
    }
    /// The second pass: results of one row after the other, those inside the image.
    fn rows(&self, b: &mut KernelBuilder, corner: &Corner, finish: Finish, out: &mut Out) -> Result<()> {
        let plan = self.plan;
        let (lanes, n) = (plan.tile.lanes, plan.points.products() as i64);
        let (width, results) = (i64::from(lanes), plan.points.results() as i64);
        let Place { buf, start } = self.rest;
        let [(y, rows), (x, cols)] = [0, 1].map(|axis| {
            let first = scaled(b, corner.at[1 + axis], results);
            let points = b.dim(&plan.axes[axis].points);
            let (left, most) = (b.sub(points, first), b.i64(results));
            (first, b.bin(BinOp::MinS, left, most))
        });
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Reg(rows), 1, LoopKind::Serial, |b, i| {
            let y = b.add(y, i);
            let z: Vec<Reg> = (0..n)
                .map(|j| {
                    let at = Addr::reg(start).plus(i, n * width).offset(j * width);
                    b.load(plan.layer.num.acc, lanes, buf, at, None)
                })
                .collect();
            let results = plan.points.result(b, &z);
            let whole = (finish == Finish::Registers).then(|| {
                let all = b.i64(results.len() as i64);
                b.cmp(CmpOp::Eq, cols, all)
            });
            let out = std::cell::RefCell::new(out);
            let (mut inside, mut edge) = (Ok(()), Ok(()));
            let mut through_memory = |b: &mut KernelBuilder| {
                for (j, &v) in (0..).zip(&results) {
                    b.store(buf, Addr::reg(start).offset(n * n * width + j * width), v, None);
                }
                b.for_(Bound::Const(0), Bound::Reg(cols), 1, LoopKind::Serial, |b, j| {
                    let x = b.add(x, j);
                    let skip = scaled(b, j, width);
                    let from = b.add(start, skip);
                    edge = self.through_memory(b, (y, x), from, corner, finish, &mut out.borrow_mut());
                });
            };
            match whole {
                None => through_memory(b),
                Some(whole) => b.if_(
                    whole,
                    |b| {
                        for (j, &v) in (0..).zip(&results) {
                            let x = add_const(b, x, j);
                            let put =
                                corner.put(b, (y, x), (corner.column, v), corner.tail, &mut out.borrow_mut());
                            inside = inside.clone().and(put);
                        }
                    },
                    through_memory,
                ),
            }
            done = inside.and(edge);
        });
        done
    }
    /// One result of all columns, from scratch: a vector, or its elements one by one.
    fn through_memory(
        &self,
        b: &mut KernelBuilder,
        at: (Reg, Reg),
        from: Reg,
        corner: &Corner,
        finish: Finish,
        out: &mut Out,
    ) -> Result<()> {
        let plan = self.plan;
        let (elem, lanes) = (plan.layer.num.acc, plan.tile.lanes);
        let from = Addr::reg(from).offset(plan.area() * i64::from(lanes));
        if finish != Finish::Scalars {
            let value = b.load(elem, lanes, self.rest.buf, from, None);
            return corner.put(b, at, (corner.column, value), corner.tail, out);
        }
        let mut done = Ok(());
        let count = corner.tail.unwrap_or_else(|| b.i64(lanes.into()));
        b.for_(Bound::Const(0), Bound::Reg(count), 1, LoopKind::Serial, |b, l| {
            let value = b.load(elem, 1, self.rest.buf, from.plus(l, 1), None);
            let column = b.add(corner.column, l);
            done = corner.put(b, at, (column, value), None, out);
        });
        done
    }
}

/// A tile of the result in one vector of columns.
struct Corner<'a> {
    /// Image, and row and column of the tile.
    at: &'a [Reg],
    column: Reg,
    /// Lanes that count, where not all do.
    tail: Option<Reg>,
}

impl Corner<'_> {
    fn put(
        &self,
        b: &mut KernelBuilder,
        (y, x): (Reg, Reg),
        (column, value): (Reg, Reg),
        tail: Option<Reg>,
        out: &mut Out,
    ) -> Result<()> {
        out.put(b, &[self.at[0], y, x, column].map(|at| Index { at, axes: 1 }), value, tail)
    }
}

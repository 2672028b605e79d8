//! Products on their way to the epilogue.

use super::{Block, Place};
use crate::lower::access;
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
                let from = self.columns(b, from);
                done = self.rows(
                    b,
                    from,
                    &Corner { at: &at, column, rows: plan.layer.yt.rank() - 3, tail },
                    finish,
                    out,
                );
            });
        });
        done
    }
    /// The first pass, into scratch; there is none where columns stay as they are.
    fn columns(&self, b: &mut KernelBuilder, from: Reg) -> Halfway {
        let plan = self.plan;
        let (lanes, [rows, cols]) = (plan.tile.lanes, plan.products());
        let (width, plane) = (i64::from(lanes), plan.plane(plan.column_pitch()));
        if plan.points[0].is_plain() {
            let place = Place { buf: self.sums.buf, start: from };
            return Halfway { place, row: 0, column: plane };
        }
        let Place { buf, start } = self.rest;
        b.for_(Bound::Const(0), Bound::Const(cols), 1, LoopKind::Serial, |b, j| {
            let z: Vec<Reg> = (0..rows)
                .map(|i| {
                    let at = Addr::reg(from).plus(j, plane).offset(i * cols * plane);
                    b.load(plan.layer.num.acc, lanes, self.sums.buf, at, None)
                })
                .collect();
            for (i, y) in (0..).zip(plan.points[0].result(b, &z)) {
                b.store(buf, Addr::reg(start).plus(j, width).offset(i * cols * width), y, None);
            }
        });
        Halfway { place: self.rest, row: cols * width, column: width }
    }
    /// The second pass: results of one row after the other, those inside the image.
    fn rows(
        &self,
        b: &mut KernelBuilder,
        from: Halfway,
        corner: &Corner,
        finish: Finish,
        out: &mut Out,
    ) -> Result<()> {
        let plan = self.plan;
        let (lanes, [_, cols]) = (plan.tile.lanes, plan.products());
        let width = i64::from(lanes);
        let Place { buf, start } = self.rest;
        let [(y, down), (x, across)] = [0, 1].map(|axis| {
            let results = plan.points[axis].results() as i64;
            let first = scaled(b, corner.at[1 + axis], results);
            let points = b.dim(&plan.axes[axis].points);
            let (left, most) = (b.sub(points, first), b.i64(results));
            (first, b.bin(BinOp::MinS, left, most))
        });
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Reg(down), 1, LoopKind::Serial, |b, i| {
            let y = b.add(y, i);
            let z: Vec<Reg> = (0..cols)
                .map(|j| {
                    let at = Addr::reg(from.place.start).plus(i, from.row).offset(j * from.column);
                    b.load(plan.layer.num.acc, lanes, from.place.buf, at, None)
                })
                .collect();
            let results: Vec<Reg> =
                plan.points[1].result(b, &z).into_iter().map(|y| shifted(b, y, plan.excess_bits())).collect();
            let whole = (finish == Finish::Registers).then(|| {
                let all = b.i64(results.len() as i64);
                b.cmp(CmpOp::Eq, across, all)
            });
            let out = std::cell::RefCell::new(out);
            let (mut inside, mut edge) = (Ok(()), Ok(()));
            let mut through_memory = |b: &mut KernelBuilder| {
                for (j, &v) in (0..).zip(&results) {
                    b.store(buf, Addr::reg(start).offset((plan.area() + j) * width), v, None);
                }
                b.for_(Bound::Const(0), Bound::Reg(across), 1, LoopKind::Serial, |b, j| {
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

/// Integers without their last bits, which are 0.
fn shifted(b: &mut KernelBuilder, x: Reg, bits: u32) -> Reg {
    if bits == 0 {
        return x;
    }
    let ty = b.ty(x);
    let by = access::whole(b, ty.elem, ty.lanes, bits.into());
    b.bin(BinOp::ShrS, x, by)
}

/// Products after the first pass: the vector of row `i` and column `j` at `start + i * row + j * column`.
#[derive(Clone, Copy)]
struct Halfway {
    place: Place,
    row: i64,
    column: i64,
}

/// A tile of the result in one vector of columns.
struct Corner<'a> {
    /// Image, and row and column of the tile.
    at: &'a [Reg],
    column: Reg,
    /// Axes of the result that are rows: none in images of one axis.
    rows: usize,
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
        let index = [(self.at[0], 1), (y, self.rows), (x, 1), (column, 1)];
        out.put(b, &index.map(|(at, axes)| Index { at, axes }), value, tail)
    }
}

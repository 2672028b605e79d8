//! Tiles of the image on their way to the products.

use super::Block;
use super::Place;
use crate::lower::contract::gemm::{add_const, scaled, unravel};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg, Ty, UnOp};

/// Elements of a tile before a transform: vector (i, j) at `start + i * row + j * column`.
struct Square {
    buf: Buf,
    start: Reg,
    row: Reg,
    column: i64,
    tail: Option<Reg>,
}

impl Block<'_> {
    /// Transforms the data under all tiles of the block.
    pub(super) fn input(&self, b: &mut KernelBuilder) {
        let plan = self.plan;
        let (first, end) = self.tiles;
        b.for_(Bound::Reg(first), Bound::Reg(end), 1, LoopKind::Serial, |b, t| {
            let at = unravel(b, t, &plan.tile_dims());
            let tile = b.sub(t, first);
            let to = scaled(b, tile, plan.pitch);
            let to = b.add(self.data.start, to);
            // Words hold two channels.
            let to = scaled(b, to, plan.per_word());
            let mut whole = b.bool(1, true);
            let mut corner = at[0];
            let mut starts = vec![];
            for ((axis, points), &at) in plan.axes.iter().zip(plan.points).zip(&at[1..]) {
                let before = b.dim(&axis.before);
                let start = scaled(b, at, points.results() as i64);
                let start = b.sub(start, before);
                let (zero, size, end) =
                    (b.i64(0), b.dim(&axis.size), add_const(b, start, points.products() as i64));
                let (under, over) = (b.cmp(CmpOp::Ge, start, zero), b.cmp(CmpOp::Le, end, size));
                let inside = b.bin(BinOp::And, under, over);
                whole = b.bin(BinOp::And, whole, inside);
                corner = b.mul(corner, size);
                corner = b.add(corner, start);
                starts.push(start);
            }
            let corner = scaled(b, corner, plan.channels);
            let width = b.dim(&plan.axes[1].size);
            let row = scaled(b, width, plan.channels);
            let image = |start: Reg, tail| Square { buf: self.x, start, row, column: plan.channels, tail };
            self.vectors(b, |b, c, tail| {
                let (start, to) = (b.add(corner, c), b.add(to, c));
                let image = image(start, tail);
                // Rows on their way through scratch have the second pass in common.
                let short = plan.area() > i64::from(plan.layer.cx.target.vector_registers) / 2;
                let pass = |b: &mut KernelBuilder, from: &Square| match short {
                    true => self.data_rows(b, from),
                    false => self.transform(b, from, to),
                };
                b.if_(
                    whole,
                    |b| pass(b, &image),
                    |b| {
                        let padded = self.padded(b, &image, &starts);
                        pass(b, &padded);
                    },
                );
                if short {
                    self.data_columns(b, to);
                }
            });
        });
    }
    /// Vectors of channels; the last one's lanes that count.
    fn vectors(&self, b: &mut KernelBuilder, f: impl FnOnce(&mut KernelBuilder, Reg, Option<Reg>)) {
        let (channels, lanes) = (self.plan.channels, i64::from(self.plan.data_lanes()));
        b.for_(Bound::Const(0), Bound::Const(channels), lanes, LoopKind::Serial, |b, c| {
            let tail = (channels % lanes != 0).then(|| {
                let (all, full) = (b.i64(channels), b.i64(lanes));
                let left = b.sub(all, c);
                b.bin(BinOp::MinS, left, full)
            });
            f(b, c, tail);
        });
    }
    /// The squares of vectors, counted in elements of the data.
    fn squares(&self, b: &mut KernelBuilder) -> Place {
        Place { start: scaled(b, self.rest.start, self.plan.data_per_sum()), ..self.rest }
    }
    /// A copy of a tile at an edge with zeros outside the image.
    fn padded(&self, b: &mut KernelBuilder, from: &Square, starts: &[Reg]) -> Square {
        let (num, lanes, [rows, cols]) = (self.plan.data, self.plan.data_lanes(), self.plan.products());
        let Place { buf, start } = self.squares(b);
        b.for_(Bound::Const(0), Bound::Const(rows), 1, LoopKind::Serial, |b, i| {
            let skip = b.mul(from.row, i);
            let source = b.add(from.start, skip);
            let skip = scaled(b, i, cols * i64::from(lanes));
            let to = b.add(start, skip);
            let y = self.inside(b, 0, starts, i);
            b.for_(Bound::Const(0), Bound::Const(cols), 1, LoopKind::Serial, |b, j| {
                let x = self.inside(b, 1, starts, j);
                let inside = b.bin(BinOp::And, x, y);
                let to = Addr::reg(to).plus(j, lanes.into());
                let at = Addr::reg(source).plus(j, from.column);
                b.if_(
                    inside,
                    |b| {
                        let value = num.load(b, lanes, from.buf, at, from.tail);
                        b.store(buf, to.clone(), value, None);
                    },
                    |b| {
                        let zero = b.zero(Ty { elem: num.acc, lanes });
                        b.store(buf, to.clone(), zero, None);
                    },
                );
            });
        });
        let row = b.i64(cols * i64::from(lanes));
        Square { buf, start, row, column: lanes.into(), tail: None }
    }
    fn inside(&self, b: &mut KernelBuilder, axis: usize, starts: &[Reg], ahead: Reg) -> Reg {
        let at = b.add(starts[axis], ahead);
        let (zero, size) = (b.i64(0), b.dim(&self.plan.axes[axis].size));
        let (under, over) = (b.cmp(CmpOp::Ge, at, zero), b.cmp(CmpOp::Lt, at, size));
        b.bin(BinOp::And, under, over)
    }
    /// Both passes, all of a tile in registers.
    fn transform(&self, b: &mut KernelBuilder, from: &Square, to: Reg) {
        let [rows, cols] = self.plan.products();
        let rows: Vec<Vec<Reg>> = (0..rows)
            .map(|i| {
                let skip = scaled(b, from.row, i);
                let source = b.add(from.start, skip);
                self.row(b, from, source)
            })
            .collect();
        for j in 0..cols {
            let x: Vec<Reg> = rows.iter().filter_map(|row| row.get(j as usize)).copied().collect();
            self.column(b, &x, &|at| Addr::reg(to).offset(j * at));
        }
    }
    /// A tile between the passes.
    fn between(&self, b: &mut KernelBuilder) -> Place {
        let Place { buf, start } = self.squares(b);
        let start = add_const(b, start, self.plan.area() * i64::from(self.plan.data_lanes()));
        Place { buf, start }
    }
    /// The first pass, into scratch.
    fn data_rows(&self, b: &mut KernelBuilder, from: &Square) {
        let [rows, cols] = self.plan.products();
        let width = i64::from(self.plan.data_lanes());
        let Place { buf, start } = self.between(b);
        b.for_(Bound::Const(0), Bound::Const(rows), 1, LoopKind::Serial, |b, i| {
            let skip = b.mul(from.row, i);
            let source = b.add(from.start, skip);
            for (j, x) in (0..).zip(self.row(b, from, source)) {
                b.store(buf, Addr::reg(start).plus(i, cols * width).offset(j * width), x, None);
            }
        });
    }
    /// The second pass, from scratch.
    fn data_columns(&self, b: &mut KernelBuilder, to: Reg) {
        let (num, lanes, [rows, cols]) = (self.plan.data, self.plan.data_lanes(), self.plan.products());
        let width = i64::from(lanes);
        let Place { buf, start } = self.between(b);
        b.for_(Bound::Const(0), Bound::Const(cols), 1, LoopKind::Serial, |b, j| {
            let x: Vec<Reg> = (0..rows)
                .map(|i| {
                    let at = Addr::reg(start).plus(j, width).offset(i * cols * width);
                    b.load(num.acc, lanes, buf, at, None)
                })
                .collect();
            self.column(b, &x, &|at| Addr::reg(to).plus(j, at));
        });
    }
    /// The first pass of one row.
    fn row(&self, b: &mut KernelBuilder, from: &Square, source: Reg) -> Vec<Reg> {
        let (num, lanes, [_, cols]) = (self.plan.data, self.plan.data_lanes(), self.plan.products());
        let num = if from.buf == self.x { num } else { num.ready() };
        let at = |j| Addr::reg(source).offset(j * from.column);
        let x: Vec<Reg> = (0..cols).map(|j| num.load(b, lanes, from.buf, at(j), from.tail)).collect();
        self.plan.points[1].data(b, &x)
    }
    /// The second pass of one column, to its matrices; `to` says where the first is, from their distance.
    fn column(&self, b: &mut KernelBuilder, x: &[Reg], to: &dyn Fn(i64) -> Addr) {
        let (plan, [_, cols]) = (self.plan, self.plan.products());
        let plane = plan.plane(plan.pitch) * plan.per_word();
        for (i, x) in (0..).zip(plan.points[0].data(b, x)) {
            let rounds = plan.num.pairs && plan.data.acc.is_float();
            let x = if rounds { b.un(UnOp::F32ToBf16, x) } else { x };
            b.store(self.data.buf, to(plane).offset(i * cols * plane), x, None);
        }
    }
}

//! Finished tiles on their way to the sink.

use super::gemm::{Finish, Place, Sink, add_const, scaled};
use super::micro::Tile;
use super::num::Num;
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg};

/// Columns of a panel.
#[derive(Debug, Clone, Copy)]
pub enum Strip {
    /// As many as the tile has.
    Whole,
    /// The last panel of a known number of columns.
    #[allow(missing_docs)]
    Last { vectors: usize, lanes: i64 },
    /// This many or more; known while running.
    Open(Reg),
}

impl Strip {
    /// A last panel of so many columns.
    pub fn last(columns: i64, tile: Tile) -> Self {
        let lanes = i64::from(tile.lanes);
        let vectors = (columns + lanes - 1) / lanes;
        Strip::Last { vectors: vectors as usize, lanes: columns - (vectors - 1) * lanes }
    }
    /// Vectors of a tile here.
    pub fn vectors(&self, tile: Tile) -> usize {
        match self {
            Strip::Last { vectors, .. } => *vectors,
            _ => tile.nv,
        }
    }
    /// Lanes of `count` vectors from `v` on that count, where not all do.
    fn tail(&self, b: &mut KernelBuilder, tile: Tile, v: usize, count: usize) -> Option<Reg> {
        match *self {
            Strip::Last { vectors, lanes } if v + count == vectors && lanes < tile.lanes.into() => {
                Some(b.i64(tile.column(count - 1) + lanes))
            }
            _ => None,
        }
    }
}

/// Tiles of one panel.
#[derive(Debug, Clone)]
pub struct Tiles<'a> {
    /// Shape.
    pub tile: Tile,
    /// Elements.
    pub num: Num,
    /// How they reach the sink.
    pub finish: Finish,
    /// Batch coordinates.
    pub batch: &'a [Reg],
    /// First column.
    pub col: Reg,
}

impl Tiles<'_> {
    /// Hands the tile from `row` on to the sink.
    pub fn put(
        &self,
        b: &mut KernelBuilder,
        row: Reg,
        strip: &Strip,
        acc: &[Reg],
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let at = Place { batch: self.batch, row, col: self.col, tail: None };
        let Some(spill) = spill else { return self.in_registers(b, at, strip, acc, sink) };
        let nr = b.i64(self.tile.nr() as i64);
        let cols = match strip {
            Strip::Whole => nr,
            Strip::Last { lanes, .. } => b.i64(self.tile.column(self.tile.nv - 1) + lanes),
            Strip::Open(left) => b.bin(BinOp::MinS, *left, nr),
        };
        if let Finish::Memory(together) = self.finish
            && !matches!(strip, Strip::Open(_))
        {
            return self.row_by_row(b, at, (strip, together.max(1)), acc, spill, sink);
        }
        if self.finish != Finish::Registers {
            return self.through_memory(b, at, acc, spill, cols, sink);
        }
        if !matches!(strip, Strip::Open(_)) {
            return self.in_registers(b, at, strip, acc, sink);
        }
        let whole = b.cmp(CmpOp::Eq, cols, nr);
        let sink = std::cell::RefCell::new(sink);
        let (mut done, mut other) = (Ok(()), Ok(()));
        b.if_(
            whole,
            |b| done = self.in_registers(b, at, strip, acc, &mut **sink.borrow_mut()),
            |b| other = self.through_memory(b, at, acc, spill, cols, &mut **sink.borrow_mut()),
        );
        done.and(other)
    }

    fn in_registers(
        &self,
        b: &mut KernelBuilder,
        at: Place,
        strip: &Strip,
        acc: &[Reg],
        sink: &mut Sink,
    ) -> Result<()> {
        for (i, row) in acc.chunks(self.tile.nv.max(1)).enumerate() {
            let y = add_const(b, at.row, i as i64);
            for (v, &value) in row.iter().enumerate() {
                let col = add_const(b, at.col, self.tile.column(v));
                let tail = strip.tail(b, self.tile, v, 1);
                sink(b, Place { row: y, col, tail, ..at }, value)?;
            }
        }
        Ok(())
    }

    /// Stores the tile and hands it on row by row, the vectors of a row in turn, `together` at a time.
    fn row_by_row(
        &self,
        b: &mut KernelBuilder,
        at: Place,
        (strip, together): (&Strip, usize),
        acc: &[Reg],
        (buf, base): (Buf, Reg),
        sink: &mut Sink,
    ) -> Result<()> {
        let lanes = self.tile.lanes;
        for (i, &v) in acc.iter().enumerate() {
            b.store(buf, Addr::reg(base).offset(i as i64 * i64::from(lanes)), v, None);
        }
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Const(self.tile.mr as i64), 1, LoopKind::Serial, |b, i| {
            let row = b.add(at.row, i);
            let skip = scaled(b, i, self.tile.nr() as i64);
            let from = b.add(base, skip);
            for v in (0..self.tile.nv).step_by(together) {
                let (column, count) = (self.tile.column(v), together.min(self.tile.nv - v));
                let at_once = count as u16 * lanes;
                let value = b.load(self.num.acc, at_once, buf, Addr::reg(from).offset(column), None);
                let col = add_const(b, at.col, column);
                let tail = strip.tail(b, self.tile, v, count);
                done = done.clone().and_then(|()| sink(b, Place { row, col, tail, ..at }, value));
            }
        });
        done
    }

    /// Stores the tile and hands it on row by row: whole vectors, then the rest of the row.
    fn through_memory(
        &self,
        b: &mut KernelBuilder,
        at: Place,
        acc: &[Reg],
        (buf, base): (Buf, Reg),
        cols: Reg,
        sink: &mut Sink,
    ) -> Result<()> {
        for (i, &v) in acc.iter().enumerate() {
            b.store(buf, Addr::reg(base).offset(i as i64 * i64::from(self.tile.lanes)), v, None);
        }
        let (elem, nr) = (self.num.acc, self.tile.nr() as i64);
        let lanes = if self.finish == Finish::Scalars { 1 } else { self.tile.lanes };
        let mask = b.i64(-i64::from(lanes));
        let even = b.bin(BinOp::And, cols, mask);
        let rest = b.sub(cols, even);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Const(self.tile.mr as i64), 1, LoopKind::Serial, |b, i| {
            let row = b.add(at.row, i);
            let skip = scaled(b, i, nr);
            let from = b.add(base, skip);
            let mut vector = |b: &mut KernelBuilder, j: Reg, tail: Option<Reg>| {
                let value = b.load(elem, lanes, buf, Addr::reg(from).plus(j, 1), None);
                let col = b.add(at.col, j);
                done = done.clone().and_then(|()| sink(b, Place { row, col, tail, ..at }, value));
            };
            b.for_(Bound::Const(0), Bound::Reg(even), lanes.into(), LoopKind::Serial, |b, j| {
                vector(b, j, None)
            });
            if lanes > 1 {
                let zero = b.i64(0);
                let some = b.cmp(CmpOp::Gt, rest, zero);
                b.if_(some, |b| vector(b, even, Some(rest)), |_| {});
            }
        });
        done
    }
}

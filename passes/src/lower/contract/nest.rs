//! The loops round the register tile: batches, blocks of rows, panels of columns.

use super::choose;
use super::finish::{Strip, Tiles};
use super::gemm::{Gemm, Rows, Sink, add_const, scaled, unravel};
use super::micro::{Depth, Operand, Tile, contract, sums};

use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
use sinter_ir::{Expr, Result};

/// Rows and columns of one call of [`Gemm::rows_loop`].
#[derive(Debug, Clone)]
pub struct Region<'a> {
    /// Batch coordinates.
    pub batch: &'a [Reg],
    /// First row.
    pub lo: Reg,
    /// One past the last row.
    pub hi: Reg,
    /// First column of the panel.
    pub col: Reg,
    /// Its columns.
    pub strip: Strip,
}

impl Gemm {
    /// Emits the whole nest as the kernel's parallel loop over `slots`; `spill` holds
    /// [`Gemm::spill_elems`] for each, where [`Gemm::spills`].
    pub fn emit(&self, b: &mut KernelBuilder, slots: i64, spill: Option<Buf>, sink: &mut Sink) -> Result<()> {
        let work = self.work();
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, self.spill_elems())));
        let mut done = Ok(());
        super::slots::for_each_run(b, slots, &work, start, |b, spill, at, lo, hi| {
            done = self.block(b, at, (lo, hi), *spill, sink);
        });
        done
    }

    /// Panels `lo .. hi` of one block of rows; `at` is the number of the batch and of the block.
    fn block(
        &self,
        b: &mut KernelBuilder,
        at: &[Reg],
        (lo, hi): (Bound, Bound),
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let batch = unravel(b, at[0], &self.batch);
        let first = scaled(b, at[1], self.rows_per_block());
        let m = b.dim(&self.m);
        let end = add_const(b, first, self.rows_per_block());
        let end = b.bin(BinOp::MinS, end, m);
        let mut done = Ok(());
        let mut panel = |b: &mut KernelBuilder, p: Reg, last: bool| {
            let col = scaled(b, p, self.tile.nr() as i64);
            let y = self.cols(b, &batch, p, col);
            let strip = self.strip(b, col, last);
            let depth = self.depth(b, p, &y, &strip);
            let region = Region { batch: &batch, lo: first, hi: end, col, strip };
            done = done.clone().and_then(|()| self.rows_loop(b, region, &y, &depth, spill, sink));
        };
        let whole = self.whole_panels();
        if !whole.is(0) {
            let (hi, whole) = (reg(b, &hi), b.dim(&whole));
            let upto = b.bin(BinOp::MinS, hi, whole);
            b.for_(lo, Bound::Reg(upto), 1, LoopKind::Serial, |b, p| panel(b, p, false));
        }
        if self.n.as_const().is_some() && !self.exact_cols() {
            let (hi, p) = (reg(b, &hi), b.dim(&whole));
            let mine = b.cmp(CmpOp::Gt, hi, p);
            b.if_(mine, |b| panel(b, p, true), |_| {});
        }
        done
    }

    /// All tiles of the rows `lo .. hi` in one panel of columns. With a known number of rows, the rest that is no
    /// whole tile is at the very end.
    pub fn rows_loop(
        &self,
        b: &mut KernelBuilder,
        at: Region,
        y: &Operand,
        depth: &Depth,
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        if let (Rows::Pairs, Some(&weights)) = (&self.a.0, y.starts.first()) {
            return self.pairs_loop(b, at, weights, spill, sink);
        }
        let tile = Tile { nv: at.strip.vectors(self.tile), ..self.tile };
        let mut done = Ok(());
        let mut rows = |b: &mut KernelBuilder, row: Reg, mr: usize| {
            let tile = Tile { mr, ..tile };
            let x = self.rows(b, at.batch, row, mr);
            let acc = sums(b, tile, self.a.1, self.start.map(|buf| (buf, at.col)));
            contract(b, tile, depth, &x, y, &acc);
            let tiles = Tiles { tile, num: self.a.1, finish: self.finish, batch: at.batch, col: at.col };
            done = done.clone().and_then(|()| tiles.put(b, row, &at.strip, &acc, spill, sink));
        };
        for_tiles(b, &self.m, (self.tile.mr, self.tile.uniform), (at.lo, at.hi), &mut rows);
        done
    }
}

/// Cuts the rows `lo .. hi` of `m` into tiles, `mr` high and lower for the rest: `f` gets the first row and the
/// height. With a known `m`, what is no whole tile is at its very end; `lo` is a multiple of `mr`.
pub fn for_tiles(
    b: &mut KernelBuilder,
    m: &Expr,
    (mr, uniform): (usize, bool),
    (lo, hi): (Reg, Reg),
    f: &mut dyn FnMut(&mut KernelBuilder, Reg, usize),
) {
    let step = mr as i64;
    let Some(m) = m.as_const().filter(|_| !uniform) else {
        return downwards(b, &choose::heights(mr, m, uniform), (lo, hi), f);
    };
    let whole = b.i64(m - m % step);
    for h in choose::heights(mr, &m.into(), false) {
        if h == mr {
            let end = b.bin(BinOp::MinS, hi, whole);
            b.for_(Bound::Reg(lo), Bound::Reg(end), step, LoopKind::Serial, |b, row| f(b, row, h));
        } else {
            let mine = b.cmp(CmpOp::Gt, hi, whole);
            b.if_(mine, |b| f(b, whole, h), |_| {});
        }
    }
}

/// Cuts the rows `lo .. hi` into tiles of some heights, powers of two: each takes what it can, the next ones the rest.
pub fn downwards(
    b: &mut KernelBuilder,
    heights: &[usize],
    (mut lo, hi): (Reg, Reg),
    f: &mut dyn FnMut(&mut KernelBuilder, Reg, usize),
) {
    for &h in heights {
        let left = b.sub(hi, lo);
        let mask = b.i64(-(h as i64));
        let taken = b.bin(BinOp::And, left, mask);
        let end = b.add(lo, taken);
        b.for_(Bound::Reg(lo), Bound::Reg(end), h as i64, LoopKind::Serial, |b, row| f(b, row, h));
        lo = end;
    }
}

/// A bound as a register.
pub fn reg(b: &mut KernelBuilder, x: &Bound) -> Reg {
    match x {
        Bound::Const(c) => b.i64(*c),
        Bound::Reg(r) => *r,
    }
}

//! The loops round the register tile: blocks of rows of activations, panels of a few vectors of weight rows, tiles.

use super::View;
use super::layout::Layout;
use super::rounded::MANY;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::finish::{Strip, Tiles};
use crate::lower::contract::gemm::{Finish, Sink};
use crate::lower::contract::micro::Tile;
use crate::lower::contract::num::Num;
use crate::lower::contract::slots;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result};

/// What is done with a panel.
pub trait Panels {
    /// Gets panel `number` ready, and says where it begins.
    fn panel(&self, b: &mut KernelBuilder, slot: Reg, number: Reg) -> Reg;
    /// Sums of the rows from `row` on with a panel that is ready, row-major.
    fn sums(&self, b: &mut KernelBuilder, tile: Tile, row: Reg, number: Reg, panel: Reg) -> Vec<Reg>;
}

/// A product as a nest of loops.
#[derive(Clone, Copy)]
pub struct Nest<'a> {
    /// Where its sums come from.
    pub panels: &'a dyn Panels,
    /// Sizes.
    pub view: &'a View<'a>,
    /// Weights.
    pub layout: Layout,
    /// Bytes of a row of activations.
    pub row_bytes: usize,
    /// Terms of a vector operation.
    pub terms: usize,
    /// Register tile.
    pub tile: Tile,
    /// Rows of the lower tiles for what is left of an open number of rows.
    pub lower: usize,
    /// How tiles reach the sink.
    pub finish: Finish,
    /// Bytes of activations that should stay in the second-level cache.
    pub block: i64,
}

impl Nest<'_> {
    fn rows_per_block(&self) -> i64 {
        rows_per_block(self.view, self.row_bytes, self.tile, self.block)
    }
    /// Blocks of rows and panels.
    fn items(&self) -> [Expr; 2] {
        items(self.view, self.row_bytes, self.tile, self.block)
    }
    /// Pieces of work.
    pub fn trips(&self) -> Expr {
        sinter_ir::expr::product(&self.items())
    }
    /// Vector operations, or what takes as long: reading two bytes of the weights.
    pub fn work(&self) -> Option<i64> {
        let read = 2 * self.layout.strips() * self.layout.strip_words();
        let dots = self.view.n.div_ceil(self.layout.lanes.into()) * self.view.k / self.terms;
        let m = self.view.m.as_const()?;
        Some(m.saturating_mul(dots as i64).max(read as i64))
    }
    fn open_columns(&self) -> bool {
        !self.view.n.is_multiple_of(self.tile.nr())
    }
    /// Whether tiles may go through memory.
    pub fn spills(&self) -> bool {
        self.finish != Finish::Registers || self.open_columns()
    }

    /// Elements of a tile.
    pub fn tile_size(&self) -> i64 {
        (self.tile.mr * self.tile.nr()) as i64
    }

    /// The whole nest. `start` gives a slot its room for a tile.
    pub fn emit(
        &self,
        b: &mut KernelBuilder,
        slots: i64,
        start: impl FnOnce(&mut KernelBuilder, Reg) -> Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let mut done = Ok(());
        let start = |b: &mut KernelBuilder, slot| (slot, start(b, slot));
        slots::for_each_run(b, slots, &self.items(), start, |b, &(slot, spill), at, lo, hi| {
            done = self.run(b, slot, at, (lo, hi), spill, sink);
        });
        done
    }

    /// A block of rows with some panels.
    fn run(
        &self,
        b: &mut KernelBuilder,
        slot: Reg,
        at: &[Reg],
        (lo, hi): (Bound, Bound),
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let num = Num::of(DType::F32)?;
        let mut done = Ok(());
        let first = scaled(b, at[0], self.rows_per_block());
        let end = add_const(b, first, self.rows_per_block());
        let m = b.dim(&self.view.m);
        let end = b.bin(BinOp::MinS, end, m);
        b.for_(lo, hi, 1, LoopKind::Serial, |b, number| {
            let panel = self.panels.panel(b, slot, number);
            let col = scaled(b, number, self.tile.nr() as i64);
            let strip = if self.open_columns() {
                let n = b.i64(self.view.n as i64);
                Strip::Open(b.sub(n, col))
            } else {
                Strip::Whole
            };
            self.rows(b, (first, end), &mut |b, row, mr| {
                let tile = Tile { mr, ..self.tile };
                let acc = self.panels.sums(b, tile, row, number, panel);
                let tiles = Tiles { tile, num, finish: self.finish, batch: &[], col };
                done = done.clone().and_then(|()| tiles.put(b, row, &strip, &acc, spill, sink));
            });
        });
        done
    }

    /// Tiles for the rows `lo .. hi`, of lower ones for what is left.
    fn rows(
        &self,
        b: &mut KernelBuilder,
        (mut lo, hi): (Reg, Reg),
        f: &mut dyn FnMut(&mut KernelBuilder, Reg, usize),
    ) {
        let mr = self.tile.mr;
        if let Some(m) = self.view.m.as_const() {
            if m == mr as i64 {
                return f(b, lo, mr);
            }
            let rest = m.unsigned_abs() as usize % mr;
            let whole = b.i64(m - rest as i64);
            let end = b.bin(BinOp::MinS, hi, whole);
            b.for_(Bound::Reg(lo), Bound::Reg(end), mr as i64, LoopKind::Serial, |b, row| f(b, row, mr));
            if rest > 0 {
                let mine = b.cmp(CmpOp::Gt, hi, whole);
                b.if_(mine, |b| f(b, whole, rest), |_| {});
            }
            return;
        }
        let mut heights = vec![mr, self.lower, 1];
        heights.retain(|&h| h > 0 && (!self.tile.uniform || h == mr || h == 1));
        heights.dedup();
        for h in heights {
            let by = b.i64(h as i64);
            let left = b.sub(hi, lo);
            let rest = b.bin(BinOp::RemS, left, by);
            let end = b.sub(hi, rest);
            b.for_(Bound::Reg(lo), Bound::Reg(end), h as i64, LoopKind::Serial, |b, row| f(b, row, h));
            lo = end;
        }
    }
}

/// Blocks of rows and panels, where a block of rows of `row_bytes` should have no more than `block` bytes.
pub fn items(view: &View, row_bytes: usize, tile: Tile, block: i64) -> [Expr; 2] {
    let panels = view.n.div_ceil(tile.nr());
    [view.m.ceil_div(&rows_per_block(view, row_bytes, tile, block).into()), panels.into()]
}

fn rows_per_block(view: &View, row_bytes: usize, tile: Tile, block: i64) -> i64 {
    let mr = tile.mr as i64;
    let rows = (block / row_bytes.max(1) as i64).max(mr) / mr * mr;
    view.m.as_const().map_or(rows, |m| rows.min((m + mr - 1) / mr * mr))
}

/// Numbers of rows that a nest is for.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Rows {
    One,
    Many,
    Any,
}

/// Of several nests for an open number of rows the first one that is for it.
pub fn either(
    b: &mut KernelBuilder,
    nests: &[(Rows, Nest)],
    slots: i64,
    start: impl FnOnce(&mut KernelBuilder, Reg) -> Option<(Buf, Reg)>,
    sink: &mut Sink,
) -> Result<()> {
    // The last one is for any number of rows.
    let Some((_, any)) = nests.last() else { return Ok(()) };
    let mut done = Ok(());
    b.parallel(&slots.into(), |b, slot| {
        let spill = start(b, slot);
        let m = b.dim(&any.view.m);
        let mut code = |nest: &Nest, b: &mut KernelBuilder| {
            slots::share_run(b, (slot, slots), &nest.items(), |b, at, lo, hi| {
                done = done.clone().and_then(|()| nest.run(b, slot, at, (lo, hi), spill, sink));
            });
        };
        chain(b, m, nests, &mut code);
    });
    done
}

fn chain(
    b: &mut KernelBuilder,
    m: Reg,
    nests: &[(Rows, Nest)],
    code: &mut dyn FnMut(&Nest, &mut KernelBuilder),
) {
    let Some(((rows, nest), rest)) = nests.split_first() else { return };
    let own = match rows {
        Rows::Any => return code(nest, b),
        Rows::One => {
            let one = b.i64(1);
            b.cmp(CmpOp::Eq, m, one)
        }
        Rows::Many => {
            let many = b.i64(MANY);
            b.cmp(CmpOp::Ge, m, many)
        }
    };
    let (then, els) = (b.detached(|b| code(nest, b)), b.detached(|b| chain(b, m, rest, code)));
    let push = |b: &mut KernelBuilder, body: Vec<_>| body.into_iter().for_each(|s| b.push(s));
    b.if_(own, |b| push(b, then), |b| push(b, els));
}

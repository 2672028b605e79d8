//! The loops round the register tile: parts of strips, rows of activations.

use super::View;
use super::bytes::{self, Coded};
use super::layout::Layout;
use super::tile::{Reader, part};
use crate::lower::body::Body;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::finish::{Strip, Tiles};
use crate::lower::contract::gemm::{Finish, Place, Sink, block_bytes};
use crate::lower::contract::kernel::{self, Shape, Source};
use crate::lower::contract::micro::Tile;
use crate::lower::contract::num::Num;
use crate::lower::contract::slots;
use crate::lower::{LowerCx, Lowered};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result};

/// Lowers the product of packed weights with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, view: &View, layout: Layout) -> Result<Lowered> {
    let coded = Coded::of(view, Some(&layout));
    let packed = layout.pack(body, view)?;
    let tile = tile(cx.target, view, &layout);
    let rows = view.m.as_const().map_or("n".to_owned(), |m| m.to_string());
    let name = format!("quantized_{}_{rows}x{}x{}_{}", layout.bits, view.k, view.n, view.block);
    let mut product = kernel::build(cx, body, &name, |k| {
        let params = &mut k.out.end.puller.params;
        let bufs = coded.bufs(&mut k.b, params, &view.m, Access::Read);
        k.hold(coded.scratch(&view.m));
        let a = match bufs.codes {
            Some(codes) => codes,
            None => k.source(Source::Value(view.a))?,
        };
        let weights = k.source(Source::Packed(packed.clone(), DType::I8))?;
        let reader = Reader {
            weights,
            layout,
            coded,
            bufs,
            a,
            activations: view.op.activations,
            offset: view.op.offset,
        };
        let nest = Nest { view, reader, tile, finish: k.out.finish(), block: block_bytes(cx.target) };
        let slots = slots::for_work(cx.target, &nest.trips(), nest.work().as_ref());
        // While text is generated there is one row.
        let single = (view.m.as_const().is_none() && slots > 1).then(|| View { m: 1.into(), ..view.clone() });
        let single =
            single.as_ref().map(|view| Nest { view, tile: self::tile(cx.target, view, &layout), ..nest });
        let size = nest.tile_size().max(single.as_ref().map_or(0, Nest::tile_size));
        let spills = nest.spills() || single.as_ref().is_some_and(Nest::spills);
        let spill = spills.then(|| k.scratch(&(size * slots).into(), Elem::F32));
        let shape = Shape { grouped: None, rows: view.row_axes, cols: 1 };
        let kernel::Kernel { b, out, .. } = k;
        let mut sink = |b: &mut KernelBuilder, at: Place, v: Reg| shape.put(b, at, v, out);
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, size)));
        match single {
            Some(one) => one.or(b, &nest, slots, start, &mut sink),
            None => nest.emit(b, slots, start, &mut sink),
        }
    })?;
    if !coded.any() {
        return Ok(product);
    }
    let mut all = bytes::lower(cx, body, view, coded)?;
    all.append(std::mem::take(&mut product));
    Ok(all)
}

/// Registers that a tile needs beside its sums: a mask, activations, what is being joined.
const BESIDE: usize = 3;

/// The register tile: sums of a block and of all blocks are both in registers.
fn tile(target: &TargetDesc, view: &View, layout: &Layout) -> Tile {
    // And words and a mask of every plane, for a strip of two vectors.
    let beside = BESIDE + 2 * layout.planes().count();
    let room = (target.vector_registers as usize).saturating_sub(beside) / 2;
    let m = view.m.as_const().map_or(usize::MAX, |m| m.max(1) as usize);
    // Few rows: as wide as the strip. More: as many rows as fit beside two vectors, or one.
    let nv = [layout.rt, 2, 1]
        .into_iter()
        .find(|&nv| nv <= layout.rt && (m.saturating_mul(nv) <= room || nv <= 2 && room / nv >= 6));
    let nv = nv.unwrap_or(1);
    let most = (room / nv).clamp(1, 12);
    let mr = match m {
        usize::MAX => most,
        _ => m.div_ceil(m.div_ceil(most)),
    };
    Tile { mr, nv, lanes: layout.lanes }
}

#[derive(Clone, Copy)]
struct Nest<'a> {
    view: &'a View<'a>,
    reader: Reader,
    tile: Tile,
    finish: Finish,
    /// Bytes of activations that should stay in the second-level cache.
    block: i64,
}

impl Nest<'_> {
    fn rows_per_block(&self) -> i64 {
        let (mr, pitch) =
            (self.tile.mr as i64, self.view.k as i64 * if self.reader.coded.exact { 1 } else { 4 });
        let rows = (self.block / pitch.max(1)).max(mr) / mr * mr;
        self.view.m.as_const().map_or(rows, |m| rows.min((m + mr - 1) / mr * mr))
    }
    /// Blocks of rows and parts of strips.
    fn items(&self) -> [Expr; 2] {
        let parts = self.view.n.div_ceil(self.tile.nr());
        [self.view.m.ceil_div(&self.rows_per_block().into()), parts.into()]
    }
    fn trips(&self) -> Expr {
        sinter_ir::expr::product(&self.items())
    }
    /// Vector operations, or what takes as long: reading two bytes of the weights.
    fn work(&self) -> Option<i64> {
        let l = &self.reader.layout;
        let read = 2 * l.strips() * l.strip_words();
        let dots =
            self.view.n.div_ceil(l.lanes.into()) * self.view.k / if self.reader.coded.exact { 4 } else { 1 };
        let m = self.view.m.as_const()?;
        Some(m.saturating_mul(dots as i64).max(read as i64))
    }
    fn open_columns(&self) -> bool {
        !self.view.n.is_multiple_of(self.tile.nr())
    }
    fn spills(&self) -> bool {
        self.finish != Finish::Registers || self.open_columns()
    }

    fn tile_size(&self) -> i64 {
        (self.tile.mr * self.tile.nr()) as i64
    }

    /// The whole nest. `start` gives a slot its room for a tile.
    fn emit(
        &self,
        b: &mut KernelBuilder,
        slots: i64,
        start: impl FnOnce(&mut KernelBuilder, Reg) -> Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let mut done = Ok(());
        slots::for_each_run(b, slots, &self.items(), start, |b, spill, at, lo, hi| {
            done = self.run(b, at, (lo, hi), *spill, sink);
        });
        done
    }

    /// This nest for a single row, another one for more.
    fn or(
        &self,
        b: &mut KernelBuilder,
        many: &Self,
        slots: i64,
        start: impl FnOnce(&mut KernelBuilder, Reg) -> Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let mut done = Ok(());
        b.parallel(&slots.into(), |b, slot| {
            let spill = start(b, slot);
            let (m, one) = (b.dim(&many.view.m), b.i64(1));
            let single = b.cmp(CmpOp::Eq, m, one);
            let mut code = |nest: &Self, b: &mut KernelBuilder| {
                b.detached(|b| {
                    slots::share_run(b, (slot, slots), &nest.items(), |b, at, lo, hi| {
                        done = done.clone().and_then(|()| nest.run(b, at, (lo, hi), spill, sink));
                    });
                })
            };
            let (then, els) = (code(self, b), code(many, b));
            let push = |b: &mut KernelBuilder, body: Vec<_>| body.into_iter().for_each(|s| b.push(s));
            b.if_(single, |b| push(b, then), |b| push(b, els));
        });
        done
    }

    /// A block of rows with some parts of strips.
    fn run(
        &self,
        b: &mut KernelBuilder,
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
            let part = part(b, &self.reader.layout, number, self.tile.nv);
            let col = scaled(b, number, self.tile.nr() as i64);
            let strip = if self.open_columns() {
                let n = b.i64(self.view.n as i64);
                Strip::Open(b.sub(n, col))
            } else {
                Strip::Whole
            };
            self.rows(b, (first, end), &mut |b, row, mr| {
                let tile = Tile { mr, ..self.tile };
                let acc = self.reader.sums(b, tile, row, part);
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
        let mut heights = vec![mr, mr / 2, 1];
        heights.retain(|h| *h > 0);
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

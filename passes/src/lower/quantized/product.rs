//! Products whose weights are read as they are packed: exact sums of every block, scaled and added.

use super::View;
use super::bytes::{self, Coded};
use super::layout::Layout;
use super::nest::Nest;
use super::tile::Reader;
use crate::lower::body::Body;
use crate::lower::contract::arith::scaled;
use crate::lower::contract::gemm::{Place, block_bytes};
use crate::lower::contract::kernel::{self, Shape, Source};
use crate::lower::contract::micro::Tile;
use crate::lower::contract::slots;
use crate::lower::{LowerCx, Lowered};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Elem, Reg};
use sinter_ir::{DType, Result};

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
            nv: tile.nv,
        };
        let nest = |view, panels, tile: Tile, finish| Nest {
            panels,
            view,
            layout,
            row_bytes: if coded.exact { coded.pitch } else { view.k * 4 },
            terms: if coded.exact { 4 } else { 1 },
            tile,
            lower: tile.mr / 2,
            finish,
            block: block_bytes(cx.target),
        };
        let finish = k.out.finish();
        let many = nest(view, &reader, tile, finish);
        let slots = slots::for_work(cx.target, &many.trips(), many.work().as_ref());
        // While text is generated there is one row.
        let one = View { m: 1.into(), ..view.clone() };
        let tile = self::tile(cx.target, &one, &layout);
        let reader = Reader { nv: tile.nv, ..reader };
        let single = nest(&one, &reader, tile, finish);
        let single = (view.m.as_const().is_none() && slots > 1).then_some(single);
        let size = many.tile_size().max(single.as_ref().map_or(0, Nest::tile_size));
        let spills = many.spills() || single.as_ref().is_some_and(Nest::spills);
        let spill = spills.then(|| k.scratch(&(size * slots).into(), Elem::F32));
        let shape = Shape { grouped: None, rows: view.row_axes, cols: 1 };
        let kernel::Kernel { b, out, .. } = k;
        let mut sink = |b: &mut KernelBuilder, at: Place, v: Reg| shape.put(b, at, v, out);
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, size)));
        match single {
            Some(one) => one.or(b, &many, slots, start, &mut sink),
            None => many.emit(b, slots, start, &mut sink),
        }
    })?;
    if !coded.any() {
        return Ok(product);
    }
    let mut all = bytes::lower(cx, body, view, coded)?;
    all.append(std::mem::take(&mut product));
    Ok(all)
}

/// Registers that a tile needs beside its sums: codes of one vector, halves of them, masks, activations.
const BESIDE: usize = 5;

/// The register tile: sums of a block and of all blocks are both in registers.
fn tile(target: &TargetDesc, view: &View, layout: &Layout) -> Tile {
    let room = (target.vector_registers as usize).saturating_sub(BESIDE) / 2;
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

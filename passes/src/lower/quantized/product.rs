//! Products whose weights are read as they are packed: exact sums of every block, scaled and added.

use super::View;
use super::bytes::{self, Coded};
use super::layout::Layout;
use super::nest::{self, Nest, Rows};
use super::rounded::{self, Rounded};
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

/// Lowers the product of packed weights with its epilogue; `rounded`: where there are many rows, bytes are made of them.
pub fn lower(cx: &LowerCx, body: &Body, view: &View, layout: Layout, rounded: bool) -> Result<Lowered> {
    let segments = rounded.then(|| rounded::coded(view, &layout));
    let open = view.m.as_const().is_none();
    let coded = match segments {
        Some(s) if !open => s,
        Some(s) => Coded::of(view, Some(&layout)).or(&s),
        None => Coded::of(view, Some(&layout)),
    };
    let packed = layout.pack(body, view)?;
    let rows = view.m.as_const().map_or("n".to_owned(), |m| m.to_string());
    let kind = if rounded { "rounded_" } else { "" };
    let name = format!("quantized_{kind}{}_{rows}x{}x{}_{}", layout.bits, view.k, view.n, view.block);
    let one = View { m: 1.into(), ..view.clone() };
    let mut product = kernel::build(cx, body, &name, |k| {
        let params = &mut k.out.end.puller.params;
        let bufs = coded.bufs(&mut k.b, params, &view.m, Access::Read);
        k.hold(coded.scratch(&view.m));
        let a = match bufs.codes {
            Some(codes) => codes,
            None => k.source(Source::Value(view.a))?,
        };
        let weights = k.source(Source::Packed(packed.clone(), DType::I8))?;
        let (finish, block) = (k.out.finish(), block_bytes(cx.target));
        let reader = Reader {
            weights,
            layout,
            coded,
            bufs,
            a,
            activations: view.op.activations,
            offset: view.op.offset,
            late: layout.partial(cx.target, view),
        };
        let exact = |view| {
            let tile = tile(cx.target, view, &layout);
            Nest {
                panels: &reader,
                view,
                layout,
                row_bytes: if coded.exact { coded.pitch } else { view.k * 4 },
                terms: if coded.exact { 4 } else { 1 },
                tile,
                // Few rows are left where rounding takes over: the code for half of a tile is not worth its room.
                lower: if rounded { 1 } else { tile.mr / 2 },
                finish,
                block,
            }
        };
        let all = exact(view);
        let slots = slots::for_work(cx.target, &all.trips(), all.work().as_ref());
        let many = segments.map(|s| Rounded::new(cx, k, (body, view, layout), (s, bufs, weights), slots));
        let many = many.transpose()?;
        let mut nests = vec![];
        if let Some(r) = &many {
            nests.push((Rows::Many, r.nest(view, finish, block)));
        }
        if open || nests.is_empty() {
            // While text is generated there is one row.
            if open && slots > 1 {
                nests.push((Rows::One, exact(&one)));
            }
            nests.push((Rows::Any, all));
        }
        let size = nests.iter().map(|n| n.1.tile_size()).max().unwrap_or(0);
        let spills = nests.iter().any(|n| n.1.spills());
        let spill = spills.then(|| k.scratch(&(size * slots).into(), Elem::F32));
        let shape = Shape { grouped: None, rows: view.row_axes, cols: 1 };
        let kernel::Kernel { b, out, .. } = k;
        let mut sink = |b: &mut KernelBuilder, at: Place, v: Reg| shape.put(b, at, v, out);
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, size)));
        match nests.as_slice() {
            [(_, only)] => only.emit(b, slots, start, &mut sink),
            _ => nest::either(b, &nests, slots, start, &mut sink),
        }
    })?;
    if !coded.any() {
        return Ok(product);
    }
    let mut all = bytes::lower(cx, body, view, coded, segments.filter(|_| open).map(|s| (s, rounded::MANY)))?;
    all.append(std::mem::take(&mut product));
    Ok(all)
}

/// Registers that a tile needs beside its sums: a mask, activations, what is being joined.
const BESIDE: usize = 3;

/// The same where a block's sums are in 16 bits: masks are read from memory.
const BESIDE_PARTIAL: usize = 2;

/// Fewest rows for which two vectors are better than one with more rows.
const LOW: usize = 5;

/// The register tile. Sums of a block and of all blocks are both in registers; where the former are in 16 bits, the latter
/// wait in memory: a block's end is far away.
fn tile(target: &TargetDesc, view: &View, layout: &Layout) -> Tile {
    let planes = layout.planes().count();
    let registers = target.vector_registers as usize;
    // And words and a mask of every plane, for a strip of two vectors.
    let room = match layout.partial(target, view) {
        true => registers.saturating_sub(BESIDE_PARTIAL + 2 * (planes + 1)),
        false => registers.saturating_sub(BESIDE + 2 * planes) / 2,
    };
    let m = view.m.as_const().map_or(usize::MAX, |m| m.max(1) as usize);
    let streams = target.cost.streams;
    if m == 1 && streams > 1 && layout.strips().is_multiple_of(streams) {
        return Tile::new(&target.cost, 1, streams * layout.rt, layout.lanes);
    }
    // Few rows: as wide as the strip. More: as many rows as fit beside two vectors, or one.
    let nv = [layout.rt, 2, 1]
        .into_iter()
        .find(|&nv| nv <= layout.rt && (m.saturating_mul(nv) <= room || nv <= 2 && room / nv >= LOW));
    let nv = nv.unwrap_or(1);
    let uniform = target.cost.uniform;
    let most = (room / nv).clamp(1, if uniform { 6 } else { 12 });
    let mr = match m {
        usize::MAX => most,
        _ => m.div_ceil(m.div_ceil(most)),
    };
    Tile::new(&target.cost, mr, nv, layout.lanes)
}

//! Products of many rows with weights that become bytes with one scale per row: a panel of them at a time, in scratch
//! memory, so that sums of products over a whole segment of activations are exact, and scaled once.

use super::View;
use super::bytes::{self, Bufs, Coded};
use super::layout::Layout;
use super::nest::{Nest, Panels, items};
use super::panel::{Factors, MIDDLE, Maker};
use super::streams::advance;
use crate::lower::body::Body;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::gemm::block_bytes;
use crate::lower::contract::kernel::{self, Shape, Source};
use crate::lower::contract::micro::{Tile, copy};
use crate::lower::contract::slots;
use crate::lower::{LowerCx, Lowered};
use sinter_ir::expr::product;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg, Ty};
use sinter_ir::{DType, Result};

/// Rows from which on it pays to make bytes of all weights.
pub const MANY: i64 = 24;

/// Activations that share a scale: less would cost time, and more would let a large one spoil too many others.
const SEGMENT: usize = 128;

/// Whether the product can be computed this way, and has or may have the rows for it.
pub fn pays(target: &TargetDesc, view: &View, layout: &Layout) -> bool {
    let rows = view.m.as_const().is_none_or(|m| m >= MANY);
    rows && layout.bits == 4 && target.dots()
}

/// Lowers the product of packed weights with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, view: &View, layout: Layout) -> Result<Lowered> {
    let coded = Coded::segments(view, MIDDLE, SEGMENT);
    let packed = layout.pack(body, view)?;
    let factors = Factors::of(&layout, body, view)?;
    let tile = tile(cx.target, view, &layout);
    let rows = view.m.as_const().map_or("n".to_owned(), |m| m.to_string());
    let name = format!("quantized_rounded_{rows}x{}x{}_{}", view.k, view.n, view.block);
    let mut last = kernel::build(cx, body, &name, |k| {
        let bufs = coded.bufs(&mut k.b, &mut k.out.end.puller.params, &view.m, Access::Read);
        k.hold(coded.scratch(&view.m));
        let weights = k.source(Source::Packed(packed.clone(), DType::I8))?;
        let factors = k.source(Source::Packed(factors.bytes.clone(), DType::F32))?;
        let sums = (words(&layout) * tile.nr()) as i64;
        let size = sums + (tile.mr * tile.nr()) as i64;
        let trips = items(view, coded.pitch, tile, block_bytes(cx.target));
        let slots = slots::count(cx.target, &product(&trips));
        let panel = k.scratch(&(size * slots).into(), Elem::I32);
        let maker = Maker { layout, weights, factors, panel, offset: view.op.offset, nv: tile.nv };
        let rounded = Rounded { maker, coded, bufs, tile, size, sums };
        let nest = Nest {
            panels: &rounded,
            view,
            layout,
            row_bytes: coded.pitch,
            terms: 4,
            tile,
            lower: tile.mr / 3,
            finish: k.out.finish(),
            block: block_bytes(cx.target),
        };
        let spill = nest.spills().then(|| k.scratch(&(nest.tile_size() * slots).into(), Elem::F32));
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, nest.tile_size())));
        let shape = Shape { grouped: None, rows: view.row_axes, cols: 1 };
        let kernel::Kernel { b, out, .. } = k;
        nest.emit(b, slots, start, &mut |b, at, v| shape.put(b, at, v, out))
    })?;
    let mut all = bytes::lower(cx, body, view, coded)?;
    all.append(std::mem::take(&mut last));
    Ok(all)
}

/// Words of four terms per row.
fn words(layout: &Layout) -> usize {
    2 * layout.chunks(layout.k)
}

/// Registers beside the sums and a row of the panel: activations, and one to spare.
const BESIDE: usize = 2;

/// Rows of a tile, where the registers allow them.
const MOST_ROWS: usize = 12;

/// The register tile: two vectors where there are.
fn tile(target: &TargetDesc, view: &View, layout: &Layout) -> Tile {
    let nv = layout.rt.min(2);
    let most = ((target.vector_registers as usize).saturating_sub(BESIDE + nv) / nv).clamp(1, MOST_ROWS);
    let mr = match view.m.as_const() {
        Some(m) => (m.max(1) as usize).div_ceil((m.max(1) as usize).div_ceil(most)),
        None => most,
    };
    Tile { mr, nv, lanes: layout.lanes }
}

struct Rounded {
    maker: Maker,
    coded: Coded,
    bufs: Bufs,
    tile: Tile,
    /// Words of a panel and of the sums of a tile behind it, and where the latter begin.
    size: i64,
    sums: i64,
}

impl Panels for Rounded {
    fn panel(&self, b: &mut KernelBuilder, slot: Reg, number: Reg) -> Reg {
        let to = scaled(b, slot, self.size);
        let start = self.maker.layout.start(b, number, self.tile.nv);
        let column = scaled(b, number, self.tile.nr() as i64);
        self.maker.emit(b, start, column, to);
        to
    }

    fn sums(&self, b: &mut KernelBuilder, tile: Tile, row: Reg, number: Reg, panel: Reg) -> Vec<Reg> {
        let Bufs { codes: Some(codes), scales: Some(scales), starts: Some(starts), .. } = self.bufs else {
            return vec![];
        };
        let pitch = self.coded.pitch as i64 / 4;
        let a = scaled(b, row, pitch);
        let (a, words) = (copy(b, a), copy(b, panel));
        let segment = scaled(b, row, self.coded.blocks as i64);
        let segment = copy(b, segment);
        let sums = add_const(b, panel, self.sums);
        let lanes = i64::from(tile.lanes);
        let places: Vec<Addr> =
            (0..(tile.mr * tile.nv) as i64).map(|i| Addr::reg(sums).offset(i * lanes)).collect();
        let none = b.zero(Ty { elem: Elem::F32, lanes: tile.lanes });
        places.iter().for_each(|at| b.store(self.maker.panel, at.clone(), none, None));
        let of_row = |b: &mut KernelBuilder, elem: Elem, buf: Buf, i: usize| {
            let v = b.load(elem, 1, buf, Addr::reg(segment).offset((i * self.coded.blocks) as i64), None);
            b.splat(v, tile.lanes)
        };
        let emit = |b: &mut KernelBuilder, terms: usize| {
            let mut acc = vec![];
            for i in 0..tile.mr {
                let start = of_row(b, Elem::I32, starts, i);
                acc.extend((0..tile.nv).map(|_| copy(b, start)));
            }
            let chunks = self.maker.layout.chunks(terms) as i64;
            b.for_(Bound::Const(0), Bound::Const(chunks), 1, LoopKind::Serial, |b, _| {
                self.chunk(b, tile, codes, (words, a), &acc);
                advance(b, words, 2 * tile.nr() as i64);
                advance(b, a, 2);
            });
            for i in 0..tile.mr {
                let scale = of_row(b, Elem::F32, scales, i);
                for at in i * tile.nv..(i + 1) * tile.nv {
                    let y = b.cvt(CvtOp::SToF, Elem::F32, acc[at]);
                    let sum = b.load(Elem::F32, tile.lanes, self.maker.panel, places[at].clone(), None);
                    let sum = b.mul_add(y, scale, sum);
                    b.store(self.maker.panel, places[at].clone(), sum, None);
                }
            }
            advance(b, segment, 1);
        };
        let (whole, rest) = (self.maker.layout.k / SEGMENT, self.maker.layout.k % SEGMENT);
        if whole > 0 {
            let hi = Bound::Const(whole as i64);
            b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, _| emit(b, SEGMENT));
        }
        if rest > 0 {
            emit(b, rest);
        }
        let column = scaled(b, number, tile.nr() as i64);
        let factors: Vec<Reg> = (0..tile.nv)
            .map(|v| {
                let column = add_const(b, column, tile.column(v));
                self.maker.down(b, column)
            })
            .collect();
        let finished = |(i, at): (usize, &Addr)| {
            let sum = b.load(Elem::F32, tile.lanes, self.maker.panel, at.clone(), None);
            b.mul(sum, factors[i % tile.nv])
        };
        places.iter().enumerate().map(finished).collect()
    }
}

impl Rounded {
    /// Adds the products of eight terms.
    fn chunk(&self, b: &mut KernelBuilder, tile: Tile, codes: Buf, (words, a): (Reg, Reg), acc: &[Reg]) {
        let (nr, pitch) = (tile.nr() as i64, self.coded.pitch as i64 / 4);
        for e in 0..2 {
            let load = |b: &mut KernelBuilder, v: usize| {
                let at = Addr::reg(words).offset(e * nr + tile.column(v));
                b.load(Elem::I32, tile.lanes, self.maker.panel, at, None)
            };
            let weights: Vec<Reg> = (0..tile.nv).map(|v| load(b, v)).collect();
            for i in 0..tile.mr {
                let x = b.load(Elem::I32, 1, codes, Addr::reg(a).offset(i as i64 * pitch + e), None);
                let x = b.splat(x, tile.lanes);
                for (v, &w) in weights.iter().enumerate() {
                    let acc = acc[i * tile.nv + v];
                    b.set(acc, Inst::Dot4 { acc, a: w, b: x, a_signed: false, b_signed: true });
                }
            }
        }
    }
}

//! Products of many rows with weights that become bytes with one scale per row: a panel of them at a time, in scratch
//! memory, so that sums of products over a whole segment of activations are exact, and scaled once.

use super::View;
use super::bytes::{Bufs, Coded};
use super::layout::Layout;
use super::nest::{Nest, Panels};
use super::panel::{Factors, MIDDLE, Maker};
use super::streams::advance;
use crate::lower::LowerCx;
use crate::lower::body::Body;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::gemm::Finish;
use crate::lower::contract::kernel::{Kernel, Source};
use crate::lower::contract::micro::{Tile, copy};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg, Ty};
use sinter_ir::{DType, Result};

/// Rows from which on it pays to make bytes of all weights.
pub const MANY: i64 = 16;

/// Activations that share a scale: less would cost time, and more would let a large one spoil too many others.
const SEGMENT: [usize; 2] = [64, 128];

/// Activations of a row of `k` that share a scale: as many as possible, where that leaves no rest.
fn segment(k: usize, chunk: usize) -> usize {
    let [least, most] = SEGMENT;
    (least..=most).rev().find(|s| k.is_multiple_of(*s) && s.is_multiple_of(chunk)).unwrap_or(most)
}

/// Whether the product can be computed this way, and has or may have the rows for it.
pub fn pays(target: &TargetDesc, view: &View, layout: &Layout) -> bool {
    let rows = view.m.as_const().is_none_or(|m| m >= MANY);
    rows && layout.bits == 4 && target.byte_dots()
}

/// What it takes of activations.
pub fn coded(view: &View, layout: &Layout) -> Coded {
    Coded::segments(view, MIDDLE, segment(view.k, layout.terms()))
}

/// Words of four terms per row.
fn words(layout: &Layout) -> usize {
    2 * layout.chunks(layout.k)
}

/// Registers beside the sums and a row of the panel: activations, and one to spare.
const BESIDE: usize = 2;

/// The register tile: two vectors where there are. Sums of a segment and of all segments are both in registers.
fn tile(target: &TargetDesc, view: &View, layout: &Layout) -> Tile {
    let nv = layout.rt.min(2);
    let most = ((target.vector_registers as usize).saturating_sub(BESIDE + nv) / (2 * nv)).max(1);
    let mr = match view.m.as_const() {
        Some(m) => (m.max(1) as usize).div_ceil((m.max(1) as usize).div_ceil(most)),
        None => most,
    };
    Tile::fixed(mr, nv, layout.lanes)
}

/// Products with panels of bytes.
pub struct Rounded {
    maker: Maker,
    coded: Coded,
    bufs: Bufs,
    tile: Tile,
    /// Words of a panel.
    size: i64,
    /// Activations that share a scale.
    segment: usize,
}

impl Panels for Rounded {
    fn panel(&self, b: &mut KernelBuilder, slot: Reg, number: Reg) -> Reg {
        let to = scaled(b, slot, self.size);
        let column = scaled(b, number, self.tile.nr() as i64);
        self.maker.emit(b, number, column, to);
        to
    }

    fn sums(&self, b: &mut KernelBuilder, tile: Tile, row: Reg, number: Reg, panel: Reg) -> Vec<Reg> {
        let Bufs { codes: Some(codes), scales: Some(scales), starts: Some(starts), .. } = self.bufs else {
            return vec![];
        };
        let pitch = self.coded.pitch as i64 / 4;
        let a = scaled(b, row, pitch);
        let (a, words) = (copy(b, a), copy(b, panel));
        let at = scaled(b, row, self.coded.blocks as i64);
        let at = copy(b, at);
        let none = Ty { elem: Elem::F32, lanes: tile.lanes };
        let sums: Vec<Reg> = (0..tile.mr * tile.nv).map(|_| b.zero(none)).collect();
        let of_row = |b: &mut KernelBuilder, elem: Elem, buf: Buf, i: usize| {
            let v = b.load(elem, 1, buf, Addr::reg(at).offset((i * self.coded.blocks) as i64), None);
            b.splat(v, tile.lanes)
        };
        let emit = |b: &mut KernelBuilder, terms: usize| {
            let mut dots = vec![];
            for i in 0..tile.mr {
                let start = of_row(b, Elem::I32, starts, i);
                dots.extend((0..tile.nv).map(|_| copy(b, start)));
            }
            let chunks = self.maker.layout.chunks(terms) as i64;
            b.for_(Bound::Const(0), Bound::Const(chunks), 1, LoopKind::Serial, |b, _| {
                self.chunk(b, tile, codes, (words, a), &dots);
                advance(b, words, 2 * tile.nr() as i64);
                advance(b, a, 2);
            });
            for i in 0..tile.mr {
                let scale = of_row(b, Elem::F32, scales, i);
                for at in i * tile.nv..(i + 1) * tile.nv {
                    let y = b.cvt(CvtOp::SToF, Elem::F32, dots[at]);
                    b.set(sums[at], Inst::MulAdd(y, scale, sums[at]));
                }
            }
            advance(b, at, 1);
        };
        let (whole, rest) = (self.maker.layout.k / self.segment, self.maker.layout.k % self.segment);
        if whole > 0 {
            let hi = Bound::Const(whole as i64);
            b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, _| emit(b, self.segment));
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
        sums.iter().enumerate().for_each(|(i, &r)| b.set(r, Inst::Bin(BinOp::Mul, r, factors[i % tile.nv])));
        sums
    }
}

impl Rounded {
    /// Declares what else it reads, and room for a panel per slot.
    pub fn new(
        cx: &LowerCx,
        k: &mut Kernel,
        (body, view, layout): (&Body, &View, Layout),
        (coded, bufs, weights): (Coded, Bufs, Buf),
        slots: i64,
    ) -> Result<Self> {
        let tile = tile(cx.target, view, &layout);
        let factors = Factors::of(&layout, body, view)?;
        let factors = k.source(Source::Packed(factors.bytes, DType::F32))?;
        let size = (words(&layout) * tile.nr()) as i64;
        let panel = k.scratch(&(size * slots).into(), Elem::I32);
        let maker = Maker { layout, weights, factors, panel, offset: view.op.offset, nv: tile.nv };
        Ok(Self { maker, coded, bufs, tile, size, segment: segment(view.k, layout.terms()) })
    }
    /// Its loops.
    pub fn nest<'a>(&'a self, view: &'a View<'a>, finish: Finish, block: i64) -> Nest<'a> {
        Nest {
            panels: self,
            view,
            layout: self.maker.layout,
            row_bytes: self.coded.pitch,
            terms: 4,
            tile: self.tile,
            lower: 2,
            finish,
            block,
        }
    }
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
                    b.set(acc, Inst::Dot4 { acc, a: w, b: x, a_signed: false, b_signed: true, within: None });
                }
            }
        }
    }
}

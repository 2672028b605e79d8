//! The register tile: rows of activations by vectors of weight rows, over all blocks of terms.

use super::bytes::{Bufs, Coded};
use super::layout::Layout;
use super::nest::Panels;
use super::streams::{Streams, advance};
use crate::lower::access::whole;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::micro::{Tile, copy};
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg, Ty};

/// What tiles read.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// Packed weights.
    pub weights: Buf,
    /// Their order.
    pub layout: Layout,
    /// What is made of activations.
    pub coded: Coded,
    /// Where it is.
    pub bufs: Bufs,
    /// Activations: codes, or the floats themselves.
    pub a: Buf,
    /// Scales of activations.
    pub activations: Activations,
    /// Offsets of weights.
    pub offset: Offset,
    /// Whether sums begin with zero, and get their starts when they are done: see [`Layout::partial`].
    pub late: bool,
}

/// Running positions.
struct Runs {
    /// Of every strip that the tile is of.
    weights: Vec<Streams>,
    /// Activations: words of codes or floats.
    a: Reg,
    /// Scales and sums.
    blocks: Reg,
}

/// Dot products per iteration of the loop over chunks.
const WORTH: usize = 64;

/// The same where sums of 16 bits are made sums of 32 behind every iteration.
const WORTH_PARTIAL: usize = 96;

impl Panels for Reader {
    fn panel(&self, _: &mut KernelBuilder, _: Reg, number: Reg) -> Reg {
        number
    }
    fn sums(&self, b: &mut KernelBuilder, tile: Tile, row: Reg, number: Reg, _: Reg) -> Vec<Reg> {
        let acc: Vec<Reg> =
            (0..tile.mr * tile.nv).map(|_| b.zero(Ty { elem: Elem::F32, lanes: tile.lanes })).collect();
        let runs = self.runs(b, row, number, tile);
        let (whole, rest) = self.layout.blocks();
        if whole == 1 {
            self.block(b, tile, &runs, self.layout.block, &acc);
        } else if whole > 1 {
            b.for_(Bound::Const(0), Bound::Const(whole as i64), 1, LoopKind::Serial, |b, _| {
                self.block(b, tile, &runs, self.layout.block, &acc);
            });
        }
        if rest > 0 {
            self.block(b, tile, &runs, rest, &acc);
        }
        if let (Activations::Rows, Some(scales)) = (self.activations, self.bufs.scales) {
            for (i, row_acc) in acc.chunks(tile.nv).enumerate() {
                let s = b.load(Elem::F32, 1, scales, Addr::reg(row).offset(i as i64), None);
                let s = b.splat(s, tile.lanes);
                row_acc.iter().for_each(|&r| b.set(r, Inst::Bin(BinOp::Mul, r, s)));
            }
        }
        acc
    }
}

impl Reader {
    fn runs(&self, b: &mut KernelBuilder, row: Reg, number: Reg, tile: Tile) -> Runs {
        // A tile is of one strip or less, or of several.
        let strips = tile.nv.div_ceil(self.layout.rt);
        let first = scaled(b, number, strips as i64);
        let stream = |i| {
            let strip = add_const(b, first, i as i64);
            Streams::new(b, self.layout, self.weights, strip, tile.nv / strips)
        };
        let weights = (0..strips).map(stream).collect();
        let a = scaled(b, row, self.a_pitch());
        let blocks = scaled(b, row, self.coded.blocks as i64);
        Runs { weights, a: copy(b, a), blocks: copy(b, blocks) }
    }

    /// Distance of rows of activations, in words or floats.
    fn a_pitch(&self) -> i64 {
        if self.coded.exact { self.coded.pitch as i64 / 4 } else { self.layout.k as i64 }
    }

    /// One block of every strip, and positions move on.
    fn block(&self, b: &mut KernelBuilder, tile: Tile, runs: &Runs, terms: usize, acc: &[Reg]) {
        let strip = Tile { nv: tile.nv / runs.weights.len(), ..tile };
        for (s, weights) in runs.weights.iter().enumerate() {
            let own = acc.chunks(tile.nv).flat_map(|row| &row[s * strip.nv..(s + 1) * strip.nv]);
            let own: Vec<Reg> = own.copied().collect();
            self.strip(b, strip, (runs, weights), terms, &own);
            weights.advance(b, terms);
        }
        let per_word = if self.coded.exact { 4 } else { 1 };
        advance(b, runs.a, self.layout.block as i64 / per_word);
        advance(b, runs.blocks, 1);
    }

    /// One block of a strip: exact sums from their starts, then scaled and added to `acc`.
    fn strip(
        &self,
        b: &mut KernelBuilder,
        tile: Tile,
        (runs, weights): (&Runs, &Streams),
        terms: usize,
        acc: &[Reg],
    ) {
        let elem = if self.coded.exact { Elem::I32 } else { Elem::F32 };
        let ty = Ty { elem, lanes: tile.lanes };
        let mut dots = Vec::with_capacity(acc.len());
        for i in 0..tile.mr {
            let start = self.bufs.starts.filter(|_| !self.late);
            let start = start.map(|s| self.of_row(b, elem, s, runs, i, tile));
            dots.extend((0..tile.nv).map(|_| match start {
                Some(s) => copy(b, s),
                None => b.zero(ty),
            }));
        }
        self.chunks(b, tile, (weights, runs.a), terms, &dots);
        self.finish(b, tile, (runs, weights), &dots, acc);
    }

    /// Value that row `i` has for this block, in every lane.
    fn of_row(&self, b: &mut KernelBuilder, elem: Elem, buf: Buf, runs: &Runs, i: usize, tile: Tile) -> Reg {
        let at = Addr::reg(runs.blocks).offset((i * self.coded.blocks) as i64);
        let v = b.load(elem, 1, buf, at, None);
        b.splat(v, tile.lanes)
    }

    /// Adds the products of all chunks to `dots`.
    fn chunks(
        &self,
        b: &mut KernelBuilder,
        tile: Tile,
        (weights, a): (&Streams, Reg),
        terms: usize,
        dots: &[Reg],
    ) {
        let count = self.layout.chunks(terms);
        let cost = tile.mr
            * tile.nv
            * if self.coded.exact { self.layout.terms() / 4 } else { self.layout.terms() * 3 };
        let most = (if self.late { WORTH_PARTIAL } else { WORTH } / cost).max(1);
        if count <= most {
            return (0..count).for_each(|q| self.chunk(b, tile, (weights, weights.words, a), q, dots));
        }
        let step = (1..=most).rev().find(|u| count.is_multiple_of(*u)).unwrap_or(1);
        let (words, a) = (copy(b, weights.words), copy(b, a));
        b.for_(Bound::Const(0), Bound::Const((count / step) as i64), 1, LoopKind::Serial, |b, _| {
            (0..step).for_each(|q| self.chunk(b, tile, (weights, words, a), q, dots));
            advance(b, words, (step * self.layout.chunk_words()) as i64);
            advance(b, a, (step * self.a_step()) as i64);
        });
    }

    /// Words or floats of activations per chunk.
    fn a_step(&self) -> usize {
        if self.coded.exact { self.layout.terms() / 4 } else { self.layout.terms() }
    }

    /// Chunk `q` behind the positions.
    fn chunk(
        &self,
        b: &mut KernelBuilder,
        tile: Tile,
        (weights, words, a): (&Streams, Reg, Reg),
        q: usize,
        dots: &[Reg],
    ) {
        let (l, lanes) = (&self.layout, tile.lanes);
        let elem = if self.coded.exact { Elem::I32 } else { Elem::F32 };
        // The words at hand: of every plane, one per vector.
        let mut words_of: Vec<Vec<Reg>> = l.planes().map(|_| vec![]).collect();
        for e in 0..l.terms() / 4 {
            for (i, p) in l.planes().enumerate().filter(|(_, p)| e.is_multiple_of(p.fields())) {
                let word = p.word + e / p.fields();
                words_of[i] = (0..tile.nv).map(|v| weights.word(b, words, (q, word), v)).collect();
            }
            for term in if self.coded.exact { 0..1 } else { 0..4 } {
                let weights: Vec<Reg> = (0..tile.nv)
                    .map(|v| {
                        let codes: Vec<Reg> = words_of.iter().map(|w| w[v]).collect();
                        self.weights(b, &codes, e, term)
                    })
                    .collect();
                let at = q * self.a_step() + if self.coded.exact { e } else { 4 * e + term };
                for i in 0..tile.mr {
                    let at = i as i64 * self.a_pitch() + at as i64;
                    let x = b.load(elem, 1, self.a, Addr::reg(a).offset(at), None);
                    let x = b.splat(x, lanes);
                    for (v, &w) in weights.iter().enumerate() {
                        let acc = dots[i * tile.nv + v];
                        b.set(
                            acc,
                            match self.coded.exact {
                                true => Inst::Dot4 {
                                    acc,
                                    a: w,
                                    b: x,
                                    a_signed: l.signed,
                                    b_signed: true,
                                    within: None,
                                },
                                false => Inst::MulAdd(w, x, acc),
                            },
                        );
                    }
                }
            }
        }
    }

    /// From the word of every plane, operand `e` of a chunk: four codes as bytes; or of its codes number `term`, a float.
    fn weights(&self, b: &mut KernelBuilder, words: &[Reg], e: usize, term: usize) -> Reg {
        let mut all = None;
        for (p, &w) in self.layout.planes().zip(words) {
            let mask = u32::from(p.mask()) * if self.coded.exact { 0x0101_0101 } else { 1 };
            let by = 8 * term + p.bits * (e % p.fields());
            let part = field(b, w, by as i64 - p.at as i64, mask);
            all = Some(all.map_or(part, |all| b.bin(BinOp::Or, all, part)));
        }
        let all = all.unwrap_or_else(|| b.i64(0));
        if self.coded.exact { all } else { b.cvt(CvtOp::SToF, Elem::F32, all) }
    }

    /// Adds the finished sums of a block to `acc`.
    fn finish(
        &self,
        b: &mut KernelBuilder,
        tile: Tile,
        (runs, weights): (&Runs, &Streams),
        dots: &[Reg],
        acc: &[Reg],
    ) {
        let scales: Vec<Reg> = (0..tile.nv).map(|v| weights.scale(b, v)).collect();
        let offsets: Vec<Reg> = (0..tile.nv).filter_map(|v| weights.offset(b, v)).collect();
        for i in 0..tile.mr {
            let start = self.bufs.starts.filter(|_| self.late);
            let start = start.map(|s| self.of_row(b, Elem::I32, s, runs, i, tile));
            let sum = self.bufs.sums.map(|s| self.of_row(b, Elem::F32, s, runs, i, tile));
            let own = match (self.activations, self.bufs.scales) {
                (Activations::Blocks, Some(s)) => Some(self.of_row(b, Elem::F32, s, runs, i, tile)),
                _ => None,
            };
            for (v, &scale) in scales.iter().enumerate() {
                let at = i * tile.nv + v;
                let mut dot = dots[at];
                if let Some(start) = start {
                    dot = b.bin(BinOp::Add, dot, start);
                }
                if self.coded.exact {
                    dot = b.cvt(CvtOp::SToF, Elem::F32, dot);
                }
                let offset = offsets.get(v).copied().zip(sum);
                if let (Offset::Zero, Some((zero, sum))) = (self.offset, offset) {
                    dot = b.mul_add(zero, sum, dot);
                }
                let scale = own.map_or(scale, |s| b.mul(scale, s));
                b.set(acc[at], Inst::MulAdd(dot, scale, acc[at]));
                if let (Offset::Minimum, Some((minimum, sum))) = (self.offset, offset) {
                    b.set(acc[at], Inst::MulAdd(minimum, sum, acc[at]));
                }
            }
        }
    }
}

/// Some bits of words, shifted to the right by `by` (or to the left).
fn field(b: &mut KernelBuilder, words: Reg, by: i64, mask: u32) -> Reg {
    let lanes = b.ty(words).lanes;
    let mut v = words;
    if by != 0 {
        let op = if by > 0 { BinOp::ShrU } else { BinOp::Shl };
        let by = whole(b, Elem::I32, lanes, by.abs());
        v = b.bin(op, v, by);
    }
    let left = if by > 0 { u32::MAX >> by } else { u32::MAX << -by };
    if left & !mask != 0 {
        let mask = whole(b, Elem::I32, lanes, i64::from(mask as i32));
        v = b.bin(BinOp::And, v, mask);
    }
    v
}

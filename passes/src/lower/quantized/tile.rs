//! The register tile: rows of activations by vectors of weight rows, over all blocks of terms.

use super::bytes::{Bufs, Coded};
use super::layout::Layout;
use super::nest::Panels;
use super::streams::{Streams, advance};
use crate::lower::access::whole;
use crate::lower::contract::arith::scaled;
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
    /// Vectors of a strip that are read at once.
    pub nv: usize,
}

/// Running positions.
struct Runs {
    weights: Streams,
    /// Activations: words of codes or floats.
    a: Reg,
    /// Scales and sums.
    blocks: Reg,
}

/// Dot products per iteration of the loop over chunks.
const WORTH: usize = 64;

impl Panels for Reader {
    fn panel(&self, b: &mut KernelBuilder, _: Reg, number: Reg) -> Reg {
        self.layout.start(b, number, self.nv)
    }
    fn sums(&self, b: &mut KernelBuilder, tile: Tile, row: Reg, _: Reg, panel: Reg) -> Vec<Reg> {
        let acc: Vec<Reg> =
            (0..tile.mr * tile.nv).map(|_| b.zero(Ty { elem: Elem::F32, lanes: tile.lanes })).collect();
        let runs = self.runs(b, row, panel);
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
    fn runs(&self, b: &mut KernelBuilder, row: Reg, start: Reg) -> Runs {
        let weights = Streams::new(b, self.layout, self.weights, start);
        let a = scaled(b, row, self.a_pitch());
        let blocks = scaled(b, row, self.coded.blocks as i64);
        Runs { weights, a: copy(b, a), blocks: copy(b, blocks) }
    }

    /// Distance of rows of activations, in words or floats.
    fn a_pitch(&self) -> i64 {
        if self.coded.exact { self.coded.pitch as i64 / 4 } else { self.layout.k as i64 }
    }

    /// One block: exact sums from their starts, then scaled and added to `acc`. Positions move on.
    fn block(&self, b: &mut KernelBuilder, tile: Tile, runs: &Runs, terms: usize, acc: &[Reg]) {
        let l = &self.layout;
        let elem = if self.coded.exact { Elem::I32 } else { Elem::F32 };
        let ty = Ty { elem, lanes: tile.lanes };
        let mut dots = Vec::with_capacity(acc.len());
        for i in 0..tile.mr {
            let start = self.bufs.starts.map(|s| self.of_row(b, elem, s, runs, i, tile));
            dots.extend((0..tile.nv).map(|_| match start {
                Some(s) => copy(b, s),
                None => b.zero(ty),
            }));
        }
        self.chunks(b, tile, runs, terms, &dots);
        self.finish(b, tile, runs, &dots, acc);
        runs.weights.advance(b, terms);
        advance(b, runs.a, if self.coded.exact { l.block as i64 / 4 } else { l.block as i64 });
        advance(b, runs.blocks, 1);
    }

    /// Value that row `i` has for this block, in every lane.
    fn of_row(&self, b: &mut KernelBuilder, elem: Elem, buf: Buf, runs: &Runs, i: usize, tile: Tile) -> Reg {
        let at = Addr::reg(runs.blocks).offset((i * self.coded.blocks) as i64);
        let v = b.load(elem, 1, buf, at, None);
        b.splat(v, tile.lanes)
    }

    /// Adds the products of all chunks to `dots`.
    fn chunks(&self, b: &mut KernelBuilder, tile: Tile, runs: &Runs, terms: usize, dots: &[Reg]) {
        let count = self.layout.chunks(terms);
        let cost = tile.mr
            * tile.nv
            * if self.coded.exact { self.layout.terms() / 4 } else { self.layout.terms() * 3 };
        let most = (WORTH / cost).max(1);
        if count <= most {
            return (0..count)
                .for_each(|q| self.chunk(b, tile, (&runs.weights, runs.weights.words, runs.a), q, dots));
        }
        let step = (1..=most).rev().find(|u| count.is_multiple_of(*u)).unwrap_or(1);
        let (words, a) = (copy(b, runs.weights.words), copy(b, runs.a));
        b.for_(Bound::Const(0), Bound::Const((count / step) as i64), 1, LoopKind::Serial, |b, _| {
            (0..step).for_each(|q| self.chunk(b, tile, (&runs.weights, words, a), q, dots));
            advance(b, words, (step * usize::from(self.layout.lanes)) as i64);
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
        let lanes = tile.lanes;
        let codes: Vec<Reg> = (0..tile.nv).map(|v| weights.chunk(b, words, q, v)).collect();
        let parts: Vec<Vec<Reg>> = (0..self.a_step())
            .map(|e| {
                codes
                    .iter()
                    .map(|&c| if self.coded.exact { self.bytes(b, c, e) } else { self.float(b, c, e) })
                    .collect()
            })
            .collect();
        let elem = if self.coded.exact { Elem::I32 } else { Elem::F32 };
        for (e, weights) in parts.iter().enumerate() {
            for i in 0..tile.mr {
                let at = i as i64 * self.a_pitch() + (q * self.a_step() + e) as i64;
                let x = b.load(elem, 1, self.a, Addr::reg(a).offset(at), None);
                let x = b.splat(x, lanes);
                for (v, &w) in weights.iter().enumerate() {
                    let acc = dots[i * tile.nv + v];
                    b.set(
                        acc,
                        match self.coded.exact {
                            true => Inst::Dot4 { acc, a: w, b: x, a_signed: false, b_signed: true },
                            false => Inst::MulAdd(w, x, acc),
                        },
                    );
                }
            }
        }
    }

    /// Four codes as bytes: the low or the high halves.
    fn bytes(&self, b: &mut KernelBuilder, codes: Reg, half: usize) -> Reg {
        if self.layout.bits == 8 {
            return codes;
        }
        let lanes = b.ty(codes).lanes;
        let (mask, four) = (whole(b, Elem::I32, lanes, 0x0f0f_0f0f), whole(b, Elem::I32, lanes, 4));
        let v = if half == 0 { codes } else { b.bin(BinOp::ShrU, codes, four) };
        b.bin(BinOp::And, v, mask)
    }

    /// The code of term `e` as a float.
    fn float(&self, b: &mut KernelBuilder, codes: Reg, e: usize) -> Reg {
        let (lanes, bits) = (b.ty(codes).lanes, self.layout.bits as i64);
        let shift = 8 * (e as i64 % 4) + 4 * (e as i64 / 4);
        let mut v = codes;
        if shift > 0 {
            let by = whole(b, Elem::I32, lanes, shift);
            v = b.bin(BinOp::ShrU, v, by);
        }
        if shift + bits < 32 {
            let mask = whole(b, Elem::I32, lanes, (1 << bits) - 1);
            v = b.bin(BinOp::And, v, mask);
        }
        b.cvt(CvtOp::SToF, Elem::F32, v)
    }

    /// Adds the finished sums of a block to `acc`.
    fn finish(&self, b: &mut KernelBuilder, tile: Tile, runs: &Runs, dots: &[Reg], acc: &[Reg]) {
        let scales: Vec<Reg> = (0..tile.nv).map(|v| runs.weights.scale(b, v)).collect();
        let offsets: Vec<Reg> = (0..tile.nv).filter_map(|v| runs.weights.offset(b, v)).collect();
        for i in 0..tile.mr {
            let sum = self.bufs.sums.map(|s| self.of_row(b, Elem::F32, s, runs, i, tile));
            let own = match (self.activations, self.bufs.scales) {
                (Activations::Blocks, Some(s)) => Some(self.of_row(b, Elem::F32, s, runs, i, tile)),
                _ => None,
            };
            for (v, &scale) in scales.iter().enumerate() {
                let at = i * tile.nv + v;
                let mut dot = dots[at];
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

//! Running positions in packed weights.

use super::layout::Layout;
use crate::lower::contract::arith::scaled;
use crate::lower::contract::micro::copy;
use sinter_ir::DType;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CvtOp, Elem, Inst, Reg, UnOp};

/// Where the next block of neighbouring vectors of a strip lies, in elements of what is read there.
pub struct Streams {
    layout: Layout,
    weights: Buf,
    /// The block as words.
    pub words: Reg,
    scales: Reg,
    offsets: Option<Reg>,
}

impl Streams {
    /// The first block of panel `number`, where panels are `nv` vectors of a strip.
    pub fn new(b: &mut KernelBuilder, layout: Layout, weights: Buf, number: Reg, nv: usize) -> Self {
        let per = (layout.rt / nv) as i64;
        let (strip, skip) = if per == 1 {
            (number, None)
        } else {
            let (shift, mask) = (b.i64(per.trailing_zeros().into()), b.i64(per - 1));
            let within = b.bin(BinOp::And, number, mask);
            let skip = scaled(b, within, nv as i64 * i64::from(layout.lanes));
            (b.bin(BinOp::ShrU, number, shift), Some(skip))
        };
        let words = scaled(b, strip, layout.strip_words() as i64);
        let run = |b: &mut KernelBuilder, bits: usize| {
            let mut at = scaled(b, words, 32 / bits as i64);
            if let Some(skip) = skip {
                at = b.add(at, skip);
            }
            copy(b, at)
        };
        let (words, scales) = (run(b, 32), run(b, layout.scale.bits()));
        let offsets = layout.offset.map(|t| run(b, t.bits()));
        Self { layout, weights, words, scales, offsets }
    }
    /// Goes on behind a block of so many terms.
    pub fn advance(&self, b: &mut KernelBuilder, terms: usize) {
        let words = self.layout.block_words(terms) as i64;
        advance(b, self.words, words);
        advance(b, self.scales, words * 32 / self.layout.scale.bits() as i64);
        if let (Some(r), Some(t)) = (self.offsets, self.layout.offset) {
            advance(b, r, words * 32 / t.bits() as i64);
        }
    }
    /// Word `word` of chunk `q` of the block at `words`, of vector `v`.
    pub fn word(&self, b: &mut KernelBuilder, words: Reg, (q, word): (usize, usize), v: usize) -> Reg {
        let l = &self.layout;
        let at = l.header() + q * l.chunk_words() + word * l.width() + v * usize::from(l.lanes);
        b.load(Elem::I32, l.lanes, self.weights, Addr::reg(words).offset(at as i64), None)
    }
    /// Scales of the block of vector `v` as floats.
    pub fn scale(&self, b: &mut KernelBuilder, v: usize) -> Reg {
        self.floats(b, self.layout.scale, self.scales, v * usize::from(self.layout.lanes))
    }
    /// Zero points or minima of the block of vector `v` as floats, where there are any.
    pub fn offset(&self, b: &mut KernelBuilder, v: usize) -> Option<Reg> {
        let l = &self.layout;
        let (t, run) = l.offset.zip(self.offsets)?;
        let scales = l.width() * l.scale.bits() / t.bits();
        Some(self.floats(b, t, run, scales + v * usize::from(l.lanes)))
    }
    fn floats(&self, b: &mut KernelBuilder, dtype: DType, run: Reg, at: usize) -> Reg {
        let (lanes, at) = (self.layout.lanes, Addr::reg(run).offset(at as i64));
        match dtype {
            DType::F32 => b.load(Elem::F32, lanes, self.weights, at, None),
            DType::F16 => {
                let raw = b.load(Elem::I16, lanes, self.weights, at, None);
                b.un(UnOp::F16ToF32, raw)
            }
            _ => {
                let raw = b.load(Elem::I8, lanes, self.weights, at, None);
                let v = b.cvt(CvtOp::SExt, Elem::I32, raw);
                b.cvt(CvtOp::SToF, Elem::F32, v)
            }
        }
    }
}

/// Moves a position on.
pub fn advance(b: &mut KernelBuilder, r: Reg, by: i64) {
    let by = b.i64(by);
    b.set(r, Inst::Bin(BinOp::Add, r, by));
}

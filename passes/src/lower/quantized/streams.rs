//! Running positions in packed weights.

use super::layout::Layout;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::micro::copy;
use sinter_ir::DType;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CvtOp, Elem, Inst, Reg, UnOp};

/// Where the next block of neighbouring vectors of a strip lies, in elements of what is read there.
pub struct Streams {
    layout: Layout,
    weights: Buf,
    /// Codes, as words.
    pub words: Reg,
    scales: Reg,
    offsets: Option<Reg>,
}

impl Streams {
    /// The first block of the vectors that begin at word `start`.
    pub fn new(b: &mut KernelBuilder, layout: Layout, weights: Buf, start: Reg) -> Self {
        let l = &layout;
        // Elements of `bits` from the beginning of the first stream on.
        let run = |b: &mut KernelBuilder, bits: usize, skip: usize| {
            let at = scaled(b, start, 32 / bits as i64);
            let at = add_const(b, at, skip as i64);
            copy(b, at)
        };
        let words = run(b, 32, l.header());
        let scales = run(b, l.scale.bits(), 0);
        let skip = l.k.div_ceil(l.block) * usize::from(l.lanes) * l.scale.bits();
        let offsets = l.offset.map(|t| run(b, t.bits(), skip / t.bits()));
        Self { layout, weights, words, scales, offsets }
    }
    /// Goes on behind a block of so many terms.
    pub fn advance(&self, b: &mut KernelBuilder, terms: usize) {
        let lanes = i64::from(self.layout.lanes);
        advance(b, self.words, self.layout.chunks(terms) as i64 * lanes);
        advance(b, self.scales, lanes);
        if let Some(r) = self.offsets {
            advance(b, r, lanes);
        }
    }
    /// Chunk `q` behind `words` of vector `v`.
    pub fn chunk(&self, b: &mut KernelBuilder, words: Reg, q: usize, v: usize) -> Reg {
        let l = &self.layout;
        let at = Addr::reg(words).offset((q * usize::from(l.lanes) + v * l.apart()) as i64);
        b.load(Elem::I32, l.lanes, self.weights, at, None)
    }
    /// Scales of the block of vector `v` as floats.
    pub fn scale(&self, b: &mut KernelBuilder, v: usize) -> Reg {
        self.floats(b, self.layout.scale, self.scales, v)
    }
    /// Zero points or minima of the block of vector `v` as floats, where there are any.
    pub fn offset(&self, b: &mut KernelBuilder, v: usize) -> Option<Reg> {
        self.layout.offset.zip(self.offsets).map(|(t, run)| self.floats(b, t, run, v))
    }
    fn floats(&self, b: &mut KernelBuilder, dtype: DType, run: Reg, v: usize) -> Reg {
        let lanes = self.layout.lanes;
        let at = Addr::reg(run).offset((v * self.layout.apart() * 32 / dtype.bits()) as i64);
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

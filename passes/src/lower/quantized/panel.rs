//! Weights in blocks become bytes with one scale per row.
//!
//! A code times the scale of its block, divided by the scale of its row, is computed in halves of words: 8 bits of whole
//! numbers and 8 behind the point, so that one multiplication of a word does two codes.

use super::View;
use super::layout::Layout;
use super::streams::{Streams, advance};
use crate::lower::access::{constant, whole};
use crate::lower::body::Body;
use crate::lower::contract::arith::add_const;
use crate::lower::contract::micro::copy;
use bytes::Bytes;
use sinter_ir::Result;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, LoopKind, Reg, UnOp};

/// What is subtracted from a byte.
pub const MIDDLE: i64 = 128;
/// One, in halves of words.
const ONE: f32 = 256.0;

/// Of every row of weights, first what a byte of it stands for, then the inverse times [`ONE`].
pub struct Factors {
    /// f32, as many as there are rows in whole strips, twice.
    pub bytes: Bytes,
}

impl Factors {
    /// So that the largest weight of a row is 127.
    pub fn of(layout: &Layout, body: &Body, view: &View) -> Result<Self> {
        let largest = layout.largest(body, view)?;
        let down = largest.iter().map(|m| m / 127.0);
        let up = largest.iter().map(|m| if *m > 0.0 { 127.0 * ONE / m } else { 0.0 });
        Ok(Self { bytes: down.chain(up).flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into() })
    }
}

/// Writes panels: words of four bytes, `[k / 4][vectors of a panel][lanes]`.
pub struct Maker {
    /// Order of the weights.
    pub layout: Layout,
    /// Weights.
    pub weights: Buf,
    /// [`Factors`].
    pub factors: Buf,
    /// Where panels go.
    pub panel: Buf,
    /// What is added to weights.
    pub offset: Offset,
    /// Vectors of a panel.
    pub nv: usize,
}

/// What turns the codes of a vector in a block into bytes: `code * by + add`, in both halves of a word.
#[derive(Clone, Copy)]
struct Line {
    by: Reg,
    add: Reg,
}

impl Maker {
    /// What bytes stand for, of the rows from `column` on.
    pub fn down(&self, b: &mut KernelBuilder, column: Reg) -> Reg {
        b.load(Elem::F32, self.layout.lanes, self.factors, Addr::reg(column), None)
    }

    /// Writes panel `number`, of the rows from `column` on, to `to`.
    pub fn emit(&self, b: &mut KernelBuilder, number: Reg, column: Reg, to: Reg) {
        let l = &self.layout;
        let runs = Streams::new(b, *l, self.weights, number, self.nv);
        let to = copy(b, to);
        let inverse = add_const(b, column, (l.strips() * l.width()) as i64);
        let up: Vec<Reg> = (0..self.nv as i64)
            .map(|v| {
                let at = Addr::reg(inverse).offset(v * i64::from(l.lanes));
                b.load(Elem::F32, l.lanes, self.factors, at, None)
            })
            .collect();
        let (blocks, rest) = l.blocks();
        b.for_(Bound::Const(0), Bound::Const(blocks as i64), 1, LoopKind::Serial, |b, _| {
            self.block(b, &runs, &up, to, l.block);
        });
        if rest > 0 {
            self.block(b, &runs, &up, to, rest);
        }
    }

    fn block(&self, b: &mut KernelBuilder, runs: &Streams, up: &[Reg], to: Reg, terms: usize) {
        let (l, nr) = (&self.layout, (self.nv * usize::from(self.layout.lanes)) as i64);
        let lines: Vec<Line> = up.iter().enumerate().map(|(v, &up)| self.line(b, runs, v, up)).collect();
        let words = copy(b, runs.words);
        b.for_(Bound::Const(0), Bound::Const(l.chunks(terms) as i64), 1, LoopKind::Serial, |b, _| {
            for (v, line) in lines.iter().enumerate() {
                let codes = runs.word(b, words, (0, 0), v);
                for half in 0..2 {
                    let word = self.word(b, codes, half, *line);
                    let at = half * nr + v as i64 * i64::from(l.lanes);
                    b.store(self.panel, Addr::reg(to).offset(at), word, None);
                }
            }
            advance(b, words, l.chunk_words() as i64);
            advance(b, to, 2 * nr);
        });
        runs.advance(b, terms);
    }

    fn line(&self, b: &mut KernelBuilder, runs: &Streams, v: usize, up: Reg) -> Line {
        let lanes = self.layout.lanes;
        let float = |b: &mut KernelBuilder, v: f64| constant(b, Elem::F32, lanes, v);
        let scale = runs.scale(b, v);
        let by = b.mul(scale, up);
        let by = b.un(UnOp::Nearest, by);
        let mut middle = float(b, self.layout.middle as f64);
        // In the middle of a byte, and half of one for rounding.
        let mut add = float(b, (MIDDLE as f64 + 0.5) * f64::from(ONE));
        match (self.offset, runs.offset(b, v)) {
            (Offset::Zero, Some(zero)) => middle = b.add(middle, zero),
            (Offset::Minimum, Some(minimum)) => {
                let more = b.mul(minimum, up);
                let more = b.un(UnOp::Nearest, more);
                add = b.add(add, more);
            }
            _ => {}
        }
        let less = b.mul(by, middle);
        let add = b.sub(add, less);
        let (by, add) = (b.cvt(CvtOp::FToS, Elem::I32, by), b.cvt(CvtOp::FToS, Elem::I32, add));
        let half = whole(b, Elem::I32, lanes, 16);
        let high = b.bin(BinOp::Shl, add, half);
        Line { by, add: b.add(add, high) }
    }

    /// Four bytes of codes in the low or the high halves of a word's bytes.
    fn word(&self, b: &mut KernelBuilder, codes: Reg, half: i64, line: Line) -> Reg {
        let lanes = self.layout.lanes;
        let int = |b: &mut KernelBuilder, v: i64| whole(b, Elem::I32, lanes, v);
        let pair = |b: &mut KernelBuilder, shift: i64| {
            let mut v = codes;
            if shift > 0 {
                let by = int(b, shift);
                v = b.bin(BinOp::ShrU, v, by);
            }
            let mask = int(b, 0x000f_000f);
            let v = b.bin(BinOp::And, v, mask);
            b.mul_add(v, line.by, line.add)
        };
        let (even, odd) = (pair(b, 4 * half), pair(b, 4 * half + 8));
        let (eight, low, high) = (int(b, 8), int(b, 0x00ff_00ff), int(b, 0xff00_ff00u32 as i32 as i64));
        let even = b.bin(BinOp::ShrU, even, eight);
        let even = b.bin(BinOp::And, even, low);
        let odd = b.bin(BinOp::And, odd, high);
        b.bin(BinOp::Or, even, odd)
    }
}

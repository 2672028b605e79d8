//! Element types in memory and in the registers that contractions compute with.

use crate::lower::access;
use sinter_ir::target::{CostModel, TargetDesc};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CvtOp, Elem, Inst, Reg};
use sinter_ir::{DType, Diag, Expr, Result};

/// How elements of a dtype are held in memory and in arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Num {
    /// The type in memory.
    pub dtype: DType,
    /// Arithmetic: f32 for all narrower floats, i32 for narrower integers (wrapping agrees modulo their width).
    pub acc: Elem,
    /// An element is a word of two numbers, neighbours along the terms of the sums: bf16, or integers of 16 bits where
    /// sums are integers.
    pub pairs: bool,
    /// What integers are counted from.
    pub zero: i32,
    /// Words of four bytes, whose products go to one sum.
    pub words: Option<Words>,
}

/// Bytes of words of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// Whether they have a sign in products.
    pub signed: bool,
    /// Whether they are of the other kind in memory: 128 lie between the two.
    pub flip: bool,
    /// Words of a row that are loaded at a time, where products take a lane of them: else 1.
    pub group: u8,
    /// How words are multiplied.
    pub form: Form,
}

/// How words of four bytes are multiplied by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By dot products, whatever the target makes of them.
    Dots,
    /// As two pairs of 16 bits: the even bytes of a word, then its odd ones.
    Halves,
    /// By dot products of bytes whose sums fit 16 bits for so many words together.
    Narrow(u8),
}

impl Words {
    /// The form in which a target's dot products with signed weights take data.
    pub fn of(target: &TargetDesc, data: DType) -> Self {
        let signed = data == DType::I8;
        let takes = if signed { target.signed_dots() } else { target.mixed_dots() };
        // What changes every word is worth the registers for four.
        let group = match (target.lane_products(), takes) {
            (false, _) => 1,
            (true, true) => PAIR,
            (true, false) => 4,
        };
        Self { signed: signed == takes, flip: !takes, group, form: Form::Dots }
    }
    /// The same where there are products of 16 bits only, for this many rows of data and products of neighbours that add up
    /// to no more than `most`.
    pub fn without_dots(self, rows: &Expr, most: i64) -> Self {
        // Weights that few rows share had better be short; bytes without a sign are wider words by masks alone.
        let many = rows.as_const().is_none_or(|m| m >= FEW);
        let form = match (most, many) {
            // Sums of more than two words save little, and want registers.
            (most, _) if most <= HALF => Form::Narrow(2),
            (most, _) if most <= MOST => Form::Narrow(1),
            (_, true) => Form::Halves,
            (_, false) => Form::Dots,
        };
        Self { form, ..self }
    }
    /// Rows of B that a word takes.
    pub fn rows(self) -> usize {
        if self.form == Form::Halves { 2 } else { 1 }
    }
    /// `acc += x * y` for one of `together` products that share a sum of 16 bits, where there are such sums: it leaves no
    /// room for more of them.
    pub fn dot(self, acc: Reg, x: Reg, y: Reg, together: Option<i64>) -> Inst {
        let within = together.map(|n| (MOST / n) as u16);
        Inst::Dot4 { acc, a: x, b: y, a_signed: self.signed, b_signed: true, within }
    }
    /// Words whose products fit a sum of 16 bits together; where there are such sums.
    pub fn narrow(self) -> Option<i64> {
        match self.form {
            Form::Narrow(words) => Some(words.into()),
            Form::Dots | Form::Halves => None,
        }
    }
    /// A byte of data in memory, as it is in products.
    pub fn byte(self, stored: i64) -> i64 {
        match (self.flip, self.signed) {
            (false, _) => stored,
            (true, true) => stored - 128,
            (true, false) => stored + 128,
        }
    }
}

/// Rows from which on weights of 16 bits are worth their room.
const FEW: i64 = 4;

/// The largest sum of 16 bits.
const MOST: i64 = i16::MAX as i64;

/// That of which it takes two.
const HALF: i64 = MOST / 2;

/// Words that are loaded at a time and used at once: rows stay in no register.
pub const PAIR: u8 = 2;

/// Turns four signed bytes into unsigned ones that are 128 larger, and back.
pub const FLIP: i64 = 0x8080_8080;

/// The even bytes of a word.
const EVEN: i64 = 0x00ff_00ff;

impl Num {
    /// The arithmetic of a dtype that contractions take.
    pub fn of(dtype: DType) -> Result<Self> {
        if dtype.bits() < 8 || dtype == DType::Bool {
            return Err(Diag::unsupported(format!("contractions of {dtype}"))
                .help("cast the operands to f32 or i32 in the model"));
        }
        Ok(Self::plain(dtype, access::compute(dtype)?))
    }
    /// A type in memory and in arithmetic.
    pub fn plain(dtype: DType, acc: Elem) -> Self {
        Self { dtype, acc, pairs: false, zero: 0, words: None }
    }
    /// f32.
    pub fn f32() -> Self {
        Self::plain(DType::F32, Elem::F32)
    }
    /// Words of two bf16 whose products are summed in f32.
    pub fn bf16_pairs() -> Self {
        Self { pairs: true, ..Self::plain(DType::U32, Elem::F32) }
    }
    /// Words of two integers of 16 bits whose products are summed in 32.
    pub fn integer_pairs() -> Self {
        Self { acc: Elem::I32, ..Self::bf16_pairs() }
    }
    /// Words of four bytes of data.
    pub fn words(words: Words) -> Self {
        Self { words: Some(words), ..Self::plain(DType::I32, Elem::I32) }
    }
    /// The arithmetic of weights in a contraction of `data`.
    pub fn of_weights(dtype: DType, data: Num) -> Result<Self> {
        Ok(Self { acc: data.acc, ..Self::of(dtype)? })
    }
    /// Counted from a zero point.
    pub fn counted_from(self, zero: Option<i64>) -> Self {
        Self { zero: zero.unwrap_or(0) as i32, ..self }
    }
    /// Elements already in the form of the arithmetic.
    pub fn ready(self) -> Self {
        if self.pairs {
            return self;
        }
        let dtype = match self.acc {
            Elem::F64 => DType::F64,
            Elem::I64 => DType::I64,
            Elem::F32 => DType::F32,
            Elem::I16 => DType::I16,
            _ => DType::I32,
        };
        Self { dtype, zero: 0, words: self.words.map(|w| Words { flip: false, group: 1, ..w }), ..self }
    }
    /// Loads elements ready for arithmetic, but for [`Num::flipped`].
    pub fn load(self, b: &mut KernelBuilder, lanes: u16, buf: Buf, at: Addr, tail: Option<Reg>) -> Reg {
        let raw = b.load(access::memory(self.dtype), lanes, buf, at, tail);
        if self.pairs {
            return raw;
        }
        let x = match self.acc {
            Elem::I16 if b.ty(raw).elem == Elem::I16 => raw,
            Elem::I16 if self.dtype.is_signed_int() => b.cvt(CvtOp::SExt, Elem::I16, raw),
            Elem::I16 => b.cvt(CvtOp::ZExt, Elem::I16, raw),
            _ => access::widen(b, self.dtype, raw),
        };
        if self.acc == Elem::F32 && b.ty(x).elem == Elem::I32 {
            return b.cvt(CvtOp::SToF, Elem::F32, x);
        }
        if self.zero == 0 {
            return x;
        }
        let zero = access::whole(b, self.acc, lanes, self.zero.into());
        b.sub(x, zero)
    }
    /// The last step of a load: bytes of words get the sign that products want, or lose it.
    pub fn flipped(self, b: &mut KernelBuilder, x: Reg) -> Reg {
        if !self.flips() {
            return x;
        }
        let flip = access::whole(b, Elem::I32, b.ty(x).lanes, FLIP);
        b.bin(BinOp::Xor, x, flip)
    }
    /// The two halves of words in every lane: pairs of 16 bits without a sign.
    pub fn halves(self, b: &mut KernelBuilder, x: Reg) -> Option<[Reg; 2]> {
        self.words.filter(|w| w.form == Form::Halves)?;
        let lanes = b.ty(x).lanes;
        let [mask, by] = [EVEN, 8].map(|v| access::whole(b, Elem::I32, lanes, v));
        let odd = b.bin(BinOp::ShrU, x, by);
        Some([x, odd].map(|x| b.bin(BinOp::And, x, mask)))
    }
    /// The cost model of its products, from that of floats.
    pub fn cost(self, floats: &CostModel) -> CostModel {
        let mut cost = floats.clone();
        if self.rows() > 1 {
            // Two products and two sums, all of them short; an element of A becomes two by three operations.
            (cost.operation, cost.latency) = (2 * cost.operation, 1);
            (cost.broadcast, cost.load) = (cost.broadcast + 3 * cost.operation / 4, 2 * cost.load);
        } else if let Some(words) = self.narrow() {
            // A product of bytes for every word; for several of them one of 16 bits. Sums are short.
            (cost.operation, cost.latency) = (cost.operation + cost.operation / words, 1);
        } else if self.sums_apart() {
            // A product and a sum, both short.
            (cost.operation, cost.latency) = (2 * cost.operation, 1);
        }
        cost
    }
    /// Whether a product and its sum are two instructions.
    pub fn sums_apart(self) -> bool {
        self.pairs && self.acc == Elem::I32
    }
    /// Elements whose products fit a sum of 16 bits together; where there are such sums.
    pub fn narrow(self) -> Option<i64> {
        self.words.and_then(Words::narrow)
    }
    /// Rows of B per element of data.
    pub fn rows(self) -> usize {
        self.words.map_or(1, Words::rows)
    }
    /// Whether [`Num::flipped`] does anything.
    pub fn flips(self) -> bool {
        self.words.is_some_and(|w| w.flip)
    }
    /// Elements of a row that are loaded at a time.
    pub fn group(self) -> usize {
        self.words.map_or(1, |w| w.group.into())
    }
    /// `acc += x * y` on loaded elements, `x` data of this type and `y` weights.
    pub fn mul_add(self, b: &mut KernelBuilder, x: Reg, y: Reg, acc: Reg) {
        let inst = match self.words {
            _ if self.pairs || self.rows() > 1 => Inst::Dot2 { acc, a: x, b: y },
            Some(w) => w.dot(acc, x, y, w.narrow()),
            None => Inst::MulAdd(x, y, acc),
        };
        b.set(acc, inst);
    }
    /// Bytes per element in memory.
    pub fn bytes(self) -> i64 {
        self.dtype.bits() as i64 / 8
    }
}

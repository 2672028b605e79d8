//! Several instructions of TileIR that are one of the machine: bounded floats and their way to integers, bytes of words.

use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Inst, Kernel, Reg, Scalar, Stmt, UnOp};
use std::collections::{BTreeMap, BTreeSet};

/// Floats from here on are no i32.
const LIMIT: f64 = 2147483648.0;

/// The highest bits of the bytes of a word, and its even bytes.
const HIGHEST: u32 = 0x8080_8080;
const EVEN: i64 = 0x00ff_00ff;

/// What was found. A register here is assigned once: wherever it is read it has the value that was looked at.
#[derive(Debug, Default)]
pub struct Patterns {
    /// Selections that are the larger one of two floats, the second where either is NaN: those two, which may change.
    pub greater: BTreeMap<Reg, (Reg, Reg)>,
    /// Vectors of F32 that are numbers within the range of I32.
    pub small: BTreeSet<Reg>,
    /// Conversions to I32 of such numbers rounded to nearest even: those in front of the rounding.
    pub rounded: BTreeMap<Reg, Reg>,
    /// I32 vectors of unsigned bytes that are only places of a gather: those bytes.
    pub places: BTreeMap<Reg, Reg>,
    /// Bytes of I32 vectors clamped to a range of bytes.
    pub packs: BTreeMap<Reg, Pack>,
    /// Words of bytes that are all below 128: what the largest may be.
    pub small_bytes: BTreeMap<Reg, u8>,
    /// The odd bytes of words, in 16 bits each: those words.
    pub odd: BTreeMap<Reg, Reg>,
    /// What nothing reads but such a selection or conversion.
    pub absent: BTreeSet<Reg>,
}

/// Clamped integers as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Pack {
    /// What is clamped.
    pub from: Reg,
    /// The ends of the range, both of them bytes with a sign or without one.
    pub lo: i64,
    /// The upper one.
    pub hi: i64,
}

impl Pack {
    /// Whether the bytes have a sign.
    pub fn signed(self) -> bool {
        self.lo < 0
    }
}

/// What is known about the kernel.
pub struct Known<'a> {
    /// The kernel.
    pub k: &'a Kernel,
    /// Assignments of every register in the text.
    pub writes: &'a [u32],
    /// Reads of every register in the text.
    pub reads: &'a [u32],
    /// Registers that are a constant.
    pub consts: &'a BTreeMap<Reg, Scalar>,
}

impl Patterns {
    /// Of a kernel.
    pub fn of(known: &Known, saturates: bool) -> Self {
        let mut found = Finder {
            known,
            made: BTreeMap::new(),
            low: BTreeSet::new(),
            bits: BTreeMap::new(),
            saturates,
            out: Self::default(),
        };
        found.block(&known.k.body);
        found.out
    }
}

struct Finder<'a> {
    known: &'a Known<'a>,
    /// Comparisons and roundings so far.
    made: BTreeMap<Reg, &'a Inst>,
    /// Floats that are numbers and not below the range of I32.
    low: BTreeSet<Reg>,
    /// Bits of I32 vectors that may be set.
    bits: BTreeMap<Reg, u32>,
    saturates: bool,
    out: Patterns,
}

impl<'a> Finder<'a> {
    fn block(&mut self, body: &'a [Stmt]) {
        let mut before = None;
        for s in body {
            if let Stmt::Let { dst, inst } = s
                && self.once(*dst)
            {
                self.inst(*dst, inst, before);
            }
            before = Some(s);
            s.blocks().into_iter().for_each(|b| self.block(b));
        }
    }
    fn once(&self, r: Reg) -> bool {
        self.known.writes[r.0 as usize] == 1
    }
    /// A float constant within the range of I32.
    fn bound(&self, r: Reg) -> bool {
        match self.known.consts.get(&r) {
            Some(Scalar::F32(v)) => (-LIMIT..LIMIT).contains(&f64::from(*v)),
            _ => false,
        }
    }
    /// A comparison or rounding that only one instruction reads, which stands for it then.
    fn only_read(&mut self, r: Reg) -> Option<&'a Inst> {
        self.made.get(&r).copied().filter(|_| self.known.reads[r.0 as usize] == 1)
    }
    /// An integer that is known.
    fn number(&self, r: Reg) -> Option<i64> {
        match self.known.consts.get(&r) {
            Some(Scalar::Int(v)) => Some(*v),
            _ => None,
        }
    }
    /// Bits of words that may be set, and what their masks say.
    fn word(&mut self, dst: Reg, op: BinOp, a: Reg, b: Reg) {
        let of = |r: Reg| match self.number(r) {
            Some(v) => v as u32,
            None => self.bits.get(&r).copied().unwrap_or(u32::MAX),
        };
        let by = self.number(b).and_then(|v| u32::try_from(v).ok()).filter(|v| *v < 32);
        let bits = match (op, by) {
            (BinOp::And, _) => of(a) & of(b),
            (BinOp::Or, _) => of(a) | of(b),
            (BinOp::ShrU, Some(by)) => of(a) >> by,
            (BinOp::Shl, Some(by)) => of(a) << by,
            _ => u32::MAX,
        };
        self.bits.insert(dst, bits);
        if bits & HIGHEST == 0 {
            let largest = bits.to_le_bytes().into_iter().fold(0, |all, b| all | b);
            self.out.small_bytes.insert(dst, largest);
        }
        if op == BinOp::And
            && self.number(b) == Some(EVEN)
            && let Some(&Inst::Bin(BinOp::ShrU, from, by)) = self.only_read(a)
            && self.number(by) == Some(8)
            && self.once(from)
        {
            self.out.odd.insert(dst, from);
            self.out.absent.insert(a);
        }
    }
    /// `min(max(v, lo), hi)` that nothing else reads: the maximum, v, and the bounds.
    fn clamped(&mut self, x: Reg) -> Option<(Reg, Reg, i64, i64)> {
        let Some(&Inst::Bin(BinOp::MinS, inner, hi)) = self.only_read(x) else { return None };
        let Some(&Inst::Bin(BinOp::MaxS, from, lo)) = self.only_read(inner) else { return None };
        let (lo, hi) = (self.number(lo)?, self.number(hi)?);
        self.once(from).then_some((inner, from, lo, hi))
    }
    /// `before`: the statement in front of it.
    fn inst(&mut self, dst: Reg, inst: &'a Inst, before: Option<&Stmt>) {
        let ty = self.known.k.ty(dst);
        match *inst {
            Inst::Cmp(CmpOp::Gt, ..) => {
                self.made.insert(dst, inst);
            }
            // Nothing changes between two neighbours.
            Inst::Select(cond, x, c)
                if ty.elem == Elem::F32
                    && (self.once(x) && self.once(c)
                        || matches!(before, Some(Stmt::Let { dst, .. }) if *dst == cond)) =>
            {
                let same = |i: &Inst| matches!(i, Inst::Cmp(_, a, b) if (*a, *b) == (x, c));
                let lanes = self.known.k.ty(cond).lanes;
                if lanes == ty.lanes && self.only_read(cond).is_some_and(same) {
                    self.out.greater.insert(dst, (x, c));
                    self.out.absent.insert(cond);
                    if self.bound(c) {
                        self.low.insert(dst);
                    }
                }
            }
            Inst::Bin(BinOp::Min, a, b)
                if ty.elem == Elem::F32
                    && ty.lanes > 1
                    && [(a, b), (b, a)].into_iter().any(|(x, c)| self.low.contains(&x) && self.bound(c)) =>
            {
                self.out.small.insert(dst);
            }
            Inst::Un(UnOp::Nearest, x) if self.out.small.contains(&x) => {
                self.out.small.insert(dst);
                self.made.insert(dst, inst);
            }
            Inst::Cvt(CvtOp::ZExt, x)
                if ty.lanes > 1
                    && ty.elem == Elem::I32
                    && self.known.k.ty(x).elem == Elem::I8
                    && self.once(x) =>
            {
                self.made.insert(dst, inst);
            }
            Inst::Bin(op @ (BinOp::And | BinOp::Or | BinOp::Shl | BinOp::ShrU), a, b)
                if ty.elem == Elem::I32 && ty.lanes > 1 =>
            {
                self.made.insert(dst, inst);
                self.word(dst, op, a, b);
            }
            Inst::Bin(BinOp::MaxS | BinOp::MinS, ..) if ty.elem == Elem::I32 && ty.lanes > 1 => {
                self.made.insert(dst, inst);
            }
            Inst::Cvt(CvtOp::Narrow, x) if ty.elem == Elem::I8 && self.saturates => {
                if let Some((inner, from, lo, hi)) = self.clamped(x)
                    && lo <= hi
                    && (lo >= 0 && hi <= 255 || lo >= -128 && hi <= 127)
                {
                    self.out.packs.insert(dst, Pack { from, lo, hi });
                    self.out.absent.extend([x, inner]);
                }
            }
            Inst::LoadGather { index, .. } if ty.elem == Elem::I8 => {
                if let Some(Inst::Cvt(_, bytes)) = self.only_read(index) {
                    self.out.places.insert(index, *bytes);
                    self.out.absent.insert(index);
                }
            }
            Inst::Cvt(CvtOp::FToS, x) if ty.elem == Elem::I32 && self.out.small.contains(&x) => {
                if let Some(Inst::Un(_, from)) = self.only_read(x) {
                    self.out.rounded.insert(dst, *from);
                    self.out.absent.insert(x);
                }
            }
            _ => {}
        }
    }
}

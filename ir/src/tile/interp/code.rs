//! A kernel with operand places and lane functions resolved.

use super::scalar::{self, F1, F2, F3};
use crate::tile::{Addr, Bound, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt};
use crate::{Expr, Sym};

/// Lanes of a register: first place in the register file and count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub at: usize,
    pub n: usize,
}

/// An operand that is read byte by byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    at: usize,
    /// Four bytes to a lane.
    words: bool,
    signed: bool,
}

impl Bytes {
    /// Value of a byte.
    pub fn get(self, regs: &[u64], i: usize) -> i64 {
        let v = if self.words { regs[self.at + i / 4] >> (i % 4 * 8) & 0xff } else { regs[self.at + i] };
        if self.signed { scalar::extend(v, Elem::I8) } else { v as i64 }
    }
}

/// Address with resolved registers.
#[derive(Debug)]
pub(super) struct Place {
    pub buf: usize,
    pub elem: Elem,
    pub terms: Vec<(usize, i64)>,
    pub offset: i64,
    pub tail: Option<usize>,
}

/// A bound of a loop.
#[derive(Debug)]
pub(super) enum Limit {
    Const(i64),
    Reg(usize),
}

/// A resolved statement.
#[derive(Debug)]
pub(super) enum Op {
    Const {
        dst: Slot,
        bits: u64,
    },
    Copy {
        dst: Slot,
        a: usize,
    },
    Dim {
        dst: usize,
        expr: Expr,
    },
    Map1 {
        dst: Slot,
        f: F1,
        a: usize,
    },
    Map2 {
        dst: Slot,
        f: F2,
        a: usize,
        b: usize,
    },
    Map3 {
        dst: Slot,
        f: F3,
        a: usize,
        b: usize,
        c: usize,
    },
    /// `step` is 0 for a condition of one lane.
    Select {
        dst: Slot,
        cond: usize,
        step: usize,
        a: usize,
        b: usize,
    },
    /// The most that the products of two neighbours may add up to.
    Dot4 {
        dst: Slot,
        acc: usize,
        a: Bytes,
        b: Bytes,
        within: i64,
    },
    Mat8 {
        dst: Slot,
        acc: usize,
        a: Bytes,
        b: Bytes,
    },
    Mat4 {
        dst: Slot,
        acc: usize,
        a: usize,
        b: usize,
    },
    Halves {
        dst: Slot,
        a: usize,
        b: usize,
        high: bool,
    },
    Cvt {
        dst: Slot,
        f: F1,
        mask: u64,
        a: usize,
    },
    Splat {
        dst: Slot,
        a: usize,
    },
    LaneIndex {
        dst: Slot,
        mask: u64,
    },
    Fold {
        dst: usize,
        f: F2,
        a: Slot,
    },
    Load {
        dst: Slot,
        at: Place,
    },
    Gather {
        dst: Slot,
        at: Place,
        index: usize,
        wide: bool,
    },
    Address {
        dst: usize,
        buf: usize,
    },
    LoadAt {
        dst: usize,
        elem: Elem,
        a: usize,
    },
    Store {
        src: Slot,
        at: Place,
    },
    For {
        var: usize,
        lo: Limit,
        hi: Limit,
        step: i64,
        parallel: bool,
        body: Vec<Op>,
    },
    While {
        test: Vec<Op>,
        cond: usize,
        body: Vec<Op>,
    },
    If {
        cond: usize,
        then: Vec<Op>,
        els: Vec<Op>,
    },
    SetSym {
        sym: Sym,
        a: usize,
    },
    FailIf {
        cond: usize,
        code: i32,
    },
}

/// Resolves a verified kernel.
pub(super) struct Resolver<'a> {
    k: &'a Kernel,
    slots: Vec<Slot>,
    fused: bool,
}

impl<'a> Resolver<'a> {
    pub fn new(k: &'a Kernel, fused: bool) -> Self {
        let mut at = 0;
        let slots = k
            .regs
            .iter()
            .map(|t| {
                let s = Slot { at, n: t.lanes as usize };
                at += s.n;
                s
            })
            .collect();
        Self { k, slots, fused }
    }
    /// Size of the register file.
    pub fn lanes(&self) -> usize {
        self.slots.last().map_or(0, |s| s.at + s.n)
    }
    pub fn block(&self, body: &[Stmt]) -> Vec<Op> {
        body.iter().map(|s| self.stmt(s)).collect()
    }
    fn slot(&self, r: Reg) -> Slot {
        self.slots[r.0 as usize]
    }
    fn at(&self, r: Reg) -> usize {
        self.slot(r).at
    }
    fn bytes(&self, r: Reg, signed: bool) -> Bytes {
        Bytes { at: self.at(r), words: self.k.ty(r).elem == Elem::I32, signed }
    }
    fn place(&self, buf: crate::tile::Buf, elem: Elem, at: &Addr, tail: Option<Reg>) -> Place {
        Place {
            buf: buf.0 as usize,
            elem,
            terms: at.terms.iter().map(|(r, s)| (self.at(*r), *s)).collect(),
            offset: at.offset,
            tail: tail.map(|r| self.at(r)),
        }
    }
    fn limit(&self, b: &Bound) -> Limit {
        match b {
            Bound::Const(c) => Limit::Const(*c),
            Bound::Reg(r) => Limit::Reg(self.at(*r)),
        }
    }
    fn stmt(&self, s: &Stmt) -> Op {
        match s {
            Stmt::Let { dst, inst } => self.inst(*dst, inst),
            Stmt::Store { buf, at, value, tail } => {
                Op::Store { src: self.slot(*value), at: self.place(*buf, self.k.ty(*value).elem, at, *tail) }
            }
            Stmt::For { var, lo, hi, step, kind, body } => Op::For {
                var: self.at(*var),
                lo: self.limit(lo),
                hi: self.limit(hi),
                step: *step,
                parallel: *kind == LoopKind::Parallel,
                body: self.block(body),
            },
            Stmt::While { test, cond, body } => {
                Op::While { test: self.block(test), cond: self.at(*cond), body: self.block(body) }
            }
            Stmt::If { cond, then, els } => {
                Op::If { cond: self.at(*cond), then: self.block(then), els: self.block(els) }
            }
            Stmt::SetSym { sym, value } => Op::SetSym { sym: *sym, a: self.at(*value) },
            Stmt::FailIf { cond, code } => Op::FailIf { cond: self.at(*cond), code: *code },
        }
    }
    fn inst(&self, r: Reg, inst: &Inst) -> Op {
        let (dst, elem) = (self.slot(r), self.k.ty(r).elem);
        let mask = u64::MAX >> (64 - elem.bits());
        match inst {
            Inst::Const(s) => {
                let bits = match s {
                    Scalar::B1(v) => u64::from(*v),
                    Scalar::Int(v) => scalar::truncate(*v as u64, elem),
                    Scalar::F32(v) => u64::from(v.to_bits()),
                    Scalar::F64(v) => v.to_bits(),
                };
                Op::Const { dst, bits }
            }
            Inst::Copy(a) => Op::Copy { dst, a: self.at(*a) },
            Inst::Dim(e) => Op::Dim { dst: dst.at, expr: e.clone() },
            Inst::Un(op, a) => Op::Map1 { dst, f: scalar::unary(*op, self.k.ty(*a).elem), a: self.at(*a) },
            Inst::Bin(op, a, b) => {
                Op::Map2 { dst, f: scalar::binary(*op, elem), a: self.at(*a), b: self.at(*b) }
            }
            Inst::Cmp(op, a, b) => {
                let (f, swap) = scalar::compare(*op, self.k.ty(*a).elem);
                let (a, b) = if swap { (b, a) } else { (a, b) };
                Op::Map2 { dst, f, a: self.at(*a), b: self.at(*b) }
            }
            Inst::Select(c, a, b) => {
                let step = usize::from(self.slot(*c).n > 1);
                Op::Select { dst, cond: self.at(*c), step, a: self.at(*a), b: self.at(*b) }
            }
            Inst::MulAdd(a, b, c) => {
                let f = scalar::mul_add(elem, self.fused);
                Op::Map3 { dst, f, a: self.at(*a), b: self.at(*b), c: self.at(*c) }
            }
            Inst::Dot2 { acc, a, b } => {
                Op::Map3 { dst, f: scalar::dot2(elem), a: self.at(*a), b: self.at(*b), c: self.at(*acc) }
            }
            Inst::Dot4 { acc, a, b, a_signed, b_signed, within } => Op::Dot4 {
                dst,
                acc: self.at(*acc),
                a: self.bytes(*a, *a_signed),
                b: self.bytes(*b, *b_signed),
                within: within.map_or(i64::MAX, i64::from),
            },
            Inst::Mat8 { acc, a, b, a_signed } => {
                Op::Mat8 { dst, acc: self.at(*acc), a: self.bytes(*a, *a_signed), b: self.bytes(*b, true) }
            }
            Inst::Mat4 { acc, a, b } => Op::Mat4 { dst, acc: self.at(*acc), a: self.at(*a), b: self.at(*b) },
            Inst::Halves { a, b, high } => Op::Halves { dst, a: self.at(*a), b: self.at(*b), high: *high },
            Inst::Cvt(op, a) => {
                Op::Cvt { dst, f: scalar::convert(*op, self.k.ty(*a).elem, elem), mask, a: self.at(*a) }
            }
            Inst::Load { buf, at, tail } => Op::Load { dst, at: self.place(*buf, elem, at, *tail) },
            Inst::LoadGather { buf, at, index, tail } => Op::Gather {
                dst,
                at: self.place(*buf, elem, at, *tail),
                index: self.at(*index),
                wide: self.k.ty(*index).elem == Elem::I64,
            },
            Inst::Address(buf) => Op::Address { dst: dst.at, buf: buf.0 as usize },
            Inst::LoadAt(a) => Op::LoadAt { dst: dst.at, elem, a: self.at(*a) },
            Inst::Splat(a) => Op::Splat { dst, a: self.at(*a) },
            Inst::Lane(a, i) => Op::Copy { dst, a: self.at(*a) + *i as usize },
            Inst::LaneIndex => Op::LaneIndex { dst, mask },
            Inst::Fold(op, a) => Op::Fold { dst: dst.at, f: scalar::binary(*op, elem), a: self.slot(*a) },
        }
    }
}

//! Binary heaps of (key, number) pairs in scratch memory, and keys that order like the values.

use crate::lower::contract::gemm::add_const;
use crate::lower::contract::micro::copy;
use crate::lower::index::Idx;
use sinter_ir::DType;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Inst, Reg, UnOp};

/// A heap in a buffer of i64: keys from `base`, then as many numbers from `base + room`. Pairs compare by key, then
/// by number; no two are equal.
#[derive(Debug, Clone, Copy)]
pub struct Heap {
    /// Memory.
    pub buf: Buf,
    /// First element.
    pub base: Reg,
    /// Most pairs.
    pub room: Reg,
    /// Whether the largest pair is on top, not the smallest.
    pub largest: bool,
}

/// A pair in registers.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Key.
    pub key: Reg,
    /// Number.
    pub id: Reg,
}

impl Heap {
    fn at(&self, i: Reg) -> [Addr; 2] {
        let key = Idx::reg(self.base).plus(&Idx::reg(i));
        [key.addr(), key.plus(&Idx::reg(self.room)).addr()]
    }
    /// The pair in a place.
    pub fn get(&self, b: &mut KernelBuilder, i: Reg) -> Pair {
        let [k, n] = self.at(i);
        Pair { key: b.load(Elem::I64, 1, self.buf, k, None), id: b.load(Elem::I64, 1, self.buf, n, None) }
    }
    /// Writes a pair to a place.
    pub fn set(&self, b: &mut KernelBuilder, i: Reg, p: Pair) {
        let [k, n] = self.at(i);
        b.store(self.buf, k, p.key, None);
        b.store(self.buf, n, p.id, None);
    }
    /// Whether `x` belongs above `y`.
    fn above(&self, b: &mut KernelBuilder, x: Pair, y: Pair) -> Reg {
        let op = if self.largest { CmpOp::Gt } else { CmpOp::Lt };
        let (key, same, id) =
            (b.cmp(op, x.key, y.key), b.cmp(CmpOp::Eq, x.key, y.key), b.cmp(op, x.id, y.id));
        let tie = b.bin(BinOp::And, same, id);
        b.bin(BinOp::Or, key, tie)
    }
    /// Puts a pair into the hole at `start` of a heap with `size` places whose parts below are in order.
    pub fn sift(&self, b: &mut KernelBuilder, start: Reg, size: Reg, p: Pair) {
        let one = b.i64(1);
        let hole = copy(b, start);
        let child = b.reg(Elem::I64, 1);
        let next = |b: &mut KernelBuilder| {
            let twice = b.add(hole, hole);
            b.set(child, Inst::Bin(BinOp::Add, twice, one));
        };
        next(b);
        b.while_(
            |b| b.cmp(CmpOp::Lt, child, size),
            |b| {
                let right = b.add(child, one);
                let has = b.cmp(CmpOp::Lt, right, size);
                b.if_(
                    has,
                    |b| {
                        let (l, r) = (self.get(b, child), self.get(b, right));
                        let better = self.above(b, r, l);
                        let best = b.select(better, right, child);
                        b.copy_to(child, best);
                    },
                    |_| {},
                );
                let top = self.get(b, child);
                let rises = self.above(b, top, p);
                b.if_(
                    rises,
                    |b| {
                        self.set(b, hole, top);
                        b.copy_to(hole, child);
                        next(b);
                    },
                    |b| b.copy_to(child, size),
                );
            },
        );
        self.set(b, hole, p);
    }
    /// Orders `size` places.
    pub fn build(&self, b: &mut KernelBuilder, size: Reg) {
        let (two, zero, one) = (b.i64(2), b.i64(0), b.i64(1));
        let half = b.bin(BinOp::DivS, size, two);
        let i = copy(b, half);
        b.while_(
            |b| b.cmp(CmpOp::Gt, i, zero),
            |b| {
                b.set(i, Inst::Bin(BinOp::Sub, i, one));
                let p = self.get(b, i);
                self.sift(b, i, size, p);
            },
        );
    }
    /// Takes the top of `size` places; leaves the others in order in one place less.
    pub fn pop(&self, b: &mut KernelBuilder, size: Reg) -> Pair {
        let zero = b.i64(0);
        let top = self.get(b, zero);
        let last = add_const(b, size, -1);
        let p = self.get(b, last);
        self.sift(b, zero, last, p);
        top
    }
}

/// An i64 that orders as values of the type do: floats by their total order (-NaN < -0 < 0 < NaN), exactly.
pub fn order_key(b: &mut KernelBuilder, dtype: DType, v: Reg) -> Reg {
    let ordered = |b: &mut KernelBuilder, elem: Elem, bits: i64| {
        let raw = b.cvt(CvtOp::Bits, elem, v);
        let (sign, one) = (b.int(elem, 1, bits - 1), b.int(elem, 1, 1));
        // All bits but the sign turn round for negative numbers.
        let mask = b.bin(BinOp::ShrS, raw, sign);
        let mask = b.bin(BinOp::ShrU, mask, one);
        b.bin(BinOp::Xor, raw, mask)
    };
    match b.ty(v).elem {
        Elem::F32 => {
            let k = ordered(b, Elem::I32, 32);
            b.cvt(CvtOp::SExt, Elem::I64, k)
        }
        Elem::F64 => ordered(b, Elem::I64, 64),
        Elem::B1 => b.cvt(CvtOp::ZExt, Elem::I64, v),
        Elem::I64 if dtype == DType::U64 => {
            let flip = b.i64(i64::MIN);
            b.bin(BinOp::Xor, v, flip)
        }
        Elem::I64 => v,
        _ if dtype.is_unsigned_int() => b.cvt(CvtOp::ZExt, Elem::I64, v),
        _ => b.cvt(CvtOp::SExt, Elem::I64, v),
    }
}

/// The key turned round: larger values first.
pub fn reversed(b: &mut KernelBuilder, key: Reg) -> Reg {
    b.un(UnOp::Not, key)
}

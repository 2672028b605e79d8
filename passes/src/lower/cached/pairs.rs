//! Caches as pairs of bf16: what the products of many rows want of them.
//!
//! The two terms that a word holds are neighbouring elements of keys, and values of neighbouring positions. Everything
//! else lies as it does in the caches, half as many words as there are elements.

use super::{Cached, SPAN};
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::index::{Idx, dim, int};
use crate::lower::line::Line;
use crate::lower::pull::Puller;
use crate::lower::{Arg, LowerCx, Lowered, access, parallel_if};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CvtOp, Elem, LoopKind, Reg, UnOp};
use sinter_ir::{DType, Expr, Result, Symbols, TensorType};

/// Bytes of pairs up to which they are made: they lie in the arena.
const MOST_BYTES: i64 = 64 << 20;

impl Cached<'_> {
    /// Whether there can be more rows than a token's, and pairs of everything.
    pub(super) fn pays(&self, symbols: &Symbols) -> bool {
        let bytes = |b: &Expr| symbols.max(b);
        let fits = self.packed_bytes().iter().map(bytes).fold(0i64, i64::saturating_add) <= MOST_BYTES;
        symbols.max(&self.rows) > self.group && self.lanes > 1 && self.size % 2 == 0 && fits
    }
    /// Elements of scratch memory that hold a register's worth of products: their type, and where those from word `at`
    /// on begin.
    pub(super) fn stored(&self, b: &mut KernelBuilder, at: Reg) -> (DType, Reg) {
        if self.pairs { (DType::BF16, scaled(b, at, 2)) } else { (DType::F32, at) }
    }
    /// Stores what [`Self::stored`] has a place for. Products take subnormal numbers for zeros: so may the rounding.
    pub(super) fn store(
        &self,
        b: &mut KernelBuilder,
        dtype: DType,
        (buf, at): (Buf, &Idx),
        v: Reg,
        tail: Option<Reg>,
    ) -> Result<()> {
        if dtype != DType::BF16 {
            return access::store(b, dtype, buf, at, v, tail);
        }
        let raw = b.un(UnOp::F32ToBf16Flush, v);
        b.store(buf, at.addr(), raw, tail);
        Ok(())
    }
    /// Words of pairs of keys and values.
    fn words(&self) -> [Expr; 2] {
        let heads = Expr::from(self.kv);
        let keys = self.slots[0].clone() * (self.size / 2).into();
        let values = self.slots[1].ceil_div(&2.into()) * self.width.into();
        [heads.clone() * keys, heads * values]
    }
    /// Scratch memory for pairs of keys and values.
    pub(super) fn packed_bytes(&self) -> [Expr; 2] {
        self.words().map(|w| w * 4.into())
    }
    /// Declares it: it comes behind that of blocks.
    pub(super) fn packed_bufs(&self, b: &mut KernelBuilder, params: &mut Params, access: Access) -> [Buf; 2] {
        let [keys, values] = self.words().map(|w| TensorType::new(DType::U32, vec![w]));
        [params.buf(b, Arg::Scratch(1), access, &keys), params.buf(b, Arg::Scratch(2), access, &values)]
    }

    /// The kernel that makes pairs of all slots with positions, unless there is a single token.
    pub(super) fn pack(&self, cx: &LowerCx, body: &Body) -> Result<Lowered> {
        let mut b = KernelBuilder::new(format!("cached_pairs_{}x{}_{}", self.kv, self.size, self.width));
        let mut p = Puller::new(cx, body);
        let [keys, values] = self.packed_bufs(&mut b, &mut p.params, Access::Write);
        let from = [p.params.value(&mut b, body, self.k)?, p.params.value(&mut b, body, self.v)?];
        let tokens = p.dims(self.q)[0].clone();
        let seen = self.op.past.clone() + tokens.clone();
        let spans = seen.min_of(&self.slots[0]).ceil_div(&SPAN.into());
        let trips = Expr::select_ge0(&(tokens - 2.into()), &(spans.clone() * self.kv.into()), &0.into());
        let each = SPAN as u64 * (self.size + self.width).unsigned_abs() / u64::from(self.lanes);
        let work = cx.symbols.max(&trips).max(0) as u64 * each;
        let mut done = Ok(());
        parallel_if(&mut b, work, &trips, |b, t| {
            let n = dim(b, &spans);
            let head = b.bin(BinOp::DivU, t, n);
            let skip = b.mul(head, n);
            let span = b.sub(t, skip);
            let first = scaled(b, span, SPAN);
            self.keys(b, (from[0], keys), head, first, &seen);
            done = self.values(b, (from[1], values), head, first, &seen);
        });
        done?;
        Ok(p.params.finish(b))
    }

    /// Pairs of the keys of a span.
    fn keys(&self, b: &mut KernelBuilder, (from, to): (Buf, Buf), head: Reg, first: Reg, seen: &Expr) {
        let dtype = self.dtypes[0];
        let (block, lanes) = (self.op.block, i64::from(self.lanes));
        let row = dim(b, &(self.slots[0].clone() * (self.size / 2).into()));
        let head = b.mul(head, row);
        // Slots of keys are whole groups; a span may have fewer.
        let all = dim(b, &(seen.min_of(&self.slots[0]).ceil_div(&block.into()) * block.into()));
        let last = add_const(b, first, SPAN);
        let end = b.bin(BinOp::MinS, last, all);
        b.for_(Bound::Reg(first), Bound::Reg(end), block, LoopKind::Serial, |b, slot| {
            let at = scaled(b, slot, self.size / 2);
            let at = b.add(head, at);
            let double = scaled(b, at, 2);
            b.for_(Bound::Const(0), Bound::Const(self.size / 2), 1, LoopKind::Serial, |b, pair| {
                let word = scaled(b, pair, block);
                let (source, target) = (scaled(b, word, 2), b.add(at, word));
                let source = b.add(double, source);
                for part in (0..block).step_by(lanes as usize) {
                    let load = |b: &mut KernelBuilder, skip: i64| {
                        let at = Addr::reg(source).offset(skip + part);
                        let raw = b.load(access::memory(dtype), self.lanes, from, at, None);
                        access::widen(b, dtype, raw)
                    };
                    let (low, high) = (load(b, 0), load(b, block));
                    let words = pair_of(b, low, high);
                    b.store(to, Addr::reg(target).offset(part), words, None);
                }
            });
        });
    }

    /// Pairs of the values of a span. The last of an odd number of positions is its own neighbour: it counts nothing.
    fn values(
        &self,
        b: &mut KernelBuilder,
        (from, to): (Buf, Buf),
        head: Reg,
        first: Reg,
        seen: &Expr,
    ) -> Result<()> {
        let dtype = self.dtypes[1];
        let [row, pairs] = [self.slots[1].clone(), self.slots[1].ceil_div(&2.into())]
            .map(|n| n * self.width.into())
            .map(|n| dim(b, &n));
        let [source, target] = [row, pairs].map(|row| b.mul(head, row));
        let all = dim(b, &seen.min_of(&self.slots[1]));
        let last = add_const(b, first, SPAN);
        let end = b.bin(BinOp::MinS, last, all);
        let newest = add_const(b, all, -1);
        let mut done = Ok(());
        b.for_(Bound::Reg(first), Bound::Reg(end), 2, LoopKind::Serial, |b, slot| {
            let next = add_const(b, slot, 1);
            let next = b.bin(BinOp::MinS, next, newest);
            let [low, high] = [slot, next].map(|slot| {
                let at = scaled(b, slot, self.width);
                b.add(source, at)
            });
            let one = int(b, 1);
            let pair = b.bin(BinOp::ShrU, slot, one);
            let to_row = scaled(b, pair, self.width);
            let to_row = b.add(target, to_row);
            let line = Line { lanes: self.lanes, unroll: 1 };
            let ends = (Bound::Const(0), Bound::Const(self.width));
            done = line.emit(b, ends, &self.width.into(), &mut |b, at| {
                let [low, high] = [low, high].map(|row| {
                    let from_at = at.idx().plus(&Idx::reg(row)).addr();
                    let raw = b.load(access::memory(dtype), self.lanes, from, from_at, at.tail);
                    access::widen(b, dtype, raw)
                });
                let words = pair_of(b, low, high);
                b.store(to, at.idx().plus(&Idx::reg(to_row)).addr(), words, at.tail);
                Ok(())
            });
        });
        done
    }
}

/// Words of two numbers, rounded.
fn pair_of(b: &mut KernelBuilder, low: Reg, high: Reg) -> Reg {
    let lanes = b.ty(low).lanes;
    let [low, high] = [low, high].map(|v| {
        let v = b.un(UnOp::F32ToBf16Flush, v);
        b.cvt(CvtOp::ZExt, Elem::I32, v)
    });
    let half = access::whole(b, Elem::I32, lanes, 16);
    let high = b.bin(BinOp::Shl, high, half);
    b.bin(BinOp::Or, low, high)
}

//! Softmax over one row of scores in scratch memory.

use super::{Block, Cached};
use crate::lower::access;
use crate::lower::contract::gemm::add_const;
use crate::lower::index::{Idx, int};
use crate::lower::line::{Collect, Line, Place};
use crate::math::coarse;
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Elem, LoopKind, Reg, UnOp};

impl Cached<'_> {
    /// Turns row `i` into exponentials, 0 for positions that it does not see, and leaves the factor of its result.
    pub(super) fn softmax(&self, b: &mut KernelBuilder, x: &Block, i: Reg) -> Result<()> {
        let (token, _) = self.token_at(b, x.rows, i);
        let (first, end) = self.sees(b, token);
        let skip = b.mul(x.pitch, i);
        let row = b.add(x.scores, skip);
        let [first, end, all] = [first, end, x.end].map(|r| b.sub(r, x.from));
        let lanes = self.lanes;
        let place = |at: Place| at.idx().plus(&Idx::reg(row)).addr();
        let line = |unroll: usize| Line { lanes, unroll: if lanes > 1 { unroll } else { 1 } };
        let range = || (Bound::Reg(first), Bound::Reg(end));
        let max = Collect::start(b, BinOp::Max, lanes, f64::NEG_INFINITY);
        line(2).emit(b, range(), &1.into(), &mut |b, at| {
            let mut v = b.load(Elem::F32, lanes, x.buf, place(at), at.tail);
            if let Some(cap) = self.op.softcap {
                let (less, more) = (1.0 / f64::from(cap), f64::from(cap));
                let (less, more) = (
                    access::constant(b, Elem::F32, lanes, less),
                    access::constant(b, Elem::F32, lanes, more),
                );
                let scaled = b.mul(v, less);
                let bent = b.un(UnOp::Tanh, scaled);
                v = b.mul(bent, more);
                b.store(x.buf, place(at), v, at.tail);
            }
            max.take(b, v, at);
            Ok(())
        })?;
        let most = max.finish(b);
        let most = b.splat(most, lanes);
        let (dtype, start) = self.stored(b, row);
        let sum = Collect::start(b, BinOp::Add, lanes, 0.0);
        line(1).emit(b, range(), &1.into(), &mut |b, at| {
            let v = b.load(Elem::F32, lanes, x.buf, place(at), at.tail);
            let d = b.sub(v, most);
            let e = if self.pairs { coarse::exp_not_positive(b, d) } else { b.un(UnOp::Exp, d) };
            // Narrower than what is read here: nothing is overwritten that is yet to come.
            let to = at.idx().plus(&Idx::reg(start));
            access::store(b, dtype, x.buf, &to, e, at.tail)?;
            sum.take(b, e, at);
            Ok(())
        })?;
        let sum = sum.finish(b);
        let one = access::constant(b, Elem::F32, 1, 1.0);
        let factor = b.bin(BinOp::Div, one, sum);
        b.store(x.buf, Addr::reg(x.sums).plus(i, 1), factor, None);
        let zero = int(b, 0);
        // Up to whole pairs.
        let all = match self.pairs {
            true => {
                let (next, mask) = (add_const(b, all, 1), int(b, -2));
                b.bin(BinOp::And, next, mask)
            }
            false => all,
        };
        let mut done = Ok(());
        for (lo, hi) in [(zero, first), (end, all)] {
            let none = access::constant(b, Elem::F32, 1, 0.0);
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, j| {
                let to = Idx::reg(start).plus(&Idx::reg(j));
                done = done.clone().and_then(|()| access::store(b, dtype, x.buf, &to, none, None));
            });
        }
        done
    }
}

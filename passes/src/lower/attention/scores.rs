//! Softmax over the scores of a block of rows, in scratch memory.

use super::{Attention, Layout, Memory};
use crate::lower::access;
use crate::lower::index::{Idx, dim};
use crate::lower::line::{Collect, Line, Place};
use crate::lower::pull::Puller;
use crate::math::coarse;
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Elem, Reg, UnOp};

impl Attention<'_> {
    /// Turns products into exponentials, and leaves the factor of every row's result in the sums.
    pub(super) fn softmax(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        layout: &Layout,
        (batch, row): (&[Idx], Reg),
    ) -> Result<()> {
        let mut done = Ok(());
        b.range(&self.first.mr.into(), |b, i| {
            let r = self.row(b, row, i);
            let pitch = dim(b, &layout.pitch);
            let skip = b.mul(i, pitch);
            let line = b.add(m.scores, skip);
            done = self.softmax_row(b, p, m, line, &[batch, &[Idx::reg(r)]].concat()).map(|sum| {
                let one = access::constant(b, Elem::F32, 1, 1.0);
                let factor = b.bin(BinOp::Div, one, sum);
                b.store(m.buf, Addr::reg(m.sums).plus(i, 1), factor, None);
            });
        });
        done
    }
    /// One row; gives the sum of its exponentials.
    fn softmax_row(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        row: Reg,
        before: &[Idx],
    ) -> Result<Reg> {
        let lanes = self.lanes;
        let ends = |b: &mut KernelBuilder| (Bound::Const(0), b.bound(&self.keys));
        let place = |at: Place| at.idx().plus(&Idx::reg(row)).addr();
        // Scale and masks, and the largest score.
        let max = Collect::start(b, BinOp::Max, lanes, f64::NEG_INFINITY);
        let line = Line { lanes, unroll: if lanes > 1 { 2 } else { 1 } };
        let range = ends(b);
        line.emit(b, range, &self.keys, &mut |b, at| {
            let raw = b.load(Elem::F32, lanes, m.buf, place(at), None);
            p.give(b, self.raw, raw);
            p.tail = at.tail;
            let v = p.at(b, self.scores, &[before, &[at.idx()]].concat(), lanes)?;
            let v = b.splat(v, lanes);
            if self.scores != self.raw {
                b.store(m.buf, place(at), v, None);
            }
            max.take(b, v, at);
            p.tail = None;
            p.forget();
            Ok(())
        })?;
        let max = max.finish(b);
        let max = b.splat(max, lanes);
        let sum = Collect::start(b, BinOp::Add, lanes, 0.0);
        let range = ends(b);
        Line { lanes, unroll: 1 }.emit(b, range, &self.keys, &mut |b, at| {
            let v = b.load(Elem::F32, lanes, m.buf, place(at), None);
            let d = b.sub(v, max);
            // Rounded to bf16, it needs no more digits than the cheaper form has.
            let e = if self.pairs { coarse::exp_not_positive(b, d) } else { b.un(UnOp::Exp, d) };
            if self.pairs {
                // In place: a row of bf16 is half as long, and what it covers has been read.
                let narrow = b.un(UnOp::F32ToBf16, e);
                b.store(m.buf, at.idx().plus(&Idx::reg(row).times(2)).addr(), narrow, None);
            } else {
                b.store(m.buf, place(at), e, None);
            }
            sum.take(b, e, at);
            Ok(())
        })?;
        if self.pairs && !self.keys.modulo(&2.into()).is(0) {
            // The word of the last key has a second half; without it this is behind the row's end.
            let (end, none) = (dim(b, &self.keys), b.int(Elem::I16, 1, 0));
            b.store(m.buf, Addr::reg(row).plus(row, 1).plus(end, 1), none, None);
        }
        Ok(sum.finish(b))
    }
}

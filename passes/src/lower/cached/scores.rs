//! Softmax over rows of scores in scratch memory.
//!
//! The loops of all rows of a block have the same ends, whole vectors: what one row sees and another does not is only
//! asked where that may be.

use super::{Block, Cached};
use crate::lower::access;
use crate::lower::contract::arith::add_const;
use crate::lower::index::{Idx, int};
use crate::lower::line::Collect;
use crate::math::coarse;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, UnOp};
use sinter_ir::{DType, Result};

/// Where the loops of a block end, counted from its first position: all rows see everything from `lo` to `hi`.
#[derive(Clone, Copy)]
struct Ends {
    /// None where nothing is too far away.
    lo: Option<Reg>,
    hi: Reg,
    all: Reg,
}

/// A row.
#[derive(Clone, Copy)]
struct Row {
    /// Its place in the block, and where its scores begin.
    i: Reg,
    at: Reg,
    /// What it sees.
    first: Reg,
    end: Reg,
    /// Where exponentials go, and their type.
    to: (DType, Reg),
}

/// Code for a vector of a row: which row, its place and, where not all of it need be seen, what is.
type Each<'e> = dyn FnMut(&mut KernelBuilder, usize, Reg, Option<Reg>) + 'e;

impl Cached<'_> {
    /// Turns rows into exponentials, 0 for positions that they do not see, and leaves the factors of their results.
    pub(super) fn softmax(&self, b: &mut KernelBuilder, x: &Block) -> Result<()> {
        let mr = self.first.mr as i64;
        // Several at once: what one waits for takes another's time. Not where products with codes make much code already.
        let together = [2, 3].into_iter().find(|n| mr % n == 0 && self.coded.is_none()).unwrap_or(1);
        let (ends, mut done) = (self.ends(b, x), Ok(()));
        b.for_(Bound::Const(0), Bound::Const(mr), together, LoopKind::Serial, |b, i| {
            let rows: Vec<Row> = (0..together)
                .map(|more| {
                    let i = add_const(b, i, more);
                    self.row(b, x, i)
                })
                .collect();
            done = self.rows_of_scores(b, x, ends, &rows);
        });
        done
    }
    fn ends(&self, b: &mut KernelBuilder, x: &Block) -> Ends {
        let lanes = i64::from(self.lanes);
        let (oldest, _) = self.token(b, x.rows, 0);
        let (newest, _) = self.token(b, x.rows, self.first.mr as i64 - 1);
        let ((_, hi), (lo, _)) = (self.sees(b, oldest), self.sees(b, newest));
        let [lo, hi, all] = [(lo, lanes - 1), (hi, 0), (x.end, lanes - 1)].map(|(r, more)| {
            let (r, mask) = (b.sub(r, x.from), int(b, -lanes));
            let r = add_const(b, r, more);
            b.bin(BinOp::And, r, mask)
        });
        if self.op.window.is_none() {
            return Ends { lo: None, hi, all };
        }
        Ends { lo: Some(lo), hi: b.bin(BinOp::MaxS, hi, lo), all }
    }
    fn row(&self, b: &mut KernelBuilder, x: &Block, i: Reg) -> Row {
        let (token, _) = self.token_at(b, x.rows, i);
        let (first, end) = self.sees(b, token);
        let skip = b.mul(x.pitch, i);
        let at = b.add(x.scores, skip);
        let [first, end] = [first, end].map(|r| b.sub(r, x.from));
        Row { i, at, first, end, to: self.stored(b, at) }
    }
    /// `f` for every vector of every row.
    fn each(&self, b: &mut KernelBuilder, ends: Ends, rows: &[Row], f: &mut Each) {
        let zero = int(b, 0);
        let lo = ends.lo.unwrap_or(zero);
        for (from, to, whole) in [(zero, lo, false), (lo, ends.hi, true), (ends.hi, ends.all, false)] {
            if from == to {
                continue;
            }
            let step = i64::from(self.lanes);
            b.for_(Bound::Reg(from), Bound::Reg(to), step, LoopKind::Serial, |b, at| {
                for (n, row) in rows.iter().enumerate() {
                    let seen = (!whole).then(|| self.seen_of(b, row, at));
                    f(b, n, at, seen);
                }
            });
        }
    }
    /// Which positions of a vector a row sees.
    fn seen_of(&self, b: &mut KernelBuilder, row: &Row, at: Reg) -> Reg {
        let lanes = self.lanes;
        let compare = |b: &mut KernelBuilder, op: CmpOp, limit: Reg| {
            if lanes == 1 {
                return b.cmp(op, at, limit);
            }
            let index = b.hoist(Elem::I32, lanes, Inst::LaneIndex);
            let left = b.sub(limit, at);
            let left = b.cvt(CvtOp::Narrow, Elem::I32, left);
            let left = b.splat(left, lanes);
            b.cmp(op, index, left)
        };
        let inside = compare(b, CmpOp::Lt, row.end);
        if self.op.window.is_none() {
            return inside;
        }
        let near = compare(b, CmpOp::Ge, row.first);
        b.bin(BinOp::And, inside, near)
    }
    fn rows_of_scores(&self, b: &mut KernelBuilder, x: &Block, ends: Ends, rows: &[Row]) -> Result<()> {
        let lanes = self.lanes;
        let place = |row: &Row, at: Reg| {
            let at = if lanes > 1 { Idx::lanes(at) } else { Idx::reg(at) };
            (at.plus(&Idx::reg(row.at)).addr(), at.plus(&Idx::reg(row.to.1)))
        };
        let number = |b: &mut KernelBuilder, v: f64| access::constant(b, Elem::F32, lanes, v);
        // What is no number makes its exponential none, and so the sum.
        let most: Vec<Collect> = rows.iter().map(|_| Collect::largest_number(b, lanes)).collect();
        self.each(b, ends, rows, &mut |b, n, at, seen| {
            let (from, _) = place(&rows[n], at);
            let mut v = b.load(Elem::F32, lanes, x.buf, from.clone(), None);
            if let Some(cap) = self.op.softcap {
                let (less, more) = (number(b, 1.0 / f64::from(cap)), number(b, f64::from(cap)));
                let scaled = b.mul(v, less);
                let bent = b.un(UnOp::Tanh, scaled);
                v = b.mul(bent, more);
                b.store(x.buf, from, v, None);
            }
            if let Some(seen) = seen {
                let none = number(b, f64::NEG_INFINITY);
                v = b.select(seen, v, none);
            }
            most[n].add(b, v);
        });
        let most: Vec<Reg> = most
            .iter()
            .map(|m| {
                let m = m.finish(b);
                b.splat(m, lanes)
            })
            .collect();
        let sums: Vec<Collect> = rows.iter().map(|_| Collect::start(b, BinOp::Add, lanes, 0.0)).collect();
        let mut done = Ok(());
        self.each(b, ends, rows, &mut |b, n, at, seen| {
            let (from, to) = place(&rows[n], at);
            let v = b.load(Elem::F32, lanes, x.buf, from, None);
            let d = b.sub(v, most[n]);
            let mut e = if self.pairs { coarse::exp_not_positive(b, d) } else { b.un(UnOp::Exp, d) };
            if let Some(seen) = seen {
                let none = number(b, 0.0);
                e = b.select(seen, e, none);
            }
            // Narrower than what is read here: nothing is overwritten that is yet to come.
            let stored = self.store(b, rows[n].to.0, (x.buf, &to), e, None);
            done = done.clone().and(stored);
            sums[n].add(b, e);
        });
        for (row, sum) in rows.iter().zip(sums) {
            let sum = sum.finish(b);
            let one = access::constant(b, Elem::F32, 1, 1.0);
            let factor = b.bin(BinOp::Div, one, sum);
            b.store(x.buf, Addr::reg(x.sums).plus(row.i, 1), factor, None);
        }
        done
    }
}

//! Which rows are computed together, and what they see.

use super::{Block, Cached, SPAN};
use crate::lower::contract::gemm::{add_const, scaled};
use crate::lower::contract::slots;
use crate::lower::index::{dim, int};
use crate::lower::pull::Puller;
use crate::lower::{Arg, WORTH_THREADS};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, CmpOp, Reg};
use sinter_ir::{DType, Expr, Result, TensorType};

/// Rows of a block: the first one, and the last there is of its kind; those behind it repeat it.
#[derive(Clone, Copy)]
pub struct Rows {
    first: Reg,
    last: Reg,
}

impl Cached<'_> {
    /// The loop over blocks; gives the bytes of scratch memory.
    pub(super) fn emit(&self, b: &mut KernelBuilder, p: &mut Puller) -> Result<Expr> {
        let (mr, tokens) = (self.first.mr as i64, p.dims(self.q)[0].clone());
        let pitch = self.pitch(&tokens);
        let queries = mr * self.size;
        let sums = mr.max(16);
        let scaled_rows = self.coded.as_ref().map_or(0, |c| mr * c.depth());
        let piece = pitch.clone() * mr.into() + (queries + sums + scaled_rows).into();
        let blocks = match self.coded {
            None => self.rows.ceil_div(&mr.into()),
            Some(_) => self.spans(&tokens) * self.per_span(&tokens),
        };
        let trips = blocks.clone() * self.kv.into();
        let work = self.rows.clone()
            * (self.op.past.clone() + tokens.clone())
            * (self.kv * (self.size + self.width)).into();
        // A multiply-add is two additions, but a vector of them costs one instruction.
        let worth = p.cx.symbols.max(&work).max(0) as u64 >= WORTH_THREADS;
        let count = if worth { slots::count(p.cx.target, &trips) } else { 1 };
        let bytes = piece.clone() * (4 * count).into();
        let ty = TensorType::new(DType::I8, vec![bytes.clone()]);
        let buf = p.params.buf(b, Arg::Scratch(0), Access::ReadWrite, &ty);
        let packed = self.pairs.then(|| self.packed_bufs(b, &mut p.params, Access::Read));
        let mut done = Ok(());
        let start = |b: &mut KernelBuilder, slot: Reg| {
            let size = dim(b, &piece);
            b.mul(slot, size)
        };
        let each = |b: &mut KernelBuilder, &base: &Reg, t: Reg| {
            let n = dim(b, &blocks);
            let head = b.bin(BinOp::DivU, t, n);
            let skip = b.mul(head, n);
            let block = b.sub(t, skip);
            let (rows, codes) = match self.coded {
                None => {
                    let (first, last) = (scaled(b, block, mr), dim(b, &(self.rows.clone() - 1.into())));
                    (Rows { first, last }, int(b, 0))
                }
                Some(_) => self.rows_of_span(b, block, &tokens),
            };
            let mut run = |b: &mut KernelBuilder| {
                let (from, end) = self.seen(b, rows);
                let (scores, pitch) = (add_const(b, base, queries), dim(b, &pitch));
                let all = scaled(b, pitch, mr);
                let factors = b.add(scores, all);
                let scaled = match scaled_rows {
                    0 => factors,
                    _ => add_const(b, factors, sums),
                };
                let x = Block {
                    buf,
                    q: base,
                    scores,
                    sums: factors,
                    pitch,
                    scaled,
                    head,
                    rows,
                    from,
                    end,
                    codes,
                    packed,
                };
                done = self.either(b, p, &x);
            };
            if self.coded.is_none() {
                return run(b);
            }
            let some = b.cmp(CmpOp::Le, rows.first, rows.last);
            b.if_(some, run, |_| {});
        };
        slots::for_each(b, count, &trips, start, each);
        done.map(|()| bytes)
    }
    /// Spans that the queries are in.
    fn spans(&self, tokens: &Expr) -> Expr {
        let (past, span) = (&self.op.past, Expr::from(SPAN));
        (past.clone() + tokens.clone() + (SPAN - 1).into()).div(&span) - past.div(&span)
    }
    /// Blocks of the queries of a span.
    fn per_span(&self, tokens: &Expr) -> Expr {
        (tokens.min_of(&SPAN.into()) * self.group.into()).ceil_div(&(self.first.mr as i64).into())
    }
    /// Rows of a block where blocks are counted by span, and where their codes end.
    fn rows_of_span(&self, b: &mut KernelBuilder, block: Reg, tokens: &Expr) -> (Rows, Reg) {
        let per = dim(b, &self.per_span(tokens));
        let span = b.bin(BinOp::DivU, block, per);
        let skip = b.mul(span, per);
        let block = b.sub(block, skip);
        let past = dim(b, &self.op.past);
        let before = dim(b, &(self.op.past.div(&SPAN.into()) * SPAN.into()));
        let span = scaled(b, span, SPAN);
        let position = b.add(before, span);
        // Its first token and the one behind its last.
        let (zero, n) = (int(b, 0), dim(b, tokens));
        let ahead = b.sub(position, past);
        let first = b.bin(BinOp::MaxS, ahead, zero);
        let end = add_const(b, ahead, SPAN);
        let end = b.bin(BinOp::MinS, end, n);
        let (first, skip) = (scaled(b, first, self.group), scaled(b, block, self.first.mr as i64));
        let (first, last) = (b.add(first, skip), scaled(b, end, self.group));
        let rows = Rows { first, last: add_const(b, last, -1) };
        let (recent, sinks) = self.coded.as_ref().map_or((0, 0), |c| (c.pages.recent, c.pages.sinks));
        let (codes, sinks) = (add_const(b, position, -recent), int(b, sinks));
        (rows, b.bin(BinOp::MaxS, codes, sinks))
    }
    /// Token of row `i` of a block, and which of its heads it is.
    pub(super) fn token(&self, b: &mut KernelBuilder, rows: Rows, i: i64) -> (Reg, Reg) {
        let r = add_const(b, rows.first, i);
        self.token_of(b, rows, r)
    }
    /// The same of a row that a loop counts.
    pub(super) fn token_at(&self, b: &mut KernelBuilder, rows: Rows, i: Reg) -> (Reg, Reg) {
        let r = b.add(rows.first, i);
        self.token_of(b, rows, r)
    }
    fn token_of(&self, b: &mut KernelBuilder, rows: Rows, r: Reg) -> (Reg, Reg) {
        let r = b.bin(BinOp::MinS, r, rows.last);
        let group = int(b, self.group);
        let token = b.bin(BinOp::DivU, r, group);
        let skip = b.mul(token, group);
        (token, b.sub(r, skip))
    }
    /// Positions that a token sees.
    pub(super) fn sees(&self, b: &mut KernelBuilder, token: Reg) -> (Reg, Reg) {
        let past = dim(b, &self.op.past);
        let own = b.add(past, token);
        let zero = int(b, 0);
        let first = match self.op.window {
            Some(w) => {
                let first = add_const(b, own, 1 - w);
                b.bin(BinOp::MaxS, first, zero)
            }
            None => zero,
        };
        (first, add_const(b, own, 1))
    }
    /// Positions that the rows of a block see together, from a whole span on.
    fn seen(&self, b: &mut KernelBuilder, rows: Rows) -> (Reg, Reg) {
        let (first, _) = self.token(b, rows, 0);
        let (last, _) = self.token(b, rows, self.first.mr as i64 - 1);
        let (from, _) = self.sees(b, first);
        let (_, end) = self.sees(b, last);
        let mask = int(b, -SPAN);
        (b.bin(BinOp::And, from, mask), end)
    }
}

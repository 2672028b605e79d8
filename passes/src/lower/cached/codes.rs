//! Products with keys and values in codes, read where they lie.
//!
//! An element is `minimum + scale * code`, with one scale and one minimum for a whole row of a tile: rows of queries (or
//! of weights of positions) are multiplied with the scales once per page, what the minima add is one number per row,
//! and what is left are products with small whole numbers.

use super::{Block, Cached, SPAN};
use crate::lower::access;
use crate::lower::body::Body;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::micro::{Tile, copy};
use crate::lower::index::{Idx, dim, int};
use crate::lower::line::Line;
use sinter_ir::op::CachedAttention;
use sinter_ir::op::pages::{Page, Pages, Plane, TILE, WORDS};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, UnOp};
use sinter_ir::{Diag, Expr, Result, ValueId};

/// Keys and values in codes.
#[derive(Clone)]
pub struct Coded {
    pub pages: Pages,
    pub keys: ValueId,
    pub values: ValueId,
    key: Page,
    value: Page,
}

/// Whether the pages of every head begin at whole words.
pub fn aligned(positions: &Expr, page: &Page) -> bool {
    (positions.clone() * (page.bytes() as i64 / SPAN).into()).modulo(&4.into()).is(0)
}

/// What to say where they do not.
pub fn unaligned() -> Diag {
    Diag::unsupported("machine code for pages that begin within words")
}

impl Coded {
    /// Of the operands behind the caches of floats.
    pub fn new(
        body: &Body,
        op: &CachedAttention,
        codes: &[ValueId],
        [size, width]: [i64; 2],
    ) -> Result<Option<Self>> {
        let (pages, keys, values) = match (&op.pages, codes) {
            (None, []) => return Ok(None),
            (Some(pages), &[keys, values]) => (*pages, keys, values),
            _ => return Err(Diag::bug("operands of an attention over codes")),
        };
        let (key, value) = (pages.keys(size as usize), pages.values(width as usize));
        if !aligned(&body.ty(keys).dims[1], &key) || !aligned(&body.ty(values).dims[1], &value) {
            return Err(unaligned());
        }
        Ok(Some(Self { pages, keys, values, key, value }))
    }
    /// Rows that scratch memory holds times their scales.
    pub fn depth(&self) -> i64 {
        self.key.depth().max(self.value.depth()) as i64
    }
}

/// Where a page is.
struct At {
    buf: Buf,
    /// Its first byte, in halves and in words.
    half: Reg,
    word: Reg,
}

impl Cached<'_> {
    /// Whether the positions of a span are in codes.
    pub(super) fn in_codes(&self, b: &mut KernelBuilder, x: &Block, span: Reg) -> Reg {
        let sinks = int(b, self.coded.as_ref().map_or(0, |c| c.pages.sinks));
        let before = b.cmp(CmpOp::Lt, span, x.codes);
        let behind = b.cmp(CmpOp::Ge, span, sinks);
        b.bin(BinOp::And, before, behind)
    }
    fn page(
        &self,
        b: &mut KernelBuilder,
        x: &Block,
        (buf, page): (Buf, &Page),
        positions: &Expr,
        span: Reg,
    ) -> At {
        let size = int(b, SPAN);
        let mut i = b.bin(BinOp::DivU, span, size);
        if self.op.ring {
            let count = dim(b, &positions.div(&SPAN.into()));
            i = b.bin(BinOp::RemU, i, count);
        }
        let words = page.bytes() as i64 / 4;
        let head = dim(b, &(positions.clone() * words.into()).div(&SPAN.into()));
        let head = b.mul(x.head, head);
        let i = scaled(b, i, words);
        let word = b.add(head, i);
        At { buf, half: scaled(b, word, 2), word }
    }
    /// Scores of the positions of a page.
    pub(super) fn code_products(
        &self,
        b: &mut KernelBuilder,
        x: &Block,
        (buf, positions): (Buf, &Expr),
        span: Reg,
    ) {
        let Some(page) = self.coded.as_ref().map(|c| c.key) else { return };
        let at = self.page(b, x, (buf, &page), positions, span);
        let tile = Tile { nv: 2, ..self.first };
        let skip = b.sub(span, x.from);
        let to = b.add(x.scores, skip);
        let queries: Vec<Reg> = (0..tile.mr as i64).map(|i| add_const(b, x.q, i * self.size)).collect();
        // Tiles that share scales.
        let (group, all) = ((page.group / TILE) as i64, SPAN / TILE as i64);
        b.for_(Bound::Const(0), Bound::Const(all), group, LoopKind::Serial, |b, first| {
            let skip = scaled(b, first, 2 * page.depth() as i64 / group);
            let half = b.add(at.half, skip);
            let minima = self.scale(b, x, (at.buf, half, &page), &queries);
            let end = add_const(b, first, group);
            b.for_(Bound::Reg(first), Bound::Reg(end), 1, LoopKind::Serial, |b, t| {
                let skip = scaled(b, t, page.tile() as i64 / 4);
                let word = b.add(at.word, skip);
                let ahead = scaled(b, t, TILE as i64);
                let to = b.add(to, ahead);
                self.strips(b, |b, strip| {
                    let acc: Vec<Reg> = minima.iter().flat_map(|&m| [m; 2]).map(|m| copy(b, m)).collect();
                    let word = b.add(word, strip);
                    self.sum(b, tile, (at.buf, word, &page), x, &acc);
                    let to = b.add(to, strip);
                    for i in 0..tile.mr {
                        let skip = scaled(b, x.pitch, i as i64);
                        let line = b.add(to, skip);
                        for v in 0..2 {
                            let to = Addr::reg(line).offset((v * WORDS) as i64);
                            b.store(x.buf, to, acc[i * 2 + v], None);
                        }
                    }
                });
            });
        });
    }
    /// Adds the values of a page, times the weights of its positions, to the columns of a strip.
    pub(super) fn code_results(
        &self,
        b: &mut KernelBuilder,
        x: &Block,
        (buf, positions): (Buf, &Expr),
        (span, lines): (Reg, &[Reg]),
        (block, strip): (Reg, Reg),
        acc: &[Reg],
    ) {
        let Some(page) = self.coded.as_ref().map(|c| c.value) else { return };
        let at = self.page(b, x, (buf, &page), positions, span);
        let tiles = int(b, (page.group / TILE) as i64);
        let group = b.bin(BinOp::DivU, block, tiles);
        let skip = scaled(b, group, 2 * page.depth() as i64);
        let half = b.add(at.half, skip);
        let minima = self.scale(b, x, (at.buf, half, &page), lines);
        for (i, m) in minima.into_iter().enumerate() {
            for v in 0..2 {
                let sum = acc[i * 2 + v];
                b.set(sum, Inst::Bin(BinOp::Add, sum, m));
            }
        }
        let skip = scaled(b, block, page.tile() as i64 / 4);
        let word = b.add(at.word, skip);
        let word = b.add(word, strip);
        self.sum(b, self.second, (at.buf, word, &page), x, acc);
    }
    /// Runs code for every strip of a tile: the words that fit a vector.
    fn strips(&self, b: &mut KernelBuilder, f: impl FnOnce(&mut KernelBuilder, Reg)) {
        let lanes = i64::from(self.lanes);
        if lanes == WORDS as i64 {
            let none = int(b, 0);
            return f(b, none);
        }
        b.for_(Bound::Const(0), Bound::Const(WORDS as i64), lanes, LoopKind::Serial, f);
    }
    /// Rows times scales go to scratch memory; gives for every row its product with the minima.
    fn scale(
        &self,
        b: &mut KernelBuilder,
        x: &Block,
        (buf, half, page): (Buf, Reg, &Page),
        rows: &[Reg],
    ) -> Vec<Reg> {
        let (lanes, depth) = (self.lanes, page.depth() as i64);
        let sums: Vec<Reg> = rows.iter().map(|_| b.float(Elem::F32, lanes, 0.0)).collect();
        let ends = (Bound::Const(0), Bound::Const(page.rows as i64));
        let line = Line { lanes, unroll: 1 };
        let done = line.emit(b, ends, &page.rows.into(), &mut |b, at| {
            let place = |from: Reg| at.idx().plus(&Idx::reg(from));
            let get = |b: &mut KernelBuilder, skip: i64| {
                let at_half = place(half).plus(&Idx::at(skip)).addr();
                let raw = b.load(Elem::I16, lanes, buf, at_half, at.tail);
                b.un(UnOp::F16ToF32, raw)
            };
            let (scale, minimum) = (get(b, 0), get(b, depth));
            for (i, (&row, &sum)) in rows.iter().zip(&sums).enumerate() {
                let v = b.load(Elem::F32, lanes, x.buf, place(row).addr(), at.tail);
                let to = place(x.scaled).plus(&Idx::at(i as i64 * depth)).addr();
                let product = b.mul(v, scale);
                b.store(x.buf, to, product, at.tail);
                b.set(sum, Inst::MulAdd(v, minimum, sum));
            }
            Ok(())
        });
        debug_assert!(done.is_ok(), "nothing here fails");
        let whole = |b: &mut KernelBuilder, s: Reg| {
            let s = b.fold(BinOp::Add, s);
            b.splat(s, lanes)
        };
        sums.into_iter().map(|s| whole(b, s)).collect()
    }
    /// Adds scaled rows times codes; the codes begin at a word behind the page's scales.
    fn sum(
        &self,
        b: &mut KernelBuilder,
        tile: Tile,
        (buf, word, page): (Buf, Reg, &Page),
        x: &Block,
        acc: &[Reg],
    ) {
        let step = page.step();
        let row = copy(b, x.scaled);
        let front = |p: &Plane| page.header() as i64 / 4 + i64::from(p.low) * page.depth() as i64;
        let mut planes = vec![];
        for plane in page.planes() {
            let at = add_const(b, word, front(&plane));
            planes.push((plane, copy(b, at)));
        }
        let some = |b: &mut KernelBuilder, rows: usize| {
            let mut words = vec![word; planes.len()];
            for r in 0..rows {
                for ((plane, at), word) in planes.iter().zip(&mut words) {
                    if r % plane.rows() == 0 {
                        let ahead = (r / plane.rows() * WORDS) as i64;
                        *word = b.load(Elem::I32, self.lanes, buf, Addr::reg(*at).offset(ahead), None);
                    }
                }
                let codes = [0, 1].map(|half| {
                    let parts = planes.iter().zip(&words).map(|((p, _), w)| part(b, *p, *w, (r, half)));
                    let code = parts.collect::<Vec<_>>().into_iter().reduce(|x, y| b.bin(BinOp::Or, x, y));
                    b.cvt(CvtOp::SToF, Elem::F32, code.unwrap_or(word))
                });
                for i in 0..tile.mr {
                    let at = Addr::reg(row).offset((i * page.depth() + r) as i64);
                    let q = b.load(Elem::F32, 1, x.buf, at, None);
                    let q = b.splat(q, self.lanes);
                    for (v, &code) in codes.iter().enumerate() {
                        let sum = acc[i * 2 + v];
                        b.set(sum, Inst::MulAdd(q, code, sum));
                    }
                }
            }
        };
        let whole = page.rows - page.rows % step;
        if whole > 0 {
            b.for_(Bound::Const(0), Bound::Const(whole as i64), step as i64, LoopKind::Serial, |b, _| {
                some(b, step);
                let by = int(b, step as i64);
                b.set(row, Inst::Bin(BinOp::Add, row, by));
                for (p, r) in &planes {
                    let by = int(b, (step / p.rows() * WORDS) as i64);
                    b.set(*r, Inst::Bin(BinOp::Add, *r, by));
                }
            });
        }
        some(b, page.rows % step);
    }
}

/// What a word of a plane has of the code in row `r`, at its place within the code.
fn part(b: &mut KernelBuilder, plane: Plane, word: Reg, (r, half): (usize, usize)) -> Reg {
    let lanes = b.ty(word).lanes;
    let (shift, low) = (i64::from(plane.shift(r % plane.rows(), half)), i64::from(plane.low));
    let by = access::whole(b, Elem::I32, lanes, (shift - low).abs());
    let moved = match shift - low {
        0 => word,
        1.. => b.bin(BinOp::ShrU, word, by),
        _ => b.bin(BinOp::Shl, word, by),
    };
    // The highest bits of a word are alone already.
    if shift + i64::from(plane.bits) == 32 && low == 0 {
        return moved;
    }
    let mask = access::whole(b, Elem::I32, lanes, ((1 << plane.bits) - 1) << low);
    b.bin(BinOp::And, moved, mask)
}

//! `AppendPages`: floats of whole spans become codes.
//!
//! Rows of a page's matrix lie in runs of 16 columns, of keys as of values; only where a run begins differs.

use super::SPAN;
use super::append::ring;
use super::codes::{aligned, unaligned};
use crate::lower::body::Body;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::num::Num;
use crate::lower::elementwise::name;
use crate::lower::index::{dim, int};
use crate::lower::{Arg, LowerCx, Lowered, access, parallel_if};
use sinter_ir::op::AppendPages;
use sinter_ir::op::pages::{Page, TILE, WORDS};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, UnOp};
use sinter_ir::{Diag, Expr, Result};

/// One page on its way into codes.
struct Packing<'a> {
    page: &'a Page,
    /// Whether columns are positions.
    keys: bool,
    lanes: u16,
    from: Buf,
    num: Num,
    to: Buf,
    /// First element of the span's floats, and the page's first byte in halves.
    start: Reg,
    half: Reg,
}

/// Lowers AppendPages. The kernel has no operand for the pages: they are where the result is.
pub fn lower(cx: &LowerCx, body: &Body, op: &AppendPages) -> Result<Lowered> {
    let root = body.root_node()?;
    let (pages, cache) = (body.ty(root.outputs[0]).clone(), body.ty(root.inputs[1]).clone());
    let depth = cache.dims.get(2).and_then(Expr::as_const);
    let depth =
        depth.filter(|d| *d > 0).ok_or_else(|| Diag::unsupported("machine code for pages of open heads"))?;
    let keys = op.block != 1;
    if keys && op.block != WORDS as i64 {
        return Err(Diag::unsupported(format!("machine code for pages of keys in groups of {}", op.block)));
    }
    let page = if keys { op.pages.keys(depth as usize) } else { op.pages.values(depth as usize) };
    if !aligned(&pages.dims[1], &page) {
        return Err(unaligned());
    }
    let slots = cache.dims[1].clone() * op.block.into();
    let whole = (slots.clone() - op.pages.sinks.into()).modulo(&SPAN.into()).is(0);
    if !whole {
        return Err(Diag::unsupported(format!(
            "machine code for rings that are no multiple of {SPAN} slots"
        )));
    }
    let mut b = KernelBuilder::new(name(body, "pages"));
    let b = &mut b;
    let mut params = crate::lower::body::Params::default();
    let from = params.value(b, body, root.inputs[1])?;
    let to = params.buf(b, Arg::Output(0), Access::ReadWrite, &pages);
    let first = op.pages.made(&op.past);
    let count = op.pages.made(&(op.past.clone() + op.tokens.clone())) - first.clone();
    let trips = pages.dims[0].clone() * count.clone();
    let work = cx.symbols.max(&trips).max(0) as u64;
    let work = work.saturating_mul((page.rows * page.width() * 8) as u64);
    parallel_if(b, work, &trips, |b, t| {
        let n = dim(b, &count);
        let head = b.bin(BinOp::DivU, t, n);
        let skip = b.mul(head, n);
        let (own, first) = (b.sub(t, skip), dim(b, &first));
        let i = b.add(first, own);
        let position = scaled(b, i, SPAN);
        let slot = ring(b, position, op.pages.sinks, &slots);
        let all = dim(b, &slots);
        let before = b.mul(head, all);
        let slot = b.add(before, slot);
        let start = scaled(b, slot, depth);
        let count = dim(b, &pages.dims[1].div(&SPAN.into()));
        let entry = if op.ring { b.bin(BinOp::RemU, i, count) } else { i };
        let halves = page.bytes() as i64 / 2;
        let all = dim(b, &(pages.dims[1].clone() * halves.into()).div(&SPAN.into()));
        let before = b.mul(head, all);
        let entry = scaled(b, entry, halves);
        let half = b.add(before, entry);
        let num = Num::plain(cache.dtype, Elem::F32);
        // A run of keys is as long as a vector of the widest kind.
        let lanes = cx.target.lanes(32).min(WORDS as u16);
        let packing = Packing { page: &page, keys, lanes, from, num, to, start, half };
        packing.scales(b);
        packing.codes(b);
    });
    let kernel = std::mem::replace(b, KernelBuilder::new(""));
    Ok(params.finish(kernel))
}

impl Packing<'_> {
    /// Loads the columns from `column` on of a row, zeros behind the last.
    fn load(&self, b: &mut KernelBuilder, row: Reg, column: Reg) -> Reg {
        let depth = self.page.rows as i64;
        if self.keys {
            let (words, inner) = (int(b, WORDS as i64), int(b, WORDS as i64 - 1));
            let run = b.bin(BinOp::DivU, column, words);
            let inner = b.bin(BinOp::And, column, inner);
            // Rows behind the last are never part of a scale; what they load is cleared.
            let run = scaled(b, run, depth * WORDS as i64);
            let row = scaled(b, row, WORDS as i64);
            let at = Addr::reg(self.start).plus(run, 1).plus(row, 1).plus(inner, 1);
            return self.num.load(b, self.lanes, self.from, at, None);
        }
        let width = self.page.columns as i64;
        let row = scaled(b, row, width);
        let at = Addr::reg(self.start).plus(row, 1);
        if self.page.columns == self.page.width() {
            return self.num.load(b, self.lanes, self.from, at.plus(column, 1), None);
        }
        let (width, zero, most) = (int(b, width), int(b, 0), int(b, self.lanes.into()));
        let left = b.sub(width, column);
        if self.lanes > 1 {
            let left = b.bin(BinOp::MaxS, left, zero);
            let left = b.bin(BinOp::MinS, left, most);
            return self.num.load(b, self.lanes, self.from, at.plus(column, 1), Some(left));
        }
        let last = add_const(b, width, -1);
        let near = b.bin(BinOp::MinS, column, last);
        let v = self.num.load(b, 1, self.from, at.plus(near, 1), None);
        let (inside, none) = (b.cmp(CmpOp::Gt, left, zero), access::constant(b, Elem::F32, 1, 0.0));
        b.select(inside, v, none)
    }
    /// The largest code.
    fn most(&self) -> i64 {
        (1 << self.page.bits) - 1
    }
    /// Scales and minima.
    fn scales(&self, b: &mut KernelBuilder) {
        let page = self.page;
        let lanes = self.lanes;
        b.for_(Bound::Const(0), Bound::Const(page.rows as i64), 1, LoopKind::Serial, |b, row| {
            let (all, group) = (page.width() as i64, page.group as i64);
            b.for_(Bound::Const(0), Bound::Const(all), group, LoopKind::Serial, |b, column| {
                let end = add_const(b, column, group);
                let limit = int(b, all);
                let end = b.bin(BinOp::MinS, end, limit);
                let lo = b.float(Elem::F32, lanes, f64::INFINITY);
                let hi = b.float(Elem::F32, lanes, f64::NEG_INFINITY);
                b.for_(Bound::Reg(column), Bound::Reg(end), lanes.into(), LoopKind::Serial, |b, c| {
                    let v = self.load(b, row, c);
                    b.set(lo, Inst::Bin(BinOp::Min, lo, v));
                    b.set(hi, Inst::Bin(BinOp::Max, hi, v));
                });
                let (lo, hi) = (b.fold(BinOp::Min, lo), b.fold(BinOp::Max, hi));
                let step = access::constant(b, Elem::F32, 1, (1.0 / self.most() as f32).into());
                let range = b.sub(hi, lo);
                let scale = b.mul(range, step);
                let at = self.scale(b, row, column);
                for (v, skip) in [(scale, 0), (lo, page.depth() as i64)] {
                    let v = b.un(UnOp::F32ToF16, v);
                    b.store(self.to, Addr::reg(at).offset(skip), v, None);
                }
            });
        });
    }
    /// Where the scale of a row is, in halves; `column`: the first of a group.
    fn scale(&self, b: &mut KernelBuilder, row: Reg, column: Reg) -> Reg {
        let group = int(b, self.page.group as i64);
        let i = b.bin(BinOp::DivU, column, group);
        let skip = scaled(b, i, 2 * self.page.depth() as i64);
        let at = b.add(self.half, skip);
        b.add(at, row)
    }
    /// Codes, a vector of words of every plane at a time.
    fn codes(&self, b: &mut KernelBuilder) {
        let page = self.page;
        let step = page.step() as i64;
        let whole = page.rows.is_multiple_of(page.step());
        let last = int(b, page.rows as i64 - 1);
        let two = int(b, 2);
        let base = b.bin(BinOp::DivU, self.half, two);
        b.for_(Bound::Const(0), Bound::Const(page.rows as i64), step, LoopKind::Serial, |b, first| {
            b.for_(
                Bound::Const(0),
                Bound::Const(page.width() as i64),
                TILE as i64,
                LoopKind::Serial,
                |b, tile| {
                    let lanes = i64::from(self.lanes);
                    b.for_(
                        Bound::Const(0),
                        Bound::Const(WORDS as i64),
                        lanes,
                        LoopKind::Serial,
                        |b, strip| {
                            let column = b.add(tile, strip);
                            let planes: Vec<_> = page
                                .planes()
                                .into_iter()
                                .flat_map(|p| (0..page.step() / p.rows()).map(move |i| (p, i)))
                                .map(|(p, i)| (p, i, b.int(Elem::I32, self.lanes, 0)))
                                .collect();
                            for r in 0..page.step() {
                                let row = add_const(b, first, r as i64);
                                let near = if whole { row } else { b.bin(BinOp::MinS, row, last) };
                                let inside = (!whole).then(|| b.cmp(CmpOp::Le, row, last));
                                for half in [0, 1] {
                                    let column = add_const(b, column, (half * WORDS) as i64);
                                    let code = self.code(b, near, column, inside);
                                    for (p, i, word) in &planes {
                                        if r / p.rows() != *i {
                                            continue;
                                        }
                                        let shift = i64::from(p.shift(r % p.rows(), half)) - i64::from(p.low);
                                        let mask = ((1_i64 << p.bits) - 1) << p.low;
                                        let mask = access::whole(b, Elem::I32, self.lanes, mask);
                                        let bits = b.bin(BinOp::And, code, mask);
                                        let by = access::whole(b, Elem::I32, self.lanes, shift.abs());
                                        let op = if shift < 0 { BinOp::ShrU } else { BinOp::Shl };
                                        let bits = b.bin(op, bits, by);
                                        b.set(*word, Inst::Bin(BinOp::Or, *word, bits));
                                    }
                                }
                            }
                            // Words of a tile behind the scales, those of a plane behind the planes before it.
                            let size = int(b, TILE as i64);
                            let t = b.bin(BinOp::DivU, tile, size);
                            let skip = scaled(b, t, page.tile() as i64 / 4);
                            let at = b.add(base, skip);
                            let at = b.add(at, strip);
                            let at = add_const(b, at, page.header() as i64 / 4);
                            for (p, i, word) in planes {
                                let rows = int(b, p.rows() as i64);
                                let before = b.bin(BinOp::DivU, first, rows);
                                let before = scaled(b, before, WORDS as i64);
                                let skip = i64::from(p.low) * page.depth() as i64 + (i * WORDS) as i64;
                                b.store(self.to, Addr::reg(at).plus(before, 1).offset(skip), word, None);
                            }
                        },
                    );
                },
            );
        });
    }
    /// Codes of the columns from `column` on; zeros where the row is not `inside`.
    fn code(&self, b: &mut KernelBuilder, row: Reg, column: Reg, inside: Option<Reg>) -> Reg {
        let v = self.load(b, row, column);
        let at = self.scale(b, row, column);
        let mut number = |skip: usize| {
            let raw = b.load(Elem::I16, 1, self.to, Addr::reg(at).offset(skip as i64), None);
            b.un(UnOp::F16ToF32, raw)
        };
        let (scale, lo) = (number(0), number(self.page.depth()));
        let (one, zero) = (access::constant(b, Elem::F32, 1, 1.0), access::constant(b, Elem::F32, 1, 0.0));
        let some = b.cmp(CmpOp::Gt, scale, zero);
        let inverse = b.bin(BinOp::Div, one, scale);
        let inverse = b.select(some, inverse, zero);
        let (lo, inverse) = (b.splat(lo, self.lanes), b.splat(inverse, self.lanes));
        let ahead = b.sub(v, lo);
        let code = b.mul(ahead, inverse);
        let code = b.un(UnOp::Nearest, code);
        let code = b.cvt(CvtOp::FToU, Elem::I32, code);
        let most = access::whole(b, Elem::I32, self.lanes, self.most());
        let code = b.bin(BinOp::MinU, code, most);
        match inside {
            None => code,
            Some(inside) => {
                let none = access::whole(b, Elem::I32, self.lanes, 0);
                b.select(inside, code, none)
            }
        }
    }
}

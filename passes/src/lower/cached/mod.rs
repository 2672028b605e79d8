//! Attention over caches: keys and values are read where they lie, no further than the newest position.
//!
//! The queries of all heads that share a head of keys are the rows of one product, a few at a time: `[tokens * group]`
//! rows, so that neighbours see almost the same positions. Per block of rows: scores into scratch memory, whole rows of
//! them; softmax ([`scores`]); then the sum of values in registers. Keys lie in groups of positions, transposed, which is
//! what the register tile wants of its second operand; values lie as it wants them anyway. Bounds of loops are the
//! causal mask and the window. Rings are cut into spans of [`SPAN`] positions, which never wrap. Where the op allows it,
//! many rows are multiplied as pairs of bf16, which a kernel of its own makes of the caches ([`pairs`]).
//!
//! Positions in codes ([`codes`]) are spans of their own. Which they are depends on the span that a query is in, so that
//! rows of a block are of one such span.

mod append;
mod blocks;
mod codes;
mod pages;
mod pairs;
mod results;
mod scores;

pub use append::lower as append;
pub use pages::lower as append_pages;

use blocks::Rows;
use codes::Coded;

use super::body::Body;
use super::contract::gemm::scaled;
use super::contract::micro::{Depth, Operand, Step, Tile, contract, sums};
use super::contract::num::Num;
use super::elementwise::name;
use super::index::{Idx, dim, int};
use super::line::Line;
use super::pull::Puller;
use super::{LowerCx, Lowered, access};
use sinter_ir::op::CachedAttention;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

/// Positions that lie together whatever happens: slots are a multiple of it in a ring.
pub const SPAN: i64 = sinter_ir::op::pages::SPAN;

/// One attention and how it is cut.
#[derive(Clone)]
struct Cached<'a> {
    op: &'a CachedAttention,
    q: ValueId,
    k: ValueId,
    v: ValueId,
    y: ValueId,
    kv: i64,
    /// Query heads per head of keys.
    group: i64,
    /// Elements of queries and keys, and of values.
    size: i64,
    width: i64,
    /// Slots of keys and of values, and queries per head of keys.
    slots: [Expr; 2],
    /// Types of keys and of values in the caches.
    dtypes: [DType; 2],
    rows: Expr,
    lanes: u16,
    /// Products with keys and with values.
    first: Tile,
    second: Tile,
    /// Whether these are products of pairs of bf16, of more rows than a token's.
    pairs: bool,
    coded: Option<Coded>,
}

/// What a block of rows works with.
struct Block {
    /// Scratch: queries `[mr][size]`, scores `[mr][pitch]`, factors `[mr]`; rows times the scales of codes.
    buf: Buf,
    q: Reg,
    scores: Reg,
    sums: Reg,
    pitch: Reg,
    scaled: Reg,
    /// Head of keys, rows, first span and the end of positions; positions from there on are floats, but for the sinks.
    head: Reg,
    rows: Rows,
    from: Reg,
    end: Reg,
    /// Keys and values in pairs.
    packed: Option<[Buf; 2]>,
    codes: Reg,
}

/// Lowers CachedAttention.
pub fn lower(cx: &LowerCx, body: &Body, op: &CachedAttention) -> Result<Lowered> {
    let a = Cached::new(cx, body, op)?;
    let mut b = KernelBuilder::new(name(body, "cached"));
    let mut p = Puller::new(cx, body);
    let bytes = a.emit(&mut b, &mut p)?;
    let attention = p.params.finish(b);
    let mut out = if a.pairs { a.pack(cx, body)? } else { Lowered::default() };
    out.append(attention);
    out.scratch.push(bytes);
    if a.pairs {
        out.scratch.extend(a.packed_bytes());
    }
    Ok(out)
}

impl<'a> Cached<'a> {
    fn new(cx: &LowerCx, body: &'a Body, op: &'a CachedAttention) -> Result<Self> {
        let root = body.root_node()?;
        let (&[q, k, v, ref codes @ ..], &[y]) = (root.inputs.as_slice(), root.outputs.as_slice()) else {
            return Err(Diag::bug("operands of an attention"));
        };
        let known = |v: ValueId, axis: usize| {
            let c = body.ty(v).dims.get(axis).and_then(Expr::as_const);
            c.filter(|c| *c > 0)
                .ok_or_else(|| Diag::unsupported("machine code for attention with open heads"))
        };
        let (heads, size, kv, width) = (known(q, 1)?, known(q, 2)?, known(v, 0)?, known(v, 2)?);
        let tokens = body.ty(q).dims[0].clone();
        let slots = [body.ty(k).dims[1].clone() * op.block.into(), body.ty(v).dims[1].clone()];
        if SPAN % op.block != 0 {
            return Err(Diag::unsupported(format!("machine code for keys in groups of {}", op.block)));
        }
        let (group, dtypes) = (heads / kv, [body.ty(k).dtype, body.ty(v).dtype]);
        let rows = tokens * group.into();
        let whole = slots[0].modulo(&SPAN.into()).is(0);
        let coded = Coded::new(body, op, codes, [size, width])?;
        if (op.ring || coded.is_some()) && !whole {
            return Err(Diag::unsupported(format!(
                "machine code for rings that are no multiple of {SPAN} slots"
            )));
        }
        let lanes = cx.target.lanes(32).min(u16::try_from(op.block).unwrap_or(1));
        let many = cx.target.vector_registers >= 32;
        // Two groups of keys at once, where the last one has a neighbour.
        let nv = if lanes > 1 && (whole || op.block >= 2 * i64::from(lanes)) { 2 } else { 1 };
        let most = match (lanes, many) {
            (1, _) => 2,
            (_, true) => 12,
            (_, false) => 6,
        };
        let mr = rows_at_once(&rows, group, most);
        let first = Tile::fixed(mr, nv, lanes);
        let columns = (width as usize).div_ceil(lanes.into());
        let wide = match coded {
            Some(_) => 2,
            None if columns == 1 => 1,
            None => nv,
        };
        let second = Tile::fixed(mr, wide, lanes);
        let mut out = Self {
            op,
            q,
            k,
            v,
            y,
            kv,
            group,
            size,
            width,
            slots,
            dtypes,
            rows,
            lanes,
            first,
            second,
            pairs: false,
            coded,
        };
        out.pairs = op.narrow && out.coded.is_none() && cx.target.pairs() && out.pays(cx.symbols);
        Ok(out)
    }
    /// Scores of a row in scratch: all positions of a block's rows, from a whole span on.
    fn pitch(&self, tokens: &Expr) -> Expr {
        let seen = self.op.past.clone() + tokens.clone();
        let most = match self.op.window {
            // Neighbouring rows see as many more as they have tokens.
            Some(w) => seen.min_of(&Expr::from(w + self.first.mr as i64 + SPAN)),
            None => seen,
        };
        most.ceil_div(&SPAN.into()) * SPAN.into()
    }
    /// A block of rows; of a single token, whose rows are fewer, with a tile of just their height.
    fn either(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        let mr = rows_at_once(&self.group.into(), self.group, self.first.mr as i64);
        // There are no pairs of a single token.
        let same = !self.pairs && (mr == self.first.mr || self.group > self.first.mr as i64);
        if self.rows.as_const().is_some() || same {
            return self.block(b, p, x);
        }
        let tile = |t: Tile| Tile { mr, ..t };
        let low = Self { first: tile(self.first), second: tile(self.second), pairs: false, ..self.clone() };
        let (rows, group) = (dim(b, &self.rows), int(b, self.group));
        let single = b.cmp(CmpOp::Le, rows, group);
        let mut code = |a: &Self, b: &mut KernelBuilder| {
            p.forget();
            let mut done = Ok(());
            let body = b.detached(|b| done = a.block(b, p, x));
            p.forget();
            done.map(|()| body)
        };
        let (then, els) = (code(&low, b)?, code(self, b)?);
        b.if_(
            single,
            |b| then.into_iter().for_each(|s| b.push(s)),
            |b| els.into_iter().for_each(|s| b.push(s)),
        );
        Ok(())
    }
    fn block(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        self.take_queries(b, p, x)?;
        self.products(b, p, x)?;
        self.softmax(b, x)?;
        self.results(b, p, x)
    }
    /// Scaled queries of the block.
    fn take_queries(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        let head = scaled(b, x.head, self.group);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Const(self.first.mr as i64), 1, LoopKind::Serial, |b, i| {
            let (token, own) = self.token_at(b, x.rows, i);
            let head = b.add(head, own);
            let (dtype, start) = self.stored(b, x.q);
            let skip = scaled(b, i, self.size);
            let start = b.add(start, skip);
            let ends = (Bound::Const(0), Bound::Const(self.size));
            let line = Line { lanes: self.lanes, unroll: 1 };
            p.forget();
            done = line.emit(b, ends, &self.size.into(), &mut |b, at| {
                p.tail = at.tail;
                let v = p.at(b, self.q, &[Idx::reg(token), Idx::reg(head), at.idx()], self.lanes)?;
                let scale = access::constant(b, Elem::F32, self.lanes, self.op.scale.into());
                let v = b.mul(v, scale);
                let to = at.idx().plus(&Idx::reg(start));
                self.store(b, dtype, (x.buf, &to), v, at.tail)?;
                p.tail = None;
                p.forget();
                Ok(())
            });
        });
        done
    }
    /// Slots of the span at a position.
    fn slot(&self, b: &mut KernelBuilder, position: Reg) -> Reg {
        match &self.coded {
            None if !self.op.ring => position,
            None => append::ring(b, position, 0, &self.slots[0]),
            Some(c) => append::ring(b, position, c.pages.sinks, &self.slots[0]),
        }
    }
    /// Scores of all positions, up to whole vectors.
    fn products(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        // Terms of a product: elements, or pairs of them.
        let (buf, num, queries, terms) = match x.packed {
            Some([keys, _]) if self.pairs => (keys, Num::bf16_pairs(), Num::bf16_pairs(), self.size / 2),
            _ => {
                let keys = Num::plain(p.ty(self.k).dtype, Elem::F32);
                (p.params.value(b, p.body, self.k)?, keys, Num::f32(), self.size)
            }
        };
        let rows = (0..self.first.mr as i64).map(|i| (0, i * terms)).collect();
        let row = dim(b, &(self.slots[0].clone() * terms.into()));
        let queries =
            Operand { buf: x.buf, num: queries, starts: vec![x.q], parts: rows, step: Step::Const(1) };
        let depth = Depth::whole(b, &terms.into());
        let keys = Keys { buf, num, queries, depth, terms, head: b.mul(x.head, row) };
        let codes = match &self.coded {
            None => None,
            Some(c) => Some((p.params.value(b, p.body, c.keys)?, &p.dims(c.keys)[1])),
        };
        b.for_(Bound::Reg(x.from), Bound::Reg(x.end), SPAN, LoopKind::Serial, |b, span| match codes {
            None => self.float_products(b, x, &keys, span),
            Some((buf, count)) => {
                let coded = self.in_codes(b, x, span);
                b.if_(
                    coded,
                    |b| self.code_products(b, x, (buf, count), span),
                    |b| self.float_products(b, x, &keys, span),
                );
            }
        });
        Ok(())
    }
    /// Scores of a span of floats.
    fn float_products(&self, b: &mut KernelBuilder, x: &Block, keys: &Keys, span: Reg) {
        let (tile, block) = (self.first, self.op.block);
        // Where position `c` of a span lies.
        let at = |c: i64| c / block * block * keys.terms + c % block;
        let slot = self.slot(b, span);
        let start = scaled(b, slot, keys.terms);
        let start = b.add(keys.head, start);
        let (left, most) = (b.sub(x.end, span), int(b, SPAN));
        let left = b.bin(BinOp::MinS, left, most);
        let to = b.sub(span, x.from);
        let to = b.add(x.scores, to);
        // Tiles within a group of keys, or of whole groups.
        let step = (tile.nr() as i64).max(block);
        b.for_(Bound::Const(0), Bound::Reg(left), step, LoopKind::Serial, |b, c| {
            let skip = scaled(b, c, keys.terms);
            let start = b.add(start, skip);
            let to = b.add(to, c);
            for part in (0..step).step_by(tile.nr()) {
                let starts = vec![start];
                let parts = (0..tile.nv).map(|v| (0, at(part + tile.column(v)))).collect();
                let k = Operand { buf: keys.buf, num: keys.num, starts, parts, step: Step::Const(block) };
                let acc = sums(b, tile, Num::f32(), None);
                contract(b, tile, &keys.depth, &keys.queries, &k, &acc);
                for i in 0..tile.mr {
                    let skip = scaled(b, x.pitch, i as i64);
                    let line = b.add(to, skip);
                    for v in 0..tile.nv {
                        let at = Addr::reg(line).offset(part + tile.column(v));
                        b.store(x.buf, at, acc[i * tile.nv + v], None);
                    }
                }
            }
        });
    }
}

/// Keys that are floats, and the queries for them.
struct Keys {
    buf: Buf,
    num: Num,
    queries: Operand,
    depth: Depth,
    terms: i64,
    /// Where those of the block's head begin.
    head: Reg,
}

/// Rows of a block: all of a token's where their number is known, so that none is repeated.
fn rows_at_once(rows: &Expr, group: i64, most: i64) -> usize {
    match rows.as_const() {
        Some(r) if r <= most => r.max(1) as usize,
        Some(r) => (1..=most).rev().find(|m| r % m == 0).filter(|m| 2 * m > most).unwrap_or(most) as usize,
        None if group <= most => (most / group * group) as usize,
        None => most as usize,
    }
}

//! Attention over caches: keys and values are read where they lie, no further than the newest position.
//!
//! The queries of all heads that share a head of keys are the rows of one product, a few at a time: `[tokens * group]`
//! rows, so that neighbours see almost the same positions. Per block of rows: scores into scratch memory, whole rows of
//! them; softmax ([`scores`]); then the sum of values in registers. Keys lie in groups of positions, transposed, which is
//! what the register tile wants of its second operand; values lie as it wants them anyway. Bounds of loops are the
//! causal mask and the window. Rings are cut into spans of [`SPAN`] positions, which never wrap. Where the op allows it,
//! many rows are multiplied as pairs of bf16, which a kernel of its own makes of the caches ([`pairs`]).

mod append;
mod pairs;
mod results;
mod scores;

pub use append::lower as append;

use super::body::Body;
use super::contract::gemm::{add_const, scaled};
use super::contract::micro::{Depth, Operand, Step, Tile, contract, sums};
use super::contract::num::Num;
use super::contract::slots;
use super::elementwise::name;
use super::index::{Idx, dim, int};
use super::line::Line;
use super::pull::Puller;
use super::{Arg, LowerCx, Lowered, WORTH_THREADS, access};
use sinter_ir::op::CachedAttention;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Diag, Expr, Result, TensorType, ValueId};

/// Positions that lie together whatever happens: slots are a multiple of it in a ring.
pub const SPAN: i64 = 64;

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
}

/// What a block of rows works with.
struct Block {
    /// Scratch: queries `[mr][size]`, scores `[mr][pitch]`, factors `[mr]`.
    buf: Buf,
    q: Reg,
    scores: Reg,
    sums: Reg,
    pitch: Reg,
    /// Head of keys, first row, first span and the end of positions.
    head: Reg,
    row: Reg,
    from: Reg,
    end: Reg,
    /// Keys and values in pairs.
    packed: Option<[Buf; 2]>,
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
        let (&[q, k, v], &[y]) = (root.inputs.as_slice(), root.outputs.as_slice()) else {
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
        if op.ring && !whole {
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
        let first = Tile { mr, nv, lanes, uniform: false };
        let columns = (width as usize).div_ceil(lanes.into());
        let second = Tile { mr, nv: if columns == 1 { 1 } else { nv }, lanes, uniform: false };
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
        };
        out.pairs = op.narrow && cx.target.pairs() && out.pays(cx.symbols);
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
    fn emit(&self, b: &mut KernelBuilder, p: &mut Puller) -> Result<Expr> {
        let (mr, tokens) = (self.first.mr as i64, p.dims(self.q)[0].clone());
        let pitch = self.pitch(&tokens);
        let queries = mr * self.size;
        let piece = pitch.clone() * mr.into() + (queries + mr.max(16)).into();
        let blocks = self.rows.ceil_div(&mr.into());
        let trips = blocks.clone() * self.kv.into();
        let work =
            self.rows.clone() * (self.op.past.clone() + tokens) * (self.kv * (self.size + self.width)).into();
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
            let row = scaled(b, block, mr);
            let (from, end) = self.seen(b, row);
            let (scores, pitch) = (add_const(b, base, queries), dim(b, &pitch));
            let all = scaled(b, pitch, mr);
            let sums = b.add(scores, all);
            let x = Block { buf, q: base, scores, sums, pitch, head, row, from, end, packed };
            done = self.either(b, p, &x);
        };
        slots::for_each(b, count, &trips, start, each);
        done.map(|()| bytes)
    }
    /// Token of row `row + i` of a block; rows behind the last repeat it.
    fn token(&self, b: &mut KernelBuilder, row: Reg, i: i64) -> (Reg, Reg) {
        let r = add_const(b, row, i);
        self.token_of(b, r)
    }
    /// Token of a row, and the row's number among the token's.
    fn token_of(&self, b: &mut KernelBuilder, r: Reg) -> (Reg, Reg) {
        let last = dim(b, &(self.rows.clone() - 1.into()));
        let r = b.bin(BinOp::MinS, r, last);
        let group = int(b, self.group);
        let token = b.bin(BinOp::DivU, r, group);
        let skip = b.mul(token, group);
        (token, b.sub(r, skip))
    }
    /// Positions that a token sees.
    fn sees(&self, b: &mut KernelBuilder, token: Reg) -> (Reg, Reg) {
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
    fn seen(&self, b: &mut KernelBuilder, row: Reg) -> (Reg, Reg) {
        let (first, _) = self.token(b, row, 0);
        let (last, _) = self.token(b, row, self.first.mr as i64 - 1);
        let (from, _) = self.sees(b, first);
        let (_, end) = self.sees(b, last);
        let mask = int(b, -SPAN);
        (b.bin(BinOp::And, from, mask), end)
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
        let (rows, mut done) = (Bound::Const(self.first.mr as i64), Ok(()));
        b.for_(Bound::Const(0), rows, 1, LoopKind::Serial, |b, i| done = self.softmax(b, x, i));
        done?;
        self.results(b, p, x)
    }
    /// Scaled queries of the block.
    fn take_queries(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        let head = scaled(b, x.head, self.group);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Const(self.first.mr as i64), 1, LoopKind::Serial, |b, i| {
            let row = b.add(x.row, i);
            let (token, own) = self.token_of(b, row);
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
                access::store(b, dtype, x.buf, &to, v, at.tail)?;
                p.tail = None;
                p.forget();
                Ok(())
            });
        });
        done
    }
    /// Slots of the span at a position.
    fn slot(&self, b: &mut KernelBuilder, position: Reg) -> Reg {
        if !self.op.ring {
            return position;
        }
        let n = dim(b, &self.slots[0]);
        b.bin(BinOp::RemU, position, n)
    }
    /// Scores of all positions, up to whole vectors.
    fn products(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        let (tile, block) = (self.first, self.op.block);
        // Terms of a product: elements, or pairs of them.
        let (buf, keys, queries, terms) = match x.packed {
            Some([keys, _]) if self.pairs => (keys, Num::bf16_pairs(), Num::bf16_pairs(), self.size / 2),
            _ => {
                let keys = Num::plain(p.ty(self.k).dtype, Elem::F32);
                (p.params.value(b, p.body, self.k)?, keys, Num::f32(), self.size)
            }
        };
        let rows = (0..tile.mr as i64).map(|i| (0, i * terms)).collect();
        let q = Operand { buf: x.buf, num: queries, starts: vec![x.q], parts: rows, step: Step::Const(1) };
        let depth = Depth::whole(b, &terms.into());
        // Where position `c` of a span lies.
        let at = |c: i64| c / block * block * terms + c % block;
        let row = dim(b, &(self.slots[0].clone() * terms.into()));
        let head = b.mul(x.head, row);
        b.for_(Bound::Reg(x.from), Bound::Reg(x.end), SPAN, LoopKind::Serial, |b, span| {
            let slot = self.slot(b, span);
            let start = scaled(b, slot, terms);
            let start = b.add(head, start);
            let (left, most) = (b.sub(x.end, span), int(b, SPAN));
            let left = b.bin(BinOp::MinS, left, most);
            let to = b.sub(span, x.from);
            let to = b.add(x.scores, to);
            // Tiles within a group of keys, or of whole groups.
            let step = (tile.nr() as i64).max(block);
            b.for_(Bound::Const(0), Bound::Reg(left), step, LoopKind::Serial, |b, c| {
                let skip = scaled(b, c, terms);
                let start = b.add(start, skip);
                let to = b.add(to, c);
                for part in (0..step).step_by(tile.nr()) {
                    let starts = vec![start];
                    let parts = (0..tile.nv).map(|v| (0, at(part + tile.column(v)))).collect();
                    let k = Operand { buf, num: keys, starts, parts, step: Step::Const(block) };
                    let acc = sums(b, tile, Num::f32(), None);
                    contract(b, tile, &depth, &q, &k, &acc);
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
        });
        Ok(())
    }
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

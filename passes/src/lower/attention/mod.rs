//! Attention: `softmax(f(Q K)) V` in one kernel, `f` being any element-wise code (scale, masks).
//!
//! For each batch coordinate (heads included) K and V are packed once into the panels that the register tile reads;
//! then the queries pass, as many rows at a time as the tile has. The scores of those rows are whole rows in scratch
//! memory, so softmax needs no second look at them: a block of 8 rows with 1024 keys is 32 KB. The division by the
//! sum of exponentials happens on the result. Blocks never have tails: rows beyond the last one repeat it and store
//! the same result once more.

mod pack;
mod raw;
mod scores;

use super::body::Body;
use super::contract::choose;
use super::contract::gemm::{add_const, scaled};
use super::contract::micro::{Depth, Operand, Step, Tile, contract, sums};
use super::contract::num::Num;
use super::contract::slots;
use super::elementwise::name;
use super::index::{Idx, dim, int, linear, unravel};
use super::pull::{Puller, vector_or_scalar};
use super::{Arg, LowerCx, Lowered, Precision, WORTH_THREADS, access};
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, Elem, LoopKind, Reg};
use sinter_ir::{DType, Diag, Expr, Op, Result, TensorType, ValueId};

/// Values and sizes of one attention.
struct Attention<'a> {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    /// Result of the first product, and what goes into softmax.
    raw: ValueId,
    scores: ValueId,
    /// Result of the second product.
    y: ValueId,
    batch: &'a [Expr],
    /// Queries, keys.
    rows: Expr,
    keys: Expr,
    /// Width of queries and keys, and of values.
    depth: i64,
    width: i64,
    lanes: u16,
    /// Both products take pairs of bf16.
    pairs: bool,
    /// Tiles of the products.
    first: Tile,
    second: Tile,
}

/// Scratch of one slot, as element offsets from its start.
struct Layout {
    k: Expr,
    v: Expr,
    q: Expr,
    scores: Expr,
    sums: Expr,
    /// Distance of rows of scores.
    pitch: Expr,
    size: Expr,
}

/// A slot's memory while emitting.
struct Memory {
    buf: Buf,
    k: Reg,
    v: Reg,
    q: Reg,
    scores: Reg,
    sums: Reg,
}

/// Whether a body is one: two products with a softmax in between.
pub fn is_attention(g: &sinter_ir::Graph) -> bool {
    let count = |f: &dyn Fn(&Op) -> bool| g.iter().filter(|(_, n)| f(&n.op)).count();
    count(&|o| matches!(o, Op::MatMul(_))) == 2 && count(&|o| matches!(o, Op::Softmax(_))) == 1
}

/// Lowers a body for which [`is_attention`] holds; its root is the second product.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let a = Attention::new(cx, body, lanes)?;
        let mut b = KernelBuilder::new(name(body, "attention"));
        let mut p = Puller::new(cx, body);
        let bytes = a.emit(&mut b, &mut p)?;
        let mut out = p.params.finish(b);
        out.scratch.push(bytes);
        Ok(out)
    })
}

impl<'a> Attention<'a> {
    fn new(cx: &LowerCx, body: &'a Body, lanes: u16) -> Result<Self> {
        let shape = || Diag::bug("not an attention");
        let second = body.root_node()?;
        let softmax = body.graph.def(second.inputs[0]).ok_or_else(shape)?;
        let mut products = body.graph.iter().map(|(_, n)| n).filter(|n| matches!(n.op, Op::MatMul(_)));
        let first = products.next().ok_or_else(shape)?;
        let (raw, y, v) = (first.outputs[0], second.outputs[0], second.inputs[1]);
        let (q, k) = (first.inputs[0], first.inputs[1]);
        let dims = &body.ty(raw).dims;
        let [batch @ .., rows, keys] = dims.as_slice() else { return Err(shape()) };
        let known = |e: Option<&Expr>| e.and_then(Expr::as_const).ok_or_else(shape);
        let (depth, width) = (known(body.ty(q).dims.last())?, known(body.ty(v).dims.last())?);
        let many = cx.target.vector_registers >= 32;
        let vectors = |n: &Expr| (n.as_const().map_or(64, |n| n.max(1)) as usize).div_ceil(lanes.into());
        let columns = vectors(&width.into());
        // Accumulators for the wider product, as many rows as they allow.
        let mr = if !many {
            4
        } else if columns >= 4 {
            6
        } else {
            8
        };
        let mr = rows.as_const().map_or(mr, |r| mr.min(r.max(1) as usize));
        let most = if many { 24 / mr } else { 12 / mr }.clamp(1, 4);
        // Last panels are as wide as all others: what they do not need counts too.
        let time =
            |n: usize, nv: usize| n.div_ceil(nv) as i64 * choose::step(&cx.target.cost, mr as i64, nv as i64);
        let tile = |n: usize| {
            let nv = (1..=most).min_by_key(|&nv| time(n, nv)).unwrap_or(1);
            Tile::new(&cx.target.cost, mr, nv, lanes)
        };
        let pairs = cx.precision == Precision::Bf16 && cx.target.has("avx512bf16") && depth % 2 == 0;
        Ok(Self {
            q,
            k,
            v,
            raw,
            scores: softmax.inputs[0],
            y,
            batch,
            rows: rows.clone(),
            keys: keys.clone(),
            depth,
            width,
            lanes,
            pairs,
            first: tile(vectors(keys)),
            second: tile(columns),
        })
    }
    /// Elements of the products.
    fn num(&self) -> Num {
        if self.pairs { Num::bf16_pairs() } else { Num::f32() }
    }
    /// Terms of the first product.
    fn depth_words(&self) -> i64 {
        if self.pairs { self.depth / 2 } else { self.depth }
    }
    /// Terms of the second.
    fn key_words(&self) -> Expr {
        if self.pairs { self.keys.ceil_div(&2.into()) } else { self.keys.clone() }
    }
    fn layout(&self) -> Layout {
        let pitch = self.keys.ceil_div(&self.first.nr().into()) * self.first.nr().into();
        let k: Expr = 0.into();
        let v = k.clone() + pitch.clone() * self.depth_words().into();
        let panels = (self.width as usize).div_ceil(self.second.nr()) * self.second.nr();
        let q = v.clone() + self.key_words() * panels.into();
        let mr = self.first.mr as i64;
        let scores = q.clone() + (mr * (self.depth + i64::from(self.lanes))).into();
        let sums = scores.clone() + pitch.clone() * mr.into();
        let size = sums.clone() + mr.into();
        Layout { k, v, q, scores, sums, pitch, size }
    }
    /// Emits the kernel; gives the bytes of scratch.
    fn emit(&self, b: &mut KernelBuilder, p: &mut Puller) -> Result<Expr> {
        let trips = product(self.batch);
        let work = trips.clone() * self.rows.clone() * self.keys.clone() * (self.depth + self.width).into();
        // A multiply-add is two additions, but a vector of them costs one instruction.
        let worth = p.cx.symbols.max(&work).max(0) as u64 >= WORTH_THREADS;
        let slots = if worth { slots::count(p.cx.target, &trips) } else { 1 };
        let at = self.layout();
        let bytes = at.size.clone() * (4 * slots).into();
        let ty = TensorType::new(DType::I8, vec![bytes.clone()]);
        let buf = p.params.buf(b, Arg::Scratch(0), Access::ReadWrite, &ty);
        let start = |b: &mut KernelBuilder, slot: Reg| {
            let size = dim(b, &at.size);
            let base = b.mul(slot, size);
            let mut part = |e: &Expr| {
                let e = dim(b, e);
                b.add(base, e)
            };
            let (k, v, q) = (part(&at.k), part(&at.v), part(&at.q));
            Memory { buf, k, v, q, scores: part(&at.scores), sums: part(&at.sums) }
        };
        let mut done = Ok(());
        let mut each = |b: &mut KernelBuilder, m: &Memory, t: Reg| {
            done = unravel(b, &Idx::reg(t), self.batch).and_then(|batch| self.trip(b, p, m, &at, &batch));
            p.forget();
        };
        match slots {
            1 => {
                let zero = int(b, 0);
                let m = start(b, zero);
                b.range(&trips, |b, t| each(b, &m, t));
            }
            _ => slots::for_each(b, slots, &trips, start, |b, m, t| each(b, m, t)),
        }
        done.map(|()| bytes)
    }
    /// One batch coordinate.
    fn trip(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        at: &Layout,
        batch: &[Idx],
    ) -> Result<()> {
        self.pack_keys(b, p, m, batch)?;
        self.pack_values(b, p, m, batch)?;
        let hi = b.bound(&self.rows);
        let mut done = Ok(());
        b.for_(Bound::Const(0), hi, self.first.mr as i64, LoopKind::Serial, |b, row| {
            done = (|| {
                self.pack_queries(b, p, m, batch, row)?;
                let lines = self.lines(b, m, at);
                self.products(b, m, &lines);
                self.softmax(b, p, m, at, (batch, row))?;
                self.results(b, p, m, &lines, (batch, row))
            })();
            p.forget();
        });
        done
    }
    /// Where the rows of scores start.
    fn lines(&self, b: &mut KernelBuilder, m: &Memory, at: &Layout) -> Vec<Reg> {
        let pitch = dim(b, &at.pitch);
        let mut line = m.scores;
        (0..self.first.mr)
            .map(|i| {
                if i > 0 {
                    line = b.add(line, pitch);
                }
                line
            })
            .collect()
    }
    /// Row `i` of the block at `row`.
    fn row(&self, b: &mut KernelBuilder, row: Reg, i: Reg) -> Reg {
        let last = dim(b, &(self.rows.clone() - 1.into()));
        let r = b.add(row, i);
        b.bin(BinOp::MinS, r, last)
    }
    /// The first product of a block of rows.
    fn products(&self, b: &mut KernelBuilder, m: &Memory, lines: &[Reg]) {
        let (tile, num) = (self.first, self.num());
        let rows = (0..tile.mr as i64).map(|i| (0, i * self.depth_words())).collect();
        let x = Operand { buf: m.buf, num, starts: vec![m.q], parts: rows, step: Step::Const(1) };
        let depth = Depth::whole(b, &self.depth_words().into());
        let hi = b.bound(&self.keys);
        b.for_(Bound::Const(0), hi, tile.nr() as i64, LoopKind::Serial, |b, j| {
            let panel = scaled(b, j, self.depth_words());
            let panel = b.add(m.k, panel);
            let step = Step::Const(tile.nr() as i64);
            let y = Operand { buf: m.buf, num, starts: vec![panel], parts: vec![(0, 0)], step };
            let acc = sums(b, tile, num, None);
            contract(b, tile, &depth, &x, &y, &acc);
            for (i, &line) in lines.iter().enumerate() {
                for v in 0..tile.nv {
                    let at = Addr::reg(line).plus(j, 1).offset(tile.column(v));
                    b.store(m.buf, at, acc[i * tile.nv + v], None);
                }
            }
        });
    }
    /// The second product, divided by the sums, and stored.
    fn results(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        lines: &[Reg],
        (batch, row): (&[Idx], Reg),
    ) -> Result<()> {
        let (tile, num) = (self.second, self.num());
        let parts = (0..tile.mr).map(|i| (i, 0)).collect();
        let x = Operand { buf: m.buf, num, starts: lines.to_vec(), parts, step: Step::Const(1) };
        let depth = Depth::whole(b, &self.key_words());
        let step = Step::Const(tile.nr() as i64);
        let mut done = Ok(());
        let panels = (self.width as usize).div_ceil(tile.nr()) as i64;
        b.for_(Bound::Const(0), Bound::Const(panels), 1, LoopKind::Serial, |b, panel| {
            let size = dim(b, &(self.key_words() * tile.nr().into()));
            let start = b.mul(panel, size);
            let start = b.add(m.v, start);
            let y = Operand { buf: m.buf, num, starts: vec![start], parts: vec![(0, 0)], step };
            let acc = sums(b, tile, num, None);
            contract(b, tile, &depth, &x, &y, &acc);
            let column = scaled(b, panel, tile.nr() as i64);
            for i in 0..tile.mr {
                let number = int(b, i as i64);
                let r = self.row(b, row, number);
                let scale = b.load(Elem::F32, 1, m.buf, Addr::reg(m.sums).offset(i as i64), None);
                let scale = b.splat(scale, tile.lanes);
                for v in 0..tile.nv {
                    let value = b.mul(acc[i * tile.nv + v], scale);
                    let c = add_const(b, column, tile.column(v));
                    let tail = self.tail(b, c, tile.lanes);
                    let idx = [batch, &[Idx::reg(r), self.lane(c)]].concat();
                    done = done.clone().and_then(|()| self.put(b, p, &idx, value, tail));
                }
            }
        });
        done
    }
    /// Lanes of the result's columns from `c` on, where whole vectors do not fit.
    fn tail(&self, b: &mut KernelBuilder, c: Reg, lanes: u16) -> Option<Reg> {
        if self.width % self.second.nr() as i64 == 0 {
            return None;
        }
        let (width, zero, most) = (int(b, self.width), int(b, 0), int(b, lanes.into()));
        let left = b.sub(width, c);
        let left = b.bin(BinOp::MaxS, left, zero);
        Some(b.bin(BinOp::MinS, left, most))
    }
    fn lane(&self, r: Reg) -> Idx {
        if self.lanes > 1 { Idx::lanes(r) } else { Idx::reg(r) }
    }
    /// Stores a vector of the result, which may leave with its axes in another order.
    fn put(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        idx: &[Idx],
        v: Reg,
        tail: Option<Reg>,
    ) -> Result<()> {
        let out = p.body.graph.outputs[0];
        let buf = p.output(b, 0);
        let own: Vec<Idx> = match p.body.graph.def(out).map(|n| &n.op) {
            Some(Op::Transpose(t)) if out != self.y => t.perm.iter().map(|&a| idx[a].clone()).collect(),
            _ => idx.to_vec(),
        };
        let at = linear(b, &own, p.dims(out))?;
        if self.lanes == 1 && tail.is_some() {
            return self.put_single(b, p, (buf, &at), v, tail);
        }
        access::store(b, p.ty(out).dtype, buf, &at, v, tail)
    }
    /// Without vectors a tail says whether there is an element at all.
    fn put_single(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        (buf, at): (Buf, &Idx),
        v: Reg,
        tail: Option<Reg>,
    ) -> Result<()> {
        let (mut done, dtype) = (Ok(()), p.ty(p.body.graph.outputs[0]).dtype);
        let Some(tail) = tail else { return done };
        let zero = int(b, 0);
        let some = b.cmp(sinter_ir::tile::CmpOp::Gt, tail, zero);
        b.if_(some, |b| done = access::store(b, dtype, buf, at, v, None), |_| {});
        done
    }
}

//! Contractions by products of small matrices: two rows of eight bytes times two columns of eight are four sums (`Mat8`),
//! and so are two rows and columns of four bf16 (`Mat4`).
//!
//! A kernel of its own writes the rows of A in pairs, eight bytes of one beside eight of the other, and rounds f32 to bf16
//! on the way; weights lie in the same way beforehand. Tiles hold their sums as matrices of two by two and make rows of them at the end.

use super::gemm::{Cols, Gemm, Rows, Sink};
use super::kernel::{self, Shape, Source};
use super::micro::{Tile, copy};
use super::nest::{Region, downwards, for_tiles};
use super::num::Num;
use super::pack::panels;
use crate::lower::body::{Body, Params};
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::finish::Tiles;
use crate::lower::{Arg, LowerCx, Lowered, Precision, access, parallel_if};
use bytes::Bytes;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, Elem, Inst, LoopKind, Reg, Ty};
use sinter_ir::{DType, Expr, Result, Tensor, TensorType, ValueId};

/// A register of rows or columns.
const QUAD: Ty = Ty { elem: Elem::I32, lanes: 4 };
/// Rows of a tile, and vectors of columns: sums enough to hide latency, beside a run of weights.
const ROWS: usize = 8;
const VECTORS: usize = 2;
/// Columns of a panel.
pub const COLUMNS: usize = VECTORS * QUAD.lanes as usize;
/// Rows that pay for the copy in pairs.
const FEWEST_ROWS: i64 = 4;
/// Columns that do.
const FEWEST_COLUMNS: i64 = 16;

/// Whether a contraction by words, of bytes or of bf16, is one by matrices.
pub fn wanted(cx: &LowerCx, gemm: &Gemm) -> bool {
    let bytes = gemm.a.1.words.is_some_and(|w| !w.flip) && cx.target.matrix_products();
    let plain = gemm.batch.is_empty() && (bytes || gemm.a.1.pairs && cx.target.bf16_matrices());
    let whole = gemm.k.as_const().is_some_and(|k| k > 0 && k % 2 == 0);
    let pays = gemm.m.as_const().is_none_or(|m| m >= FEWEST_ROWS)
        && gemm.n.as_const().is_some_and(|n| n >= FEWEST_COLUMNS);
    plain && whole && pays
}

/// A contraction of f32 with bf16 weights as one of words, where it is one by matrices.
pub fn narrowed(cx: &LowerCx, gemm: &Gemm, data: DType, w: &Tensor) -> Option<Gemm> {
    let even = gemm.k.modulo(&2.into()).is(0);
    let mut words = gemm.clone();
    words.k = gemm.k.div(&2.into());
    words.a.1 = Num::bf16_pairs();
    let allowed = cx.precision == Precision::Bf16;
    let wanted = allowed && even && data == DType::F32 && w.dtype() == DType::BF16 && wanted(cx, &words);
    wanted.then_some(words)
}

/// Lowers a contraction that [`wanted`] is true of. `at`: where the word of step k and column n is among the weights;
/// `start`: what sums start with, for whole panels of [`COLUMNS`].
pub fn lower(
    cx: &LowerCx,
    body: &Body,
    (name, x): (&str, ValueId),
    mut gemm: Gemm,
    (weights, start): (&Tensor, Option<Bytes>),
    at: impl Fn(usize, usize) -> usize,
    shape: &Shape,
) -> Result<Lowered> {
    let (Some(k), Some(n)) = (gemm.k.as_const(), gemm.n.as_const()) else {
        return Err(sinter_ir::Diag::bug("matrices of open size"));
    };
    let (k, n) = (k.max(0) as usize, n.max(0) as usize);
    // As many rows in every tile, two by two.
    let rows = gemm.m.as_const().map_or(ROWS, |m| {
        let m = m.max(1) as usize;
        m.div_ceil(m.div_ceil(ROWS)).next_multiple_of(2)
    });
    let cost = &cx.target.cost;
    gemm.tile = Tile::new(cost, if cost.uniform { ROWS } else { rows }, VECTORS, QUAD.lanes);
    let nr = gemm.tile.nr();
    // Words of a step: those of every column of the panel, two for each.
    let packed = panels(weights, (1, k / 2, n.next_multiple_of(nr) * 2), 2 * nr, |_, i, j| {
        let column = j / 4 * 2 + j % 4 / 2;
        (column < n).then(|| at(2 * i + j % 2, column))
    })?;
    gemm.a.0 = Rows::Pairs;
    gemm.b = (Cols::Panels, Num::plain(DType::I32, Elem::I32), Buf(0));
    let pairs = pairs(cx, body, x, &gemm)?;
    let bytes = pair_bytes(&gemm);
    let from = [Source::Made(bytes), Source::Packed(packed, DType::I32)];
    let product = kernel::lower(cx, body, name, &gemm, &from, start, shape)?;
    let mut all = pairs;
    all.append(product);
    Ok(all)
}

/// Bytes of A in pairs of rows.
fn pair_bytes(gemm: &Gemm) -> Expr {
    gemm.m.ceil_div(&2.into()) * gemm.k.clone() * 8.into()
}

/// The kernel that writes rows in pairs, to scratch memory that the product declares. The last row is there twice where there is no other.
fn pairs(cx: &LowerCx, body: &Body, x: ValueId, gemm: &Gemm) -> Result<Lowered> {
    let k = gemm.k.as_const().unwrap_or(0);
    let rounds = gemm.a.1.pairs;
    let (dtype, terms) = if rounds { (DType::BF16, 2 * k) } else { (DType::I8, 4 * k) };
    let mut b = KernelBuilder::new(kernel::name("pairs", dtype, &[gemm.m.clone(), terms.into()]));
    let mut params = Params::default();
    let from = params.value(&mut b, body, x)?;
    let ty = TensorType::new(DType::I8, vec![pair_bytes(gemm)]);
    let to = params.buf(&mut b, Arg::Scratch(0), Access::Write, &ty);
    let work = cx.symbols.max(&gemm.m).max(0) as u64 * k as u64;
    parallel_if(&mut b, work, &gemm.m.ceil_div(&2.into()), |b, p| {
        let (first, m) = (scaled(b, p, 2), b.dim(&gemm.m));
        let (second, last) = (add_const(b, first, 1), add_const(b, m, -1));
        let second = b.bin(BinOp::MinS, second, last);
        if rounds {
            return rounded_pair(b, (from, to), [first, second], p, terms);
        }
        let rows = [first, second].map(|r| scaled(b, r, k));
        let out = scaled(b, p, 2 * k);
        let whole = k - k % 4;
        if whole > 0 {
            b.for_(Bound::Const(0), Bound::Const(whole), 4, LoopKind::Serial, |b, i| {
                let [x, y] = rows.map(|r| b.load(QUAD.elem, QUAD.lanes, from, Addr::reg(r).plus(i, 1), None));
                for (high, at) in [(false, 0), (true, 4)] {
                    let both = halves(b, x, y, high);
                    b.store(to, Addr::reg(out).plus(i, 2).offset(at), both, None);
                }
            });
        }
        if whole < k {
            for (i, r) in (0..).zip(rows) {
                let x = b.load(QUAD.elem, 2, from, Addr::reg(r).offset(whole), None);
                b.store(to, Addr::reg(out).offset(2 * whole + 2 * i), x, None);
            }
        }
    });
    Ok(params.finish(b))
}

/// A pair of rows of f32 as bf16, four of one and four of the other in turns.
fn rounded_pair(b: &mut KernelBuilder, (from, to): (Buf, Buf), rows: [Reg; 2], pair: Reg, terms: i64) {
    let rows = rows.map(|r| scaled(b, r, terms));
    let out = scaled(b, pair, 2 * terms);
    b.for_(Bound::Const(0), Bound::Const(terms), 4, LoopKind::Serial, |b, i| {
        for (row, at) in rows.into_iter().zip([0, 4]) {
            let x = b.load(Elem::F32, 4, from, Addr::reg(row).plus(i, 1), None);
            let x = access::narrow(b, DType::BF16, x);
            b.store(to, Addr::reg(out).plus(i, 2).offset(at), x, None);
        }
    });
}

fn halves(b: &mut KernelBuilder, x: Reg, y: Reg, high: bool) -> Reg {
    let r = b.reg(b.ty(x).elem, QUAD.lanes);
    b.set(r, Inst::Halves { a: x, b: y, high });
    r
}

impl Gemm {
    /// [`Gemm::rows_loop`] over pairs of rows; `weights`: where the panel begins.
    pub(super) fn pairs_loop(
        &self,
        b: &mut KernelBuilder,
        at: Region,
        weights: Reg,
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let mut done = Ok(());
        let mut rows = |b: &mut KernelBuilder, row: Reg, mr: usize| {
            let tile = Tile { nv: at.strip.vectors(self.tile), mr, ..self.tile };
            let sums = self.matrices(b, tile, (row, at.col), weights);
            let acc = rows_of(b, tile, &sums);
            let tiles = Tiles { tile, num: self.a.1, finish: self.finish, batch: at.batch, col: at.col };
            done = done.clone().and_then(|()| tiles.put(b, row, &at.strip, &acc, spill, sink));
        };
        match self.m.as_const().filter(|_| !self.tile.uniform) {
            Some(_) => for_tiles(b, &self.m, (self.tile.mr, false), (at.lo, at.hi), &mut rows),
            // Every height but the last is even: pairs are not torn.
            None => downwards(b, &[self.tile.mr, 2, 1], (at.lo, at.hi), &mut rows),
        }
        done
    }
    /// The sums of a tile: for every pair of rows those of all pairs of columns.
    fn matrices(&self, b: &mut KernelBuilder, tile: Tile, (row, col): (Reg, Reg), weights: Reg) -> Vec<Reg> {
        let k = self.k.as_const().unwrap_or(0);
        let (pairs, columns) = (tile.mr.div_ceil(2), 2 * tile.nv);
        let start: Vec<Option<Reg>> = (0..columns)
            .map(|j| {
                let at = Addr::reg(col).offset(tile.column(j / 2));
                let x = self.start.map(|buf| b.load(QUAD.elem, QUAD.lanes, buf, at, None))?;
                Some(halves(b, x, x, j % 2 == 1))
            })
            .collect();
        let sum = |b: &mut KernelBuilder, n: usize| match start[n % columns] {
            Some(x) => copy(b, x),
            None => b.zero(Ty { elem: self.a.1.acc, ..QUAD }),
        };
        let sums: Vec<Reg> = (0..pairs * columns).map(|n| sum(b, n)).collect();
        // Rows begin at even numbers.
        let first = scaled(b, row, k);
        let (x, y) = (copy(b, first), copy(b, weights));
        let product = |acc, a, b| match self.a.1.words {
            Some(w) => Inst::Mat8 { acc, a, b, a_signed: w.signed },
            None => Inst::Mat4 { acc, a, b },
        };
        let (xs, ys) = (4, 2 * self.tile.nr() as i64);
        let steps = k / 2;
        let run = |b: &mut KernelBuilder, lo: i64, hi: i64, by: i64| {
            b.for_(Bound::Const(lo), Bound::Const(hi), by, LoopKind::Serial, |b, _| {
                for u in 0..by {
                    let load = |b: &mut KernelBuilder, buf, from, at| {
                        b.load(QUAD.elem, QUAD.lanes, buf, Addr::reg(from).offset(at), None)
                    };
                    let right: Vec<Reg> =
                        (0..columns as i64).map(|j| load(b, self.b.2, y, u * ys + 4 * j)).collect();
                    for (i, acc) in (0i64..).zip(sums.chunks(columns)) {
                        let left = load(b, self.a.2, x, 2 * k * i + u * xs);
                        for (&acc, &right) in acc.iter().zip(&right) {
                            b.set(acc, product(acc, left, right));
                        }
                    }
                }
                for (r, by) in [(x, xs * by), (y, ys * by)] {
                    let by = b.i64(by);
                    b.set(r, Inst::Bin(BinOp::Add, r, by));
                }
            });
        };
        // Two steps a round where there is room in the code for them.
        let two = if self.tile.uniform { 0 } else { steps - steps % 2 };
        if two > 0 {
            run(b, 0, two, 2);
        }
        if two < steps {
            run(b, two, steps, 1);
        }
        sums
    }
}

/// Vectors of every row of a tile.
fn rows_of(b: &mut KernelBuilder, tile: Tile, sums: &[Reg]) -> Vec<Reg> {
    let pairs: Vec<&[Reg]> = sums.chunks(2 * tile.nv).collect();
    let mut rows = Vec::with_capacity(tile.mr * tile.nv);
    for row in 0..tile.mr {
        for both in pairs[row / 2].chunks(2) {
            rows.push(halves(b, both[0], both[1], row % 2 == 1));
        }
    }
    rows
}

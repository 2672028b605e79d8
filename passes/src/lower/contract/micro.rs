//! The register tile of all contractions: `mr x nv` vector accumulators over a run of `k`.
//!
//! Every value loaded from B is used `mr` times and every value of A `nv * lanes` times. Addresses are
//! running element offsets, one register each, so that an emitter can fold them into its addressing modes.

use super::choose::{self, RowCache};
use super::num::{Num, PAIR, Words};
use crate::lower::LowerCx;
use sinter_ir::Expr;
use sinter_ir::target::CostModel;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, LoopKind, Reg, Ty};
use std::ops::Range;

/// Shape of a register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows.
    pub mr: usize,
    /// Vectors per row.
    pub nv: usize,
    /// Lanes per vector.
    pub lanes: u16,
    /// Its code is the same for all shapes, as far as that goes.
    pub uniform: bool,
    /// Its loop has one step per iteration.
    pub short: bool,
}

impl Tile {
    /// A tile for machines of some cost.
    pub fn new(cost: &CostModel, mr: usize, nv: usize, lanes: u16) -> Self {
        Self { mr, nv, lanes, uniform: cost.uniform, short: cost.short() }
    }
    /// One that does not depend on it.
    pub fn fixed(mr: usize, nv: usize, lanes: u16) -> Self {
        Self { mr, nv, lanes, uniform: false, short: false }
    }
    /// The tile for a product of `m` rows and `n` columns.
    pub fn pick(cx: &LowerCx, num: Num, m: &Expr, n: &Expr) -> Self {
        Self::pick_strided(cx, num, m, n, &0.into())
    }
    /// The same, for rows of A that lie `pitch` elements apart.
    pub fn pick_strided(cx: &LowerCx, num: Num, m: &Expr, n: &Expr, pitch: &Expr) -> Self {
        let bytes = pitch.as_const().map_or(0, |p| p.saturating_mul(num.bytes()));
        let rows = RowCache::new(cx.target, bytes);
        let lanes = cx.target.lanes(num.acc.bits());
        let candidates = choose::tiles(cx.target, (lanes, num), m, n, rows);
        let what = format!("{} rows {bytes}", num.dtype);
        let picked = cx.choices.tile(&what, (m, n), &candidates);
        picked.unwrap_or_else(|| Self::new(&cx.target.cost, 1, 1, lanes))
    }
    /// Columns of the tile.
    pub fn nr(self) -> usize {
        self.nv * usize::from(self.lanes)
    }
    /// Columns in front of vector `v`.
    pub fn column(self, v: usize) -> i64 {
        (v * usize::from(self.lanes)) as i64
    }
}

/// Distance between neighbours along k, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    Const(i64),
    Reg(Reg),
}

impl Step {
    /// From a symbolic distance.
    pub fn of(b: &mut KernelBuilder, e: &Expr) -> Self {
        match e.as_const() {
            Some(c) => Step::Const(c),
            None => Step::Reg(b.dim(e)),
        }
    }
}

/// One operand: part `j` (a row of A, a vector of B) at step k is at `starts[s] + offset + k * step`
/// with `(s, offset) = parts[j]`.
#[derive(Debug, Clone)]
pub struct Operand {
    /// Memory.
    pub buf: Buf,
    /// Elements in memory and registers.
    pub num: Num,
    /// Element offsets at k = 0; not changed.
    pub starts: Vec<Reg>,
    /// Offsets of the parts.
    pub parts: Vec<(usize, i64)>,
    /// Distance along k.
    pub step: Step,
}

/// Bounds along k.
#[derive(Debug, Clone)]
pub struct Depth {
    /// All steps.
    pub all: Bound,
    /// The first steps in which whole vectors of B may be read, and per vector the number of lanes to read in
    /// the others. `None`: always whole vectors.
    pub ragged: Option<(Reg, Vec<Reg>)>,
    /// Where not every step is one of A's: their numbers as i32, from an element of a buffer on. A has neighbours along k
    /// side by side then.
    pub list: Option<(Buf, Reg)>,
}

impl Depth {
    /// `k` steps over whole vectors.
    pub fn whole(b: &mut KernelBuilder, k: &Expr) -> Self {
        Self { all: b.bound(k), ragged: None, list: None }
    }
}

/// Multiply-adds per iteration that make the loop's own instructions cheap.
const WORTH: usize = 16;
/// The same for large tiles of short vectors, whose iterations are many.
const WORTH_SHORT: usize = 2 * LARGE;
/// Words of a whole sum that need no loop.
const WRITTEN: i64 = 8;
/// Multiply-adds of such tiles.
const LARGE: usize = 20;

/// Steps per loop iteration: 1, 2 or 4, a divisor of the number of steps where one is as good. `group`: elements that
/// are loaded or summed at a time.
fn unroll(tile: Tile, group: i64, steps: &Bound) -> i64 {
    if tile.short {
        return 1;
    }
    let size = tile.mr * tile.nv;
    let worth = if tile.lanes <= 4 && size >= LARGE { WORTH_SHORT } else { WORTH };
    let want = worth.div_ceil(size).min(4) as i64;
    let want = if want > 2 { 4 } else { want };
    match steps {
        Bound::Const(k) if *k < group => 1,
        _ if group > 1 => group,
        Bound::Const(k) if *k < 2 * want => 1,
        Bound::Const(k) => {
            [want, want / 2, want * 2].into_iter().find(|u| *u > 0 && k % u == 0).unwrap_or(want)
        }
        Bound::Reg(_) => want,
    }
}

/// Emits `acc[i][v] += Σ_k a[i, k] * b[k, v]`; `acc` is row-major and already has its start values.
pub fn contract(b: &mut KernelBuilder, tile: Tile, depth: &Depth, x: &Operand, y: &Operand, acc: &[Reg]) {
    let run =
        |b: &mut KernelBuilder, o: &Operand| -> Vec<Reg> { o.starts.iter().map(|&s| copy(b, s)).collect() };
    let (xs, ys) = (run(b, x), run(b, y));
    let list = depth.list.map(|(buf, first)| (buf, copy(b, first)));
    let cx = Body { tile, x, y, xs: &xs, ys: &ys, list, acc };
    let whole = match &depth.ragged {
        Some((whole, _)) => Bound::Reg(*whole),
        None => depth.all.clone(),
    };
    let group = match (x.num.narrow(), &whole) {
        // Few steps are written out: the first sums are added to nothing.
        (Some(_), Bound::Const(k)) if *k <= WRITTEN && !tile.short => (*k).max(1),
        (Some(words), _) => words,
        (None, _) if x.step == Step::Const(1) => x.num.group() as i64,
        (None, _) => 1,
    };
    let u = unroll(tile, group, &whole);
    let even = match &whole {
        Bound::Const(k) => Bound::Const(k - k % u),
        Bound::Reg(k) => {
            let mask = b.i64(-u);
            Bound::Reg(b.bin(BinOp::And, *k, mask))
        }
    };
    steps(b, Bound::Const(0), even.clone(), u, |b| cx.emit(b, u, &[]));
    if even != whole {
        steps(b, even, whole.clone(), 1, |b| cx.emit(b, 1, &[]));
    }
    if let Some((_, tails)) = &depth.ragged {
        steps(b, whole, depth.all.clone(), 1, |b| cx.emit(b, 1, tails));
    }
}

/// Loop that disappears when it is known to have no iteration, or only one.
fn steps(b: &mut KernelBuilder, lo: Bound, hi: Bound, by: i64, f: impl FnOnce(&mut KernelBuilder)) {
    match (&lo, &hi) {
        (Bound::Const(l), Bound::Const(h)) if l >= h => {}
        (Bound::Const(l), Bound::Const(h)) if l + by >= *h => f(b),
        _ => b.for_(lo, hi, by, LoopKind::Serial, |b, _| f(b)),
    }
}

/// A fresh register with the value of another.
pub fn copy(b: &mut KernelBuilder, r: Reg) -> Reg {
    let ty = b.ty(r);
    let c = b.reg(ty.elem, ty.lanes);
    b.copy_to(c, r);
    c
}

struct Body<'a> {
    tile: Tile,
    x: &'a Operand,
    y: &'a Operand,
    xs: &'a [Reg],
    ys: &'a [Reg],
    /// Numbers of steps, and the place of the next.
    list: Option<(Buf, Reg)>,
    acc: &'a [Reg],
}

impl Body<'_> {
    /// `n` steps along k, then the offsets move on.
    fn emit(&self, b: &mut KernelBuilder, n: i64, tails: &[Reg]) {
        let group = self.x.num.group();
        let grouped = group as i64 == n && n > 1 && self.x.step == Step::Const(1) && self.list.is_none();
        if self.x.num.rows() > 1 {
            return self.halved(b, n);
        }
        if let Some((words, most)) = self.x.num.words.and_then(|w| Some((w, w.narrow()?)))
            && self.steady()
        {
            (0..n).step_by(most as usize).for_each(|u| self.narrow(b, words, u..n.min(u + most), tails));
            return self.advance(b, n);
        }
        if grouped && group == usize::from(PAIR) && matches!(self.y.step, Step::Const(_)) {
            return self.streamed(b, n, tails);
        }
        let rows: Vec<Reg> = self
            .x
            .parts
            .iter()
            .filter(|_| grouped)
            .map(|&(s, o)| {
                let at = self.at(self.x, self.xs[s], o, 0);
                let x = self.x.num.load(b, group as u16, self.x.buf, at, None);
                self.x.num.flipped(b, x)
            })
            .collect();
        for u in 0..n {
            let ys = self.columns(b, u, tails);
            let place = self.list.map(|(buf, next)| {
                let p = b.load(Elem::I32, 1, buf, Addr::reg(next).offset(u), None);
                b.cvt(CvtOp::SExt, Elem::I64, p)
            });
            for (i, &(s, o)) in self.x.parts.iter().enumerate() {
                let x = match rows.get(i) {
                    Some(row) => {
                        let x = b.lane(*row, u as u16);
                        b.splat(x, self.tile.lanes)
                    }
                    None => {
                        let at = match place {
                            Some(p) => Addr::reg(self.xs[s]).plus(p, 1).offset(o),
                            None => self.at(self.x, self.xs[s], o, u),
                        };
                        let x = self.x.num.load(b, 1, self.x.buf, at, None);
                        let x = b.splat(x, self.tile.lanes);
                        self.x.num.flipped(b, x)
                    }
                };
                for (v, &y) in ys.iter().enumerate() {
                    let acc = self.acc[i * self.tile.nv + v];
                    self.x.num.mul_add(b, x, y, acc);
                }
            }
            if let Some((_, next)) = self.list.filter(|_| u + 1 == n) {
                let by = b.i64(n);
                b.set(next, Inst::Bin(BinOp::Add, next, by));
            }
            let x = self.list.is_none().then_some((self.x, self.xs));
            for (o, run) in x.into_iter().chain([(self.y, self.ys)]) {
                let by = match o.step {
                    Step::Const(_) if u + 1 < n => continue,
                    Step::Const(c) => b.i64(c * n),
                    Step::Reg(r) => r,
                };
                run.iter().for_each(|&r| b.set(r, Inst::Bin(BinOp::Add, r, by)));
            }
        }
    }
    /// Vectors of B at a step.
    fn columns(&self, b: &mut KernelBuilder, u: i64, tails: &[Reg]) -> Vec<Reg> {
        (0..self.tile.nv)
            .map(|v| {
                // Vectors lie side by side unless they say where.
                let (s, o) = match self.y.parts.as_slice() {
                    [(s, o)] => (*s, o + self.tile.column(v)),
                    parts => parts[v],
                };
                let at = self.at(self.y, self.ys[s], o, u);
                self.y.num.load(b, self.tile.lanes, self.y.buf, at, tails.get(v).copied())
            })
            .collect()
    }
    /// `n` steps along k: B of all of them is held, and rows of A pass, all steps of one in a load.
    fn streamed(&self, b: &mut KernelBuilder, n: i64, tails: &[Reg]) {
        let ys: Vec<Vec<Reg>> = (0..n).map(|u| self.columns(b, u, tails)).collect();
        for (i, &(s, o)) in self.x.parts.iter().enumerate() {
            let at = self.at(self.x, self.xs[s], o, 0);
            let row = self.x.num.load(b, n as u16, self.x.buf, at, None);
            let row = self.x.num.flipped(b, row);
            for (u, ys) in (0..).zip(&ys) {
                let x = b.lane(row, u);
                let x = b.splat(x, self.tile.lanes);
                for (v, &y) in ys.iter().enumerate() {
                    self.x.num.mul_add(b, x, y, self.acc[i * self.tile.nv + v]);
                }
            }
        }
        self.advance(b, n);
    }
    /// `n` steps along k of words that are multiplied by halves. Vectors of B come from memory for every row: registers
    /// hold sums.
    fn halved(&self, b: &mut KernelBuilder, n: i64) {
        let (Some(&(s, o)), Step::Const(pitch)) = (self.y.parts.first(), self.y.step) else { return };
        for u in 0..n {
            for (i, &(row, place)) in self.x.parts.iter().enumerate() {
                let at = self.at(self.x, self.xs[row], place, u);
                let x = self.x.num.load(b, 1, self.x.buf, at, None);
                let x = b.splat(x, self.tile.lanes);
                let x = self.x.num.flipped(b, x);
                let Some(halves) = self.x.num.halves(b, x) else { continue };
                for v in 0..self.tile.nv {
                    for (h, x) in (0..).zip(halves) {
                        let ahead = self.tile.column(v) + h * pitch / 2;
                        let at = self.at(self.y, self.ys[s], o + ahead, u);
                        let y = self.y.num.load(b, self.tile.lanes, self.y.buf, at, None);
                        self.x.num.mul_add(b, x, y, self.acc[i * self.tile.nv + v]);
                    }
                }
            }
        }
        self.advance(b, n);
    }
    /// Whether both operands move on by distances that are known.
    fn steady(&self) -> bool {
        self.list.is_none() && [self.x, self.y].iter().all(|o| matches!(o.step, Step::Const(_)))
    }
    /// Some of the next steps along k, no more than a sum of 16 bits takes: one such sum after the other.
    fn narrow(&self, b: &mut KernelBuilder, words: Words, steps: Range<i64>, tails: &[Reg]) {
        let together = Some(steps.end - steps.start);
        let ys: Vec<Vec<Reg>> = steps.clone().map(|u| self.columns(b, u, tails)).collect();
        for (i, &(s, o)) in self.x.parts.iter().enumerate() {
            let word = |b: &mut KernelBuilder, u| {
                let at = self.at(self.x, self.xs[s], o, u);
                let x = self.x.num.load(b, 1, self.x.buf, at, None);
                let x = b.splat(x, self.tile.lanes);
                self.x.num.flipped(b, x)
            };
            let xs: Vec<Reg> = steps.clone().map(|u| word(b, u)).collect();
            for v in 0..self.tile.nv {
                let acc = self.acc[i * self.tile.nv + v];
                for (&x, ys) in xs.iter().zip(&ys) {
                    b.set(acc, words.dot(acc, x, ys[v], together));
                }
            }
        }
    }
    /// Both operands move on by `n` steps, whose distances are known.
    fn advance(&self, b: &mut KernelBuilder, n: i64) {
        for (o, run) in [(self.x, self.xs), (self.y, self.ys)] {
            let Step::Const(c) = o.step else { continue };
            let by = b.i64(c * n);
            run.iter().for_each(|&r| b.set(r, Inst::Bin(BinOp::Add, r, by)));
        }
    }
    fn at(&self, o: &Operand, run: Reg, offset: i64, u: i64) -> Addr {
        let ahead = match o.step {
            Step::Const(c) => c * u,
            Step::Reg(_) => 0,
        };
        Addr::reg(run).offset(offset + ahead)
    }
}

/// Accumulators of a tile: zeros, or where `from` names a place what lies there for all columns.
pub fn sums(b: &mut KernelBuilder, tile: Tile, num: Num, from: Option<(Buf, Reg)>) -> Vec<Reg> {
    let ty = Ty { elem: num.acc, lanes: tile.lanes };
    let Some((buf, at)) = from else { return (0..tile.mr * tile.nv).map(|_| b.zero(ty)).collect() };
    let load = |b: &mut KernelBuilder, v| {
        b.load(num.acc, tile.lanes, buf, Addr::reg(at).offset(tile.column(v)), None)
    };
    // Copies need neither loads nor units, where processors rename registers.
    let first: Vec<Reg> = (0..tile.nv).map(|v| load(b, v)).collect();
    (0..tile.mr * tile.nv).map(|i| if i < tile.nv { first[i] } else { copy(b, first[i % tile.nv]) }).collect()
}

//! Products as loop nests: what they consist of, and where their operands lie in memory.

pub use super::arith::{add_const, dot, scaled, unravel};
use super::finish::Strip;
use super::micro::{Depth, Operand, Step, Tile};
use super::num::Num;
use sinter_ir::expr::product;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Reg};
use sinter_ir::{Expr, Result};

/// How the rows of A lie in memory.
#[derive(Debug, Clone)]
pub enum Rows {
    /// Element (i, k) at `i * row + k * step`.
    Strided {
        /// Distance of rows.
        row: Expr,
        /// Distance along k.
        step: Expr,
    },
    /// `[m / mr][k][mr]`.
    Panels,
    /// Words of two rows, two of one and two of the other, in turns: `[m / 2][k / 2][2][2]`.
    Pairs,
}

/// How the columns of B lie in memory.
#[derive(Debug, Clone)]
pub enum Cols {
    /// Element (k, j) at `k * step + j`, in a buffer of `len` elements.
    InPlace {
        /// Distance along k.
        step: Expr,
        /// Elements that may be read.
        len: Expr,
    },
    /// `[n / nr][k][nr]`.
    Panels,
    /// Panels `[rows held][nr]` of some rows along k.
    Listed {
        /// Rows held in front of every panel, and in all.
        starts: Buf,
        /// Which rows they are.
        places: Buf,
    },
}

/// Products `c[batch.., i, j] = Σ_k a[.., i, k] * b[.., k, j]`.
#[derive(Debug, Clone)]
pub struct Gemm {
    /// Batch dims.
    pub batch: Vec<Expr>,
    /// Distance of A's matrices per batch dim, in elements; 0 where shared.
    pub a_batch: Vec<Expr>,
    /// The same for B.
    pub b_batch: Vec<Expr>,
    /// Rows.
    pub m: Expr,
    /// Columns.
    pub n: Expr,
    /// Terms per sum.
    pub k: Expr,
    /// A in memory.
    pub a: (Rows, Num, Buf),
    /// B in memory.
    pub b: (Cols, Num, Buf),
    /// What every sum starts with, per column of all panels; else 0.
    pub start: Option<Buf>,
    /// Register tile.
    pub tile: Tile,
    /// Bytes of A per work item, see [`block_bytes`].
    pub block: i64,
    /// How finished tiles are handed on.
    pub finish: Finish,
}

/// How finished tiles reach the sink. Without a known number of columns, tiles that are not whole go through memory
/// in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// From registers: the sink is small enough to be repeated.
    Registers,
    /// Through memory, so that the sink is there twice only: for whole vectors and for the last of a row. So many
    /// vectors of a row come as one where the number of columns is known.
    Memory(usize),
    /// Element by element.
    Scalars,
}

/// Where a finished vector belongs: columns `col ..` of a row.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Batch coordinates.
    pub batch: &'a [Reg],
    /// Row.
    pub row: Reg,
    /// First column.
    pub col: Reg,
    /// Lanes that count, where not all do.
    pub tail: Option<Reg>,
}

/// Consumer of finished vectors and scalars.
pub type Sink<'a> = dyn FnMut(&mut KernelBuilder, Place, Reg) -> Result<()> + 'a;

/// Bytes of A that should stay in the second-level cache while all panels of B pass.
pub fn block_bytes(target: &TargetDesc) -> i64 {
    target.cache_bytes.get(1).map_or(256 << 10, |&b| i64::try_from(b / 2).unwrap_or(i64::MAX))
}

impl Gemm {
    /// Whether a tile may have to go through memory.
    pub fn spills(&self) -> bool {
        self.finish != Finish::Registers || self.n.as_const().is_none() && !self.exact_cols()
    }
    /// Elements of scratch per slot for that.
    pub fn spill_elems(&self) -> i64 {
        (self.tile.mr * self.tile.nr()) as i64
    }
    /// Work items: `[batch][block of rows][panel of columns]`.
    pub fn trips(&self) -> Expr {
        product(&self.work())
    }
    /// Vector multiply-adds of the whole product, where known.
    pub fn vector_ops(&self) -> Option<i64> {
        let vectors = self.n.ceil_div(&i64::from(self.tile.lanes).into());
        (product(&self.batch) * self.m.clone() * self.k.clone() * vectors).as_const()
    }
    pub(super) fn work(&self) -> [Expr; 3] {
        [
            product(&self.batch),
            self.m.ceil_div(&self.rows_per_block().into()),
            self.n.ceil_div(&self.tile.nr().into()),
        ]
    }
    /// Whether all panels are whole.
    pub fn exact_cols(&self) -> bool {
        self.n.modulo(&self.tile.nr().into()).is(0)
    }
    /// Panels in front of a last one with a known number of columns, which has code of its own.
    pub(super) fn whole_panels(&self) -> Expr {
        match self.n.as_const() {
            Some(n) => (n.max(0) / self.tile.nr() as i64).into(),
            None => self.n.ceil_div(&self.tile.nr().into()),
        }
    }
    /// The panels in front of the last, and the last where it has code of its own.
    pub fn strip(&self, b: &mut KernelBuilder, col: Reg, last: bool) -> Strip {
        let nr = self.tile.nr() as i64;
        match self.n.as_const() {
            Some(n) if last => Strip::last(n % nr, self.tile),
            Some(_) => Strip::Whole,
            None if self.exact_cols() => Strip::Whole,
            None => {
                let n = b.dim(&self.n);
                Strip::Open(b.sub(n, col))
            }
        }
    }
    /// Makes smaller items when there are fewer than threads could take.
    pub fn split(&mut self, slots: i64) {
        let (Some(m), Some(trips)) = (self.m.as_const(), self.trips().as_const()) else { return };
        if trips <= 0 || trips >= slots {
            return;
        }
        let blocks = (m + self.rows_per_block() - 1) / self.rows_per_block();
        let more = blocks * ((slots + trips - 1) / trips);
        self.block = (m + more - 1) / more * self.row_bytes();
    }
    /// Bytes of a row of A.
    fn row_bytes(&self) -> i64 {
        self.k.as_const().unwrap_or(512).max(1) * self.a.1.bytes()
    }
    /// Rows that a work item covers.
    pub(super) fn rows_per_block(&self) -> i64 {
        let mr = self.tile.mr as i64;
        let block = (self.block / self.row_bytes()).max(mr) / mr * mr;
        match self.m.as_const() {
            Some(m) if m <= block => (m + mr - 1).max(mr) / mr * mr,
            _ => block,
        }
    }

    /// The panel of B that starts at `col`.
    pub(super) fn cols(&self, b: &mut KernelBuilder, batch: &[Reg], panel: Reg, col: Reg) -> Operand {
        let base = dot(b, batch, &self.b_batch);
        let (cols, num, buf) = &self.b;
        let (start, step) = match cols {
            Cols::InPlace { step, .. } => (b.add(base, col), Step::of(b, step)),
            Cols::Panels => {
                let row = (self.a.1.rows() * self.tile.nr()) as i64;
                let size = b.dim(&(self.k.clone() * row.into()));
                let at = b.mul(panel, size);
                (b.add(base, at), Step::Const(row))
            }
            Cols::Listed { starts, .. } => {
                let first = held(b, *starts, panel, 0);
                (scaled(b, first, self.tile.nr() as i64), Step::Const(self.tile.nr() as i64))
            }
        };
        Operand { buf: *buf, num: *num, starts: vec![start], parts: vec![(0, 0)], step }
    }

    /// How far whole vectors of B may be read: a last panel in place may run over into the next row, not
    /// beyond the end of the buffer.
    pub(super) fn depth(&self, b: &mut KernelBuilder, panel: Reg, y: &Operand, strip: &Strip) -> Depth {
        if let Cols::Listed { starts, places } = &self.b.0 {
            let (first, end) = (held(b, *starts, panel, 0), held(b, *starts, panel, 1));
            let count = b.sub(end, first);
            return Depth { all: Bound::Reg(count), ragged: None, list: Some((*places, first)) };
        }
        let mut depth = Depth::whole(b, &self.k);
        let Cols::InPlace { step, len } = &self.b.0 else { return depth };
        let (width, lanes, whole) = match strip {
            Strip::Whole => return depth,
            Strip::Last { vectors, lanes } => {
                let all = b.i64(self.tile.lanes.into());
                let last = b.i64(*lanes);
                let tails = (0..*vectors).map(|v| if v + 1 < *vectors { all } else { last }).collect();
                (self.tile.column(*vectors), tails, None)
            }
            Strip::Open(left) => {
                let nr = b.i64(self.tile.nr() as i64);
                let whole = b.cmp(CmpOp::Ge, *left, nr);
                (self.tile.nr() as i64, lane_counts(b, *left, self.tile), Some(whole))
            }
        };
        let (k, one, zero) = (b.dim(&self.k), b.i64(1), b.i64(0));
        let room = b.dim(&(len.clone() - width.into()));
        let room = b.sub(room, y.starts[0]);
        let step = b.dim(step);
        let fits = b.bin(BinOp::DivS, room, step);
        let fits = b.add(fits, one);
        let fits = b.bin(BinOp::MinS, fits, k);
        let none = b.cmp(CmpOp::Lt, room, zero);
        let fits = b.select(none, zero, fits);
        depth.ragged = Some((whole.map_or(fits, |w| b.select(w, k, fits)), lanes));
        depth
    }

    /// `count` rows of A from `row` on.
    pub(super) fn rows(&self, b: &mut KernelBuilder, batch: &[Reg], row: Reg, count: usize) -> Operand {
        let base = dot(b, batch, &self.a_batch);
        let (rows, num, buf) = &self.a;
        let (starts, parts, step) = match rows {
            // Whole tiles of their own, see `pairs_loop`.
            Rows::Pairs => (vec![base], vec![(0, 0); count], Step::Const(0)),
            Rows::Panels => {
                let k = b.dim(&self.k);
                let at = b.mul(row, k);
                let step = Step::Const(self.tile.mr as i64);
                (vec![b.add(base, at)], (0..count).map(|i| (0, i as i64)).collect(), step)
            }
            Rows::Strided { row: pitch, step } => {
                let step = Step::of(b, step);
                match pitch.as_const() {
                    Some(p) => {
                        let at = scaled(b, row, p);
                        (vec![b.add(base, at)], (0..count as i64).map(|i| (0, i * p)).collect(), step)
                    }
                    None => {
                        let pitch = b.dim(pitch);
                        let start = |b: &mut KernelBuilder, i: usize| {
                            let r = add_const(b, row, i as i64);
                            let at = b.mul(r, pitch);
                            b.add(base, at)
                        };
                        (
                            (0..count).map(|i| start(b, i)).collect(),
                            (0..count).map(|i| (i, 0)).collect(),
                            step,
                        )
                    }
                }
            }
        };
        Operand { buf: *buf, num: *num, starts, parts, step }
    }
}

/// Rows held in front of a panel, or of the next.
fn held(b: &mut KernelBuilder, starts: Buf, panel: Reg, next: i64) -> Reg {
    let rows = b.load(Elem::I32, 1, starts, Addr::reg(panel).offset(next), None);
    b.cvt(CvtOp::SExt, Elem::I64, rows)
}

/// Lanes in use per vector of a row when `left` columns remain.
pub fn lane_counts(b: &mut KernelBuilder, left: Reg, tile: Tile) -> Vec<Reg> {
    let (zero, lanes) = (b.i64(0), b.i64(tile.lanes.into()));
    (0..tile.nv)
        .map(|v| {
            let t = add_const(b, left, -tile.column(v));
            let t = b.bin(BinOp::MaxS, t, zero);
            b.bin(BinOp::MinS, t, lanes)
        })
        .collect()
}

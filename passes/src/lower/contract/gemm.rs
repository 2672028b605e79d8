//! The loop nest round the register tile: batches, blocks of rows, panels of columns.

use super::micro::{Depth, Operand, Step, Tile, contract, zeros};
use super::num::Num;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
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
    /// Register tile.
    pub tile: Tile,
    /// How finished tiles are handed on.
    pub finish: Finish,
}

/// How finished tiles reach the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Whole tiles from registers, others through memory: the sink is small enough to be repeated.
    Registers,
    /// All through memory, so that the sink is there twice only: for vectors and for single elements.
    Memory,
    /// Element by element.
    Scalars,
}

/// Rows and columns of one call of [`Gemm::rows_loop`].
#[derive(Debug, Clone, Copy)]
pub struct Region<'a> {
    /// Batch coordinates.
    pub batch: &'a [Reg],
    /// First row.
    pub lo: Reg,
    /// One past the last row.
    pub hi: Reg,
    /// First column of the panel.
    pub col: Reg,
    /// Columns from there to the end of the matrix; may be more than a tile.
    pub cols: Reg,
}

/// Where a finished vector belongs: columns `col ..` of a row.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Batch coordinates.
    pub batch: &'a [Reg],
    /// Row.
    pub row: Reg,
    /// First column; the vector never leaves the matrix.
    pub col: Reg,
}

/// Consumer of finished vectors and scalars.
pub type Sink<'a> = dyn FnMut(&mut KernelBuilder, Place, Reg) -> Result<()> + 'a;

/// Rows per block: a block of A should stay in the second-level cache while all panels of B pass.
const BLOCK_BYTES: i64 = 256 << 10;

impl Gemm {
    /// Whether a tile may have to go through memory.
    pub fn spills(&self) -> bool {
        !(self.exact_rows() && self.exact_cols() && self.finish == Finish::Registers)
    }
    /// Elements of scratch per slot for that.
    pub fn spill_elems(&self) -> i64 {
        (self.tile.mr * self.tile.nr()) as i64
    }
    /// Work items: `[batch][block of rows][panel of columns]`.
    pub fn trips(&self) -> Expr {
        product(&self.work())
    }
    fn work(&self) -> [Expr; 3] {
        [
            product(&self.batch),
            self.m.ceil_div(&self.rows_per_block().into()),
            self.n.ceil_div(&self.tile.nr().into()),
        ]
    }
    fn exact_rows(&self) -> bool {
        self.m.modulo(&self.tile.mr.into()).is(0)
    }
    fn exact_cols(&self) -> bool {
        self.n.modulo(&self.tile.nr().into()).is(0)
    }

    /// Emits the whole nest as the kernel's parallel loop over `slots`; `spill` holds
    /// [`Gemm::spill_elems`] for each, where [`Gemm::spills`].
    pub fn emit(&self, b: &mut KernelBuilder, slots: i64, spill: Option<Buf>, sink: &mut Sink) -> Result<()> {
        let block = self.rows_per_block();
        let mut done = Ok(());
        let start = |b: &mut KernelBuilder, slot| spill.map(|buf| (buf, scaled(b, slot, self.spill_elems())));
        super::slots::for_each(b, slots, &self.trips(), start, |b, spill, t| {
            let at = unravel(b, t, &self.work());
            let batch = unravel(b, at[0], &self.batch);
            let col = scaled(b, at[2], self.tile.nr() as i64);
            let lo = scaled(b, at[1], block);
            let m = b.dim(&self.m);
            let end = add_const(b, lo, block);
            let hi = b.bin(BinOp::MinS, end, m);
            let y = self.cols(b, &batch, at[2], col);
            let depth = self.depth(b, &y, col);
            let n = b.dim(&self.n);
            let cols = b.sub(n, col);
            let region = Region { batch: &batch, lo, hi, col, cols };
            done = self.rows_loop(b, region, &y, &depth, *spill, sink);
        });
        done
    }

    /// All tiles of the rows `lo .. hi` in one panel of columns.
    pub fn rows_loop(
        &self,
        b: &mut KernelBuilder,
        at: Region,
        y: &Operand,
        depth: &Depth,
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let mut done = Ok(());
        b.for_(Bound::Reg(at.lo), Bound::Reg(at.hi), self.tile.mr as i64, LoopKind::Serial, |b, row| {
            let x = self.rows(b, at.batch, row);
            let acc = zeros(b, self.tile, self.a.1);
            contract(b, self.tile, depth, &x, y, &acc);
            done = self.finish(b, &at, row, &acc, spill, sink);
        });
        done
    }

    fn rows_per_block(&self) -> i64 {
        let mr = self.tile.mr as i64;
        let row_bytes = self.k.as_const().unwrap_or(512).max(1) * self.a.1.bytes();
        let block = (BLOCK_BYTES / row_bytes).max(mr) / mr * mr;
        match self.m.as_const() {
            Some(m) if m <= block => (m + mr - 1).max(mr) / mr * mr,
            _ => block,
        }
    }

    /// The panel of B that starts at `col`.
    fn cols(&self, b: &mut KernelBuilder, batch: &[Reg], panel: Reg, col: Reg) -> Operand {
        let base = dot(b, batch, &self.b_batch);
        let (cols, num, buf) = &self.b;
        let (start, step) = match cols {
            Cols::InPlace { step, .. } => (b.add(base, col), Step::of(b, step)),
            Cols::Panels => {
                let size = b.dim(&(self.k.clone() * self.tile.nr().into()));
                let at = b.mul(panel, size);
                (b.add(base, at), Step::Const(self.tile.nr() as i64))
            }
        };
        Operand { buf: *buf, num: *num, starts: vec![start], parts: vec![(0, 0)], step }
    }

    /// How far whole vectors of B may be read: a last panel in place may run over into the next row, not
    /// beyond the end of the buffer.
    fn depth(&self, b: &mut KernelBuilder, y: &Operand, col: Reg) -> Depth {
        let mut depth = Depth::whole(b, &self.k);
        let Cols::InPlace { step, len } = &self.b.0 else { return depth };
        if self.exact_cols() {
            return depth;
        }
        let nr = self.tile.nr() as i64;
        let (k, one, zero) = (b.dim(&self.k), b.i64(1), b.i64(0));
        let room = b.dim(&(len.clone() - nr.into()));
        let room = b.sub(room, y.starts[0]);
        let step = b.dim(step);
        let fits = b.bin(BinOp::DivS, room, step);
        let fits = b.add(fits, one);
        let fits = b.bin(BinOp::MinS, fits, k);
        let none = b.cmp(CmpOp::Lt, room, zero);
        let fits = b.select(none, zero, fits);
        let end = add_const(b, col, nr);
        let n = b.dim(&self.n);
        let inside = b.cmp(CmpOp::Le, end, n);
        let left = b.sub(n, col);
        let lanes = lane_counts(b, left, self.tile);
        depth.ragged = Some((b.select(inside, k, fits), lanes));
        depth
    }

    /// Rows `row ..` of A. Rows beyond the last repeat it: they are computed and thrown away.
    fn rows(&self, b: &mut KernelBuilder, batch: &[Reg], row: Reg) -> Operand {
        let base = dot(b, batch, &self.a_batch);
        let (rows, num, buf) = &self.a;
        let mr = self.tile.mr;
        let exact = self.exact_rows();
        let (starts, parts, step) = match rows {
            Rows::Panels => {
                let k = b.dim(&self.k);
                let at = b.mul(row, k);
                (vec![b.add(base, at)], (0..mr).map(|i| (0, i as i64)).collect(), Step::Const(mr as i64))
            }
            Rows::Strided { row: pitch, step } => {
                let step = Step::of(b, step);
                match pitch.as_const() {
                    Some(p) if exact => {
                        let at = scaled(b, row, p);
                        (vec![b.add(base, at)], (0..mr as i64).map(|i| (0, i * p)).collect(), step)
                    }
                    _ => {
                        let last = b.dim(&(self.m.clone() - 1.into()));
                        let pitch = b.dim(pitch);
                        let start = |b: &mut KernelBuilder, i: usize| {
                            let r = add_const(b, row, i as i64);
                            let r = if exact { r } else { b.bin(BinOp::MinS, r, last) };
                            let at = b.mul(r, pitch);
                            b.add(base, at)
                        };
                        ((0..mr).map(|i| start(b, i)).collect(), (0..mr).map(|i| (i, 0)).collect(), step)
                    }
                }
            }
        };
        Operand { buf: *buf, num: *num, starts, parts, step }
    }

    /// Hands a tile on.
    fn finish(
        &self,
        b: &mut KernelBuilder,
        r: &Region,
        row: Reg,
        acc: &[Reg],
        spill: Option<(Buf, Reg)>,
        sink: &mut Sink,
    ) -> Result<()> {
        let at = Place { batch: r.batch, row, col: r.col };
        let Some((buf, base)) = spill else { return self.put_registers(b, at, acc, sink) };
        let (mr, nr) = (b.i64(self.tile.mr as i64), b.i64(self.tile.nr() as i64));
        let left = b.sub(r.hi, row);
        let rows = b.bin(BinOp::MinS, left, mr);
        let cols = b.bin(BinOp::MinS, r.cols, nr);
        let mut done = Ok(());
        let spilled = |b: &mut KernelBuilder, sink: &mut Sink| {
            for (i, &v) in acc.iter().enumerate() {
                b.store(buf, Addr::reg(base).offset(i as i64 * i64::from(self.tile.lanes)), v, None);
            }
            self.put_spilled(b, at, (buf, base), (rows, cols), sink)
        };
        if self.finish != Finish::Registers {
            return spilled(b, sink);
        }
        let (r, c) = (b.cmp(CmpOp::Eq, rows, mr), b.cmp(CmpOp::Eq, cols, nr));
        let whole = b.bin(BinOp::And, r, c);
        let sink = std::cell::RefCell::new(sink);
        let mut other = Ok(());
        b.if_(
            whole,
            |b| done = self.put_registers(b, at, acc, &mut **sink.borrow_mut()),
            |b| other = spilled(b, &mut **sink.borrow_mut()),
        );
        done.and(other)
    }

    fn put_registers(&self, b: &mut KernelBuilder, at: Place, acc: &[Reg], sink: &mut Sink) -> Result<()> {
        for i in 0..self.tile.mr {
            let row = add_const(b, at.row, i as i64);
            for v in 0..self.tile.nv {
                let col = add_const(b, at.col, (v * usize::from(self.tile.lanes)) as i64);
                sink(b, Place { row, col, ..at }, acc[i * self.tile.nv + v])?;
            }
        }
        Ok(())
    }

    /// The rows and columns of a spilled tile: whole vectors, then single elements.
    fn put_spilled(
        &self,
        b: &mut KernelBuilder,
        at: Place,
        (buf, base): (Buf, Reg),
        (rows, cols): (Reg, Reg),
        sink: &mut Sink,
    ) -> Result<()> {
        let (elem, lanes, nr) = (self.a.1.acc, self.tile.lanes, self.tile.nr() as i64);
        let mut done = Ok(());
        let mask = b.i64(if self.finish == Finish::Scalars { 0 } else { -i64::from(lanes) });
        let even = b.bin(BinOp::And, cols, mask);
        b.for_(Bound::Const(0), Bound::Reg(rows), 1, LoopKind::Serial, |b, i| {
            let row = b.add(at.row, i);
            let skip = scaled(b, i, nr);
            let from = b.add(base, skip);
            for (lo, hi, lanes) in [(Bound::Const(0), even, lanes), (Bound::Reg(even), cols, 1)] {
                if lanes > 1 && self.finish == Finish::Scalars {
                    continue;
                }
                b.for_(lo, Bound::Reg(hi), lanes.into(), LoopKind::Serial, |b, j| {
                    let value = b.load(elem, lanes, buf, Addr::reg(from).plus(j, 1), None);
                    let col = b.add(at.col, j);
                    done = done.clone().and_then(|()| sink(b, Place { row, col, ..at }, value));
                });
            }
        });
        done
    }
}

/// `r * c`.
pub fn scaled(b: &mut KernelBuilder, r: Reg, c: i64) -> Reg {
    if c == 1 {
        return r;
    }
    let c = b.i64(c);
    b.mul(r, c)
}

/// `r + c`.
pub fn add_const(b: &mut KernelBuilder, r: Reg, c: i64) -> Reg {
    if c == 0 {
        return r;
    }
    let c = b.i64(c);
    b.add(r, c)
}

/// `Σ index * stride`.
pub fn dot(b: &mut KernelBuilder, index: &[Reg], strides: &[Expr]) -> Reg {
    let mut sum = None;
    for (&i, s) in index.iter().zip(strides).filter(|(_, s)| !s.is(0)) {
        let s = b.dim(s);
        let part = b.mul(i, s);
        sum = Some(sum.map_or(part, |t| b.add(t, part)));
    }
    sum.unwrap_or_else(|| b.i64(0))
}

/// Coordinates of a linear index; dims known to be 1 cost nothing.
pub fn unravel(b: &mut KernelBuilder, linear: Reg, dims: &[Expr]) -> Vec<Reg> {
    let mut rest = linear;
    let mut out = Vec::with_capacity(dims.len());
    let first = dims.iter().position(|d| !d.is(1)).unwrap_or(dims.len());
    for (i, d) in dims.iter().enumerate().rev() {
        out.push(if d.is(1) {
            b.i64(0)
        } else if i == first {
            rest
        } else {
            let d = b.dim(d);
            let c = b.bin(BinOp::RemS, rest, d);
            rest = b.bin(BinOp::DivS, rest, d);
            c
        });
    }
    out.reverse();
    out
}

/// Lanes in use per vector of a row when `left` columns remain.
pub fn lane_counts(b: &mut KernelBuilder, left: Reg, tile: Tile) -> Vec<Reg> {
    let (zero, lanes) = (b.i64(0), b.i64(tile.lanes.into()));
    (0..tile.nv)
        .map(|v| {
            let t = add_const(b, left, -((v * usize::from(tile.lanes)) as i64));
            let t = b.bin(BinOp::MaxS, t, zero);
            b.bin(BinOp::MinS, t, lanes)
        })
        .collect()
}

//! Loops over contiguous elements: several vectors per iteration, single vectors, then one that is masked.

use super::access;
use super::body::Body;
use super::index::{Idx, int};
use crate::fuse::policy;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg};
use sinter_ir::{Expr, Result};

/// Elements of a line that are computed at once.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// First element.
    pub at: Reg,
    /// Distance from there.
    pub offset: i64,
    /// Elements.
    pub lanes: u16,
    /// How many of them count; all when none.
    pub tail: Option<Reg>,
}

impl Place {
    /// As an index along an axis.
    pub fn idx(&self) -> Idx {
        Idx { offset: self.offset, step: i64::from(self.lanes > 1), ..Idx::reg(self.at) }
    }
}

/// How a line is cut.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Elements of a vector; 1: one at a time, and no vectors.
    pub lanes: u16,
    /// Vectors per iteration.
    pub unroll: usize,
}

/// Emits the code for some elements.
pub type Emit<'e> = dyn FnMut(&mut KernelBuilder, Place) -> Result<()> + 'e;

/// Vectors per iteration that cheap code needs to hide latencies. Costly code has enough to do, and is not repeated.
pub fn unroll(body: &Body) -> usize {
    match body.graph.iter().map(|(_, n)| policy::cost(&n.op)).sum() {
        0..=3u64 => 4,
        4..=11 => 2,
        _ => 1,
    }
}

impl Line {
    /// Emits `f` over `lo .. hi`, each time in a block of its own or behind others. `length` is `hi - lo`, or a number that it is a multiple of: where vectors divide it
    /// nothing is masked.
    pub fn emit(
        &self,
        b: &mut KernelBuilder,
        (lo, hi): (Bound, Bound),
        length: &Expr,
        f: &mut Emit,
    ) -> Result<()> {
        let lanes = i64::from(self.lanes);
        let mut done = Ok(());
        let mut run = |b: &mut KernelBuilder, from: &Bound, to: &Bound, vectors: usize| {
            if from == to {
                return Ok(());
            }
            b.for_(from.clone(), to.clone(), lanes * vectors as i64, LoopKind::Serial, |b, at| {
                for slot in 0..vectors {
                    let offset = slot as i64 * lanes;
                    let place = Place { at, offset, lanes: self.lanes, tail: None };
                    done = done.clone().and_then(|()| f(b, place));
                }
            });
            std::mem::replace(&mut done, Ok(()))
        };
        let wide = lanes * self.unroll as i64;
        let exact = |by: i64| length.modulo(&by.into()).is(0);
        let many = match self.unroll > 1 {
            true => self.cut(b, &lo, &hi, wide, exact(wide)),
            false => lo.clone(),
        };
        run(b, &lo, &many, self.unroll)?;
        let whole = self.cut(b, &lo, &hi, lanes, exact(lanes));
        if !(self.unroll > 1 && exact(wide)) {
            run(b, &many, &whole, 1)?;
        }
        if exact(lanes) || whole == hi {
            return Ok(());
        }
        let (from, end) = (reg(b, &whole), reg(b, &hi));
        let rest = match (&whole, &hi) {
            (Bound::Const(a), Bound::Const(z)) => int(b, z - a),
            _ => b.sub(end, from),
        };
        let place = Place { at: from, offset: 0, lanes: self.lanes, tail: Some(rest) };
        let known = matches!((&whole, &hi), (Bound::Const(_), Bound::Const(_)));
        if known {
            return f(b, place);
        }
        let zero = int(b, 0);
        let some = b.cmp(CmpOp::Gt, rest, zero);
        let mut done = Ok(());
        b.if_(some, |b| done = f(b, place), |_| {});
        done
    }

    /// Where the last whole piece of `by` elements ends.
    fn cut(&self, b: &mut KernelBuilder, lo: &Bound, hi: &Bound, by: i64, exact: bool) -> Bound {
        match (lo, hi) {
            _ if exact || by == 1 => hi.clone(),
            (Bound::Const(l), Bound::Const(h)) => Bound::Const(h - (h - l).rem_euclid(by)),
            _ => {
                let (start, end) = (reg(b, lo), reg(b, hi));
                let n = b.sub(end, start);
                let rest = match by & (by - 1) {
                    0 => {
                        let mask = int(b, by - 1);
                        b.bin(BinOp::And, n, mask)
                    }
                    _ => {
                        let by = int(b, by);
                        b.bin(BinOp::RemS, n, by)
                    }
                };
                Bound::Reg(b.sub(end, rest))
            }
        }
    }
}

/// A reduction along a line of f32: one value per lane until all elements are in.
#[derive(Debug, Clone, Copy)]
pub struct Collect {
    op: BinOp,
    /// Whether what is no number may be left out of a maximum.
    numbers: bool,
    lanes: u16,
    acc: Reg,
    /// What changes nothing.
    none: Reg,
}

impl Collect {
    /// Begins with `none`, which `op` leaves others as they are with.
    pub fn start(b: &mut KernelBuilder, op: BinOp, lanes: u16, none: f64) -> Self {
        let none = access::constant(b, Elem::F32, lanes, none);
        let acc = b.reg(Elem::F32, lanes);
        b.copy_to(acc, none);
        Self { op, numbers: false, lanes, acc, none }
    }
    /// The largest number: for those who see what is none elsewhere, because this takes less time.
    pub fn largest_number(b: &mut KernelBuilder, lanes: u16) -> Self {
        Self { numbers: true, ..Self::start(b, BinOp::Max, lanes, f64::NEG_INFINITY) }
    }
    /// Takes the elements of a place in; those behind its tail do not count.
    pub fn take(&self, b: &mut KernelBuilder, v: Reg, at: Place) {
        let v = match at.tail {
            Some(t) => {
                let inside = first_lanes(b, t, self.lanes);
                b.select(inside, v, self.none)
            }
            None => v,
        };
        self.add(b, v);
    }
    /// Takes a vector in.
    pub fn add(&self, b: &mut KernelBuilder, v: Reg) {
        let next = match self.numbers {
            true => {
                let larger = b.cmp(CmpOp::Gt, v, self.acc);
                b.select(larger, v, self.acc)
            }
            false => b.bin(self.op, self.acc, v),
        };
        b.copy_to(self.acc, next);
    }
    /// All lanes together.
    pub fn finish(&self, b: &mut KernelBuilder) -> Reg {
        b.fold(self.op, self.acc)
    }
}

/// A bound in a register.
pub fn reg(b: &mut KernelBuilder, x: &Bound) -> Reg {
    match x {
        Bound::Const(c) => int(b, *c),
        Bound::Reg(r) => *r,
    }
}

/// Lanes in front of a limit.
pub fn first_lanes(b: &mut KernelBuilder, n: Reg, lanes: u16) -> Reg {
    let index = b.hoist(Elem::I32, lanes, Inst::LaneIndex);
    let n = b.cvt(CvtOp::Narrow, Elem::I32, n);
    let n = b.splat(n, lanes);
    b.cmp(CmpOp::Lt, index, n)
}

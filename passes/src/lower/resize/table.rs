//! Which operand positions make up each result position of one axis, and their weights.
//!
//! A table has the same number of taps for every position; those that it does not need have weight 0 and the index of
//! one that it needs. Tables of fixed sizes are data; others are computed by a kernel, in f64 (f32 where the nearest
//! one is taken) as the evaluator does.
//! An axis that only repeats its elements needs none.

use super::coordinate;
use crate::lower::body::Params;
use crate::lower::contract::kernel::{Kernel, Source};
use crate::lower::coords::{cubic, float, num};
use crate::lower::index::{Idx, int};
use crate::lower::{Arg, KernelCall, access};
use bytes::Bytes;
use sinter_ir::op::Resize;
use sinter_ir::op::resize::{Coordinate, ResizeMode, Taps};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, UnOp};
use sinter_ir::{DType, Expr, Result, TensorType};

/// An axis that changes.
#[derive(Debug, Clone)]
pub struct Axis<'a> {
    /// The operation.
    pub op: &'a Resize,
    /// Which.
    pub axis: usize,
    /// Operand dim.
    pub n: Expr,
    /// Result dim.
    pub m: Expr,
    /// Type of weights: f32 or f64.
    pub real: DType,
}

/// The table of an axis in a kernel that uses it.
#[derive(Debug, Clone)]
pub struct Table {
    /// Which axis.
    pub axis: usize,
    /// Taps per result position.
    pub taps: Expr,
    /// Result dim.
    m: Expr,
    /// None: repeated elements.
    index: Option<Buf>,
    weight: Option<Buf>,
    outside: Option<Buf>,
    elem: Elem,
    /// Above 1: every operand element is repeated this often, and nothing else.
    pub repeats: i64,
}

impl Table {
    /// Operand position of tap `j` of result position `o`.
    pub fn index(&self, b: &mut KernelBuilder, j: &Idx, o: Reg) -> Result<Idx> {
        let Some(index) = self.index else {
            let times = int(b, self.repeats);
            return Ok(Idx::reg(b.bin(BinOp::DivU, o, times)));
        };
        let at = j.times_expr(b, &self.m)?.plus(&Idx::reg(o)).addr();
        let i = b.load(Elem::I32, 1, index, at, None);
        Ok(Idx::reg(b.cvt(CvtOp::SExt, Elem::I64, i)))
    }
    /// Its weight; none: 1.
    pub fn weight(&self, b: &mut KernelBuilder, j: &Idx, o: Reg) -> Result<Option<Reg>> {
        let Some(w) = self.weight else { return Ok(None) };
        let at = j.times_expr(b, &self.m)?.plus(&Idx::reg(o)).addr();
        Ok(Some(b.load(self.elem, 1, w, at, None)))
    }
    /// Whether taps have weights.
    pub fn weighs(&self) -> bool {
        self.weight.is_some()
    }
    /// Whether a result position lies outside of what is cropped.
    pub fn outside(&self, b: &mut KernelBuilder, o: Reg) -> Option<Reg> {
        let v = b.load(Elem::I8, 1, self.outside?, Idx::reg(o).addr(), None);
        let zero = access::whole(b, Elem::I8, 1, 0);
        Some(b.cmp(CmpOp::Ne, v, zero))
    }
}

/// A table before there is a kernel.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    axis: Axis<'a>,
    taps: Expr,
    /// Index, weights, flags; none: a kernel computes them.
    data: Option<[Option<Bytes>; 3]>,
    repeats: i64,
}

impl<'a> Plan<'a> {
    /// The table of an axis.
    pub fn new(axis: Axis<'a>) -> Self {
        let repeats = axis.repeats();
        match (axis.n.as_const(), axis.m.as_const()) {
            _ if repeats > 1 => Self { axis, taps: 1.into(), data: None, repeats },
            (Some(n), Some(m)) => {
                let taps = axis.op.taps(axis.axis, n.max(0) as usize, m.max(0) as usize);
                let (count, data) = axis.data(&taps);
                Self { axis, taps: count.into(), data: Some(data), repeats }
            }
            _ => Self { taps: axis.tap_count(), axis, data: None, repeats },
        }
    }
    /// Number of scratch buffers.
    pub fn scratch(&self) -> usize {
        if self.data.is_some() { 0 } else { self.parts().len() }
    }
    /// Element type, size and role of each part.
    fn parts(&self) -> Vec<(DType, Expr)> {
        if self.repeats > 1 {
            return vec![];
        }
        let count = self.axis.m.clone() * self.taps.clone();
        let mut parts = vec![(DType::I32, count.clone())];
        if !self.axis.nearest() {
            parts.push((self.axis.real, count));
        }
        if self.axis.crops() {
            parts.push((DType::I8, self.axis.m.clone()));
        }
        parts
    }
    /// Declares the table in a kernel.
    pub fn declare(&self, k: &mut Kernel) -> Result<Table> {
        let mut bufs = vec![];
        let mut data = self.data.iter().flatten().flatten();
        for (dtype, count) in self.parts() {
            bufs.push(match data.next() {
                Some(bytes) => k.source(Source::Packed(bytes.clone(), dtype))?,
                None => k.scratch(&count, access::memory(dtype)),
            });
        }
        let weight = (!self.axis.nearest()).then(|| bufs[1]);
        let outside = if self.axis.crops() { bufs.last().copied() } else { None };
        let (m, elem) = (self.axis.m.clone(), access::memory(self.axis.real));
        let (axis, taps) = (self.axis.axis, self.taps.clone());
        Ok(Table {
            axis,
            taps,
            m,
            index: bufs.first().copied(),
            weight,
            outside,
            elem,
            repeats: self.repeats,
        })
    }
    /// The kernel that computes the table into scratch buffers from `first` on, where one is needed.
    pub fn kernel(&self, first: usize) -> Option<KernelCall> {
        if self.data.is_some() || self.repeats > 1 {
            return None;
        }
        let mut b = KernelBuilder::new(
            format!("taps_{:?}_{:?}", self.axis.op.mode, self.axis.op.coordinate).to_lowercase(),
        );
        let mut p = Params::default();
        let mut bufs = vec![];
        for (i, (dtype, count)) in self.parts().into_iter().enumerate() {
            let ty = TensorType::new(dtype, vec![count]);
            bufs.push(p.buf(&mut b, Arg::Scratch(first + i), Access::ReadWrite, &ty));
        }
        self.axis.compute(&mut b, &self.taps, &bufs);
        Some(KernelCall { kernel: b.finish(), args: p.into_parts().0 })
    }
}

impl Axis<'_> {
    fn nearest(&self) -> bool {
        self.op.mode == ResizeMode::Nearest
    }
    fn crops(&self) -> bool {
        self.op.coordinate == Coordinate::TfCropAndResize
    }
    /// Whether the filter can become wider.
    fn stretches(&self) -> bool {
        self.op.antialias && self.op.scales[self.axis].is_none_or(|s| s < 1.0)
    }
    /// Reach of the filter before stretching.
    fn reach(&self) -> i64 {
        if self.op.mode == ResizeMode::Cubic { 2 } else { 1 }
    }
    /// How often each operand element is repeated, where the axis does nothing else; else 1.
    fn repeats(&self) -> i64 {
        let times = match (self.op.scales[self.axis], self.n.as_const(), self.m.as_const()) {
            (Some(s), ..) if s.fract() == 0.0 && (1.0..=256.0).contains(&s) => s as i64,
            (None, Some(n), Some(m)) if n > 0 && m % n == 0 => m / n,
            _ => return 1,
        };
        let fits = (self.m.clone() - self.n.clone() * times.into()).is(0);
        if !fits || !self.nearest() || self.crops() {
            return 1;
        }
        // These do the same everywhere along the axis, whatever its dim.
        let even = matches!(self.op.coordinate, Coordinate::Asymmetric | Coordinate::HalfPixel);
        let Some(n) = self.n.as_const().or(even.then_some(8)) else { return 1 };
        let t = self.op.taps(self.axis, n.max(0) as usize, (n * times).max(0) as usize);
        let plain =
            |(o, r): (usize, &Vec<(usize, f64)>)| matches!(r[..], [(i, _)] if i == o / times as usize);
        if t.rows.iter().enumerate().all(plain) { times } else { 1 }
    }
    fn data(&self, t: &Taps) -> (usize, [Option<Bytes>; 3]) {
        let taps = t.rows.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let tap = |j: usize, row: &Vec<(usize, f64)>| {
            row.get(j).copied().unwrap_or((row.first().map_or(0, |t| t.0), 0.0))
        };
        let all = || (0..taps).flat_map(|j| t.rows.iter().map(move |r| tap(j, r)));
        let index: Vec<u8> = all().flat_map(|(i, _)| (i as i32).to_le_bytes()).collect();
        let weight: Vec<u8> = match self.real {
            DType::F64 => all().flat_map(|(_, w)| w.to_le_bytes()).collect(),
            _ => all().flat_map(|(_, w)| (w as f32).to_le_bytes()).collect(),
        };
        let outside: Vec<u8> = t.outside.iter().map(|&o| u8::from(o)).collect();
        let weight = (!self.nearest()).then(|| weight.into());
        (taps, [Some(index.into()), weight, self.crops().then(|| outside.into())])
    }
    fn tap_count(&self) -> Expr {
        let r = self.reach();
        if self.nearest() {
            return 1.into();
        }
        if !self.stretches() {
            return (2 * r).into();
        }
        // From floor(c - r / scale) to ceil(c + r / scale).
        let reach = match self.op.scales[self.axis] {
            Some(s) => Expr::from((r as f64 / f64::from(s)).ceil() as i64),
            None => (self.n.clone() * r.into()).ceil_div(&self.m.max_of(&1.into())).max_of(&r.into()),
        };
        reach * 2.into() + 3.into()
    }
    /// Computes the parts of the table.
    fn compute(&self, b: &mut KernelBuilder, taps: &Expr, bufs: &[Buf]) {
        b.parallel(&self.m, |b, o| {
            let (n, m) = (b.dim(&self.n), b.dim(&self.m));
            let elem = coordinate::elem(self.op);
            let [nf, mf, of] = [n, m, o].map(|r| b.cvt(CvtOp::SToF, elem, r));
            let scale = coordinate::scale(b, self.op, self.axis, nf, mf);
            let c = coordinate::coordinate(b, self.op, self.axis, of, [nf, mf, scale]);
            let [zero, one] = [0.0, 1.0].map(|v| access::constant(b, elem, 1, v));
            if let (true, Some(&flags)) = (self.crops(), bufs.last()) {
                let last = b.sub(nf, one);
                let (low, high) = (b.cmp(CmpOp::Lt, c, zero), b.cmp(CmpOp::Gt, c, last));
                let out = b.bin(BinOp::Or, low, high);
                let out = b.cvt(CvtOp::ZExt, Elem::I8, out);
                b.store(flags, Idx::reg(o).addr(), out, None);
            }
            let place = |b: &mut KernelBuilder, i: Reg, at: &Idx| {
                let (zero, step) = (b.i64(0), b.i64(1));
                let last = b.sub(n, step);
                let i = b.bin(BinOp::MinS, i, last);
                let i = b.bin(BinOp::MaxS, i, zero);
                let i = b.cvt(CvtOp::Narrow, Elem::I32, i);
                b.store(bufs[0], at.addr(), i, None);
            };
            if self.nearest() {
                let i = coordinate::nearest(b, self.op, c);
                return place(b, i, &Idx::reg(o));
            }
            let stretch = if self.stretches() { b.bin(BinOp::Min, scale, one) } else { one };
            let reach = num(b, self.reach() as f64);
            let reach = if self.stretches() { b.bin(BinOp::Div, reach, stretch) } else { b.sub(reach, one) };
            let first = b.sub(c, reach);
            let first = b.un(UnOp::Floor, first);
            let first = b.cvt(CvtOp::FToS, Elem::I64, first);
            let close = b.un(UnOp::Nearest, c);
            let close = b.cvt(CvtOp::FToS, Elem::I64, close);
            let sum = b.reg(Elem::F64, 1);
            b.copy_to(sum, zero);
            let elem = access::memory(self.real);
            let narrow = |b: &mut KernelBuilder, w: Reg| match elem {
                Elem::F64 => w,
                _ => b.cvt(CvtOp::FToF, Elem::F32, w),
            };
            let taps = b.dim(taps);
            b.for_(Bound::Const(0), Bound::Reg(taps), 1, LoopKind::Serial, |b, j| {
                let i = b.add(first, j);
                let x = float(b, i);
                let d = b.sub(x, c);
                let d = b.mul(d, stretch);
                let d = b.un(UnOp::Abs, d);
                let mut w = self.filter(b, d);
                if self.op.exclude_outside {
                    let out = b.cmp(CmpOp::GeU, i, n);
                    w = b.select(out, zero, w);
                }
                b.set(sum, Inst::Bin(BinOp::Add, sum, w));
                // What does not count must not be read: it may not be a number.
                let counts = b.cmp(CmpOp::Ne, w, zero);
                let i = b.select(counts, i, close);
                let row = b.mul(j, m);
                let at = Idx::reg(row).plus(&Idx::reg(o));
                place(b, i, &at);
                let w = narrow(b, w);
                b.store(bufs[1], at.addr(), w, None);
            });
            if !self.stretches() && !self.op.exclude_outside {
                return;
            }
            let norm = narrow(b, sum);
            b.for_(Bound::Const(0), Bound::Reg(taps), 1, LoopKind::Serial, |b, j| {
                let row = b.mul(j, m);
                let at = Idx::reg(row).plus(&Idx::reg(o)).addr();
                let w = b.load(elem, 1, bufs[1], at.clone(), None);
                let w = b.bin(BinOp::Div, w, norm);
                b.store(bufs[1], at, w, None);
            });
        });
    }
    /// Weight at a distance.
    fn filter(&self, b: &mut KernelBuilder, d: Reg) -> Reg {
        let (zero, one, two) = (num(b, 0.0), num(b, 1.0), num(b, 2.0));
        if self.op.mode != ResizeMode::Cubic {
            let w = b.sub(one, d);
            return b.bin(BinOp::Max, w, zero);
        }
        let a = f64::from(self.op.cubic_a);
        let (near, far) = (cubic(b, d, a, true), cubic(b, d, a, false));
        let (close, inside) = (b.cmp(CmpOp::Le, d, one), b.cmp(CmpOp::Lt, d, two));
        let w = b.select(inside, far, zero);
        b.select(close, near, w)
    }
}

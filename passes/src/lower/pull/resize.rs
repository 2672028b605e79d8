//! Resampling: a weighted sum of neighbours whose places are computed per element, in f64 like the evaluator.

use super::{Puller, access, not_vector};
use crate::lower::index::{Idx, dim, int};
use sinter_ir::op::Resize;
use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};
use sinter_ir::{DType, Result, ValueId};

/// Neighbours along one axis: index and weight (none: 1).
type Taps = Vec<(Idx, Option<Reg>)>;

fn num(b: &mut KernelBuilder, v: f64) -> Reg {
    access::constant(b, Elem::F64, 1, v)
}

fn float(b: &mut KernelBuilder, r: Reg) -> Reg {
    b.cvt(CvtOp::SToF, Elem::F64, r)
}

impl Puller<'_> {
    pub(super) fn resize(
        &mut self,
        b: &mut KernelBuilder,
        op: &Resize,
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dtype = self.ty(x).dtype;
        let own = self.dims(x);
        let mut taps: Vec<Taps> = Vec::new();
        let mut outside: Option<Reg> = None;
        for (axis, i) in idx.iter().enumerate() {
            let unit = op.scales[axis].is_none_or(|s| s == 1.0);
            if unit && own[axis] == op.dims[axis] && op.coordinate != Coordinate::TfCropAndResize {
                taps.push(vec![(i.clone(), None)]);
                continue;
            }
            if i.step != 0 {
                return Err(not_vector());
            }
            let (n, m) = (dim(b, &own[axis]), dim(b, &op.dims[axis]));
            let (nf, mf) = (float(b, n), float(b, m));
            let o = i.materialise(b);
            let of = float(b, o);
            let c = coordinate(b, op, axis, of, nf, mf);
            if op.coordinate == Coordinate::TfCropAndResize {
                let (zero, one) = (num(b, 0.0), num(b, 1.0));
                let last = b.sub(nf, one);
                let (low, high) = (b.cmp(CmpOp::Lt, c, zero), b.cmp(CmpOp::Gt, c, last));
                let out = b.bin(BinOp::Or, low, high);
                outside = Some(outside.map_or(out, |a| b.bin(BinOp::Or, a, out)));
            }
            taps.push(axis_taps(b, op, c, n));
        }
        let nearest = op.mode == ResizeMode::Nearest || taps.iter().all(|t| t.len() == 1);
        let value = if nearest {
            let at: Vec<Idx> = taps.iter().map(|t| t[0].0.clone()).collect();
            self.at(b, x, &at, lanes)?
        } else {
            if dtype == DType::F64 && lanes > 1 {
                return Err(not_vector());
            }
            let elem = if dtype == DType::F64 { Elem::F64 } else { Elem::F32 };
            let sum = self.weighted(b, x, &taps, &mut vec![], None, elem, lanes)?;
            let wide = if elem == Elem::F64 { DType::F64 } else { DType::F32 };
            match dtype.int_range() {
                // As the evaluator: truncation after clamping.
                Some(_) => self.convert(b, wide, dtype, sum, true)?,
                None => access::round(b, dtype, sum),
            }
        };
        let Some(outside) = outside else { return Ok(value) };
        let elem = b.ty(value).elem;
        let fill = access::constant(b, elem, lanes, f64::from(op.extrapolation));
        Ok(b.select(outside, fill, value))
    }
    /// Sum over all combinations of taps; `weight` is the product so far.
    #[allow(clippy::too_many_arguments)]
    fn weighted(
        &mut self,
        b: &mut KernelBuilder,
        x: ValueId,
        taps: &[Taps],
        at: &mut Vec<Idx>,
        weight: Option<Reg>,
        elem: Elem,
        lanes: u16,
    ) -> Result<Reg> {
        let Some((first, rest)) = taps.split_first() else {
            let dtype = self.ty(x).dtype;
            let wide = if elem == Elem::F64 { DType::F64 } else { DType::F32 };
            let v = self.at(b, x, at, lanes)?;
            let v = self.convert(b, dtype, wide, v, false)?;
            let Some(w) = weight else { return Ok(v) };
            let w = if elem == Elem::F64 { w } else { b.cvt(CvtOp::FToF, elem, w) };
            let w = b.splat(w, lanes);
            return Ok(b.mul(v, w));
        };
        let mut sum: Option<Reg> = None;
        for (i, w) in first {
            at.push(i.clone());
            let product = match (weight, w) {
                (Some(a), Some(w)) => Some(b.mul(a, *w)),
                (a, w) => a.or(*w),
            };
            let v = self.weighted(b, x, rest, at, product, elem, lanes);
            at.pop();
            let v = v?;
            sum = Some(sum.map_or(v, |s| b.add(s, v)));
        }
        sum.ok_or_else(|| sinter_ir::Diag::bug("an axis without neighbours"))
    }
}

/// Operand coordinate of a result coordinate.
fn coordinate(b: &mut KernelBuilder, op: &Resize, axis: usize, o: Reg, n: Reg, m: Reg) -> Reg {
    let scale = match op.scales[axis] {
        Some(s) => num(b, f64::from(s)),
        None => b.bin(BinOp::Div, m, n),
    };
    let (half, one, zero) = (num(b, 0.5), num(b, 1.0), num(b, 0.0));
    let centred = |b: &mut KernelBuilder| {
        let t = b.add(o, half);
        let t = b.bin(BinOp::Div, t, scale);
        b.sub(t, half)
    };
    let several = b.cmp(CmpOp::Gt, m, one);
    match op.coordinate {
        Coordinate::HalfPixel => centred(b),
        Coordinate::PytorchHalfPixel => {
            let c = centred(b);
            b.select(several, c, zero)
        }
        Coordinate::HalfPixelSymmetric => {
            let full = b.mul(scale, n);
            let adjust = b.bin(BinOp::Div, m, full);
            let rest = b.sub(one, adjust);
            let middle = b.mul(n, half);
            let shift = b.mul(middle, rest);
            let c = centred(b);
            b.add(shift, c)
        }
        Coordinate::AlignCorners => {
            let (n1, m1) = (b.sub(n, one), b.sub(m, one));
            let t = b.mul(o, n1);
            let c = b.bin(BinOp::Div, t, m1);
            b.select(several, c, zero)
        }
        Coordinate::Asymmetric => b.bin(BinOp::Div, o, scale),
        Coordinate::TfHalfPixelForNn => {
            let t = b.add(o, half);
            b.bin(BinOp::Div, t, scale)
        }
        Coordinate::TfCropAndResize => {
            let rank = op.roi.len() / 2;
            let roi = |i: usize, d: f64| op.roi.get(i).map_or(d, |&v| f64::from(v));
            let (lo, hi) = (roi(axis, 0.0), roi(axis + rank, 1.0));
            let (n1, m1) = (b.sub(n, one), b.sub(m, one));
            let (lo_r, span, mid) = (num(b, lo), num(b, hi - lo), num(b, 0.5 * (lo + hi)));
            let start = b.mul(lo_r, n1);
            let t = b.mul(o, span);
            let t = b.mul(t, n1);
            let t = b.bin(BinOp::Div, t, m1);
            let c = b.add(start, t);
            let single = b.mul(mid, n1);
            b.select(several, c, single)
        }
    }
}

/// Index clamped into the axis.
fn clamped(b: &mut KernelBuilder, c: Reg, n: Reg) -> Idx {
    let i = b.cvt(CvtOp::FToS, Elem::I64, c);
    let (zero, one) = (int(b, 0), int(b, 1));
    let last = b.sub(n, one);
    let i = b.bin(BinOp::MinS, i, last);
    Idx::reg(b.bin(BinOp::MaxS, i, zero))
}

fn axis_taps(b: &mut KernelBuilder, op: &Resize, c: Reg, n: Reg) -> Taps {
    let half = num(b, 0.5);
    if op.mode == ResizeMode::Nearest {
        let r = match op.nearest {
            NearestMode::RoundPreferFloor => {
                let t = b.sub(c, half);
                b.un(UnOp::Ceil, t)
            }
            NearestMode::RoundPreferCeil => {
                let t = b.add(c, half);
                b.un(UnOp::Floor, t)
            }
            NearestMode::Floor => b.un(UnOp::Floor, c),
            NearestMode::Ceil => b.un(UnOp::Ceil, c),
        };
        return vec![(clamped(b, r, n), None)];
    }
    let floor = b.un(UnOp::Floor, c);
    let f = b.sub(c, floor);
    let one = num(b, 1.0);
    let offsets: &[i64] = if op.mode == ResizeMode::Cubic { &[-1, 0, 1, 2] } else { &[0, 1] };
    let mut taps: Vec<(Reg, Reg)> = Vec::new();
    for &k in offsets {
        let kf = num(b, k as f64);
        let place = b.add(floor, kf);
        let w = match (op.mode, k) {
            (ResizeMode::Cubic, _) => {
                let d = b.sub(f, kf);
                let d = b.un(UnOp::Abs, d);
                cubic(b, d, f64::from(op.cubic_a), (0..=1).contains(&k))
            }
            (_, 0) => b.sub(one, f),
            _ => f,
        };
        taps.push((place, w));
    }
    if op.exclude_outside {
        let (zero, nf) = (num(b, 0.0), float(b, n));
        let last = b.sub(nf, one);
        let mut sum: Option<Reg> = None;
        for t in &mut taps {
            let (low, high) = (b.cmp(CmpOp::Lt, t.0, zero), b.cmp(CmpOp::Gt, t.0, last));
            let out = b.bin(BinOp::Or, low, high);
            t.1 = b.select(out, zero, t.1);
            sum = Some(sum.map_or(t.1, |s| b.add(s, t.1)));
        }
        if let Some(sum) = sum {
            taps.iter_mut().for_each(|t| t.1 = b.bin(BinOp::Div, t.1, sum));
        }
    }
    taps.into_iter().map(|(p, w)| (clamped(b, p, n), Some(w))).collect()
}

/// Keys' kernel at distance `d`, within 1 or between 1 and 2.
fn cubic(b: &mut KernelBuilder, d: Reg, a: f64, near: bool) -> Reg {
    let c: [f64; 4] = if near { [a + 2.0, -(a + 3.0), 0.0, 1.0] } else { [a, -5.0 * a, 8.0 * a, -4.0 * a] };
    let mut y = num(b, c[0]);
    for k in &c[1..] {
        let k = num(b, *k);
        let t = b.mul(y, d);
        y = b.add(t, k);
    }
    y
}

/// Whether a resize can be computed element by element: a fixed number of neighbours.
pub fn can_pull(op: &Resize) -> bool {
    !op.antialias
}

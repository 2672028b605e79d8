//! Resampling: a weighted sum of neighbours whose places are computed per element, in f64 like the evaluator.

mod coordinate;
mod filter;

use super::{Puller, access, not_vector};
use crate::lower::index::{Idx, dim, int};
use filter::Filter;
use sinter_ir::op::Resize;
use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Inst, Reg, UnOp};
use sinter_ir::{DType, Result, ValueId};

/// Neighbours along one axis.
enum Taps {
    /// Index and weight (none: 1) of each.
    Few(Vec<(Idx, Option<Reg>)>),
    /// As many as the scale makes of them.
    Filter(Filter),
}

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
                taps.push(Taps::Few(vec![(i.clone(), None)]));
                continue;
            }
            if i.step != 0 {
                return Err(not_vector());
            }
            let (n, m) = (dim(b, &own[axis]), dim(b, &op.dims[axis]));
            if self.cx.symbols.range(&own[axis]).0 < 1 {
                let zero = int(b, 0);
                let nothing = b.cmp(CmpOp::Eq, n, zero);
                b.fail_if(nothing, code::INDEX);
            }
            let (nf, mf) = (float(b, n), float(b, m));
            let o = i.materialise(b);
            let of = float(b, o);
            let scale = coordinate::scale(b, op, axis, nf, mf);
            let c = coordinate::coordinate(b, op, axis, of, [nf, mf, scale]);
            if op.coordinate == Coordinate::TfCropAndResize {
                let (zero, one) = (num(b, 0.0), num(b, 1.0));
                let last = b.sub(nf, one);
                let (low, high) = (b.cmp(CmpOp::Lt, c, zero), b.cmp(CmpOp::Gt, c, last));
                let out = b.bin(BinOp::Or, low, high);
                outside = Some(outside.map_or(out, |a| b.bin(BinOp::Or, a, out)));
            }
            // Only shrinking stretches the filter.
            let stretches = op.antialias && op.scales[axis].is_none_or(|s| s < 1.0);
            taps.push(match stretches && op.mode != ResizeMode::Nearest {
                true => Taps::Filter(Filter::new(b, op, c, n, scale)),
                false => Taps::Few(axis_taps(b, op, c, n)),
            });
        }
        let single = |t: &Taps| match t {
            Taps::Few(t) => t.first().filter(|_| t.len() == 1).map(|t| t.0.clone()),
            Taps::Filter(_) => None,
        };
        let value = if let Some(at) = taps.iter().map(single).collect::<Option<Vec<Idx>>>() {
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
                None => access::result(b, dtype, sum),
            }
        };
        let Some(outside) = outside else { return Ok(value) };
        let elem = b.ty(value).elem;
        let (lo, hi) = dtype.int_range().map_or((f64::MIN, f64::MAX), |(lo, hi)| (lo as f64, hi as f64));
        let fill = access::constant(b, elem, lanes, f64::from(op.extrapolation).clamp(lo, hi));
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
        let mut place = |me: &mut Self, b: &mut KernelBuilder, i: Idx, w: Option<Reg>| {
            let product = match (weight, w) {
                (Some(a), Some(w)) => Some(b.mul(a, w)),
                (a, w) => a.or(w),
            };
            at.push(i);
            let v = me.weighted(b, x, rest, at, product, elem, lanes);
            at.pop();
            v
        };
        match first {
            Taps::Few(taps) => {
                let mut sum: Option<Reg> = None;
                for (i, w) in taps {
                    let v = place(self, b, i.clone(), *w)?;
                    sum = Some(sum.map_or(v, |s| b.add(s, v)));
                }
                sum.ok_or_else(|| sinter_ir::Diag::bug("an axis without neighbours"))
            }
            Taps::Filter(filter) => {
                let zero = access::constant(b, elem, lanes, 0.0);
                let sum = b.reg(elem, lanes);
                b.copy_to(sum, zero);
                let before = self.snapshot();
                let mut done = Ok(());
                filter.for_each(b, |b, i, w| {
                    done = place(self, b, i, Some(w)).map(|v| b.set(sum, Inst::Bin(BinOp::Add, sum, v)));
                });
                self.restore(&before);
                done.map(|()| sum)
            }
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

fn axis_taps(b: &mut KernelBuilder, op: &Resize, c: Reg, n: Reg) -> Vec<(Idx, Option<Reg>)> {
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

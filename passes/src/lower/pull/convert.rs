//! Conversions between element types, quantisation included.

use super::{Puller, access, not_vector};
use crate::lower::index::Idx;
use crate::lower::mini;
use sinter_ir::op::{Cast, Dequantize, Quantize};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};
use sinter_ir::{DType, Result, ValueId};

impl Puller<'_> {
    pub(super) fn cast(
        &mut self,
        b: &mut KernelBuilder,
        op: &Cast,
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let from = self.ty(x).dtype;
        let v = self.at(b, x, idx, lanes)?;
        // Integers have no infinity to keep: they always clamp.
        self.convert(b, from, op.to, v, op.saturate || !from.is_float())
    }
    /// A compute register of one type as another's.
    pub(in crate::lower) fn convert(
        &mut self,
        b: &mut KernelBuilder,
        from: DType,
        to: DType,
        v: Reg,
        saturate: bool,
    ) -> Result<Reg> {
        let (fe, te) = (access::compute(from)?, access::compute(to)?);
        if from == to {
            return Ok(v);
        }
        let lanes = b.ty(v).lanes;
        if te == Elem::B1 {
            if fe == Elem::B1 {
                return Ok(v);
            }
            let zero = access::constant(b, fe, lanes, 0.0);
            return Ok(b.cmp(CmpOp::Ne, v, zero));
        }
        let unsigned = from.is_unsigned_int();
        let r = match (fe, te) {
            (Elem::B1, t) if t.is_float() => {
                let i = b.cvt(CvtOp::ZExt, Elem::I32, v);
                b.cvt(CvtOp::SToF, t, i)
            }
            (Elem::B1, t) => b.cvt(CvtOp::ZExt, t, v),
            (f, t) if f == t => v,
            (f, t) if f.is_float() && t.is_float() => b.cvt(CvtOp::FToF, t, v),
            (f, t) if f.is_float() => return Ok(self.float_to_int(b, to, v, saturate, t)),
            (_, t) if t.is_float() => {
                let op = if matches!(from, DType::U32 | DType::U64) { CvtOp::UToF } else { CvtOp::SToF };
                // Narrow floats are reached through f32, exactly as far as f32 goes.
                b.cvt(op, t, v)
            }
            (Elem::I64, t) => b.cvt(CvtOp::Narrow, t, v),
            (_, t) => b.cvt(if unsigned { CvtOp::ZExt } else { CvtOp::SExt }, t, v),
        };
        Ok(match to {
            d if d.is_float() && d.bits() <= 8 => {
                let code = mini::encode(b, d, r, saturate);
                mini::decode(b, d, code)
            }
            d => access::round(b, d, r),
        })
    }
    /// Truncation. Out of range: clamps when saturating, else wraps as far as the register's integers go.
    fn float_to_int(&mut self, b: &mut KernelBuilder, to: DType, v: Reg, saturate: bool, elem: Elem) -> Reg {
        let (fe, lanes) = (b.ty(v).elem, b.ty(v).lanes);
        let mut v = v;
        if let (true, Some((lo, hi))) = (saturate, to.int_range().filter(|_| to.bits() < 32)) {
            let (lo, hi) =
                (access::constant(b, fe, lanes, lo as f64), access::constant(b, fe, lanes, hi as f64));
            let up = b.bin(BinOp::Max, v, lo);
            v = b.bin(BinOp::Min, up, hi);
            return b.cvt(CvtOp::FToS, elem, v);
        }
        // Types of the register's width. Only u32 and u64 use all of it for non-negative values.
        if !matches!(to, DType::U32 | DType::U64) {
            let r = b.cvt(CvtOp::FToS, elem, v);
            return access::wrap(b, to, r);
        }
        let up = b.cvt(CvtOp::FToU, elem, v);
        if saturate {
            return up;
        }
        let (zero, down) = (access::constant(b, fe, lanes, 0.0), b.cvt(CvtOp::FToS, elem, v));
        let low = b.cmp(CmpOp::Lt, v, zero);
        b.select(low, down, up)
    }
    pub(super) fn bitcast(
        &mut self,
        b: &mut KernelBuilder,
        to: DType,
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let from = self.ty(x).dtype;
        let v = self.at(b, x, idx, lanes)?;
        if from == to {
            return Ok(v);
        }
        let raw = access::narrow(b, from, v);
        let want = access::memory(to);
        let raw = if b.ty(raw).elem == want { raw } else { b.cvt(CvtOp::Bits, want, raw) };
        Ok(if to.bits() < 8 {
            let wide = b.cvt(CvtOp::ZExt, Elem::I32, raw);
            if to.is_float() { mini::decode(b, to, wide) } else { access::wrap(b, to, wide) }
        } else {
            access::widen(b, to, raw)
        })
    }

    /// Index of the scale of an element.
    fn scale_index(
        &mut self,
        b: &mut KernelBuilder,
        scale: ValueId,
        axis: usize,
        block: usize,
        idx: &[Idx],
    ) -> Result<Vec<Idx>> {
        let dims = self.dims(scale);
        if self.flat || self.ty(scale).numel().is(1) {
            return Ok(if self.flat { idx.to_vec() } else { vec![Idx::default(); dims.len()] });
        }
        if dims.len() == 1 && block == 0 {
            return Ok(vec![idx[axis].clone()]);
        }
        let mut own = idx.to_vec();
        let i = &idx[axis];
        own[axis] = match i.as_const() {
            Some(c) => Idx::at(c.div_euclid(block.max(1) as i64)),
            None if i.step != 0 => return Err(not_vector()),
            None => {
                let (x, d) = (i.materialise(b), crate::lower::index::int(b, block.max(1) as i64));
                Idx::reg(b.bin(BinOp::DivU, x, d))
            }
        };
        Ok(own)
    }
    /// The number that a constant of one element is.
    fn number_of(&self, v: ValueId) -> Option<f64> {
        let constant = self.body.const_of(v).filter(|t| t.len() == 1);
        constant.and_then(|t| t.to_f64().ok())?.first().copied()
    }
    pub(super) fn quantize(
        &mut self,
        b: &mut KernelBuilder,
        op: &Quantize,
        x: &[ValueId],
        v: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let to = self.ty(v).dtype;
        let at = self.scale_index(b, x[1], op.axis, op.block, idx)?;
        let value = self.at(b, x[0], idx, lanes)?;
        let value = self.convert(b, self.ty(x[0]).dtype, DType::F32, value, false)?;
        let q = if self.number_of(x[1]) == Some(1.0) {
            value
        } else {
            let scale = self.at(b, x[1], &at, lanes)?;
            let scale = self.convert(b, self.ty(x[1]).dtype, DType::F32, scale, false)?;
            b.bin(BinOp::Div, value, scale)
        };
        let Some((lo, hi)) = to.int_range() else {
            let code = mini::encode(b, to, q, true);
            return Ok(mini::decode(b, to, code));
        };
        let hi = op.top.map_or(hi, i128::from);
        // The addition of a known zero point and the last clamp are left to integers: kernels that differ in zero points
        // are alike then but for one number.
        if let Some(zero) = self.number_of(x[2]).filter(|_| to.bits() <= 16) {
            let elem = access::compute(to)?;
            let q = match self.number_of(x[1]).zip(self.reach(x[0])) {
                Some((scale, reach)) if reach < SHIFTED * scale.abs() => nearest(b, q, zero as i64),
                _ => {
                    let q = clamp(b, q, (-BEYOND, BEYOND));
                    let q = b.un(UnOp::Nearest, q);
                    let q = b.cvt(CvtOp::FToS, elem, q);
                    let more = access::whole(b, elem, lanes, zero as i64);
                    if zero == 0.0 { q } else { b.add(q, more) }
                }
            };
            let lo = access::whole(b, elem, lanes, lo as i64);
            let hi = access::whole(b, elem, lanes, hi as i64);
            let q = b.bin(BinOp::MaxS, q, lo);
            return Ok(b.bin(BinOp::MinS, q, hi));
        }
        let q = b.un(UnOp::Nearest, q);
        let zero = self.at(b, x[2], &at, lanes)?;
        let zero = self.convert(b, to, DType::F32, zero, false)?;
        // Zero points are small: the sum is exact in f32 wherever it is not clamped.
        let q = b.add(q, zero);
        let q = clamp(b, q, (lo as f64, hi as f64));
        Ok(b.cvt(CvtOp::FToS, access::compute(to)?, q))
    }
    pub(super) fn dequantize(
        &mut self,
        b: &mut KernelBuilder,
        op: &Dequantize,
        x: &[ValueId],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let from = self.ty(x[0]).dtype;
        let at = self.scale_index(b, x[1], op.axis, op.block, idx)?;
        let value = self.at(b, x[0], idx, lanes)?;
        let scale = self.at(b, x[1], &at, lanes)?;
        let zero = self.at(b, x[2], &at, lanes)?;
        let t = if op.to == DType::F64 { DType::F64 } else { DType::F32 };
        let d = if from.is_int() && from.bits() <= 16 {
            let d = b.sub(value, zero);
            self.convert(b, DType::I32, t, d, false)?
        } else {
            let (v, z) = (self.convert(b, from, t, value, false)?, self.convert(b, from, t, zero, false)?);
            b.sub(v, z)
        };
        let scale = self.convert(b, self.ty(x[1]).dtype, t, scale, false)?;
        let y = b.mul(d, scale);
        self.convert(b, t, op.to, y, true)
    }
}

/// Numbers below are brought to integers by [`nearest`]. It leaves room for rounding.
const SHIFTED: f64 = 4_000_000.0;

/// A float below 2^22, rounded to nearest even, plus a zero point: the sum with 1.5 * 2^23 has whole numbers at its low
/// end.
fn nearest(b: &mut KernelBuilder, x: Reg, zero: i64) -> Reg {
    let lanes = b.ty(x).lanes;
    let shift = 12_582_912f32;
    let up = access::constant(b, Elem::F32, lanes, shift.into());
    let sum = b.add(x, up);
    let bits = b.cvt(CvtOp::Bits, Elem::I32, sum);
    let by = access::whole(b, Elem::I32, lanes, zero - i64::from(shift.to_bits()));
    b.add(bits, by)
}

/// Beyond what any zero point brings back into the range of 16 bits.
const BEYOND: f64 = 131072.0;

/// A float between two numbers; NaN is the lower one.
fn clamp(b: &mut KernelBuilder, x: Reg, (lo, hi): (f64, f64)) -> Reg {
    let (elem, lanes) = (b.ty(x).elem, b.ty(x).lanes);
    let (lo, hi) = (access::constant(b, elem, lanes, lo), access::constant(b, elem, lanes, hi));
    let above = b.cmp(CmpOp::Gt, x, lo);
    let x = b.select(above, x, lo);
    b.bin(BinOp::Min, x, hi)
}

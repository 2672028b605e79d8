//! Natural logarithm.

use super::{Math, div, int, num, poly};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg};

/// Leading 33 bits of ln 2: products with exponents are exact.
pub const LN2_HI: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// The rest of ln 2.
pub const LN2_LO: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// `x = 2^e m` with m in [sqrt 1/2, sqrt 2); both in the type of x.
pub struct Split {
    /// Whole exponent.
    pub e: Reg,
    /// Mantissa.
    pub m: Reg,
}

/// Takes positive finite numbers apart, subnormal ones included.
pub fn split(b: &mut Math, x: Reg) -> Split {
    let elem = b.ty(x).elem;
    let double = elem == Elem::F64;
    let (ie, mant) = if double { (Elem::I64, 52) } else { (Elem::I32, 23) };
    let tiny = num(b, x, if double { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) });
    let lift = num(b, x, 2f64.powi(mant + 1));
    let (zero, none) = (num(b, x, 0.0), num(b, x, -f64::from(mant + 1)));
    // Subnormals are scaled into the normal range first.
    let sub = b.cmp(CmpOp::Lt, x, tiny);
    let lifted = b.mul(x, lift);
    let v = b.select(sub, lifted, x);
    let extra = b.select(sub, none, zero);
    let bits = b.cvt(CvtOp::Bits, ie, v);
    // Counted from sqrt 1/2, the exponent field is that of the wanted power of two.
    let (sqrt_half, field) =
        if double { (0x3fe6_a09e_667f_3bcd_i64, -1i64 << 52) } else { (0x3f35_04f3, -1i64 << 23) };
    let (off, field) = (int(b, x, ie, sqrt_half), int(b, x, ie, field));
    let t = b.sub(bits, off);
    let e = b.bin(BinOp::And, t, field);
    let m = b.sub(bits, e);
    let m = b.cvt(CvtOp::Bits, elem, m);
    // The field as a number is e * 2^mant, exact in the float type.
    let e = b.cvt(CvtOp::SToF, elem, e);
    let unit = num(b, x, 2f64.powi(-mant));
    Split { e: b.mul_add(e, unit, extra), m }
}

/// `ln x`.
pub fn log(b: &mut Math, x: Reg) -> Reg {
    let s = split(b, x);
    let one = num(b, x, 1.0);
    let f = b.sub(s.m, one);
    let y = if b.ty(x).elem == Elem::F64 { double(b, f, s.e) } else { single(b, f, s.e) };
    // ln 0 = -inf, ln of negatives and NaN = NaN, ln inf = inf.
    let (zero, inf, low, nan) =
        (num(b, x, 0.0), num(b, x, f64::INFINITY), num(b, x, f64::NEG_INFINITY), num(b, x, f64::NAN));
    let finite = b.cmp(CmpOp::Lt, x, inf);
    // NaN is not below infinity either and stays.
    let y = b.select(finite, y, x);
    let is_zero = b.cmp(CmpOp::Eq, x, zero);
    let y = b.select(is_zero, low, y);
    let minus = b.cmp(CmpOp::Lt, x, zero);
    b.select(minus, nan, y)
}

/// `ln(1 + f) + e ln2` by the polynomial of Cephes logf.
fn single(b: &mut Math, f: Reg, e: Reg) -> Reg {
    let z = b.mul(f, f);
    let p = poly(
        b,
        f,
        &[
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let fz = b.mul(f, z);
    let y = b.mul(p, fz);
    let (hi, lo, half) = (num(b, f, 0.693_359_375), num(b, f, -2.121_944_4e-4), num(b, f, -0.5));
    let y = b.mul_add(e, lo, y);
    let y = b.mul_add(z, half, y);
    let y = b.add(f, y);
    b.mul_add(e, hi, y)
}

/// `ln(1 + f) + e ln2` as `2 atanh(f / (f + 2))`, a series.
fn double(b: &mut Math, f: Reg, e: Reg) -> Reg {
    let two = num(b, f, 2.0);
    let d = b.add(f, two);
    let s = div(b, f, d);
    let z = b.mul(s, s);
    let p = tail(b, z);
    // 2 s = f - s f keeps the leading term exact.
    let sf = b.mul(s, f);
    let sp = b.mul(s, p);
    let tail = b.sub(sp, sf);
    let (hi, lo) = (num(b, f, LN2_HI), num(b, f, LN2_LO));
    let y = b.mul_add(e, lo, tail);
    let y = b.add(y, f);
    b.mul_add(e, hi, y)
}

/// `2 (atanh s / s - 1)` as a function of `z = s^2 <= 0.03`.
pub fn tail(b: &mut Math, z: Reg) -> Reg {
    let c: Vec<f64> = (1..=11).rev().map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let p = poly(b, z, &c);
    b.mul(p, z)
}

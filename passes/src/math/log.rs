//! Natural logarithm.

use super::{div, int, num, poly};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg};

/// `ln x`: `x = 2^e m` with m around 1, then `2 atanh((m - 1) / (m + 1))` as a series.
pub fn log(b: &mut KernelBuilder, x: Reg) -> Reg {
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
    // Exponent such that the mantissa lies in [sqrt 1/2, sqrt 2).
    let sqrt_half = if double { 0x3fe6_a09e_667f_3bcd_i64 } else { 0x3f35_04f3 };
    let (off, shift) = (int(b, x, ie, sqrt_half), int(b, x, ie, mant.into()));
    let t = b.sub(bits, off);
    let e = b.bin(BinOp::ShrS, t, shift);
    let up = b.bin(BinOp::Shl, e, shift);
    let m = b.sub(bits, up);
    let m = b.cvt(CvtOp::Bits, elem, m);
    let e = b.cvt(CvtOp::SToF, elem, e);
    let e = b.add(e, extra);
    let (one, two) = (num(b, x, 1.0), num(b, x, 2.0));
    let f = b.sub(m, one);
    let d = b.add(f, two);
    let s = div(b, f, d);
    let z = b.mul(s, s);
    let terms = if double { 11 } else { 5 };
    let c: Vec<f64> = (1..=terms).rev().map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let p = poly(b, z, &c);
    let p = b.mul(p, z);
    // 2 s = f - s f keeps the leading term exact.
    let sf = b.mul(s, f);
    let sp = b.mul(s, p);
    let tail = b.sub(sp, sf);
    let (hi, lo) = if double {
        (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10)
    } else {
        (0.693_359_375, -2.121_944_4e-4)
    };
    let (hi, lo) = (num(b, x, hi), num(b, x, lo));
    let y = b.mul_add(e, lo, tail);
    let y = b.add(y, f);
    let y = b.mul_add(e, hi, y);
    // ln 0 = -inf, ln of negatives and NaN = NaN, ln inf = inf.
    let (inf, low, nan) = (num(b, x, f64::INFINITY), num(b, x, f64::NEG_INFINITY), num(b, x, f64::NAN));
    let is_inf = b.cmp(CmpOp::Eq, x, inf);
    let y = b.select(is_inf, inf, y);
    let is_zero = b.cmp(CmpOp::Eq, x, zero);
    let y = b.select(is_zero, low, y);
    let ok = b.cmp(CmpOp::Ge, x, zero);
    b.select(ok, y, nan)
}

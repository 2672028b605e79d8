//! exp and sigmoid.

// Coefficients of fits: closeness to a constant of mathematics has no meaning here.
#![allow(clippy::approx_constant)]

use super::{Math, div, int, num, poly, scale};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};

/// Which ends of the range matter to a caller of the f32 exponential.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    /// All results, subnormal and infinite ones included.
    Full,
    /// Arguments are not positive; subnormal results included.
    NotPositive,
    /// Arguments are not positive and results below 2^-120 may be 0.
    Flushed,
}

/// `e^x`.
pub fn exp(b: &mut Math, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x, Ends::Full) }
}

/// `e^x` for `x <= 0` (or NaN) where results below 2^-120 may as well be 0.
pub fn exp_small(b: &mut Math, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x, Ends::Flushed) }
}

/// `x = n ln2 + r` and a polynomial on `|r| <= ln2 / 2`; `2^n` by the target, or from bits, in two factors where
/// results may be subnormal or overflow: only the last product rounds. NaN passes through all of it.
fn single(b: &mut Math, x: Reg, ends: Ends) -> Reg {
    let scale = b.have.scale;
    let flushed = ends == Ends::Flushed && !scale;
    // Beyond these results are 0 and infinite.
    let low = num(b, x, -104.0);
    let c = if flushed { x } else { b.bin(BinOp::Max, x, low) };
    let high = num(b, x, 89.0);
    let c = if ends == Ends::Full { b.bin(BinOp::Min, c, high) } else { c };
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits, plus the bias of one or two exponents.
    let bias = if flushed { 127.0 } else { 254.0 };
    let (log2e, magic) = (num(b, x, std::f64::consts::LOG2_E), num(b, x, 12_582_912.0 + bias));
    let t = b.mul_add(c, log2e, magic);
    let n = b.sub(t, magic);
    // ln2 in two parts, the first with trailing zeros so that its product with n is exact.
    let (hi, lo) = (num(b, x, -0.693_359_375), num(b, x, 2.121_944_4e-4));
    let r = b.mul_add(n, hi, c);
    let r = b.mul_add(n, lo, r);
    let y =
        poly(b, r, &[1.381_454_1e-3, 8.368_745e-3, 4.166_839e-2, 1.666_652_1e-1, 4.999_999_4e-1, 1.0, 1.0]);
    if scale {
        return b.bin(BinOp::Scale, y, n);
    }
    let t = b.cvt(CvtOp::Bits, Elem::I32, t);
    let up = int(b, x, Elem::I32, 23);
    if flushed {
        let s = b.bin(BinOp::Shl, t, up);
        let s = b.cvt(CvtOp::Bits, Elem::F32, s);
        let y = b.mul(y, s);
        let (limit, zero) = (num(b, x, -84.0), num(b, x, 0.0));
        let gone = b.cmp(CmpOp::Lt, x, limit);
        return b.select(gone, zero, y);
    }
    let one = int(b, x, Elem::I32, 1);
    let half = b.bin(BinOp::ShrU, t, one);
    let rest = b.sub(t, half);
    let (s1, s2) = (b.bin(BinOp::Shl, half, up), b.bin(BinOp::Shl, rest, up));
    let (s1, s2) = (b.cvt(CvtOp::Bits, Elem::F32, s1), b.cvt(CvtOp::Bits, Elem::F32, s2));
    let y = b.mul(y, s1);
    b.mul(y, s2)
}

/// `2^x` in f32 for `-60 <= x <= 0` (or NaN) to about 2e-7 of the result: for results that are added to larger numbers.
pub fn exp2_small(b: &mut Math, x: Reg) -> Reg {
    // Rounds, and leaves the biased exponent in the low bits.
    let magic = num(b, x, 12_582_912.0 + 127.0);
    let t = b.add(x, magic);
    let n = b.sub(t, magic);
    let r = b.sub(x, n);
    let y = poly(b, r, &[1.326_472_7e-3, 9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, 6.931_47e-1, 1.0]);
    if b.have.scale {
        return b.bin(BinOp::Scale, y, n);
    }
    let t = b.cvt(CvtOp::Bits, Elem::I32, t);
    let up = int(b, x, Elem::I32, 23);
    let s = b.bin(BinOp::Shl, t, up);
    let s = b.cvt(CvtOp::Bits, Elem::F32, s);
    b.mul(y, s)
}

/// As f32, with the Taylor series to degree 13.
fn double(b: &mut Math, x: Reg) -> Reg {
    let (lo, hi) = (num(b, x, -746.0), num(b, x, 710.0));
    let x = b.bin(BinOp::Max, x, lo);
    let x = b.bin(BinOp::Min, x, hi);
    let log2e = num(b, x, std::f64::consts::LOG2_E);
    let n = b.mul(x, log2e);
    let n = b.un(UnOp::Nearest, n);
    let (hi, lo) = (num(b, x, -super::log::LN2_HI), num(b, x, -super::log::LN2_LO));
    let r = b.mul_add(n, hi, x);
    let r = b.mul_add(n, lo, r);
    let mut c = vec![1.0];
    for k in 1..=13 {
        c.push(c[k - 1] / k as f64);
    }
    c.reverse();
    let p = poly(b, r, &c);
    if b.have.scale {
        return b.bin(BinOp::Scale, p, n);
    }
    let n = b.cvt(CvtOp::FToS, Elem::I64, n);
    scale(b, p, n)
}

/// `1 / (1 + e^-x)`, for negative x as `e^x / (1 + e^x)`: no digits are lost where the result is small.
pub fn sigmoid(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let a = b.un(UnOp::Neg, a);
    let e = if b.ty(x).elem == Elem::F64 { double(b, a) } else { single(b, a, Ends::NotPositive) };
    let (zero, one) = (num(b, x, 0.0), num(b, x, 1.0));
    let minus = b.cmp(CmpOp::Lt, x, zero);
    let n = b.select(minus, e, one);
    let d = b.add(e, one);
    div(b, n, d)
}

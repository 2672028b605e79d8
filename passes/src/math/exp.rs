//! exp and sigmoid.

use super::{div, int, num, poly, scale};
use sinter_ir::tile::build::KernelBuilder;
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
pub fn exp(b: &mut KernelBuilder, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x, Ends::Full) }
}

/// `e^x` for `x <= 0` (or NaN) where results below 2^-120 may as well be 0.
pub fn exp_small(b: &mut KernelBuilder, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x, Ends::Flushed) }
}

/// `x = n ln2 + r`, a polynomial of degree 5 on `|r| <= ln2 / 2` (Cephes expf), and `2^n` from bits. Out of range
/// `n` is nonsense, which the selections at the end replace; NaN passes through the polynomial.
fn single(b: &mut KernelBuilder, x: Reg, ends: Ends) -> Reg {
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    let (log2e, magic) = (num(b, x, std::f64::consts::LOG2_E), num(b, x, 12_582_912.0));
    let t = b.mul_add(x, log2e, magic);
    let n = b.sub(t, magic);
    // ln2 in two parts, the first with trailing zeros so that its product with n is exact.
    let (hi, lo) = (num(b, x, -0.693_359_375), num(b, x, 2.121_944_4e-4));
    let r = b.mul_add(n, hi, x);
    let r = b.mul_add(n, lo, r);
    let q = poly(
        b,
        r,
        &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1],
    );
    let (sq, one) = (b.mul(r, r), num(b, x, 1.0));
    let y = b.mul_add(q, sq, r);
    let y = b.add(y, one);
    // 2^(n-1) and 2, so that n = 128 does not overflow too early; or 2^(n+63) and 2^-63, so that subnormal
    // results are rounded once, by the last product.
    let n = b.cvt(CvtOp::Bits, Elem::I32, t);
    let (step, top) = (int(b, x, Elem::I32, 1 << 23), int(b, x, Elem::I32, 126 << 23));
    let (two, zero) = (num(b, x, 2.0), num(b, x, 0.0));
    let (lowest, base, last) = match ends {
        Ends::Flushed => (-84.0, top, two),
        _ => {
            let (bottom, tiny, limit) =
                (int(b, x, Elem::I32, 190 << 23), num(b, x, 2f64.powi(-63)), num(b, x, -86.0));
            let low = b.cmp(CmpOp::Lt, x, limit);
            (-104.0, b.select(low, bottom, top), b.select(low, tiny, two))
        }
    };
    let s = b.mul_add(n, step, base);
    let s = b.cvt(CvtOp::Bits, Elem::F32, s);
    let y = b.mul(y, s);
    let y = b.mul(y, last);
    let lowest = num(b, x, lowest);
    let gone = b.cmp(CmpOp::Lt, x, lowest);
    let y = b.select(gone, zero, y);
    if ends != Ends::Full {
        return y;
    }
    let (highest, inf) = (num(b, x, 89.0), num(b, x, f64::INFINITY));
    let over = b.cmp(CmpOp::Gt, x, highest);
    b.select(over, inf, y)
}

/// As f32, with the Taylor series to degree 13.
fn double(b: &mut KernelBuilder, x: Reg) -> Reg {
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
    let n = b.cvt(CvtOp::FToS, Elem::I64, n);
    scale(b, p, n)
}

/// `1 / (1 + e^-x)`, for negative x as `e^x / (1 + e^x)`: no digits are lost where the result is small.
pub fn sigmoid(b: &mut KernelBuilder, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let a = b.un(UnOp::Neg, a);
    let e = if b.ty(x).elem == Elem::F64 { double(b, a) } else { single(b, a, Ends::NotPositive) };
    let (zero, one) = (num(b, x, 0.0), num(b, x, 1.0));
    let minus = b.cmp(CmpOp::Lt, x, zero);
    let n = b.select(minus, e, one);
    let d = b.add(e, one);
    div(b, n, d)
}

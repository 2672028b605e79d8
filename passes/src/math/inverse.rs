//! Inverse trigonometric and hyperbolic functions in f64.

use super::log::log;
use super::{Math, div, num, poly, with_sign};
use sinter_ir::tile::{CmpOp, Reg, UnOp};
use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, SQRT_2};

/// Reduced to |u| <= tan(pi/8), then the alternating series.
pub fn atan(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let one = num(b, x, 1.0);
    let inv = div(b, one, a);
    let big = b.cmp(CmpOp::Gt, a, one);
    let t = b.select(big, inv, a);
    let (n, d) = (b.sub(t, one), b.add(t, one));
    let turned = div(b, n, d);
    let limit = num(b, x, SQRT_2 - 1.0);
    let middle = b.cmp(CmpOp::Gt, t, limit);
    let u = b.select(middle, turned, t);
    let z = b.mul(u, u);
    let c: Vec<f64> =
        (0..=22).rev().map(|k| if k % 2 == 0 { 1.0 } else { -1.0 } / f64::from(2 * k + 1)).collect();
    let p = poly(b, z, &c);
    let y = b.mul(p, u);
    let (quarter, half) = (num(b, x, FRAC_PI_4), num(b, x, FRAC_PI_2));
    let up = b.add(y, quarter);
    let y = b.select(middle, up, y);
    let flipped = b.sub(half, y);
    let y = b.select(big, flipped, y);
    with_sign(b, y, x)
}

/// `atan(x / sqrt((1 - x)(1 + x)))`.
pub fn asin(b: &mut Math, x: Reg) -> Reg {
    let one = num(b, x, 1.0);
    let (m, p) = (b.sub(one, x), b.add(one, x));
    let s = b.mul(m, p);
    let s = b.un(UnOp::Sqrt, s);
    let q = div(b, x, s);
    atan(b, q)
}

/// `2 atan(sqrt((1 - x) / (1 + x)))`: keeps its digits near 1, where the result is small.
pub fn acos(b: &mut Math, x: Reg) -> Reg {
    let (one, two) = (num(b, x, 1.0), num(b, x, 2.0));
    let (m, p) = (b.sub(one, x), b.add(one, x));
    let q = div(b, m, p);
    let q = b.un(UnOp::Sqrt, q);
    let y = atan(b, q);
    b.mul(y, two)
}

/// `ln(1 + t)` for t >= 0 without cancellation: `ln(u) t / (u - 1)` with u = 1 + t (Kahan).
fn log1p(b: &mut Math, t: Reg) -> Reg {
    let one = num(b, t, 1.0);
    let u = b.add(t, one);
    let l = log(b, u);
    let d = b.sub(u, one);
    let q = div(b, t, d);
    let y = b.mul(l, q);
    let exact = b.cmp(CmpOp::Eq, u, one);
    let y = b.select(exact, t, y);
    // For huge t the quotient is 1.
    let huge = num(b, t, 1e300);
    let far = b.cmp(CmpOp::Gt, t, huge);
    b.select(far, l, y)
}

/// `ln(|x| + sqrt(x^2 + 1))` with the sign of x.
pub fn asinh(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let one = num(b, x, 1.0);
    let sq = b.mul(a, a);
    let s = b.add(sq, one);
    let s = b.un(UnOp::Sqrt, s);
    let d = b.add(s, one);
    let q = div(b, sq, d);
    let t = b.add(a, q);
    let y = log1p(b, t);
    let (big, ln2) = (num(b, x, 1e150), num(b, x, LN_2));
    let far = log(b, a);
    let far = b.add(far, ln2);
    let is_big = b.cmp(CmpOp::Gt, a, big);
    let y = b.select(is_big, far, y);
    with_sign(b, y, x)
}

/// `ln(x + sqrt(x^2 - 1))`.
pub fn acosh(b: &mut Math, x: Reg) -> Reg {
    let one = num(b, x, 1.0);
    let (t, p) = (b.sub(x, one), b.add(x, one));
    let s = b.mul(t, p);
    let s = b.un(UnOp::Sqrt, s);
    let t = b.add(t, s);
    let y = log1p(b, t);
    let (big, ln2) = (num(b, x, 1e150), num(b, x, LN_2));
    let far = log(b, x);
    let far = b.add(far, ln2);
    let is_big = b.cmp(CmpOp::Gt, x, big);
    let y = b.select(is_big, far, y);
    let ok = b.cmp(CmpOp::Ge, x, one);
    let nan = num(b, x, f64::NAN);
    b.select(ok, y, nan)
}

/// `ln((1 + x) / (1 - x)) / 2`.
pub fn atanh(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let (one, half) = (num(b, x, 1.0), num(b, x, 0.5));
    let d = b.sub(one, a);
    let two = b.add(a, a);
    let t = div(b, two, d);
    let y = log1p(b, t);
    let y = b.mul(y, half);
    let y = with_sign(b, y, x);
    let ok = b.cmp(CmpOp::Le, a, one);
    let nan = num(b, x, f64::NAN);
    b.select(ok, y, nan)
}

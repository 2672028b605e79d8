//! pow in f64.

use super::exp::exp;
use super::log::{LN2_HI, LN2_LO, log, split, tail};
use super::{Math, div, num, with_sign};
use sinter_ir::tile::{BinOp, CmpOp, Reg, UnOp};

/// C `pow`: `e^(y ln |x|)` with the sign that whole exponents give. `precise` carries the product with more than
/// 53 bits, which f64 results need because the exponential magnifies its absolute error.
pub fn pow(b: &mut Math, x: Reg, y: Reg, precise: bool) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let l = log(b, a);
    let e = b.mul(y, l);
    let plain = exp(b, e);
    let r = if precise { refined(b, a, y, e, plain) } else { plain };
    let (zero, one, half, inf) = (num(b, x, 0.0), num(b, x, 1.0), num(b, x, 0.5), num(b, x, f64::INFINITY));
    let t = b.un(UnOp::Trunc, y);
    let whole = b.cmp(CmpOp::Eq, t, y);
    let h = b.mul(y, half);
    let ht = b.un(UnOp::Trunc, h);
    let odd = b.cmp(CmpOp::Ne, h, ht);
    let odd = b.bin(BinOp::And, odd, whole);
    let signed = with_sign(b, r, x);
    let r = b.select(odd, signed, r);
    // A finite negative base has real powers only for whole exponents.
    let nan = num(b, x, f64::NAN);
    let minus = b.cmp(CmpOp::Lt, x, zero);
    let finite = b.cmp(CmpOp::Lt, a, inf);
    let broken = b.un(UnOp::Not, whole);
    let none = b.bin(BinOp::And, minus, finite);
    let none = b.bin(BinOp::And, none, broken);
    let r = b.select(none, nan, r);
    // x^0 and 1^y are 1 whatever the other operand, and so is (-1)^inf.
    let (y0, x1) = (b.cmp(CmpOp::Eq, y, zero), b.cmp(CmpOp::Eq, x, one));
    let unit = b.bin(BinOp::Or, y0, x1);
    let (a1, ay) = (b.cmp(CmpOp::Eq, a, one), b.un(UnOp::Abs, y));
    let far = b.cmp(CmpOp::Eq, ay, inf);
    let flip = b.bin(BinOp::And, a1, far);
    let unit = b.bin(BinOp::Or, unit, flip);
    b.select(unit, one, r)
}

/// `e^(y ln a)` where `e`, about `y ln a`, is of moderate size, else `plain`.
fn refined(b: &mut Math, a: Reg, y: Reg, e: Reg, plain: Reg) -> Reg {
    let (h, l) = log_pair(b, a);
    // Beyond 2^70 only a = 1 has a finite product, and the halves of y must not overflow.
    let (top, low) = (num(b, a, 2f64.powi(70)), num(b, a, -2f64.powi(70)));
    let y = b.bin(BinOp::Max, y, low);
    let y = b.bin(BinOp::Min, y, top);
    let (p, err) = product(b, y, h);
    let yl = b.mul(y, l);
    let rest = b.add(err, yl);
    let r = exp(b, p);
    // e^(p + rest) = e^p (1 + rest) for tiny rest: so it is wherever the product is of moderate size, which also
    // excludes a = 0, infinities and NaN.
    let one = num(b, a, 1.0);
    let factor = b.add(one, rest);
    let r = b.mul(r, factor);
    let (size, limit) = (b.un(UnOp::Abs, e), num(b, a, 800.0));
    let near = b.cmp(CmpOp::Lt, size, limit);
    b.select(near, r, plain)
}

/// `ln a` as a sum of two numbers, to about 2^-64 relative.
fn log_pair(b: &mut Math, a: Reg) -> (Reg, Reg) {
    let s = split(b, a);
    let (one, two) = (num(b, a, 1.0), num(b, a, 2.0));
    let f = b.sub(s.m, one);
    // q = f / d with d = m + 1 exact as d + dl; the remainder of the division gives its low part.
    let d = b.add(s.m, one);
    let dl = b.sub(d, one);
    let dl = b.sub(s.m, dl);
    let q = div(b, f, d);
    let (p, err) = product(b, q, d);
    let rest = b.sub(f, p);
    let rest = b.sub(rest, err);
    let lost = b.mul(q, dl);
    let rest = b.sub(rest, lost);
    let ql = div(b, rest, d);
    // 2 atanh(q + ql) = 2 q + 2 ql + q tail(q^2)
    let z = b.mul(q, q);
    let t = tail(b, z);
    let t = b.mul(t, q);
    let (qh, ql2) = (b.mul(q, two), b.mul(ql, two));
    let t = b.add(t, ql2);
    // e ln2, exact in its leading part, is 0 or larger than 2 q.
    let (hi, lo) = (num(b, a, LN2_HI), num(b, a, LN2_LO));
    let eh = b.mul(s.e, hi);
    let el = b.mul(s.e, lo);
    let (h, l) = two_sum(b, eh, qh);
    let (h, l2) = two_sum(b, h, t);
    let l = b.add(l, l2);
    let l = b.add(l, el);
    two_sum(b, h, l)
}

/// `x + y` and what rounding took from it.
fn two_sum(b: &mut Math, x: Reg, y: Reg) -> (Reg, Reg) {
    let s = b.add(x, y);
    let v = b.sub(s, x);
    let u = b.sub(s, v);
    let (dx, dy) = (b.sub(x, u), b.sub(y, v));
    let e = b.add(dx, dy);
    (s, e)
}

/// `x * y` and what rounding took from it (Dekker): a fused multiply-add is not to be relied on.
fn product(b: &mut Math, x: Reg, y: Reg) -> (Reg, Reg) {
    let ((xh, xl), (yh, yl)) = (halves(b, x), halves(b, y));
    let p = b.mul(x, y);
    let t = b.mul(xh, yh);
    let e = b.sub(t, p);
    let t = b.mul(xh, yl);
    let e = b.add(e, t);
    let t = b.mul(xl, yh);
    let e = b.add(e, t);
    let t = b.mul(xl, yl);
    (p, b.add(e, t))
}

/// A number as the sum of two with 26 bits each.
fn halves(b: &mut Math, x: Reg) -> (Reg, Reg) {
    let c = num(b, x, 134_217_729.0);
    let t = b.mul(x, c);
    let d = b.sub(t, x);
    let h = b.sub(t, d);
    let l = b.sub(x, h);
    (h, l)
}

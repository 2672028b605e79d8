//! pow and fmod in f64.

use super::exp::exp;
use super::log::log;
use super::{div, num};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, Reg, UnOp};

/// C `pow`: `e^(y ln |x|)` with the sign that whole exponents give.
pub fn pow(b: &mut KernelBuilder, x: Reg, y: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let l = log(b, a);
    let e = b.mul(y, l);
    let r = exp(b, e);
    let (zero, one, half, nan) = (num(b, x, 0.0), num(b, x, 1.0), num(b, x, 0.5), num(b, x, f64::NAN));
    let t = b.un(UnOp::Trunc, y);
    let whole = b.cmp(CmpOp::Eq, t, y);
    let h = b.mul(y, half);
    let ht = b.un(UnOp::Trunc, h);
    let odd = b.cmp(CmpOp::Ne, h, ht);
    let odd = b.bin(BinOp::And, odd, whole);
    let n = b.un(UnOp::Neg, r);
    let signed = b.select(odd, n, r);
    let signed = b.select(whole, signed, nan);
    let minus = b.cmp(CmpOp::Lt, x, zero);
    let r = b.select(minus, signed, r);
    // x^0 and 1^y are 1 whatever the other operand.
    let (y0, x1) = (b.cmp(CmpOp::Eq, y, zero), b.cmp(CmpOp::Eq, x, one));
    let unit = b.bin(BinOp::Or, y0, x1);
    b.select(unit, one, r)
}

/// C `fmod`: sign of the dividend. Exact while the quotient is below 2^29 for f32 operands.
pub fn fmod(b: &mut KernelBuilder, x: Reg, y: Reg) -> Reg {
    let q = div(b, x, y);
    let q = b.un(UnOp::Trunc, q);
    let p = b.mul(q, y);
    let r = b.sub(x, p);
    let (ay, ax) = (b.un(UnOp::Abs, y), b.un(UnOp::Abs, x));
    let inf = num(b, x, f64::INFINITY);
    let far = b.cmp(CmpOp::Eq, ay, inf);
    let finite = b.cmp(CmpOp::Lt, ax, inf);
    let keep = b.bin(BinOp::And, far, finite);
    b.select(keep, x, r)
}

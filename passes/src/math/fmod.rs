//! fmod in f64, exact for all operands.

use super::{Math, int, num, scale, with_sign};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};

/// Bits that a 53-bit remainder can be shifted up by in 64 bits.
const STEP: i64 = 11;

/// C `fmod`, sign of the dividend: long division of the mantissas, eleven bits of the quotient at a time.
pub fn fmod(b: &mut Math, x: Reg, y: Reg) -> Reg {
    let ty = b.ty(x);
    let (ax, ay) = (b.un(UnOp::Abs, x), b.un(UnOp::Abs, y));
    let ((mx, ex), (my, ey)) = (parts(b, ax), parts(b, ay));
    let (zero, step) = (int(b, x, Elem::I64, 0), int(b, x, Elem::I64, STEP));
    let gap = b.sub(ex, ey);
    let gap = b.bin(BinOp::MaxS, gap, zero);
    let (rest, left) = (b.reg(Elem::I64, ty.lanes), b.reg(Elem::I64, ty.lanes));
    let r = b.bin(BinOp::RemU, mx, my);
    b.copy_to(rest, r);
    b.copy_to(left, gap);
    let none = b.i64(0);
    b.while_(
        |b| {
            let most = b.fold(BinOp::MaxS, left);
            b.cmp(CmpOp::Gt, most, none)
        },
        |b| {
            let n = b.bin(BinOp::MinS, left, step);
            let r = b.bin(BinOp::Shl, rest, n);
            let r = b.bin(BinOp::RemU, r, my);
            b.copy_to(rest, r);
            let l = b.sub(left, n);
            b.copy_to(left, l);
        },
    );
    let r = b.cvt(CvtOp::SToF, Elem::F64, rest);
    let r = scale(b, r, ey);
    let less = b.cmp(CmpOp::Lt, ax, ay);
    let r = b.select(less, ax, r);
    let r = with_sign(b, r, x);
    // An infinite or NaN dividend, a zero or NaN divisor.
    let (fzero, inf, nan) = (num(b, x, 0.0), num(b, x, f64::INFINITY), num(b, x, f64::NAN));
    let finite = b.cmp(CmpOp::Lt, ax, inf);
    let some = b.cmp(CmpOp::Gt, ay, fzero);
    let ok = b.bin(BinOp::And, finite, some);
    b.select(ok, r, nan)
}

/// Mantissa and exponent of a number that is not negative: `m 2^e` with whole m below 2^53. Nonsense, but no
/// long loop, for infinities and NaN.
fn parts(b: &mut Math, a: Reg) -> (Reg, Reg) {
    let bits = b.cvt(CvtOp::Bits, Elem::I64, a);
    let (s52, ones, top) =
        (int(b, a, Elem::I64, 52), int(b, a, Elem::I64, (1 << 52) - 1), int(b, a, Elem::I64, 1 << 52));
    let (zero, one, bias) = (int(b, a, Elem::I64, 0), int(b, a, Elem::I64, 1), int(b, a, Elem::I64, 1075));
    let field = b.bin(BinOp::ShrU, bits, s52);
    let low = b.bin(BinOp::And, bits, ones);
    let full = b.bin(BinOp::Or, low, top);
    // Subnormals have no leading one and the exponent of the smallest normal numbers.
    let sub = b.cmp(CmpOp::Eq, field, zero);
    let m = b.select(sub, low, full);
    let e = b.bin(BinOp::MaxS, field, one);
    (m, b.sub(e, bias))
}

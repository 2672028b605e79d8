//! exp and sigmoid.

use super::{div, exp2i, int, num, poly};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CvtOp, Elem, Reg, UnOp};

/// `e^x`: `x = n ln2 + r`, a polynomial on `|r| <= ln2 / 2`, scaling in two steps so that subnormal and infinite
/// results come out right. f32: degree 5 (Cephes expf); f64: Taylor, degree 13.
pub fn exp(b: &mut KernelBuilder, x: Reg) -> Reg {
    let elem = b.ty(x).elem;
    let double = elem == Elem::F64;
    let (lo, hi) = if double { (-746.0, 710.0) } else { (-104.0, 89.0) };
    let (lo, hi) = (num(b, x, lo), num(b, x, hi));
    let x = b.bin(BinOp::Max, x, lo);
    let x = b.bin(BinOp::Min, x, hi);
    let log2e = num(b, x, std::f64::consts::LOG2_E);
    let n = b.mul(x, log2e);
    let n = b.un(UnOp::Nearest, n);
    // ln2 in two parts, the first with trailing zeros so that n * part is exact.
    let (c1, c2) = if double { (-6.931_471_803_691_238e-1, -1.908_214_929_270_587_7e-10) } else { (-0.693_359_375, 2.121_944_4e-4) };
    let (c1, c2) = (num(b, x, c1), num(b, x, c2));
    let r = b.mul_add(n, c1, x);
    let r = b.mul_add(n, c2, r);
    let p = if double {
        let mut c = vec![1.0];
        for k in 1..=13 {
            c.push(c[k - 1] / k as f64);
        }
        c.reverse();
        poly(b, r, &c)
    } else {
        let q = poly(
            b,
            r,
            &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1],
        );
        let sq = b.mul(r, r);
        let y = b.mul_add(q, sq, r);
        let one = num(b, x, 1.0);
        b.add(y, one)
    };
    let ie = if double { Elem::I64 } else { Elem::I32 };
    let n = b.cvt(CvtOp::FToS, ie, n);
    let one = int(b, n, ie, 1);
    let half = b.bin(BinOp::ShrS, n, one);
    let rest = b.sub(n, half);
    let (s1, s2) = (exp2i(b, half, elem), exp2i(b, rest, elem));
    let y = b.mul(p, s1);
    b.mul(y, s2)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(b: &mut KernelBuilder, x: Reg) -> Reg {
    let n = b.un(UnOp::Neg, x);
    let e = exp(b, n);
    let one = num(b, x, 1.0);
    let d = b.add(e, one);
    div(b, one, d)
}

//! Error function.

// Coefficients of fits: closeness to a constant of mathematics has no meaning here.
#![allow(clippy::approx_constant)]

use super::exp::exp_small;
use super::{Math, div, num, poly, with_sign};
use sinter_ir::tile::{BinOp, Bound, CmpOp, CvtOp, Elem, LoopKind, Reg, UnOp};

/// f32: the polynomials of Cephes erff / erfcf. f64: a series and a continued fraction in loops.
pub fn erf(b: &mut Math, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x) }
}

/// Each side computes nonsense where the other is selected; NaN passes through the far side.
fn single(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let one = num(b, x, 1.0);
    let z = b.mul(x, x);
    let near = poly(
        b,
        z,
        &[
            7.853_861e-5,
            -8.010_194e-4,
            5.188_328e-3,
            -2.685_381_3e-2,
            1.128_358_5e-1,
            -3.761_262_6e-1,
            1.128_379_2,
        ],
    );
    let near = b.mul(near, x);
    // 1 - e^(-x^2) / |x| * P(1 / x^2), with one P for 1..2 and one beyond.
    let q = div(b, one, a);
    let y = b.mul(q, q);
    let p = poly(
        b,
        y,
        &[
            2.326_82e-2,
            -1.387_039_4e-1,
            3.687_424_7e-1,
            -5.824_733e-1,
            6.210_004_6e-1,
            -4.944_515_3e-1,
            3.404_88e-1,
            -2.741_127e-1,
            5.638_259_4e-1,
        ],
    );
    let r = poly(
        b,
        y,
        &[
            -1.047_766_4e1,
            1.297_72e1,
            -7.495_518_7,
            2.921_019,
            -1.015_265_3,
            4.218_463_4e-1,
            -2.820_767_4e-1,
            5.641_895_1e-1,
        ],
    );
    let two = num(b, x, 2.0);
    let mid = b.cmp(CmpOp::Lt, a, two);
    let p = b.select(mid, p, r);
    let n = b.un(UnOp::Neg, z);
    let e = exp_small(b, n);
    let t = b.mul(e, q);
    let t = b.mul(t, p);
    let far = b.sub(one, t);
    let far = with_sign(b, far, x);
    let small = b.cmp(CmpOp::Lt, a, one);
    b.select(small, near, far)
}

/// Up to 3: `2/sqrt(pi) e^(-a^2) sum 2^n a^(2n+1) / (2n+1)!!`, whose terms all have one sign. Beyond: the continued
/// fraction of erfc.
fn double(b: &mut Math, x: Reg) -> Reg {
    let ty = b.ty(x);
    let a = b.un(UnOp::Abs, x);
    let (three, six, one) = (num(b, x, 3.0), num(b, x, 6.0), num(b, x, 1.0));
    let s = b.bin(BinOp::Min, a, three);
    let (sum, term) = (b.reg(ty.elem, ty.lanes), b.reg(ty.elem, ty.lanes));
    b.copy_to(sum, s);
    b.copy_to(term, s);
    let z = b.mul(s, s);
    let zz = b.add(z, z);
    b.for_(Bound::Const(1), Bound::Const(80), 1, LoopKind::Serial, |b, i| {
        let n = b.cvt(CvtOp::SToF, Elem::F64, i);
        let n = b.splat(n, ty.lanes);
        let d = b.add(n, n);
        let d = b.add(d, one);
        let q = b.bin(BinOp::Div, zz, d);
        let t = b.mul(term, q);
        b.copy_to(term, t);
        let s = b.add(sum, t);
        b.copy_to(sum, s);
    });
    let n = b.un(UnOp::Neg, z);
    let e = exp_small(b, n);
    let scale = num(b, x, std::f64::consts::FRAC_2_SQRT_PI);
    let near = b.mul(sum, scale);
    let near = b.mul(near, e);
    let c = b.bin(BinOp::Min, a, six);
    let c = b.bin(BinOp::Max, c, three);
    let f = b.reg(ty.elem, ty.lanes);
    let (zero, half) = (num(b, x, 0.0), num(b, x, 0.5));
    b.copy_to(f, zero);
    let limit = b.i64(60);
    b.for_(Bound::Const(0), Bound::Const(60), 1, LoopKind::Serial, |b, i| {
        let k = b.sub(limit, i);
        let k = b.cvt(CvtOp::SToF, Elem::F64, k);
        let k = b.splat(k, ty.lanes);
        let k = b.mul(k, half);
        let d = b.add(c, f);
        let q = b.bin(BinOp::Div, k, d);
        b.copy_to(f, q);
    });
    let sq = b.mul(c, c);
    let n = b.un(UnOp::Neg, sq);
    let e = exp_small(b, n);
    let d = b.add(c, f);
    let q = div(b, e, d);
    let inv = num(b, x, 1.0 / std::f64::consts::PI.sqrt());
    let q = b.mul(q, inv);
    let far = b.sub(one, q);
    let small = b.cmp(CmpOp::Lt, a, three);
    let y = b.select(small, near, far);
    with_sign(b, y, x)
}

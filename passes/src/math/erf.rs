//! Error function.

// Coefficients of fits: closeness to a constant of mathematics has no meaning here.
#![allow(clippy::approx_constant)]

use super::exp::{exp_small, exp2_small};
use super::{Math, div, num, poly, with_sign};
use sinter_ir::tile::{BinOp, Bound, CmpOp, CvtOp, Elem, LoopKind, Reg, UnOp};

/// f32: a polynomial near 0 and `1 - 2^P(|x|)` beyond, without a division. f64: a series and a continued fraction in
/// loops.
pub fn erf(b: &mut Math, x: Reg) -> Reg {
    if b.ty(x).elem == Elem::F64 { double(b, x) } else { single(b, x) }
}

/// Each side computes nonsense where the other is selected; NaN passes through the far side.
fn single(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let z = b.mul(x, x);
    let near = poly(
        b,
        z,
        &[-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_66e-1],
    );
    let near = b.mul_add(near, x, x);
    // log2(erfc(|x|)), which is below -25 from 4.25 on. The two highest pairs of coefficients side by side.
    let end = num(b, x, 4.25);
    let c = b.bin(BinOp::Min, a, end);
    let cc = b.mul(c, c);
    let l = std::f64::consts::LOG2_E;
    let high = poly(b, c, &[-1.728_534_7e-5 * l, 3.831_971_3e-4 * l]);
    let low = poly(b, c, &[-3.883_964_4e-3 * l, 2.425_462_2e-2 * l]);
    let mut p = b.mul_add(high, cc, low);
    for k in [-1.067_778_8e-1, -6.348_466_9e-1, -1.128_717_51] {
        let k = num(b, x, k * l);
        p = b.mul_add(p, c, k);
    }
    let p = b.mul(p, c);
    let e = exp2_small(b, p);
    let one = num(b, x, 1.0);
    let far = b.sub(one, e);
    let far = with_sign(b, far, x);
    let limit = num(b, x, 0.927_734_4);
    let small = b.cmp(CmpOp::Lt, a, limit);
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

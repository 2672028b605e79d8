//! tanh, sinh, cosh.

use super::exp::{exp, exp_small};
use super::{Math, div, num, poly, with_sign};
use sinter_ir::tile::{CmpOp, Elem, Reg, UnOp};

/// Near 0 an odd polynomial (f32: Cephes tanhf) or sinh / cosh, elsewhere `(1 - e^-2|x|) / (1 + e^-2|x|)`.
pub fn tanh(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let (one, minus_two) = (num(b, x, 1.0), num(b, x, -2.0));
    let d = b.mul(a, minus_two);
    let e = exp_small(b, d);
    let (n, d) = (b.sub(one, e), b.add(one, e));
    let far = div(b, n, d);
    let far = with_sign(b, far, x);
    let (near, limit) = if b.ty(x).elem == Elem::F64 {
        let s = small_sinh(b, x);
        let ss = b.mul(s, s);
        let c = b.add(ss, one);
        let c = b.un(UnOp::Sqrt, c);
        (div(b, s, c), 0.3)
    } else {
        let z = b.mul(x, x);
        let p =
            poly(b, z, &[-5.704_988_7e-3, 2.063_908_9e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1]);
        // Multiplied by x at the end: -0 stays -0.
        let y = b.mul_add(p, z, one);
        (b.mul(y, x), 0.625)
    };
    let limit = num(b, x, limit);
    let small = b.cmp(CmpOp::Lt, a, limit);
    b.select(small, near, far)
}

/// Taylor series to x^17: full accuracy up to 1.
fn small_sinh(b: &mut Math, x: Reg) -> Reg {
    let z = b.mul(x, x);
    let mut c = vec![1.0];
    for k in 1..=8 {
        let n = f64::from(2 * k);
        c.push(c[k as usize - 1] / (n * (n + 1.0)));
    }
    c.reverse();
    let p = poly(b, z, &c);
    b.mul(p, x)
}

/// f64.
pub fn sinh(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let (half, one) = (num(b, x, 0.5), num(b, x, 1.0));
    // e^|x| as a square, halved in between: no overflow before the result does.
    let h = b.mul(a, half);
    let h = exp(b, h);
    let hh = b.mul(h, half);
    let big = b.mul(hh, h);
    let sq = b.mul(h, h);
    let inv = div(b, half, sq);
    let far = b.sub(big, inv);
    let far = with_sign(b, far, x);
    let near = small_sinh(b, x);
    let small = b.cmp(CmpOp::Lt, a, one);
    b.select(small, near, far)
}

/// f64.
pub fn cosh(b: &mut Math, x: Reg) -> Reg {
    let a = b.un(UnOp::Abs, x);
    let half = num(b, x, 0.5);
    let h = b.mul(a, half);
    let h = exp(b, h);
    let hh = b.mul(h, half);
    let big = b.mul(hh, h);
    let sq = b.mul(h, h);
    let inv = div(b, half, sq);
    b.add(big, inv)
}

//! Functions for results that become bf16, which keep 8 bits: cheaper, with bounds of their own, for f32.

// Coefficients of fits: closeness to a constant of mathematics has no meaning here.
#![allow(clippy::approx_constant)]

use crate::lower::access::constant;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Elem, Reg, UnOp};

/// `erf(x)`, off by at most 2^-12 of itself: an odd polynomial, and its end beyond 2.8.
pub fn erf(b: &mut KernelBuilder, x: Reg) -> Reg {
    let (low, high) = (num(b, x, -2.8), num(b, x, 2.8));
    let x = b.bin(BinOp::Max, x, low);
    let x = b.bin(BinOp::Min, x, high);
    let z = b.mul(x, x);
    let p = poly(b, z, &ERF);
    b.mul(p, x)
}

/// `e^x` for `x <= 0` or NaN, off by at most 2^-13 of itself; below 2^-126 it may be 0.
pub fn exp_not_positive(b: &mut KernelBuilder, x: Reg) -> Reg {
    let (low, scale) = (num(b, x, -104.0), num(b, x, std::f64::consts::LOG2_E));
    let x = b.bin(BinOp::Max, x, low);
    let t = b.mul(x, scale);
    let n = b.un(UnOp::Nearest, t);
    let r = b.sub(t, n);
    let p = poly(b, r, &EXP2);
    b.bin(BinOp::Scale, p, n)
}

/// Highest power first.
const ERF: [f64; 8] = [
    -6.730_044e-7,
    2.498_216_8e-5,
    -4.058_914_7e-4,
    3.860_075_4e-3,
    -2.440_161e-2,
    1.105_077_9e-1,
    -3.752_383e-1,
    1.128_319_5,
];
const EXP2: [f64; 4] = [5.517_163e-2, 2.426_111_7e-1, 6.932_61e-1, 9.999_280_7e-1];

fn num(b: &mut KernelBuilder, like: Reg, v: f64) -> Reg {
    let lanes = b.ty(like).lanes;
    constant(b, Elem::F32, lanes, v)
}

fn poly(b: &mut KernelBuilder, x: Reg, coefficients: &[f64]) -> Reg {
    let mut all = coefficients.iter();
    let mut y = num(b, x, all.next().copied().unwrap_or(0.0));
    for &c in all {
        let c = num(b, x, c);
        y = b.mul_add(y, x, c);
    }
    y
}

//! Coordinates of pixels: f64 registers, as the evaluator has them.

use super::{LowerCx, access};
use sinter_ir::Expr;
use sinter_ir::expr::product;
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg};

/// A constant among coordinates.
pub fn num(b: &mut KernelBuilder, v: f64) -> Reg {
    access::constant(b, Elem::F64, 1, v)
}

/// An integer as a coordinate.
pub fn float(b: &mut KernelBuilder, r: Reg) -> Reg {
    b.cvt(CvtOp::SToF, Elem::F64, r)
}

/// Keys' cubic kernel with coefficient `a` at distance `d`: within 1, or between 1 and 2.
pub fn cubic(b: &mut KernelBuilder, d: Reg, a: f64, near: bool) -> Reg {
    let terms = if near { [a + 2.0, -(a + 3.0), 0.0, 1.0] } else { [a, -5.0 * a, 8.0 * a, -4.0 * a] };
    let first = num(b, terms[0]);
    terms[1..].iter().fold(first, |p, &t| {
        let t = num(b, t);
        let p = b.mul(p, d);
        b.add(p, t)
    })
}

/// Ends the kernel where results would come from an image without pixels.
pub fn refuse_empty(cx: &LowerCx, b: &mut KernelBuilder, image: &[Expr], results: &Expr) {
    if image.iter().all(|d| cx.symbols.range(d).0 > 0) {
        return;
    }
    let (pixels, results, zero) = (b.dim(&product(image)), b.dim(results), b.i64(0));
    let (none, some) = (b.cmp(CmpOp::Eq, pixels, zero), b.cmp(CmpOp::Gt, results, zero));
    let bad = b.bin(BinOp::And, none, some);
    b.fail_if(bad, code::INDEX);
}

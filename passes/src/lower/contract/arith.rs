//! Index arithmetic of loop nests.

use sinter_ir::Expr;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Reg};

/// `r * c`.
pub fn scaled(b: &mut KernelBuilder, r: Reg, c: i64) -> Reg {
    if c == 1 {
        return r;
    }
    let c = b.i64(c);
    b.mul(r, c)
}

/// `r + c`.
pub fn add_const(b: &mut KernelBuilder, r: Reg, c: i64) -> Reg {
    if c == 0 {
        return r;
    }
    let c = b.i64(c);
    b.add(r, c)
}

/// `Σ index * stride`.
pub fn dot(b: &mut KernelBuilder, index: &[Reg], strides: &[Expr]) -> Reg {
    let mut sum = None;
    for (&i, s) in index.iter().zip(strides).filter(|(_, s)| !s.is(0)) {
        let s = b.dim(s);
        let part = b.mul(i, s);
        sum = Some(sum.map_or(part, |t| b.add(t, part)));
    }
    sum.unwrap_or_else(|| b.i64(0))
}

/// Coordinates of a linear index; dims known to be 1 cost nothing.
pub fn unravel(b: &mut KernelBuilder, linear: Reg, dims: &[Expr]) -> Vec<Reg> {
    let mut rest = linear;
    let mut out = Vec::with_capacity(dims.len());
    let first = dims.iter().position(|d| !d.is(1)).unwrap_or(dims.len());
    for (i, d) in dims.iter().enumerate().rev() {
        out.push(if d.is(1) {
            b.i64(0)
        } else if i == first {
            rest
        } else {
            let d = b.dim(d);
            let c = b.bin(BinOp::RemS, rest, d);
            rest = b.bin(BinOp::DivS, rest, d);
            c
        });
    }
    out.reverse();
    out
}

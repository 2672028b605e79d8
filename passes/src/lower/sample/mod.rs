//! Ops that read images between their pixels. Coordinates and weights are computed once for all channels of a point,
//! in f64 as the evaluator does.

mod grid;
mod roi;

pub use grid::lower as grid_sample;
pub use roi::lower as roi_align;

use super::access;
use super::index::{Idx, dim};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Buf, CvtOp, Elem, Reg};
use sinter_ir::{DType, Expr, Result};

/// An element of a buffer as a coordinate.
fn coordinate(b: &mut KernelBuilder, dtype: DType, buf: Buf, at: &Idx) -> Result<Reg> {
    let v = access::load(b, dtype, buf, at, 1, None)?;
    Ok(if b.ty(v).elem == Elem::F64 { v } else { b.cvt(CvtOp::FToF, Elem::F64, v) })
}

/// A weight in the arithmetic of the pixels.
fn weight(b: &mut KernelBuilder, elem: Elem, w: Reg) -> Reg {
    if elem == Elem::F64 { w } else { b.cvt(CvtOp::FToF, elem, w) }
}

/// A coordinate as an index that is inside `0..n` whatever it is.
fn clamped(b: &mut KernelBuilder, c: Reg, n: &Expr) -> Reg {
    let i = b.cvt(CvtOp::FToS, Elem::I64, c);
    let (last, zero) = (dim(b, &(n.clone() - 1.into())), super::index::int(b, 0));
    let i = b.bin(BinOp::MinS, i, last);
    b.bin(BinOp::MaxS, i, zero)
}

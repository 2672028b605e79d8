//! Where a result element of a resize lies in the operand.

use crate::lower::access;
use sinter_ir::op::Resize;
use sinter_ir::op::resize::{Coordinate, NearestMode, ResizeMode};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};

/// Type of coordinates: which element is nearest can hang on the last bit, and is decided in f32 as elsewhere.
pub fn elem(op: &Resize) -> Elem {
    if op.mode == ResizeMode::Nearest { Elem::F32 } else { Elem::F64 }
}

/// Factor from operand to result dims.
pub fn scale(b: &mut KernelBuilder, op: &Resize, axis: usize, n: Reg, m: Reg) -> Reg {
    match op.scales[axis] {
        Some(s) => access::constant(b, elem(op), 1, f64::from(s)),
        None => b.bin(BinOp::Div, m, n),
    }
}

/// Operand coordinate of a result coordinate; operand dim, result dim and scale are given.
pub fn coordinate(b: &mut KernelBuilder, op: &Resize, axis: usize, o: Reg, [n, m, scale]: [Reg; 3]) -> Reg {
    let num = |b: &mut KernelBuilder, v: f64| access::constant(b, elem(op), 1, v);
    let (half, one, zero) = (num(b, 0.5), num(b, 1.0), num(b, 0.0));
    let centred = |b: &mut KernelBuilder| {
        let t = b.add(o, half);
        let t = b.bin(BinOp::Div, t, scale);
        b.sub(t, half)
    };
    let several = b.cmp(CmpOp::Gt, m, one);
    match op.coordinate {
        Coordinate::HalfPixel => centred(b),
        Coordinate::PytorchHalfPixel => {
            let c = centred(b);
            b.select(several, c, zero)
        }
        Coordinate::HalfPixelSymmetric => {
            let full = b.mul(scale, n);
            let adjust = b.bin(BinOp::Div, m, full);
            let rest = b.sub(one, adjust);
            let middle = b.mul(n, half);
            let shift = b.mul(middle, rest);
            let c = centred(b);
            b.add(shift, c)
        }
        Coordinate::AlignCorners => {
            // A given scale makes the result as long as it says, not a whole number of elements.
            let length = if op.scales[axis].is_some() { b.mul(scale, n) } else { m };
            let (n1, m1) = (b.sub(n, one), b.sub(length, one));
            let t = b.mul(o, n1);
            let c = b.bin(BinOp::Div, t, m1);
            b.select(several, c, zero)
        }
        Coordinate::Asymmetric => b.bin(BinOp::Div, o, scale),
        Coordinate::TfHalfPixelForNn => {
            let t = b.add(o, half);
            let c = b.bin(BinOp::Div, t, scale);
            // The only one that would move an axis that turns out to keep its dim.
            let (same, unit) = (b.cmp(CmpOp::Eq, n, m), b.cmp(CmpOp::Eq, scale, one));
            let stays = b.bin(BinOp::And, same, unit);
            b.select(stays, o, c)
        }
        Coordinate::TfCropAndResize => {
            let rank = op.roi.len() / 2;
            let roi = |i: usize, d: f64| op.roi.get(i).map_or(d, |&v| f64::from(v));
            let (lo, hi) = (roi(axis, 0.0), roi(axis + rank, 1.0));
            let (n1, m1) = (b.sub(n, one), b.sub(m, one));
            let (lo_r, hi_r) = (num(b, lo), num(b, hi));
            let (span, both) = (b.sub(hi_r, lo_r), b.add(lo_r, hi_r));
            let mid = b.mul(half, both);
            let start = b.mul(lo_r, n1);
            let t = b.mul(o, span);
            let t = b.mul(t, n1);
            let t = b.bin(BinOp::Div, t, m1);
            let c = b.add(start, t);
            let single = b.mul(mid, n1);
            b.select(several, c, single)
        }
    }
}

/// The whole coordinate that stands for one.
pub fn nearest(b: &mut KernelBuilder, op: &Resize, c: Reg) -> Reg {
    let half = access::constant(b, elem(op), 1, 0.5);
    let i = match op.nearest {
        NearestMode::RoundPreferFloor => {
            let t = b.sub(c, half);
            b.un(UnOp::Ceil, t)
        }
        NearestMode::RoundPreferCeil => {
            let t = b.add(c, half);
            b.un(UnOp::Floor, t)
        }
        NearestMode::Floor => b.un(UnOp::Floor, c),
        NearestMode::Ceil => b.un(UnOp::Ceil, c),
    };
    b.cvt(CvtOp::FToS, Elem::I64, i)
}

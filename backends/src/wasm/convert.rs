//! Vectors between lane widths.

use super::body::Inst;
use super::kernel::Emit;
use super::scalar;
use super::shape::{parts, per_part};
use sinter_ir::tile::{CvtOp, Elem, Reg, Ty};
use wasm_encoder::{Instruction as I, ValType};

/// How lanes become narrower.
#[derive(Clone, Copy, PartialEq)]
pub enum Narrow {
    /// Masks: all bits are the same.
    Mask,
    /// Low bits of integers.
    Low,
}

impl Emit<'_> {
    /// Pushes part `i` of a vector with lanes of `to` bits, extended from parts with lanes of `from` bits.
    pub fn widen(&mut self, from: u32, to: u32, signed: bool, src: &[u32], i: usize) {
        if from == to {
            return match src.get(i) {
                Some(&l) => self.f.get(l),
                None => self.f.op(I::V128Const(0)),
            };
        }
        self.widen(from, to / 2, signed, src, i / 2);
        self.f.op(match (to, i.is_multiple_of(2), signed) {
            (16, true, true) => I::I16x8ExtendLowI8x16S,
            (16, false, true) => I::I16x8ExtendHighI8x16S,
            (16, true, false) => I::I16x8ExtendLowI8x16U,
            (16, false, false) => I::I16x8ExtendHighI8x16U,
            (32, true, true) => I::I32x4ExtendLowI16x8S,
            (32, false, true) => I::I32x4ExtendHighI16x8S,
            (32, true, false) => I::I32x4ExtendLowI16x8U,
            (32, false, false) => I::I32x4ExtendHighI16x8U,
            (_, true, true) => I::I64x2ExtendLowI32x4S,
            (_, false, true) => I::I64x2ExtendHighI32x4S,
            (_, true, false) => I::I64x2ExtendLowI32x4U,
            (_, false, false) => I::I64x2ExtendHighI32x4U,
        });
    }
    /// Pushes part `i` of a vector with lanes of `to` bits, from parts with wider lanes.
    pub fn narrow(&mut self, from: u32, to: u32, how: Narrow, src: &[u32], i: usize) {
        if from == to {
            return match src.get(i).or(src.last()) {
                Some(&l) => self.f.get(l),
                None => self.f.op(I::V128Const(0)),
            };
        }
        // Saturation leaves masks as they are, and what is made unsigned and small before.
        let keep = |e: &mut Self| match (how, to) {
            (Narrow::Low, 8) => e.f.ops([I::I32Const(0xff), I::I16x8Splat, I::V128And]),
            (Narrow::Low, 16) => e.f.ops([I::I32Const(0xffff), I::I32x4Splat, I::V128And]),
            _ => {}
        };
        self.narrow(from, 2 * to, how, src, 2 * i);
        keep(self);
        self.narrow(from, 2 * to, how, src, 2 * i + 1);
        keep(self);
        self.f.op(match (to, how) {
            (8, Narrow::Mask) => I::I8x16NarrowI16x8S,
            (8, Narrow::Low) => I::I8x16NarrowI16x8U,
            (16, Narrow::Mask) => I::I16x8NarrowI32x4S,
            (16, Narrow::Low) => I::I16x8NarrowI32x4U,
            _ => shuffle(4, &[0, 2, 4, 6]),
        });
    }
    /// Pushes all parts of a mask with lanes of `to` bits.
    pub fn mask(&mut self, ty: Ty, src: &[u32], from: u32, to: u32) {
        for i in 0..parts(ty, to) {
            self.mask_part(src, from, to, i);
        }
    }
    /// Pushes one part of a mask with lanes of `to` bits.
    pub fn mask_part(&mut self, src: &[u32], from: u32, to: u32, i: usize) {
        if from <= to {
            self.widen(from, to, true, src, i);
        } else {
            self.narrow(from, to, Narrow::Mask, src, i);
        }
    }
    /// Keeps `n` parts that are on the stack in new locals.
    pub fn keep_parts(&mut self, n: usize) -> Vec<u32> {
        let mut out: Vec<u32> = (0..n).map(|_| self.f.keep(ValType::V128)).collect();
        out.reverse();
        out
    }
    /// A conversion of vectors.
    pub fn convert(&mut self, op: CvtOp, dst: Reg, a: Reg) {
        let (to, from) = (self.ty(dst), self.ty(a));
        let src = self.parts(a);
        let (tb, fb) = (to.elem.bits(), self.bits(a));
        let count = parts(to, tb);
        match op {
            CvtOp::SExt if from.elem == Elem::B1 => self.mask(to, &src, fb, tb),
            CvtOp::ZExt if from.elem == Elem::B1 => {
                for i in 0..count {
                    self.mask_part(&src, fb, tb, i);
                    self.f.op(match tb {
                        8 => I::I8x16Neg,
                        16 => I::I16x8Neg,
                        32 => I::I32x4Neg,
                        _ => I::I64x2Neg,
                    });
                }
            }
            CvtOp::SExt | CvtOp::ZExt => {
                (0..count).for_each(|i| self.widen(fb, tb, op == CvtOp::SExt, &src, i));
            }
            CvtOp::Narrow => (0..count).for_each(|i| self.narrow(fb, tb, Narrow::Low, &src, i)),
            CvtOp::Bits => src.iter().for_each(|&l| self.f.get(l)),
            CvtOp::SToF | CvtOp::UToF if from.elem != Elem::I64 => {
                let signed = op == CvtOp::SToF;
                for i in 0..count {
                    // Two doubles come from the low half of four integers.
                    let half = to.elem == Elem::F64;
                    self.widen(fb, 32, signed, &src, if half { i / 2 } else { i });
                    if half && i % 2 == 1 {
                        self.upper_half();
                    }
                    self.f.op(match (half, signed) {
                        (false, true) => I::F32x4ConvertI32x4S,
                        (false, false) => I::F32x4ConvertI32x4U,
                        (true, true) => I::F64x2ConvertLowI32x4S,
                        (true, false) => I::F64x2ConvertLowI32x4U,
                    });
                }
            }
            CvtOp::FToS | CvtOp::FToU if to.elem == Elem::I32 => {
                let signed = op == CvtOp::FToS;
                if from.elem == Elem::F32 {
                    let i = if signed { I::I32x4TruncSatF32x4S } else { I::I32x4TruncSatF32x4U };
                    src.iter().for_each(|&l| self.f.ops([I::LocalGet(l), i.clone()]));
                } else {
                    let i = if signed { I::I32x4TruncSatF64x2SZero } else { I::I32x4TruncSatF64x2UZero };
                    self.two_to_one(&src, &i);
                }
            }
            CvtOp::FToF if to.elem == Elem::F64 => {
                for i in 0..count {
                    self.f.get(src[i / 2]);
                    if i % 2 == 1 {
                        self.upper_half();
                    }
                    self.f.op(I::F64x2PromoteLowF32x4);
                }
            }
            CvtOp::FToF => self.two_to_one(&src, &I::F32x4DemoteF64x2Zero),
            _ => self.by_lanes(to, &[a], &|e, x| scalar::convert(&mut e.f, op, from.elem, to.elem, x[0])),
        }
        self.set(dst);
    }
    /// Moves the upper eight bytes of the vector on the stack to the lower ones.
    fn upper_half(&mut self) {
        let l = self.f.keep(ValType::V128);
        self.f.ops([I::LocalGet(l), I::LocalGet(l), shuffle(8, &[1, 1])]);
    }
    /// Pushes parts made of two each, of which an instruction makes low halves.
    fn two_to_one(&mut self, src: &[u32], i: &Inst) {
        for pair in src.chunks(2) {
            self.f.ops([I::LocalGet(pair[0]), i.clone()]);
            if let Some(&second) = pair.get(1) {
                self.f.ops([I::LocalGet(second), i.clone(), shuffle(8, &[0, 2])]);
            }
        }
    }
    /// Turns the vector on the stack into one of its lanes, as a scalar.
    pub fn extract(&mut self, e: Elem, bits: u32, lane: usize) {
        let lane = lane as u8;
        self.f.op(match (e, bits) {
            (Elem::F32, _) => I::F32x4ExtractLane(lane),
            (Elem::F64, _) => I::F64x2ExtractLane(lane),
            (_, 8) => I::I8x16ExtractLaneS(lane),
            (_, 16) => I::I16x8ExtractLaneS(lane),
            (_, 32) => I::I32x4ExtractLane(lane),
            _ => I::I64x2ExtractLane(lane),
        });
        if e == Elem::B1 {
            if bits == 64 {
                self.f.op(I::I32WrapI64);
            }
            self.f.ops([I::I32Const(1), I::I32And]);
        }
    }
    /// Turns the scalar on the stack into a vector with it in every lane.
    pub fn splat(&mut self, e: Elem, bits: u32) {
        if e == Elem::B1 {
            let x = self.f.keep(ValType::I32);
            self.f.ops([I::I32Const(0), I::LocalGet(x), I::I32Sub]);
            if bits == 64 {
                self.f.op(I::I64ExtendI32S);
            }
        }
        self.f.op(match (e, bits) {
            (Elem::F32, _) => I::F32x4Splat,
            (Elem::F64, _) => I::F64x2Splat,
            (_, 8) => I::I8x16Splat,
            (_, 16) => I::I16x8Splat,
            (_, 32) => I::I32x4Splat,
            _ => I::I64x2Splat,
        });
    }
    /// Replaces a lane of the vector below the scalar on the stack; numbers only.
    fn replace(&mut self, e: Elem, lane: usize) {
        let lane = lane as u8;
        self.f.op(match e {
            Elem::F32 => I::F32x4ReplaceLane(lane),
            Elem::F64 => I::F64x2ReplaceLane(lane),
            Elem::B1 | Elem::I8 => I::I8x16ReplaceLane(lane),
            Elem::I16 => I::I16x8ReplaceLane(lane),
            Elem::I32 => I::I32x4ReplaceLane(lane),
            Elem::I64 => I::I64x2ReplaceLane(lane),
        });
    }
    /// Pushes all parts of a vector of numbers, lane by lane.
    pub fn by_lanes(&mut self, ty: Ty, operands: &[Reg], f: &dyn Fn(&mut Self, &[super::body::Val])) {
        let per = per_part(ty.elem.bits());
        for i in 0..ty.lanes as usize {
            let x: Vec<_> = operands.iter().map(|&r| self.lane(r, i)).collect();
            f(self, &x);
            if i % per == 0 {
                self.splat(ty.elem, ty.elem.bits());
            } else {
                // The vector is below the scalar.
                self.replace(ty.elem, i % per);
            }
        }
    }
}

/// A shuffle of lanes of `size` bytes of two vectors.
pub fn shuffle(size: u8, lanes: &[u8]) -> Inst {
    let mut bytes = [0u8; 16];
    for (i, b) in bytes.iter_mut().enumerate() {
        *b = lanes[i / size as usize] * size + i as u8 % size;
    }
    I::I8x16Shuffle(bytes)
}

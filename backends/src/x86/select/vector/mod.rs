//! Instructions on vectors.
//!
//! Values keep their parts (see [`super::layout`]) through operations of one element width; conversions between widths
//! go through [`resize`]. Sequences write their destination last, so that it may be one of the operands.

mod arith;
mod codes;
mod cvt;
mod divide;
mod dot;
mod emit;
mod fold;
mod gather;
mod half;
mod lanes;
mod mask;
mod memory;
mod resize;
mod shift;

use super::{Isa, Select};
use crate::x86::mir::{Mem, VReg};
use emit::{Src, Vx};
use sinter_ir::tile::{Addr, BinOp, Buf, Elem, Inst, Kernel, Reg, Scalar, UnOp};

/// Whether an assignment of or from a vector can be emitted; the reason where not.
pub fn supports(k: &Kernel, isa: Isa, _: Reg, inst: &Inst) -> Result<(), String> {
    use UnOp::*;
    match inst {
        Inst::Un(Neg | Abs | Not | Ceil | Floor | Trunc | Nearest | Sqrt | Bf16ToF32, _) => Ok(()),
        Inst::Un(F16ToF32 | F32ToF16, _) if isa.f16c => Ok(()),
        Inst::Un(F32ToBf16Flush, _) if isa.bf16 => Ok(()),
        Inst::Un(op, _) => Err(format!("{op:?} of vectors")),
        Inst::Dot2 { acc, .. } if k.ty(*acc).elem == Elem::F32 && !isa.bf16 => {
            Err("Dot2 without AVX512-BF16".into())
        }
        Inst::Mat8 { .. } | Inst::Mat4 { .. } | Inst::Halves { .. } => {
            Err("products of small matrices".into())
        }
        Inst::Bin(BinOp::Scale, ..) if !isa.avx512 => Err("Scale without AVX-512".into()),
        Inst::Bin(op @ (BinOp::Pow | BinOp::Fmod), ..) => Err(format!("{op:?} of vectors")),
        _ => Ok(()),
    }
}

/// Whether a store of a vector can be emitted; the reason where not.
pub fn supports_store(_: &Kernel, _: Isa, _: Reg, _: Option<Reg>) -> Result<(), String> {
    Ok(())
}

impl Select<'_> {
    /// An assignment whose result or any operand has more than one lane, but not of a load that is to stay pending.
    pub fn vector(&mut self, dst: Reg, inst: &Inst) {
        let mut s = Vx(self);
        match *inst {
            Inst::Const(c) => s.constant(dst, c),
            Inst::Copy(a) => s.copy_all(dst, a),
            Inst::Un(op @ (UnOp::F16ToF32 | UnOp::F32ToF16 | UnOp::F32ToBf16Flush), a)
                if s.ty(dst).lanes == 1 =>
            {
                s.half_scalar(op, dst, a);
            }
            Inst::Un(op @ (UnOp::F16ToF32 | UnOp::F32ToF16 | UnOp::Bf16ToF32 | UnOp::F32ToBf16Flush), a) => {
                s.half_float(op, dst, a)
            }
            Inst::Un(op, a) => s.unary(op, dst, a),
            Inst::Bin(..) if s.facts.patterns.odd.contains_key(&dst) => s.odd_bytes(dst),
            Inst::Bin(op, a, b) => s.binary(op, dst, a, b),
            Inst::Cmp(op, a, b) => s.compare(op, dst, a, b),
            Inst::Select(..) if s.facts.patterns.greater.contains_key(&dst) => s.greater(dst),
            Inst::Select(c, a, b) => s.select(dst, c, a, b),
            Inst::MulAdd(a, b, c) => s.mul_add(dst, a, b, c),
            Inst::Dot2 { acc, a, b } => s.dot2(dst, acc, a, b),
            Inst::Dot4 { acc, a, b, a_signed, b_signed, within } => {
                s.dot4(dst, acc, (a, a_signed), (b, b_signed), within)
            }
            Inst::Cvt(op, a) => s.convert(op, dst, a),
            Inst::Load { buf, ref at, tail } => s.load(dst, buf, at, tail),
            Inst::LoadGather { buf, ref at, index, tail } => s.gather(dst, buf, at, index, tail),
            Inst::Splat(a) => s.splat(dst, a),
            Inst::Lane(a, i) => s.lane(dst, a, i),
            Inst::LaneIndex => s.lane_index(dst),
            Inst::Fold(op, a) => s.fold(op, dst, a),
            // Refused before; scalars only.
            Inst::Mat8 { .. } | Inst::Mat4 { .. } | Inst::Halves { .. } => {}
            Inst::Dim(_) | Inst::Address(_) | Inst::LoadAt(_) => {}
        }
    }
    /// Makes the mask of a tail, where it is not there yet.
    pub fn make_tail(&mut self, tail: Reg, lanes: u16) {
        Vx(self).tail_truth(tail, lanes);
    }
    /// Adds to a sum of 32 bits what it lacks.
    pub fn settle(&mut self, r: Reg) {
        Vx(self).settle(r);
    }
    /// Loads all parts of a register.
    pub fn load_vector(&mut self, r: Reg, from: Mem) {
        let (ty, d) = (self.ty(r), self.dst(r));
        Vx(self).load_parts(ty, &d, from);
    }
    /// Brings one element from memory to every lane of a register.
    pub fn splat_vector(&mut self, r: Reg, from: Mem) {
        let ty = self.ty(r);
        if ty.lanes == 1 {
            return self.load_scalar(r, from);
        }
        let parts = self.layout(ty);
        for (p, d) in parts.iter().zip(self.dst(r)) {
            Vx(self).broadcast(ty.elem.bytes(), p.bytes, d, Src::Mem(from));
        }
    }
    /// A constant in `n` bytes of lanes.
    pub fn constant_part(&mut self, d: VReg, elem: Elem, n: u8, c: Scalar) {
        Vx(self).constant_part(d, elem, n, c);
    }
    /// A store of more than one lane.
    pub fn store_vector(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        Vx(self).store(buf, at, value, tail);
    }
}

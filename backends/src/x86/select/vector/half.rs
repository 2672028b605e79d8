//! Half floats: f16 and bf16.

use super::codes::V;
use super::emit::{Src, Vx};
use super::resize::{Lanes, extension};
use crate::x86::mir::{Opnd, VReg};
use sinter_ir::tile::{Elem, Reg, UnOp};

impl Vx<'_, '_> {
    /// Half floats: f16c does both, bf16 is the upper half of f32.
    pub fn half_float(&mut self, op: UnOp, dst: Reg, a: Reg) {
        let out = match op {
            UnOp::F16ToF32 => self.widened(a, 4, &mut |s, n, d, x| s.half(V::Cvtph2ps, n, d, x)),
            UnOp::Bf16ToF32 => {
                let e = extension(2, 4, false);
                let v = self.widened(a, 4, &mut |s, n, d, x| s.extend(e, n, d, x));
                self.each(&v, &mut |s, n, r| s.new1i(V::Slldi, n, r, 16))
            }
            _ => {
                let v = self.lanes_of(a);
                match (op, v.regs.as_slice()) {
                    (UnOp::F32ToBf16Flush, &[low, high]) if v.lanes == 32 => {
                        let both = self.new2(V::Cvtne2ps2bf16, 64, high, low);
                        Lanes { width: 2, lanes: v.lanes, regs: vec![both] }
                    }
                    _ => self.narrow_by(&v, 2, &mut |s, n, r| {
                        let d = s.vec();
                        s.rounded_to_half(op, n, d, r);
                        d
                    }),
                }
            }
        };
        let d = self.dst(dst);
        self.put(&d, &out);
    }
    /// One half float.
    pub fn half_scalar(&mut self, op: UnOp, dst: Reg, a: Reg) {
        let (x, d) = (self.one(a), self.dst(dst)[0]);
        if op == UnOp::F16ToF32 {
            let x = self.of_gpr(x, 4);
            return self.half(V::Cvtph2ps, 16, d, Src::Reg(x));
        }
        let t = self.vec();
        self.rounded_to_half(op, 16, t, x);
        self.scalar_of(Elem::I16, d, t);
    }
    /// `n` bytes of f32 to half as many.
    fn rounded_to_half(&mut self, op: UnOp, n: u8, d: VReg, x: VReg) {
        let view = (n / 2).max(16);
        if op == UnOp::F32ToBf16Flush {
            return self.v(V::Cvtneps2bf16, n, &[Opnd::Def(d, view), Opnd::Use(x, n)]);
        }
        // Nearest even whatever the mode.
        self.v(V::Cvtps2ph, n, &[Opnd::Def(d, view), Opnd::Use(x, n), Opnd::Imm(0)]);
    }
}

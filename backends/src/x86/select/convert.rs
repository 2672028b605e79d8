//! Conversions of scalars.

use super::Select;
use super::int::view;
use crate::x86::mir::{Class, Cond, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, CvtOp, Elem, Reg};

impl Select<'_> {
    /// Conversion of one scalar.
    pub(super) fn convert_scalar(&mut self, op: CvtOp, from: Elem, to: Elem, a: Reg) -> VReg {
        match op {
            CvtOp::SExt => self.sign_extend(from, to, a),
            CvtOp::ZExt => self.zero_extend(from, a),
            CvtOp::Narrow => self.one(a),
            CvtOp::SToF | CvtOp::UToF => self.int_to_float(op == CvtOp::SToF, from, to, a),
            CvtOp::FToS => self.float_to_signed(from, to, a),
            CvtOp::FToU => self.float_to_unsigned(from, to, a),
            CvtOp::FToF => {
                let code = match to {
                    Elem::F64 => self.form(
                        Code::VEX_Vcvtss2sd_xmm_xmm_xmmm32,
                        Code::EVEX_Vcvtss2sd_xmm_k1z_xmm_xmmm32_sae,
                    ),
                    _ => self
                        .form(Code::VEX_Vcvtsd2ss_xmm_xmm_xmmm64, Code::EVEX_Vcvtsd2ss_xmm_k1z_xmm_xmmm64_er),
                };
                let x = self.one(a);
                self.three(code, x, Opnd::Use(x, 16))
            }
            CvtOp::Bits => self.bits(from, a),
        }
    }
    /// Wider, with the sign.
    fn sign_extend(&mut self, from: Elem, to: Elem, a: Reg) -> VReg {
        let bytes = view(to);
        let wide = bytes == 8;
        if from == Elem::B1 {
            let x = self.one(a);
            let t = self.temp(Class::Gpr);
            self.f.op(Code::Mov_r32_rm32, &[Opnd::Def(t, 4), Opnd::Use(x, 4)]);
            self.f.op(if wide { Code::Neg_rm64 } else { Code::Neg_rm32 }, &[Opnd::UseDef(t, bytes)]);
            return t;
        }
        let (code, size) = match (from, wide) {
            (Elem::I8, false) => (Code::Movsx_r32_rm8, 1),
            (Elem::I8, true) => (Code::Movsx_r64_rm8, 1),
            (Elem::I16, false) => (Code::Movsx_r32_rm16, 2),
            (Elem::I16, true) => (Code::Movsx_r64_rm16, 2),
            _ => (Code::Movsxd_r64_rm32, 4),
        };
        let x = self.int_operand(a, size);
        let t = self.temp(Class::Gpr);
        self.f.op(code, &[Opnd::Def(t, bytes), x]);
        t
    }
    /// Wider, with zeros; a 32-bit result clears the upper half.
    fn zero_extend(&mut self, from: Elem, a: Reg) -> VReg {
        let (code, size) = match from {
            Elem::I8 => (Code::Movzx_r32_rm8, 1),
            Elem::I16 => (Code::Movzx_r32_rm16, 2),
            _ => (Code::Mov_r32_rm32, 4),
        };
        let x = self.int_operand(a, size);
        let t = self.temp(Class::Gpr);
        self.f.op(code, &[Opnd::Def(t, 4), x]);
        t
    }
    /// An integer as register or memory.
    fn int_operand(&mut self, a: Reg, size: u8) -> Opnd {
        match self.take_load(a) {
            Some(m) => Opnd::Mem(m),
            None => Opnd::Use(self.one(a), size),
        }
    }
    /// Between integer and float registers.
    fn bits(&mut self, from: Elem, a: Reg) -> VReg {
        let x = self.one(a);
        let (code, def, read) = match from {
            Elem::F32 => {
                (self.form(Code::VEX_Vmovd_rm32_xmm, Code::EVEX_Vmovd_rm32_xmm), (Class::Gpr, 4), 16)
            }
            Elem::F64 => {
                (self.form(Code::VEX_Vmovq_rm64_xmm, Code::EVEX_Vmovq_rm64_xmm), (Class::Gpr, 8), 16)
            }
            Elem::I32 => {
                (self.form(Code::VEX_Vmovd_xmm_rm32, Code::EVEX_Vmovd_xmm_rm32), (Class::Vec, 16), 4)
            }
            _ => (self.form(Code::VEX_Vmovq_xmm_rm64, Code::EVEX_Vmovq_xmm_rm64), (Class::Vec, 16), 8),
        };
        let t = self.temp(def.0);
        self.f.op(code, &[Opnd::Def(t, def.1), Opnd::Use(x, read)]);
        t
    }
    /// A signed 32 or 64 bit integer to a float.
    fn signed_to_float(&mut self, x: VReg, bytes: u8, to: Elem) -> VReg {
        let code = match (bytes, to) {
            (4, Elem::F32) => {
                self.form(Code::VEX_Vcvtsi2ss_xmm_xmm_rm32, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm32_er)
            }
            (4, _) => self.form(Code::VEX_Vcvtsi2sd_xmm_xmm_rm32, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm32_er),
            (_, Elem::F32) => {
                self.form(Code::VEX_Vcvtsi2ss_xmm_xmm_rm64, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm64_er)
            }
            _ => self.form(Code::VEX_Vcvtsi2sd_xmm_xmm_rm64, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm64_er),
        };
        // The upper lanes come from the first operand: a fresh zero keeps older values out of it.
        let zero = self.zero_float();
        self.three(code, zero, Opnd::Use(x, bytes))
    }
    /// Any integer to a float.
    fn int_to_float(&mut self, signed: bool, from: Elem, to: Elem, a: Reg) -> VReg {
        let x = self.one(a);
        match (from, signed) {
            (Elem::I8 | Elem::I16, _) => {
                let x = self.extended(x, from, signed);
                self.signed_to_float(x, 4, to)
            }
            (_, true) => self.signed_to_float(x, view(from), to),
            (Elem::I32, false) => {
                let t = self.temp(Class::Gpr);
                self.f.op(Code::Mov_r32_rm32, &[Opnd::Def(t, 4), Opnd::Use(x, 4)]);
                self.signed_to_float(t, 8, to)
            }
            _ => self.unsigned_to_float(x, to),
        }
    }
    /// An unsigned 64-bit integer to a float. The upper half of the range is halved first, with the lost bit kept sticky.
    fn unsigned_to_float(&mut self, x: VReg, to: Elem) -> VReg {
        let (code, add) = match to {
            Elem::F32 => (Code::EVEX_Vcvtusi2ss_xmm_xmm_rm64_er, Code::VEX_Vaddss_xmm_xmm_xmmm32),
            _ => (Code::EVEX_Vcvtusi2sd_xmm_xmm_rm64_er, Code::VEX_Vaddsd_xmm_xmm_xmmm64),
        };
        if self.isa.avx512 {
            let zero = self.zero_float();
            return self.three(code, zero, Opnd::Use(x, 8));
        }
        let out = self.temp(Class::Vec);
        let (big, done) = (self.f.label(), self.f.label());
        self.compare_imm(x, 8, 0);
        self.f.branch(Cond::S, big);
        let plain = self.signed_to_float(x, 8, to);
        self.f.copy(out, plain, 16);
        self.f.jump(done);
        self.f.bind(big);
        let (half, low) = (self.fresh(x, 8), self.fresh(x, 8));
        self.shift_imm(BinOp::ShrU, half, 8, 1);
        self.alu_imm(BinOp::And, low, 8, 1);
        self.alu(BinOp::Or, half, 8, low);
        let h = self.signed_to_float(half, 8, to);
        let twice = self.three(add, h, Opnd::Use(h, 16));
        self.f.copy(out, twice, 16);
        self.f.bind(done);
        out
    }
    /// Towards zero; what does not fit becomes the smallest integer.
    fn truncate(&mut self, x: VReg, from: Elem, bytes: u8) -> VReg {
        let code = match (from, bytes) {
            (Elem::F64, 4) => {
                self.form(Code::VEX_Vcvttsd2si_r32_xmmm64, Code::EVEX_Vcvttsd2si_r32_xmmm64_sae)
            }
            (Elem::F64, _) => {
                self.form(Code::VEX_Vcvttsd2si_r64_xmmm64, Code::EVEX_Vcvttsd2si_r64_xmmm64_sae)
            }
            (_, 4) => self.form(Code::VEX_Vcvttss2si_r32_xmmm32, Code::EVEX_Vcvttss2si_r32_xmmm32_sae),
            _ => self.form(Code::VEX_Vcvttss2si_r64_xmmm32, Code::EVEX_Vcvttss2si_r64_xmmm32_sae),
        };
        let t = self.temp(Class::Gpr);
        self.f.op(code, &[Opnd::Def(t, bytes), Opnd::Use(x, 16)]);
        t
    }
    /// Compares a float with a power of two.
    fn compare_power(&mut self, x: VReg, e: Elem, power: i32) {
        let (m, code) = match e {
            Elem::F64 => (
                self.constant(&2f64.powi(power).to_le_bytes()),
                self.form(Code::VEX_Vucomisd_xmm_xmmm64, Code::EVEX_Vucomisd_xmm_xmmm64_sae),
            ),
            _ => (
                self.constant(&2f32.powi(power).to_le_bytes()),
                self.form(Code::VEX_Vucomiss_xmm_xmmm32, Code::EVEX_Vucomiss_xmm_xmmm32_sae),
            ),
        };
        self.f.op(code, &[Opnd::Use(x, 16), Opnd::Mem(m)]);
    }
    /// Saturating, NaN to 0.
    fn float_to_signed(&mut self, from: Elem, to: Elem, a: Reg) -> VReg {
        let bytes = view(to);
        let bits = i32::from(bytes) * 8 - 1;
        let x = self.one(a);
        // What does not fit becomes the smallest integer: right for small values, put right for large ones and NaN.
        let t = self.truncate(x, from, bytes);
        let most = self.int(if bytes == 8 { i64::MAX } else { i64::from(i32::MAX) }, true);
        let zero = self.int(0, false);
        let out = self.fresh(t, bytes);
        self.compare_power(x, from, bits);
        self.f.op(Cond::AE.cmov(bytes), &[Opnd::UseDef(out, bytes), Opnd::Use(most, bytes)]);
        self.f.op(Cond::P.cmov(bytes), &[Opnd::UseDef(out, bytes), Opnd::Use(zero, bytes)]);
        out
    }
    /// Saturating, NaN to 0.
    fn float_to_unsigned(&mut self, from: Elem, to: Elem, a: Reg) -> VReg {
        let x = self.one(a);
        let (max, sub) = match from {
            Elem::F64 => (
                self.form(Code::VEX_Vmaxsd_xmm_xmm_xmmm64, Code::EVEX_Vmaxsd_xmm_k1z_xmm_xmmm64_sae),
                self.form(Code::VEX_Vsubsd_xmm_xmm_xmmm64, Code::EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er),
            ),
            _ => (
                self.form(Code::VEX_Vmaxss_xmm_xmm_xmmm32, Code::EVEX_Vmaxss_xmm_k1z_xmm_xmmm32_sae),
                self.form(Code::VEX_Vsubss_xmm_xmm_xmmm32, Code::EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er),
            ),
        };
        // The maximum gives its second operand for NaN.
        let zero = self.zero_float();
        let x = self.three(max, x, Opnd::Use(zero, 16));
        if to == Elem::I32 {
            let t = self.truncate(x, from, 8);
            let most = self.int(i64::from(u32::MAX), true);
            let out = self.fresh(t, 8);
            self.compare_power(x, from, 32);
            self.f.op(Cond::AE.cmov(8), &[Opnd::UseDef(out, 8), Opnd::Use(most, 8)]);
            return out;
        }
        // Below 2^63 directly; else what is above that, which again does not fit from 2^64 on.
        let low = self.truncate(x, from, 8);
        let two63 = match from {
            Elem::F64 => self.constant(&2f64.powi(63).to_le_bytes()),
            _ => self.constant(&2f32.powi(63).to_le_bytes()),
        };
        let rest = self.three(sub, x, Opnd::Mem(two63));
        let high = self.truncate(rest, from, 8);
        let bit = self.int(i64::MIN, true);
        let high = self.fresh(high, 8);
        self.alu(BinOp::Xor, high, 8, bit);
        let all = self.int(-1, true);
        let out = self.fresh(low, 8);
        self.compare_power(x, from, 63);
        self.f.op(Cond::AE.cmov(8), &[Opnd::UseDef(out, 8), Opnd::Use(high, 8)]);
        self.compare_power(x, from, 64);
        self.f.op(Cond::AE.cmov(8), &[Opnd::UseDef(out, 8), Opnd::Use(all, 8)]);
        out
    }
}

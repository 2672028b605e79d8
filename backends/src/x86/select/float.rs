//! Float scalars.

use super::{Pending, Select};
use crate::x86::mir::{Class, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, Elem, Reg, Scalar, UnOp};

impl Select<'_> {
    /// Reads one float from memory.
    pub(super) fn load_float(&mut self, to: VReg, e: Elem, from: Mem) {
        let code = match e {
            Elem::F64 => self.form(Code::VEX_Vmovsd_xmm_m64, Code::EVEX_Vmovsd_xmm_k1z_m64),
            _ => self.form(Code::VEX_Vmovss_xmm_m32, Code::EVEX_Vmovss_xmm_k1z_m32),
        };
        self.f.op(code, &[Opnd::Def(to, 16), Opnd::Mem(from)]);
    }
    /// Writes one float to memory.
    pub(super) fn store_float(&mut self, from: VReg, e: Elem, to: Mem) {
        let code = match e {
            Elem::F64 => self.form(Code::VEX_Vmovsd_m64_xmm, Code::EVEX_Vmovsd_m64_k1_xmm),
            _ => self.form(Code::VEX_Vmovss_m32_xmm, Code::EVEX_Vmovss_m32_k1_xmm),
        };
        self.f.op(code, &[Opnd::Mem(to), Opnd::Use(from, 16)]);
    }
    /// A float constant as memory.
    pub(super) fn const_float(&mut self, r: Reg) -> Option<Mem> {
        match self.facts.consts.get(&r)? {
            Scalar::F32(v) => Some(self.constant(&v.to_bits().to_le_bytes())),
            Scalar::F64(v) => Some(self.constant(&v.to_bits().to_le_bytes())),
            _ => None,
        }
    }
    /// A float as the last operand of a scalar instruction: memory where it may be.
    pub(super) fn float_operand(&mut self, r: Reg) -> Opnd {
        if let Some(m) = self.const_float(r) {
            return Opnd::Mem(m);
        }
        match self.take_pending(r) {
            Some(Pending::Load(m)) => Opnd::Mem(m),
            Some(p) => {
                self.pending.insert(r, p);
                Opnd::Use(self.one(r), 16)
            }
            None => Opnd::Use(self.one(r), 16),
        }
    }
    /// The pattern in all lanes of 16 bytes.
    fn pattern(&mut self, e: Elem, bits32: u32, bits64: u64) -> Mem {
        let bytes = match e {
            Elem::F64 => [bits64.to_le_bytes(); 2].concat(),
            _ => [bits32.to_le_bytes(); 4].concat(),
        };
        self.constant(&bytes)
    }
    /// Bitwise instructions on whole registers.
    fn logic(&self, op: BinOp) -> Code {
        match op {
            BinOp::And => {
                self.form(Code::VEX_Vandps_xmm_xmm_xmmm128, Code::EVEX_Vandps_xmm_k1z_xmm_xmmm128b32)
            }
            BinOp::Or => self.form(Code::VEX_Vorps_xmm_xmm_xmmm128, Code::EVEX_Vorps_xmm_k1z_xmm_xmmm128b32),
            _ => self.form(Code::VEX_Vxorps_xmm_xmm_xmmm128, Code::EVEX_Vxorps_xmm_k1z_xmm_xmmm128b32),
        }
    }
    /// `x op y` in a fresh register, where `code` is a VEX or EVEX instruction of three operands.
    pub(super) fn three(&mut self, code: Code, x: VReg, y: Opnd) -> VReg {
        let t = self.temp(Class::Vec);
        self.f.op(code, &[Opnd::Def(t, 16), Opnd::Use(x, 16), y]);
        t
    }
    /// Zero.
    pub(super) fn zero_float(&mut self) -> VReg {
        let t = self.temp(Class::Vec);
        let code = self.logic(BinOp::Xor);
        self.f.op(code, &[Opnd::Def(t, 16), Opnd::Def(t, 16), Opnd::Def(t, 16)]);
        t
    }
    /// An operation on one float.
    pub(super) fn float_un(&mut self, op: UnOp, e: Elem, a: Reg) -> VReg {
        let x = self.one(a);
        let double = e == Elem::F64;
        let pick = |s: &Self, single: (Code, Code), wide: (Code, Code)| {
            let (vex, evex) = if double { wide } else { single };
            s.form(vex, evex)
        };
        match op {
            UnOp::Neg => {
                let m = self.pattern(e, 1 << 31, 1 << 63);
                self.three(self.logic(BinOp::Xor), x, Opnd::Mem(m))
            }
            UnOp::Abs => {
                let m = self.pattern(e, !(1 << 31), !(1 << 63));
                self.three(self.logic(BinOp::And), x, Opnd::Mem(m))
            }
            UnOp::Sqrt => {
                let code = pick(
                    self,
                    (Code::VEX_Vsqrtss_xmm_xmm_xmmm32, Code::EVEX_Vsqrtss_xmm_k1z_xmm_xmmm32_er),
                    (Code::VEX_Vsqrtsd_xmm_xmm_xmmm64, Code::EVEX_Vsqrtsd_xmm_k1z_xmm_xmmm64_er),
                );
                self.three(code, x, Opnd::Use(x, 16))
            }
            _ => {
                // Without the inexact exception.
                let mode = match op {
                    UnOp::Floor => 9,
                    UnOp::Ceil => 10,
                    UnOp::Trunc => 11,
                    _ => 8,
                };
                let code = pick(
                    self,
                    (
                        Code::VEX_Vroundss_xmm_xmm_xmmm32_imm8,
                        Code::EVEX_Vrndscaless_xmm_k1z_xmm_xmmm32_imm8_sae,
                    ),
                    (
                        Code::VEX_Vroundsd_xmm_xmm_xmmm64_imm8,
                        Code::EVEX_Vrndscalesd_xmm_k1z_xmm_xmmm64_imm8_sae,
                    ),
                );
                let t = self.temp(Class::Vec);
                self.f.op(code, &[Opnd::Def(t, 16), Opnd::Use(x, 16), Opnd::Use(x, 16), Opnd::Imm(mode)]);
                t
            }
        }
    }
    /// The instruction of an operation on two floats.
    fn float_code(&self, op: BinOp, e: Elem) -> Code {
        use Code::*;
        let (s, d) = match op {
            BinOp::Add => (
                (VEX_Vaddss_xmm_xmm_xmmm32, EVEX_Vaddss_xmm_k1z_xmm_xmmm32_er),
                (VEX_Vaddsd_xmm_xmm_xmmm64, EVEX_Vaddsd_xmm_k1z_xmm_xmmm64_er),
            ),
            BinOp::Sub => (
                (VEX_Vsubss_xmm_xmm_xmmm32, EVEX_Vsubss_xmm_k1z_xmm_xmmm32_er),
                (VEX_Vsubsd_xmm_xmm_xmmm64, EVEX_Vsubsd_xmm_k1z_xmm_xmmm64_er),
            ),
            BinOp::Mul => (
                (VEX_Vmulss_xmm_xmm_xmmm32, EVEX_Vmulss_xmm_k1z_xmm_xmmm32_er),
                (VEX_Vmulsd_xmm_xmm_xmmm64, EVEX_Vmulsd_xmm_k1z_xmm_xmmm64_er),
            ),
            BinOp::Div => (
                (VEX_Vdivss_xmm_xmm_xmmm32, EVEX_Vdivss_xmm_k1z_xmm_xmmm32_er),
                (VEX_Vdivsd_xmm_xmm_xmmm64, EVEX_Vdivsd_xmm_k1z_xmm_xmmm64_er),
            ),
            BinOp::Min => (
                (VEX_Vminss_xmm_xmm_xmmm32, EVEX_Vminss_xmm_k1z_xmm_xmmm32_sae),
                (VEX_Vminsd_xmm_xmm_xmmm64, EVEX_Vminsd_xmm_k1z_xmm_xmmm64_sae),
            ),
            _ => (
                (VEX_Vmaxss_xmm_xmm_xmmm32, EVEX_Vmaxss_xmm_k1z_xmm_xmmm32_sae),
                (VEX_Vmaxsd_xmm_xmm_xmmm64, EVEX_Vmaxsd_xmm_k1z_xmm_xmmm64_sae),
            ),
        };
        let (vex, evex) = if e == Elem::F64 { d } else { s };
        self.form(vex, evex)
    }
    /// An operation on two floats.
    pub(super) fn float_bin(&mut self, op: BinOp, e: Elem, a: Reg, b: Reg) -> VReg {
        let code = self.float_code(op, e);
        let x = self.one(a);
        if !matches!(op, BinOp::Min | BinOp::Max) {
            let y = self.float_operand(b);
            return self.three(code, x, y);
        }
        // The instructions give their second operand for NaNs and equal values: done both ways round, the two results
        // differ only there.
        let y = self.one(b);
        let (p, q) = (self.three(code, x, Opnd::Use(y, 16)), self.three(code, y, Opnd::Use(x, 16)));
        let both = self.three(self.logic(BinOp::Or), p, Opnd::Use(q, 16));
        if op == BinOp::Min {
            return both;
        }
        let apart = self.three(self.logic(BinOp::Xor), p, Opnd::Use(q, 16));
        self.three(self.float_code(BinOp::Sub, e), both, Opnd::Use(apart, 16))
    }
    /// `a > b ? a : b` of F32.
    pub(super) fn float_greater(&mut self, a: Reg, b: Reg) -> VReg {
        let x = self.one(a);
        let y = self.float_operand(b);
        self.three(self.float_code(BinOp::Max, Elem::F32), x, y)
    }
    /// `a * b + c`.
    pub(super) fn float_mul_add(&mut self, e: Elem, a: Reg, b: Reg, c: Reg) -> VReg {
        let code =
            match e {
                Elem::F64 => self
                    .form(Code::VEX_Vfmadd231sd_xmm_xmm_xmmm64, Code::EVEX_Vfmadd231sd_xmm_k1z_xmm_xmmm64_er),
                _ => self
                    .form(Code::VEX_Vfmadd231ss_xmm_xmm_xmmm32, Code::EVEX_Vfmadd231ss_xmm_k1z_xmm_xmmm32_er),
            };
        let (z, x) = (self.one(c), self.one(a));
        let y = self.float_operand(b);
        let t = self.temp(Class::Vec);
        self.f.copy(t, z, 16);
        self.f.op(code, &[Opnd::UseDef(t, 16), Opnd::Use(x, 16), y]);
        t
    }
    /// `cond ? a : b`.
    pub(super) fn float_select(&mut self, cond: Reg, a: Reg, b: Reg) -> VReg {
        let (x, y) = (self.one(a), self.one(b));
        let t = self.temp(Class::Vec);
        let test = self.test(cond);
        self.f.copy(t, x, 16);
        let done = self.f.label();
        self.branch_if(test, done);
        self.f.copy(t, y, 16);
        self.f.bind(done);
        t
    }
}

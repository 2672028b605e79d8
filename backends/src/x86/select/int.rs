//! Integer scalars.

use super::Select;
use crate::x86::mir::{Class, Cond, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, Elem, Reg, UnOp};

/// View that arithmetic on a type uses.
pub fn view(e: Elem) -> u8 {
    if e == Elem::I64 { 8 } else { 4 }
}

/// Forms of a two-operand instruction: register with register or memory, 8-bit and 32-bit immediates.
struct Forms {
    rm: Code,
    imm8: Code,
    imm32: Code,
}

/// The forms of an operation that x86 has as an instruction of two operands.
fn forms(op: BinOp, wide: bool) -> Option<Forms> {
    use Code::*;
    let pick = |a: [Code; 3], b: [Code; 3]| {
        let [rm, imm8, imm32] = if wide { b } else { a };
        Forms { rm, imm8, imm32 }
    };
    Some(match op {
        BinOp::Add => {
            pick([Add_r32_rm32, Add_rm32_imm8, Add_rm32_imm32], [Add_r64_rm64, Add_rm64_imm8, Add_rm64_imm32])
        }
        BinOp::Sub => {
            pick([Sub_r32_rm32, Sub_rm32_imm8, Sub_rm32_imm32], [Sub_r64_rm64, Sub_rm64_imm8, Sub_rm64_imm32])
        }
        BinOp::And => {
            pick([And_r32_rm32, And_rm32_imm8, And_rm32_imm32], [And_r64_rm64, And_rm64_imm8, And_rm64_imm32])
        }
        BinOp::Or => {
            pick([Or_r32_rm32, Or_rm32_imm8, Or_rm32_imm32], [Or_r64_rm64, Or_rm64_imm8, Or_rm64_imm32])
        }
        BinOp::Xor => {
            pick([Xor_r32_rm32, Xor_rm32_imm8, Xor_rm32_imm32], [Xor_r64_rm64, Xor_rm64_imm8, Xor_rm64_imm32])
        }
        _ => return None,
    })
}

impl Select<'_> {
    /// A copy that may be changed.
    pub fn fresh(&mut self, v: VReg, bytes: u8) -> VReg {
        let t = self.temp(Class::Gpr);
        self.f.copy(t, v, bytes);
        t
    }
    /// `v += by` on 64 bits.
    pub fn add_imm(&mut self, v: VReg, by: i64) {
        self.alu_imm(BinOp::Add, v, 8, by);
    }
    /// `v op= imm`.
    pub fn alu_imm(&mut self, op: BinOp, v: VReg, bytes: u8, imm: i64) {
        let Some(f) = forms(op, bytes == 8) else { return };
        let imm = if bytes == 4 { i64::from(imm as i32) } else { imm };
        match (i8::try_from(imm), i32::try_from(imm)) {
            (Ok(_), _) => self.f.op(f.imm8, &[Opnd::UseDef(v, bytes), Opnd::Imm(imm)]),
            (_, Ok(_)) => self.f.op(f.imm32, &[Opnd::UseDef(v, bytes), Opnd::Imm(imm)]),
            _ => {
                let x = self.int(imm, true);
                self.f.op(f.rm, &[Opnd::UseDef(v, bytes), Opnd::Use(x, bytes)]);
            }
        }
    }
    /// `v op= x`.
    pub fn alu(&mut self, op: BinOp, v: VReg, bytes: u8, x: VReg) {
        if let Some(f) = forms(op, bytes == 8) {
            self.f.op(f.rm, &[Opnd::UseDef(v, bytes), Opnd::Use(x, bytes)]);
        }
    }
    /// Compares with a constant.
    pub fn compare_imm(&mut self, v: VReg, bytes: u8, imm: i64) {
        let wide = bytes == 8;
        let pick = |a, b| if wide { b } else { a };
        let imm = if wide { imm } else { i64::from(imm as i32) };
        match (imm, i8::try_from(imm), i32::try_from(imm)) {
            (0, ..) => {
                let code = pick(Code::Test_rm32_r32, Code::Test_rm64_r64);
                self.f.op(code, &[Opnd::Use(v, bytes), Opnd::Use(v, bytes)]);
            }
            (_, Ok(_), _) => {
                let code = pick(Code::Cmp_rm32_imm8, Code::Cmp_rm64_imm8);
                self.f.op(code, &[Opnd::Use(v, bytes), Opnd::Imm(imm)]);
            }
            (_, _, Ok(_)) => {
                let code = pick(Code::Cmp_rm32_imm32, Code::Cmp_rm64_imm32);
                self.f.op(code, &[Opnd::Use(v, bytes), Opnd::Imm(imm)]);
            }
            _ => {
                let x = self.int(imm, true);
                self.f.op(Code::Cmp_r64_rm64, &[Opnd::Use(v, 8), Opnd::Use(x, 8)]);
            }
        }
    }
    /// `v << by`, `v >> by` in place; the amount is below the width.
    pub fn shift_imm(&mut self, op: BinOp, v: VReg, bytes: u8, by: i64) {
        let code = match (op, bytes) {
            _ if by == 0 => return,
            (BinOp::Shl, 8) => Code::Shl_rm64_imm8,
            (BinOp::Shl, _) => Code::Shl_rm32_imm8,
            (BinOp::ShrS, 8) => Code::Sar_rm64_imm8,
            (BinOp::ShrS, _) => Code::Sar_rm32_imm8,
            (_, 8) => Code::Shr_rm64_imm8,
            _ => Code::Shr_rm32_imm8,
        };
        self.f.op(code, &[Opnd::UseDef(v, bytes), Opnd::Imm(by)]);
    }
    /// `x * by` on 64 bits in a fresh register.
    pub fn times(&mut self, x: VReg, by: i64) -> VReg {
        self.times_view(x, 8, by)
    }
    /// `x * by` in a fresh register.
    pub fn times_view(&mut self, x: VReg, bytes: u8, by: i64) -> VReg {
        let t = self.temp(Class::Gpr);
        match by {
            0 => return self.int(0, false),
            1 => self.f.copy(t, x, bytes),
            2 | 4 | 8 | 3 | 5 | 9 if by % 2 == 1 || by == 2 => {
                let scale = if by == 2 { 1 } else { by as u8 - 1 };
                let m = Mem { index: Some((x, scale)), ..Mem::reg(x) };
                let code = if bytes == 8 { Code::Lea_r64_m } else { Code::Lea_r32_m };
                self.f.op(code, &[Opnd::Def(t, bytes), Opnd::Mem(m)]);
            }
            _ if by > 0 && by & (by - 1) == 0 => {
                self.f.copy(t, x, bytes);
                self.shift_imm(BinOp::Shl, t, bytes, i64::from(by.trailing_zeros()));
            }
            _ => {
                let wide = bytes == 8;
                let by = if wide { by } else { i64::from(by as i32) };
                let pick = |a, b| if wide { b } else { a };
                let code = match (i8::try_from(by), i32::try_from(by)) {
                    (Ok(_), _) => pick(Code::Imul_r32_rm32_imm8, Code::Imul_r64_rm64_imm8),
                    (_, Ok(_)) => pick(Code::Imul_r32_rm32_imm32, Code::Imul_r64_rm64_imm32),
                    _ => {
                        let far = self.int(by, true);
                        self.f.op(Code::Imul_r64_rm64, &[Opnd::UseDef(far, 8), Opnd::Use(x, 8)]);
                        return far;
                    }
                };
                self.f.op(code, &[Opnd::Def(t, bytes), Opnd::Use(x, bytes), Opnd::Imm(by)]);
            }
        }
        t
    }
    /// A value's low bits extended to 32 bits (64 for I64).
    pub fn extended(&mut self, v: VReg, e: Elem, signed: bool) -> VReg {
        let (code, bytes) = match (e, signed) {
            (Elem::I8, true) => (Code::Movsx_r32_rm8, 1),
            (Elem::I8, false) => (Code::Movzx_r32_rm8, 1),
            (Elem::I16, true) => (Code::Movsx_r32_rm16, 2),
            (Elem::I16, false) => (Code::Movzx_r32_rm16, 2),
            _ => return v,
        };
        let t = self.temp(Class::Gpr);
        self.f.op(code, &[Opnd::Def(t, 4), Opnd::Use(v, bytes)]);
        t
    }
    /// An operation on one integer.
    pub(super) fn int_un(&mut self, op: UnOp, e: Elem, a: Reg) -> VReg {
        let bytes = view(e);
        let x = self.one(a);
        let wide = bytes == 8;
        let not = if wide { Code::Not_rm64 } else { Code::Not_rm32 };
        let neg = if wide { Code::Neg_rm64 } else { Code::Neg_rm32 };
        match op {
            UnOp::Not if e == Elem::B1 => {
                let t = self.fresh(x, 4);
                self.alu_imm(BinOp::Xor, t, 4, 1);
                t
            }
            UnOp::Not => {
                let t = self.fresh(x, bytes);
                self.f.op(not, &[Opnd::UseDef(t, bytes)]);
                t
            }
            UnOp::Neg => {
                let t = self.fresh(x, bytes);
                self.f.op(neg, &[Opnd::UseDef(t, bytes)]);
                t
            }
            _ => {
                let x = self.extended(x, e, true);
                let t = self.fresh(x, bytes);
                self.f.op(neg, &[Opnd::UseDef(t, bytes)]);
                self.f.op(Cond::S.cmov(bytes), &[Opnd::UseDef(t, bytes), Opnd::Use(x, bytes)]);
                t
            }
        }
    }
    /// An operation on two integers.
    pub(super) fn int_bin(&mut self, op: BinOp, e: Elem, a: Reg, b: Reg) -> VReg {
        use BinOp::*;
        let bytes = view(e);
        match op {
            Add | Sub | And | Or | Xor => {
                let (a, b) = if op != Sub && self.int_of(a).is_some() { (b, a) } else { (a, b) };
                let x = self.one(a);
                match self.int_of(b) {
                    Some(imm) => {
                        let t = self.fresh(x, bytes);
                        self.alu_imm(op, t, bytes, imm);
                        t
                    }
                    None => {
                        let y = self.one(b);
                        let t = self.fresh(x, bytes);
                        self.alu(op, t, bytes, y);
                        t
                    }
                }
            }
            Mul => {
                let (a, b) = if self.int_of(a).is_some() { (b, a) } else { (a, b) };
                let x = self.one(a);
                if let Some(by) = self.int_of(b) {
                    return self.times_view(x, bytes, by);
                }
                let y = self.one(b);
                self.multiply(x, y, bytes)
            }
            Shl | ShrS | ShrU => self.int_shift(op, e, a, b),
            DivS | DivU | RemS | RemU => self.divide(op, e, a, b),
            _ => {
                let signed = matches!(op, MinS | MaxS);
                let (x, y) = (self.one(a), self.one(b));
                let (x, y) = (self.extended(x, e, signed), self.extended(y, e, signed));
                let t = self.fresh(x, bytes);
                let code = if bytes == 8 { Code::Cmp_r64_rm64 } else { Code::Cmp_r32_rm32 };
                self.f.op(code, &[Opnd::Use(x, bytes), Opnd::Use(y, bytes)]);
                let when = match op {
                    MinS => Cond::G,
                    MaxS => Cond::L,
                    MinU => Cond::A,
                    _ => Cond::B,
                };
                self.f.op(when.cmov(bytes), &[Opnd::UseDef(t, bytes), Opnd::Use(y, bytes)]);
                t
            }
        }
    }
    /// `x * y` in a fresh register.
    pub fn multiply(&mut self, x: VReg, y: VReg, bytes: u8) -> VReg {
        let t = self.fresh(x, bytes);
        let code = if bytes == 8 { Code::Imul_r64_rm64 } else { Code::Imul_r32_rm32 };
        self.f.op(code, &[Opnd::UseDef(t, bytes), Opnd::Use(y, bytes)]);
        t
    }
    /// A shift, the amount modulo the width.
    fn int_shift(&mut self, op: BinOp, e: Elem, a: Reg, b: Reg) -> VReg {
        let bytes = view(e);
        let x = self.one(a);
        let x = if op == BinOp::Shl { x } else { self.extended(x, e, op == BinOp::ShrS) };
        let mask = i64::from(e.bits() - 1);
        if let Some(by) = self.int_of(b) {
            let t = self.fresh(x, bytes);
            self.shift_imm(op, t, bytes, by & mask);
            return t;
        }
        let mut y = self.one(b);
        // The instructions take the amount modulo 32 or 64.
        if matches!(e, Elem::I8 | Elem::I16) {
            y = self.fresh(y, 4);
            self.alu_imm(BinOp::And, y, 4, mask);
        }
        let code = match (op, bytes) {
            (BinOp::Shl, 8) => Code::VEX_Shlx_r64_rm64_r64,
            (BinOp::Shl, _) => Code::VEX_Shlx_r32_rm32_r32,
            (BinOp::ShrS, 8) => Code::VEX_Sarx_r64_rm64_r64,
            (BinOp::ShrS, _) => Code::VEX_Sarx_r32_rm32_r32,
            (_, 8) => Code::VEX_Shrx_r64_rm64_r64,
            _ => Code::VEX_Shrx_r32_rm32_r32,
        };
        let t = self.temp(Class::Gpr);
        self.f.op(code, &[Opnd::Def(t, bytes), Opnd::Use(x, bytes), Opnd::Use(y, bytes)]);
        t
    }
}

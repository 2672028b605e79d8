//! Integer division: by zero gives 0, the smallest by -1 gives itself.

use super::Select;
use super::int::view;
use crate::x86::mir::{Class, Cond, Opnd, VReg};
use iced_x86::{Code, Register};
use sinter_ir::tile::{BinOp, Elem, Reg};

/// Signed division by a constant as a multiplication: factor and shift of the upper half of the product.
/// (Hacker's Delight, 10-1; `d` is neither 0, 1 nor -1.)
pub fn magic(d: i64, bits: u32) -> (i64, u32) {
    let two = 1u128 << (bits - 1);
    let ad = d.unsigned_abs() as u128;
    let t = two + u128::from(d < 0);
    let anc = t - 1 - t % ad;
    let mut p = bits - 1;
    let (mut q1, mut r1) = (two / anc, two % anc);
    let (mut q2, mut r2) = (two / ad, two % ad);
    loop {
        p += 1;
        (q1, r1) = (2 * q1, 2 * r1);
        if r1 >= anc {
            (q1, r1) = (q1 + 1, r1 - anc);
        }
        (q2, r2) = (2 * q2, 2 * r2);
        if r2 >= ad {
            (q2, r2) = (q2 + 1, r2 - ad);
        }
        let delta = ad - r2;
        if q1 > delta || (q1 == delta && r1 != 0) {
            break;
        }
    }
    let m = (q2 + 1) as i64;
    let m = if bits == 32 { i64::from(m as i32) } else { m };
    (if d < 0 { m.wrapping_neg() } else { m }, p - bits)
}

impl Select<'_> {
    /// Quotient or remainder.
    pub(super) fn divide(&mut self, op: BinOp, e: Elem, a: Reg, b: Reg) -> VReg {
        let signed = matches!(op, BinOp::DivS | BinOp::RemS);
        let quotient = matches!(op, BinOp::DivS | BinOp::DivU);
        let bytes = view(e);
        let x = self.one(a);
        let x = self.extended(x, e, signed);
        if let Some(d) = self.int_of(b) {
            let d = if signed { signed_bits(d, e) } else { unsigned_bits(d, e) };
            if let Some(v) = self.divide_const(x, bytes, d, signed, quotient) {
                return v;
            }
        }
        let y = self.one(b);
        let y = self.extended(y, e, signed);
        self.divide_regs(x, y, bytes, signed, quotient)
    }
    /// By a constant, without a division; x is extended to the view. None where there is no better way.
    pub(super) fn divide_const(
        &mut self,
        x: VReg,
        bytes: u8,
        d: i64,
        signed: bool,
        quotient: bool,
    ) -> Option<VReg> {
        match d {
            0 => return Some(self.int(0, false)),
            1 if quotient => return Some(self.fresh(x, bytes)),
            1 => return Some(self.int(0, false)),
            -1 if signed && !quotient => return Some(self.int(0, false)),
            -1 if signed => {
                let t = self.fresh(x, bytes);
                let code = if bytes == 8 { Code::Neg_rm64 } else { Code::Neg_rm32 };
                self.f.op(code, &[Opnd::UseDef(t, bytes)]);
                return Some(t);
            }
            _ => {}
        }
        let power = d > 0 && d & (d - 1) == 0;
        let log = i64::from(d.trailing_zeros());
        let bits = i64::from(bytes) * 8;
        if !signed {
            if power {
                let t = self.fresh(x, bytes);
                match quotient {
                    true => self.shift_imm(BinOp::ShrU, t, bytes, log),
                    false => self.alu_imm(BinOp::And, t, bytes, d - 1),
                }
                return Some(t);
            }
            if bytes == 8 {
                return None;
            }
            let q = self.quotient_u32(x, d);
            return Some(if quotient { q } else { self.remainder(x, q, bytes, d) });
        }
        let q = if power {
            // Negative dividends round towards zero: they get `d - 1` first.
            let t = self.fresh(x, bytes);
            if log > 1 {
                self.shift_imm(BinOp::ShrS, t, bytes, bits - 1);
            }
            self.shift_imm(BinOp::ShrU, t, bytes, bits - log);
            self.alu(BinOp::Add, t, bytes, x);
            self.shift_imm(BinOp::ShrS, t, bytes, log);
            t
        } else {
            self.quotient_signed(x, bytes, d)
        };
        Some(if quotient { q } else { self.remainder(x, q, bytes, d) })
    }
    /// `x - q * d`.
    fn remainder(&mut self, x: VReg, q: VReg, bytes: u8, d: i64) -> VReg {
        let back = self.times_view(q, bytes, d);
        let t = self.fresh(x, bytes);
        self.alu(BinOp::Sub, t, bytes, back);
        t
    }
    /// Upper 64 bits of the product of rax-sized values; `code` is the one-operand multiplication.
    fn high(&mut self, code: Code, x: VReg, y: VReg) -> VReg {
        let (rax, rdx) = (self.f.fixed(Register::RAX), self.f.fixed(Register::RDX));
        self.f.copy(rax, x, 8);
        self.f.implicit(code, &[Opnd::Use(y, 8)], &[Opnd::UseDef(rax, 8), Opnd::Def(rdx, 8)]);
        let t = self.temp(Class::Gpr);
        self.f.copy(t, rdx, 8);
        t
    }
    /// Unsigned 32-bit quotient: the upper half of a 64-bit product with `ceil(2^64 / d)` is exact.
    fn quotient_u32(&mut self, x: VReg, d: i64) -> VReg {
        let factor = ((1u128 << 64) / d as u128 + 1) as u64;
        let wide = self.temp(Class::Gpr);
        self.f.op(Code::Mov_r32_rm32, &[Opnd::Def(wide, 4), Opnd::Use(x, 4)]);
        let m = self.int(factor as i64, true);
        self.high(Code::Mul_rm64, wide, m)
    }
    /// Signed quotient by a constant, with [`magic`].
    fn quotient_signed(&mut self, x: VReg, bytes: u8, d: i64) -> VReg {
        let bits = u32::from(bytes) * 8;
        let (m, shift) = magic(d, bits);
        let q = if bytes == 8 {
            let factor = self.int(m, true);
            self.high(Code::Imul_rm64, x, factor)
        } else {
            let wide = self.temp(Class::Gpr);
            self.f.op(Code::Movsxd_r64_rm32, &[Opnd::Def(wide, 8), Opnd::Use(x, 4)]);
            let p = self.times(wide, m);
            self.shift_imm(BinOp::ShrS, p, 8, 32);
            p
        };
        if d > 0 && m < 0 {
            self.alu(BinOp::Add, q, bytes, x);
        }
        if d < 0 && m > 0 {
            self.alu(BinOp::Sub, q, bytes, x);
        }
        self.shift_imm(BinOp::ShrS, q, bytes, i64::from(shift));
        let sign = self.fresh(q, bytes);
        self.shift_imm(BinOp::ShrU, sign, bytes, i64::from(bits) - 1);
        self.alu(BinOp::Add, q, bytes, sign);
        q
    }
    /// By a register. 64-bit values that fit take the much faster 32-bit division.
    pub(super) fn divide_regs(&mut self, x: VReg, y: VReg, bytes: u8, signed: bool, quotient: bool) -> VReg {
        let out = self.temp(Class::Gpr);
        let [none, minus, narrow, done] = [(); 4].map(|()| self.f.label());
        self.compare_imm(y, bytes, 0);
        self.f.branch(Cond::E, none);
        if bytes == 8 {
            let t = self.fresh(x, 8);
            self.alu(BinOp::Or, t, 8, y);
            self.shift_imm(BinOp::ShrU, t, 8, 32);
            self.f.branch(Cond::E, narrow);
        }
        if signed {
            self.compare_imm(y, bytes, -1);
            self.f.branch(Cond::E, minus);
        }
        self.divide_once(out, x, y, bytes, signed, quotient);
        self.f.jump(done);
        if bytes == 8 {
            self.f.bind(narrow);
            self.divide_once(out, x, y, 4, false, quotient);
            self.f.jump(done);
        }
        if signed {
            // The remainder by -1 is 0.
            self.f.bind(minus);
            if quotient {
                self.f.copy(out, x, bytes);
                let code = if bytes == 8 { Code::Neg_rm64 } else { Code::Neg_rm32 };
                self.f.op(code, &[Opnd::UseDef(out, bytes)]);
                self.f.jump(done);
            }
        }
        self.f.bind(none);
        self.f.op(Code::Mov_r32_imm32, &[Opnd::Def(out, 4), Opnd::Imm(0)]);
        self.f.bind(done);
        out
    }
    /// One division instruction; `x` and `y` do not make it trap.
    fn divide_once(&mut self, out: VReg, x: VReg, y: VReg, bytes: u8, signed: bool, quotient: bool) {
        let (rax, rdx) = (self.f.fixed(Register::RAX), self.f.fixed(Register::RDX));
        let wide = bytes == 8;
        self.f.copy(rax, x, bytes);
        if signed {
            let code = if wide { Code::Cqo } else { Code::Cdq };
            self.f.implicit(code, &[], &[Opnd::Use(rax, 8), Opnd::Def(rdx, 8)]);
        } else {
            self.f.op(Code::Xor_r32_rm32, &[Opnd::Def(rdx, 4), Opnd::Def(rdx, 4)]);
        }
        let code = match (signed, wide) {
            (true, true) => Code::Idiv_rm64,
            (true, false) => Code::Idiv_rm32,
            (false, true) => Code::Div_rm64,
            (false, false) => Code::Div_rm32,
        };
        self.f.implicit(code, &[Opnd::Use(y, bytes)], &[Opnd::UseDef(rax, 8), Opnd::UseDef(rdx, 8)]);
        // A 32-bit copy could vanish with its zero extension: results of the narrow form are moved by an instruction.
        let from = if quotient { rax } else { rdx };
        let code = if wide { Code::Mov_r64_rm64 } else { Code::Mov_r32_rm32 };
        self.f.op(code, &[Opnd::Def(out, bytes), Opnd::Use(from, bytes)]);
    }
}

/// A constant's low bits, sign-extended.
pub fn signed_bits(d: i64, e: Elem) -> i64 {
    let up = 64 - e.bits();
    d << up >> up
}

/// A constant's low bits.
pub fn unsigned_bits(d: i64, e: Elem) -> i64 {
    match e.bits() {
        64 => d,
        bits => d & ((1 << bits) - 1),
    }
}

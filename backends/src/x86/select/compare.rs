//! Comparisons of scalars, as truth values and as conditions.

use super::Select;
use super::divide::{signed_bits, unsigned_bits};
use super::int::view;
use crate::x86::mir::{Class, Cond, Label, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Reg};

/// What holds when the flags say so.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    /// One condition.
    One(Cond),
    /// Both.
    And(Cond, Cond),
    /// Either.
    Or(Cond, Cond),
}

/// The condition behind a comparison of integers.
fn int_cond(op: CmpOp) -> Cond {
    match op {
        CmpOp::Eq => Cond::E,
        CmpOp::Ne => Cond::NE,
        CmpOp::Lt => Cond::L,
        CmpOp::Le => Cond::LE,
        CmpOp::Gt => Cond::G,
        CmpOp::Ge => Cond::GE,
        CmpOp::LtU => Cond::B,
        CmpOp::LeU => Cond::BE,
        CmpOp::GtU => Cond::A,
        CmpOp::GeU => Cond::AE,
    }
}

impl Select<'_> {
    /// Sets the flags by a truth value, or by the comparison that it is.
    pub fn test(&mut self, cond: Reg) -> Test {
        if let Some((op, a, b)) = self.compares.remove(&cond) {
            return self.test_compare(op, a, b);
        }
        let c = self.one(cond);
        self.compare_imm(c, 4, 0);
        Test::One(Cond::NE)
    }
    /// Jumps when the test holds.
    pub fn branch_if(&mut self, t: Test, to: Label) {
        match t {
            Test::One(c) => self.f.branch(c, to),
            Test::Or(a, b) => {
                self.f.branch(a, to);
                self.f.branch(b, to);
            }
            Test::And(a, b) => {
                let no = self.f.label();
                self.f.branch(a.opposite(), no);
                self.f.branch(b, to);
                self.f.bind(no);
            }
        }
    }
    /// Jumps when the test does not hold.
    pub fn branch_unless(&mut self, t: Test, to: Label) {
        self.branch_if(
            match t {
                Test::One(c) => Test::One(c.opposite()),
                Test::Or(a, b) => Test::And(a.opposite(), b.opposite()),
                Test::And(a, b) => Test::Or(a.opposite(), b.opposite()),
            },
            to,
        );
    }
    /// The truth value of a comparison of scalars, in a fresh register.
    pub fn compare(&mut self, op: CmpOp, a: Reg, b: Reg) -> VReg {
        let t = self.test_compare(op, a, b);
        self.truth(t)
    }
    /// A test as 0 or 1.
    pub fn truth(&mut self, t: Test) -> VReg {
        let set = |s: &mut Self, c: Cond| {
            let v = s.temp(Class::Gpr);
            s.f.op(c.set(), &[Opnd::Def(v, 1)]);
            v
        };
        let byte = match t {
            Test::One(c) => set(self, c),
            Test::And(a, b) | Test::Or(a, b) => {
                let (x, y) = (set(self, a), set(self, b));
                let op = if matches!(t, Test::And(..)) { BinOp::And } else { BinOp::Or };
                self.alu(op, x, 4, y);
                x
            }
        };
        let v = self.temp(Class::Gpr);
        self.f.op(Code::Movzx_r32_rm8, &[Opnd::Def(v, 4), Opnd::Use(byte, 1)]);
        v
    }
    /// Sets the flags by a comparison.
    fn test_compare(&mut self, op: CmpOp, a: Reg, b: Reg) -> Test {
        let e = self.ty(a).elem;
        if e.is_float() {
            return self.test_floats(op, e, a, b);
        }
        let signed = !matches!(op, CmpOp::LtU | CmpOp::LeU | CmpOp::GtU | CmpOp::GeU);
        let bytes = view(e);
        let x = self.one(a);
        let x = self.extended(x, e, signed);
        match self.int_of(b) {
            Some(imm) => {
                let imm = match e {
                    Elem::I32 | Elem::I64 | Elem::B1 => imm,
                    e if signed => signed_bits(imm, e),
                    e => unsigned_bits(imm, e),
                };
                self.compare_imm(x, bytes, imm);
            }
            None => {
                let y = self.one(b);
                let y = self.extended(y, e, signed);
                let code = if bytes == 8 { Code::Cmp_r64_rm64 } else { Code::Cmp_r32_rm32 };
                self.f.op(code, &[Opnd::Use(x, bytes), Opnd::Use(y, bytes)]);
            }
        }
        Test::One(int_cond(op))
    }
    /// Sets the flags by a comparison of floats.
    fn test_floats(&mut self, op: CmpOp, e: Elem, a: Reg, b: Reg) -> Test {
        let code = match e {
            Elem::F64 => self.form(Code::VEX_Vucomisd_xmm_xmmm64, Code::EVEX_Vucomisd_xmm_xmmm64_sae),
            _ => self.form(Code::VEX_Vucomiss_xmm_xmmm32, Code::EVEX_Vucomiss_xmm_xmmm32_sae),
        };
        // Unordered sets carry, zero and parity: only "above" and "not below" are false then.
        let (a, b, test) = match op {
            CmpOp::Eq => (a, b, Test::And(Cond::E, Cond::NP)),
            CmpOp::Ne => (a, b, Test::Or(Cond::NE, Cond::P)),
            CmpOp::Lt | CmpOp::LtU => (b, a, Test::One(Cond::A)),
            CmpOp::Le | CmpOp::LeU => (b, a, Test::One(Cond::AE)),
            CmpOp::Gt | CmpOp::GtU => (a, b, Test::One(Cond::A)),
            CmpOp::Ge | CmpOp::GeU => (a, b, Test::One(Cond::AE)),
        };
        let x = self.one(a);
        let y = self.float_operand(b);
        self.f.op(code, &[Opnd::Use(x, 16), y]);
        test
    }
}

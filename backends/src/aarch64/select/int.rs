//! Integer scalars.

use super::{Select, used, wide};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Cond, Opnd, VReg};
use sinter_ir::tile::{BinOp, Elem, Reg, UnOp};

impl Select<'_> {
    /// An integer in a fresh register, all of its 64 bits.
    pub(super) fn int(&mut self, v: i64) -> VReg {
        let parts: [i64; 4] = std::array::from_fn(|i| v >> (16 * i) & 0xffff);
        let (zeros, ones) =
            (parts.iter().filter(|p| **p == 0).count(), parts.iter().filter(|p| **p == 0xffff).count());
        // Parts that are like the rest need no instruction.
        let (first, rest, flip) =
            if ones > zeros { (form::MOVN, 0xffff, 0xffff) } else { (form::MOVZ, 0, 0) };
        let mut todo = parts.iter().enumerate().filter(|(_, p)| **p != rest);
        let (at, part) = todo.next().unwrap_or((0, &rest));
        let imm = |p: i64, at: usize| [Opnd::Imm(p), Opnd::Imm(at as i64)];
        let d = self.result(first.wide(true), Class::Gpr, &imm(part ^ flip, at));
        for (at, part) in todo {
            self.change(form::MOVK.wide(true), d, &imm(*part, at));
        }
        d
    }
    /// `v += by` on 64 bits.
    pub(super) fn add_imm(&mut self, v: VReg, by: i64) {
        let size = by.unsigned_abs();
        let form = if by < 0 { form::SUB_I } else { form::ADD_I }.wide(true);
        if size >= 1 << 24 {
            let c = self.int(by);
            return self.op(form::ADD.wide(true), &[Opnd::Def(v, 8), used(v), used(c)]);
        }
        for (part, shift) in [(size & 0xfff, 0), (size >> 12, 1)] {
            if part != 0 {
                let imm = [Opnd::Imm(part as i64), Opnd::Imm(shift)];
                self.op(form, &[Opnd::Def(v, 8), used(v), imm[0], imm[1]]);
            }
        }
    }
    /// A value whose upper bits count: narrow ones extended to 32 bits.
    pub(super) fn extended(&mut self, v: VReg, e: Elem, signed: bool) -> VReg {
        match e {
            Elem::I8 | Elem::I16 => {
                let form = if signed { form::SBFM } else { form::UBFM };
                self.result(form, Class::Gpr, &[used(v), Opnd::Imm(0), Opnd::Imm(i64::from(e.bits()) - 1)])
            }
            _ => v,
        }
    }
    pub(super) fn int_un(&mut self, op: UnOp, e: Elem, x: VReg) -> VReg {
        match op {
            UnOp::Neg => self.x(form::NEG.wide(wide(e)), &[x]),
            UnOp::Not if e == Elem::B1 => {
                self.compare_imm(x, 0, false);
                self.truth(Cond::Eq)
            }
            UnOp::Not => self.x(form::MVN.wide(wide(e)), &[x]),
            UnOp::Abs => {
                let x = self.extended(x, e, true);
                self.compare_imm(x, 0, wide(e));
                // The first where the condition holds, else minus the second.
                self.result(form::CSNEG.wide(wide(e)), Class::Gpr, &[used(x), used(x), Cond::Ge.opnd()])
            }
            _ => x,
        }
    }
    /// An operation, of which the second operand may be a known number.
    pub(super) fn int_bin_reg(&mut self, op: BinOp, e: Elem, a: Reg, b: Reg) -> VReg {
        let x = self.one(a);
        if let Some(c) = self.int_of(b)
            && let Some(v) = self.int_bin_const(op, e, x, c)
        {
            return v;
        }
        let y = self.one(b);
        self.int_bin(op, e, x, y)
    }
    /// The short form of an operation with a number.
    fn int_bin_const(&mut self, op: BinOp, e: Elem, x: VReg, c: i64) -> Option<VReg> {
        let (w, bits) = (wide(e), i64::from(e.bits()));
        let power = (c > 0 && c & (c - 1) == 0).then(|| i64::from(c.trailing_zeros()));
        let shift = c & (bits - 1);
        Some(match op {
            BinOp::Add if c.unsigned_abs() < 1 << 12 => self.plus(x, c),
            BinOp::Sub if c.unsigned_abs() < 1 << 12 => self.plus(x, -c),
            BinOp::Mul => self.shift_left(x, power?, w),
            BinOp::Shl => self.shift_left(x, shift, w),
            BinOp::ShrS | BinOp::ShrU => {
                let signed = op == BinOp::ShrS;
                let x = self.extended(x, e, signed);
                self.shift_right(x, shift, signed, w)
            }
            // Low bits.
            BinOp::And if c > 0 && c & (c + 1) == 0 && c < i64::from(u32::MAX) => {
                let last = i64::from(c.trailing_ones()) - 1;
                let form = if w { form::UBFM_X } else { form::UBFM };
                self.result(form, Class::Gpr, &[used(x), Opnd::Imm(0), Opnd::Imm(last)])
            }
            BinOp::DivU => {
                let (n, x) = (power?, self.extended(x, e, false));
                self.shift_right(x, n, false, w)
            }
            // Negative dividends round towards zero: they get one less than the divisor first.
            BinOp::DivS if e.bits() >= 32 && power? > 0 => {
                let sign = self.shift_right(x, bits - 1, true, w);
                let bias = self.shift_right(sign, bits - power?, false, w);
                let sum = self.x(form::ADD.wide(w), &[x, bias]);
                self.shift_right(sum, power?, true, w)
            }
            _ => return None,
        })
    }
    /// An operation on scalars in registers; the result has the low bits right.
    pub(super) fn int_bin(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        use BinOp::*;
        let w = wide(e);
        let form = match op {
            Add => form::ADD,
            Sub => form::SUB,
            Mul => form::MUL,
            And => form::AND,
            Or => form::ORR,
            Xor => form::EOR,
            Shl | ShrS | ShrU => return self.shift(op, e, x, y),
            MinS | MaxS | MinU | MaxU => {
                let signed = matches!(op, MinS | MaxS);
                let (x, y) = (self.extended(x, e, signed), self.extended(y, e, signed));
                let when = match op {
                    MinS => Cond::Lt,
                    MaxS => Cond::Gt,
                    MinU => Cond::Lo,
                    _ => Cond::Hi,
                };
                return self.pick(x, y, when, w);
            }
            DivS | DivU | RemS | RemU => return self.divide(op, e, x, y),
            // Floats and functions.
            Div | Min | Max | Pow | Fmod | Scale => return x,
        };
        self.x(form.wide(w), &[x, y])
    }
    /// Amounts count modulo the width, as the processor does it for 32 and 64 bits.
    fn shift(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        let narrow = matches!(e, Elem::I8 | Elem::I16);
        let y = match narrow {
            true => {
                let last = Opnd::Imm(i64::from(e.bits().ilog2()) - 1);
                self.result(form::UBFM, Class::Gpr, &[used(y), Opnd::Imm(0), last])
            }
            false => y,
        };
        let form = match op {
            BinOp::Shl => form::LSLV,
            BinOp::ShrS => form::ASRV,
            _ => form::LSRV,
        };
        let x = if op == BinOp::Shl { x } else { self.extended(x, e, op == BinOp::ShrS) };
        self.x(form.wide(wide(e)), &[x, y])
    }
    /// The processor's quotients are those of TileIR: 0 by zero, `MIN` of `MIN / -1`.
    fn divide(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        let signed = matches!(op, BinOp::DivS | BinOp::RemS);
        let (x, y) = (self.extended(x, e, signed), self.extended(y, e, signed));
        let w = wide(e);
        let q = self.x(if signed { form::SDIV } else { form::UDIV }.wide(w), &[x, y]);
        if matches!(op, BinOp::DivS | BinOp::DivU) {
            return q;
        }
        let r = self.x(form::MSUB.wide(w), &[q, y, x]);
        let zero = self.int(0);
        self.compare_imm(y, 0, w);
        self.result(form::CSEL.wide(w), Class::Gpr, &[used(zero), used(r), Cond::Eq.opnd()])
    }
}

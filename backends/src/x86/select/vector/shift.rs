//! Shifts: amounts count modulo the width of the element.

use super::arith::by_width;
use super::codes::V;
use super::emit::{Src, Vx};
use crate::x86::mir::VReg;
use sinter_ir::tile::{BinOp, Elem, Reg};

impl Vx<'_, '_> {
    /// All lanes by the same constant.
    pub fn shift_by(&mut self, op: BinOp, dst: Reg, a: Reg, by: i64) {
        let ty = self.ty(dst);
        let e = ty.elem;
        let by = by & i64::from(e.bits() - 1);
        let parts = self.layout(ty);
        let a = self.parts(a);
        for ((p, d), a) in parts.iter().zip(self.dst(dst)).zip(a) {
            let n = p.bytes;
            match (op, e) {
                (_, Elem::I8) => self.shift_bytes_by(op, n, d, a, by),
                (BinOp::Shl, _) => {
                    self.v1i(by_width(e, [V::Sllwi, V::Sllwi, V::Slldi, V::Sllqi]), n, d, a, by);
                }
                (BinOp::ShrU, _) => {
                    self.v1i(by_width(e, [V::Srlwi, V::Srlwi, V::Srldi, V::Srlqi]), n, d, a, by);
                }
                (_, Elem::I64) if !self.isa.avx512 => {
                    let x = self.new1i(V::Srlqi, n, a, by);
                    let sign = self.c_reg(8, 1 << (63 - by), n);
                    let x = self.new2(V::Xor, n, x, sign);
                    self.v2(V::Subq, n, d, x, sign);
                }
                _ => self.v1i(by_width(e, [V::Srawi, V::Srawi, V::Sradi, V::Sraqi]), n, d, a, by),
            }
        }
    }
    /// Bytes move as words; what came from the neighbour is masked off.
    fn shift_bytes_by(&mut self, op: BinOp, n: u8, d: VReg, a: VReg, by: i64) {
        let (shift, keep) = match op {
            BinOp::Shl => (V::Sllwi, 0xff << by & 0xff),
            _ => (V::Srlwi, 0xff >> by),
        };
        let x = self.new1i(shift, n, a, by);
        let keep = self.c32(0x0101_0101 * keep as u32, n);
        if op != BinOp::ShrS {
            return self.v2(V::And, n, d, x, keep);
        }
        let x = self.new2(V::And, n, x, keep);
        let sign = self.c_reg(1, 0x80 >> by, n);
        let x = self.new2(V::Xor, n, x, sign);
        self.v2(V::Subb, n, d, x, sign);
    }
    /// Every lane by its own amount.
    pub fn shift(&mut self, op: BinOp, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        let w = e.bytes();
        let b = self.in_reg(b, w, n);
        let most = self.c(w, u64::from(e.bits() - 1), n);
        let and = if w == 8 && self.isa.avx512 { V::Andq } else { V::And };
        let by = self.new2(and, n, b, most);
        self.shift_within(op, e, n, d, a, by);
    }
    /// Amounts are below the width.
    fn shift_within(&mut self, op: BinOp, e: Elem, n: u8, d: VReg, a: VReg, by: VReg) {
        let wide = self.isa.avx512;
        let direct = match (op, e) {
            (_, Elem::I8) => None,
            (_, Elem::I16) if !wide => None,
            (BinOp::ShrS, Elem::I64) if !wide => {
                let x = self.new2(V::Srlvq, n, a, by);
                let sign = self.c_reg(8, 1 << 63, n);
                let sign = self.new2(V::Srlvq, n, sign, by);
                let x = self.new2(V::Xor, n, x, sign);
                return self.v2(V::Subq, n, d, x, sign);
            }
            (BinOp::Shl, _) => Some([V::Sllvw, V::Sllvw, V::Sllvd, V::Sllvq]),
            (BinOp::ShrS, _) => Some([V::Sravw, V::Sravw, V::Sravd, V::Sravq]),
            (_, _) => Some([V::Srlvw, V::Srlvw, V::Srlvd, V::Srlvq]),
        };
        match direct {
            Some(ops) => self.v2(by_width(e, ops), n, d, a, by),
            None => self.shift_halves(op, e, n, d, a, by),
        }
    }
    /// Even and odd lanes as lanes of twice the width: the odd ones are in the upper halves already.
    fn shift_halves(&mut self, op: BinOp, e: Elem, n: u8, d: VReg, a: VReg, by: VReg) {
        let (twice, left, right, low) = if e == Elem::I8 {
            (Elem::I16, V::Sllwi, V::Srlwi, 0x00ff_00ff)
        } else {
            (Elem::I32, V::Slldi, V::Srldi, 0x0000_ffff)
        };
        let bits = i64::from(e.bits());
        let (low, high) = (self.c32(low, n), self.c32(!low, n));
        let by_even = self.new2(V::And, n, by, low);
        let by_odd = self.new1i(right, n, by, bits);
        let (even, odd) = (self.vec(), self.vec());
        let a_odd = self.new2(V::And, n, a, high);
        self.shift_within(op, twice, n, odd, a_odd, by_odd);
        let odd = self.new2(V::And, n, odd, high);
        let even = match op {
            BinOp::Shl => {
                self.shift_within(op, twice, n, even, a, by_even);
                self.new2(V::And, n, even, low)
            }
            BinOp::ShrU => {
                let a = self.new2(V::And, n, a, low);
                self.shift_within(op, twice, n, even, a, by_even);
                even
            }
            _ => {
                let a = self.new1i(left, n, a, bits);
                self.shift_within(op, twice, n, even, a, by_even);
                self.new1i(right, n, even, bits)
            }
        };
        self.v2(V::Or, n, d, even, odd);
    }
}

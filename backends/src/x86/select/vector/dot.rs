//! Dot products of groups of four bytes and of pairs of bf16.

use super::codes::V;
use super::emit::{Src, Vx};
use crate::x86::mir::{Class, Opnd, VReg};
use sinter_ir::tile::{Elem, Reg};

/// Flips the sign bit of every byte: adds 128, whatever the signedness.
const FLIP: u32 = 0x8080_8080;

impl Vx<'_, '_> {
    /// `acc + a . b` by groups.
    pub fn dot4(&mut self, dst: Reg, acc: Reg, (a, a_signed): (Reg, bool), (b, b_signed): (Reg, bool)) {
        let parts = self.layout(self.ty(dst));
        let acc = self.parts(acc);
        // Bytes have the layout of the sums: four times the lanes of a quarter of the width, or the same lanes.
        let (x, y) = (self.word_operand(a), self.word_operand(b));
        for (i, (p, d)) in parts.iter().zip(self.dst(dst)).enumerate() {
            let (x, y) = ((x[i], a_signed), (y[i], b_signed));
            if p.class == Class::Vec {
                self.dot_part(p.bytes, d, acc[i], x, y);
                continue;
            }
            // Sums of one lane are Gprs.
            let (sum, t) = (self.of_gpr(acc[i], 4), self.vec());
            self.dot_part(16, t, sum, x, y);
            self.scalar_of(Elem::I32, d, t);
        }
    }
    /// `acc + a . b` by pairs of bf16; the pairs have the layout of the sums.
    pub fn dot2(&mut self, dst: Reg, acc: Reg, a: Reg, b: Reg) {
        let (parts, sums) = (self.layout(self.ty(dst)), self.parts(acc));
        let (x, y) = (self.word_operand(a), self.word_operand(b));
        for (i, (p, d)) in parts.iter().zip(self.dst(dst)).enumerate() {
            // The memory operand goes last; the order of factors does not matter.
            let (x, y) = if y[i].is_memory() { (x[i], y[i]) } else { (y[i], x[i]) };
            let (n, x) = (p.bytes, self.in_reg(x, 4, p.bytes));
            let clash = d != sums[i] && (x == d || matches!(y, Src::Reg(r) if r == d));
            let t = if clash { self.vec() } else { d };
            self.mov(t, sums[i], n);
            self.v(V::Dpbf16ps, n, &[Opnd::UseDef(t, n), Opnd::Use(x, n), y.opnd(n)]);
            self.mov(d, t, n);
        }
    }
    /// Parts of an operand. Words of one lane are Gprs.
    fn word_operand(&mut self, r: Reg) -> Vec<Src> {
        if self.ty(r).lanes > 1 {
            return self.operand(r);
        }
        let x = self.one(r);
        vec![Src::Reg(self.of_gpr(x, 4))]
    }
    fn dot_part(&mut self, n: u8, d: VReg, acc: VReg, a: (Src, bool), b: (Src, bool)) {
        if self.isa.vnni {
            self.vnni(n, d, acc, a, b);
        } else {
            self.pairs(n, d, acc, a, b);
        }
    }
    /// One instruction where one operand is unsigned and the other signed.
    fn vnni(&mut self, n: u8, d: VReg, acc: VReg, a: (Src, bool), b: (Src, bool)) {
        match (a.1, b.1) {
            (false, true) => self.dpbusd(n, d, acc, a.0, b.0),
            (true, false) => self.dpbusd(n, d, acc, b.0, a.0),
            (true, true) => {
                // (a + 128) . b - 128 . b
                let (x, y) = (self.in_reg(a.0, 4, n), self.in_reg(b.0, 4, n));
                let flip = self.c_reg(4, FLIP.into(), n);
                let x = self.new2(V::Xor, n, x, flip);
                let (sum, rest, zero) = (self.vec(), self.vec(), self.new_zero(n));
                self.dpbusd(n, sum, acc, Src::Reg(x), Src::Reg(y));
                self.dpbusd(n, rest, zero, Src::Reg(flip), Src::Reg(y));
                self.v2(V::Subd, n, d, sum, rest);
            }
            (false, false) => {
                // a . (b - 128) + 2 (a . 64)
                let (x, y) = (self.in_reg(a.0, 4, n), self.in_reg(b.0, 4, n));
                let flip = self.c(4, FLIP.into(), n);
                let y = self.new2(V::Xor, n, y, flip);
                let c = self.c_reg(4, 0x4040_4040, n);
                let (sum, rest, zero) = (self.vec(), self.vec(), self.new_zero(n));
                self.dpbusd(n, sum, acc, Src::Reg(x), Src::Reg(y));
                self.dpbusd(n, rest, zero, Src::Reg(x), Src::Reg(c));
                let rest = self.new2(V::Addd, n, rest, rest);
                self.v2(V::Addd, n, d, sum, rest);
            }
        }
    }
    fn dpbusd(&mut self, n: u8, d: VReg, acc: VReg, unsigned: Src, signed: Src) {
        let u = self.in_reg(unsigned, 4, n);
        let operand = |r: Src| matches!(r, Src::Reg(r) if r == d);
        if d != acc && (operand(Src::Reg(u)) || operand(signed)) {
            let t = self.vec();
            self.mov(t, acc, n);
            self.v(V::Dpbusd, n, &[Opnd::UseDef(t, n), Opnd::Use(u, n), signed.opnd(n)]);
            return self.mov(d, t, n);
        }
        self.mov(d, acc, n);
        self.v(V::Dpbusd, n, &[Opnd::UseDef(d, n), Opnd::Use(u, n), signed.opnd(n)]);
    }
    /// Even and odd bytes as words, whose products are added in pairs without overflow.
    fn pairs(&mut self, n: u8, d: VReg, acc: VReg, a: (Src, bool), b: (Src, bool)) {
        let (x, y) = (self.words(n, a), self.words(n, b));
        let even = self.new2(V::Maddwd, n, x.0, y.0);
        let odd = self.new2(V::Maddwd, n, x.1, y.1);
        let sum = self.new2(V::Addd, n, even, odd);
        self.v2(V::Addd, n, d, acc, sum);
    }
    fn words(&mut self, n: u8, (s, signed): (Src, bool)) -> (VReg, VReg) {
        let r = self.in_reg(s, 4, n);
        if signed {
            let even = self.new1i(V::Sllwi, n, r, 8);
            return (self.new1i(V::Srawi, n, even, 8), self.new1i(V::Srawi, n, r, 8));
        }
        let low = self.c(4, 0x00ff_00ff, n);
        (self.new2(V::And, n, r, low), self.new1i(V::Srlwi, n, r, 8))
    }
}

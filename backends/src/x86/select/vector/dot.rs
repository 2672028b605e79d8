//! Dot products of groups of four bytes and of pairs of bf16.

use super::codes::V;
use super::emit::{Src, Vx};
use crate::x86::mir::{Class, Opnd, VReg};
use crate::x86::select::{Part, Partial};
use sinter_ir::tile::{Elem, Reg};

/// Flips the sign bit of every byte: adds 128, whatever the signedness.
const FLIP: u32 = 0x8080_8080;

/// The largest sum of 16 bits.
const ROOM: u32 = i16::MAX as u32;

impl Vx<'_, '_> {
    /// `acc + a . b` by groups; `within`: what pairs of products never exceed.
    pub fn dot4(
        &mut self,
        dst: Reg,
        acc: Reg,
        (a, a_signed): (Reg, bool),
        (b, b_signed): (Reg, bool),
        within: Option<u16>,
    ) {
        let parts = self.layout(self.ty(dst));
        if !self.isa.vnni {
            let (unsigned, signed) = if a_signed { (b, a) } else { (a, b) };
            let small = self.facts.patterns.small_bytes.get(&unsigned).map(|&most| 2 * 128 * u32::from(most));
            let most = small.into_iter().chain(within.map(u32::from)).min();
            return match most.filter(|most| a_signed != b_signed && *most <= ROOM) {
                Some(most) => self.narrow(dst, acc, unsigned, signed, most),
                None => self.by_pairs(dst, acc, (a, a_signed), (b, b_signed)),
            };
        }
        let acc = self.parts(acc);
        // Bytes have the layout of the sums: four times the lanes of a quarter of the width, or the same lanes.
        let (x, y) = (self.word_operand(a), self.word_operand(b));
        for (i, p) in parts.iter().enumerate() {
            let n = p.bytes.max(16);
            self.add_part(p.class, self.dst(dst)[i], acc[i], |s, d, acc| {
                s.vnni(n, d, acc, (x[i], a_signed), (y[i], b_signed));
            });
        }
    }
    /// A part of a sum by `add`, from the third operand to the second. Sums of one lane are Gprs.
    fn add_part(&mut self, class: Class, d: VReg, acc: VReg, add: impl FnOnce(&mut Self, VReg, VReg)) {
        if class == Class::Vec {
            return add(self, d, acc);
        }
        let (sum, t) = (self.of_gpr(acc, 4), self.vec());
        add(self, t, sum);
        self.scalar_of(Elem::I32, d, t);
    }
    /// `acc + a . b` by pairs of bf16 or of i16; the pairs have the layout of the sums.
    pub fn dot2(&mut self, dst: Reg, acc: Reg, a: Reg, b: Reg) {
        let ints = self.ty(acc).elem == Elem::I32;
        let (parts, sums) = (self.layout(self.ty(dst)), self.parts(acc));
        let (x, y) = (self.word_operand(a), self.word_operand(b));
        for (i, (p, d)) in parts.iter().zip(self.dst(dst)).enumerate() {
            // The memory operand goes last; the order of factors does not matter.
            let (x, y) = if y[i].is_memory() { (x[i], y[i]) } else { (y[i], x[i]) };
            let (n, x) = (p.bytes, self.in_reg(x, 4, p.bytes));
            if ints {
                let n = n.max(16);
                let product = self.vec();
                let y = self.whole(y, n);
                self.v(V::Maddwd, n, &[Opnd::Def(product, n), Opnd::Use(x, n), y.opnd(n)]);
                self.add_part(p.class, d, sums[i], |s, d, sum| s.v2(V::Addd, n, d, sum, product));
                continue;
            }
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
    /// Bytes by bytes with a sign, where pairs of products are up to `most`: they fit 16 bits, and maybe sums of several.
    fn narrow(&mut self, dst: Reg, acc: Reg, unsigned: Reg, signed: Reg, most: u32) {
        let parts = self.layout(self.ty(dst));
        let (x, y) = (self.word_operand(unsigned), self.word_operand(signed));
        if dst != acc || self.partial.get(&dst).is_some_and(|p| p.room < most) {
            self.settle(acc);
        }
        let before = if dst == acc { self.partial.remove(&dst) } else { None };
        let mut regs = vec![];
        for (i, p) in parts.iter().enumerate() {
            let n = p.bytes.max(16);
            let (t, x) = (self.vec(), self.in_reg(x[i], 4, n));
            let y = self.whole(y[i], n);
            self.v(V::Maddubsw, n, &[Opnd::Def(t, n), Opnd::Use(x, n), y.opnd(n)]);
            if let Some(sum) = before.as_ref().map(|b| b.regs[i]) {
                self.v2(V::Addw, n, sum, sum, t);
                regs.push(sum);
            } else {
                regs.push(t);
            }
        }
        let (room, alone) = match before {
            Some(b) => (b.room, b.alone),
            None => (ROOM, self.zeros.contains(&acc)),
        };
        let partial = Partial { regs, room: room - most, alone };
        if dst == acc {
            // No register is held for a sum that can take no more of this kind.
            let full = partial.room < most;
            self.partial.insert(dst, partial);
            if full {
                self.settle(dst);
            }
            return;
        }
        let from = self.parts(acc);
        for ((p, d), from) in parts.iter().zip(self.dst(dst)).zip(from) {
            self.mov(d, from, p.bytes);
        }
        self.partial.insert(dst, partial);
        self.settle(dst);
    }
    /// Adds to a sum of 32 bits what it lacks.
    pub fn settle(&mut self, r: Reg) {
        let Some(Partial { regs, alone, .. }) = self.partial.remove(&r) else { return };
        let parts = self.layout(self.ty(r));
        for ((p, d), sum) in parts.iter().zip(self.dst(r)).zip(regs) {
            let n = p.bytes.max(16);
            let ones = self.pattern(&[1, 0], n);
            if alone && p.class == Class::Vec {
                self.v2(V::Maddwd, n, d, sum, ones);
                continue;
            }
            let sum = self.new2(V::Maddwd, n, sum, ones);
            self.add_part(p.class, d, d, |s, d, acc| s.v2(V::Addd, n, d, acc, sum));
        }
    }
    /// Even and odd bytes as words, whose products are added in pairs without overflow.
    fn by_pairs(&mut self, dst: Reg, acc: Reg, a: (Reg, bool), b: (Reg, bool)) {
        let parts = self.layout(self.ty(dst));
        let (x, y, acc) = (self.words_of(&parts, a), self.words_of(&parts, b), self.parts(acc));
        for (i, p) in parts.iter().enumerate() {
            let n = p.bytes.max(16);
            let even = self.new2(V::Maddwd, n, x[i].0, y[i].0);
            let odd = self.new2(V::Maddwd, n, x[i].1, y[i].1);
            let sum = self.new2(V::Addd, n, even, odd);
            self.add_part(p.class, self.dst(dst)[i], acc[i], |s, d, acc| s.v2(V::Addd, n, d, acc, sum));
        }
    }
    /// An operand of instructions on narrow elements, which take no single element from memory.
    fn whole(&mut self, s: Src, n: u8) -> Src {
        if matches!(s, Src::Bcast(_)) { Src::Reg(self.in_reg(s, 4, n)) } else { s }
    }
    /// Bytes of a register as words: made once in a block.
    fn words_of(&mut self, parts: &[Part], (r, signed): (Reg, bool)) -> Vec<(VReg, VReg)> {
        if let Some(known) = self.words.get(&(r, signed)) {
            return known.clone();
        }
        let sources = self.word_operand(r);
        let made: Vec<_> =
            parts.iter().zip(sources).map(|(p, s)| self.words(p.bytes.max(16), (s, signed))).collect();
        self.words.insert((r, signed), made.clone());
        made
    }
    /// The odd bytes of words.
    pub fn odd_bytes(&mut self, dst: Reg) {
        let Some(&from) = self.facts.patterns.odd.get(&dst) else { return };
        let parts = self.layout(self.ty(dst));
        let from = self.parts(from);
        for ((p, d), x) in parts.iter().zip(self.dst(dst)).zip(from) {
            self.v1i(V::Srlwi, p.bytes, d, x, 8);
        }
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

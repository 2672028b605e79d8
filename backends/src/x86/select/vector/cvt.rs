//! Conversions between element types.

use super::codes::V;
use super::emit::{Src, Vx};
use super::resize::{Lanes, extension};
use crate::machine::patterns::Pack;
use crate::x86::mir::{Opnd, VReg};
use crate::x86::select::Pending;
use sinter_ir::tile::{CvtOp, Elem, Reg};

impl Vx<'_, '_> {
    /// A register's lanes.
    pub fn lanes_of(&mut self, a: Reg) -> Lanes {
        let ty = self.ty(a);
        Lanes { width: ty.elem.bytes(), lanes: ty.lanes, regs: self.parts(a) }
    }
    /// Any conversion.
    pub fn convert(&mut self, op: CvtOp, dst: Reg, a: Reg) {
        let (from, to) = (self.ty(a).elem, self.ty(dst).elem);
        if from == Elem::B1 {
            return self.truth_to_int(dst, a, op == CvtOp::SExt);
        }
        let out = match op {
            CvtOp::SExt | CvtOp::ZExt => {
                let e = extension(from.bytes(), to.bytes(), op == CvtOp::SExt);
                self.widened(a, to.bytes(), &mut |s, n, d, x| s.extend(e, n, d, x))
            }
            CvtOp::Narrow if self.facts.patterns.packs.contains_key(&dst) => {
                let pack = self.facts.patterns.packs[&dst];
                let v = self.lanes_of(pack.from);
                let bytes = match self.packed(&v, pack.signed()) {
                    Some(done) => done,
                    None => self.narrow_by(&v, 1, &mut |s, n, r| s.saturated(n, r, pack.signed())),
                };
                self.within(bytes, pack)
            }
            CvtOp::Narrow => {
                let v = self.lanes_of(a);
                self.resize(&v, to.bytes(), true)
            }
            CvtOp::Bits => self.lanes_of(a),
            CvtOp::FToF if to == Elem::F64 => {
                self.widened(a, 8, &mut |s, n, d, x| s.half(V::Cvtps2pd, n, d, x))
            }
            CvtOp::FToF => {
                let v = self.lanes_of(a);
                self.halved(V::Cvtpd2ps, &v)
            }
            CvtOp::SToF | CvtOp::UToF => {
                let signed = op == CvtOp::SToF;
                let v = if from.bytes() < 4 {
                    let e = extension(from.bytes(), 4, signed);
                    self.widened(a, 4, &mut |s, n, d, x| s.extend(e, n, d, x))
                } else {
                    self.lanes_of(a)
                };
                // What was narrower is not negative in 32 bits, if unsigned.
                self.floats_of(&v, signed || from.bytes() < 4, to)
            }
            CvtOp::FToS if self.facts.patterns.rounded.contains_key(&dst) => {
                let v = self.lanes_of(self.facts.patterns.rounded[&dst]);
                self.each(&v, &mut |s, n, r| s.new1(V::Cvtps2dq, n, r))
            }
            CvtOp::FToS if to == Elem::I32 && self.facts.patterns.small.contains(&a) => {
                let v = self.lanes_of(a);
                self.each(&v, &mut |s, n, r| s.new1(V::Cvttps2dq, n, r))
            }
            CvtOp::FToS | CvtOp::FToU => {
                let v = self.lanes_of(a);
                self.ints_of(&v, op == CvtOp::FToS, to)
            }
        };
        let d = self.dst(dst);
        self.put(&d, &out);
    }
    /// Wider lanes of a register, or of what it is to be loaded from.
    pub fn widened(&mut self, a: Reg, width: u32, f: &mut dyn FnMut(&mut Self, u8, VReg, Src)) -> Lanes {
        let ty = self.ty(a);
        if let Some(Pending::Load(m)) = self.take_pending_load(a) {
            return self.widen_memory((m, ty.elem.bytes(), ty.lanes), width, f);
        }
        let v = self.lanes_of(a);
        self.widen_by(&v, width, f)
    }
    /// Takes a contiguous load only.
    fn take_pending_load(&mut self, a: Reg) -> Option<Pending> {
        match self.take_pending(a) {
            Some(Pending::Splat(m)) => {
                self.splat_vector(a, m);
                None
            }
            other => other,
        }
    }
    /// An instruction from half the width.
    pub fn half(&mut self, op: V, n: u8, d: VReg, x: Src) {
        self.v(op, n, &[Opnd::Def(d, n), x.opnd((n / 2).max(16))]);
    }
    /// An instruction to half the width, on all parts.
    pub fn halved(&mut self, op: V, v: &Lanes) -> Lanes {
        self.narrow_by(v, v.width / 2, &mut |s, n, r| {
            let d = s.vec();
            s.v(op, n, &[Opnd::Def(d, (n / 2).max(16)), Opnd::Use(r, n)]);
            d
        })
    }
    /// Bytes within a range that is smaller than theirs.
    fn within(&mut self, v: Lanes, pack: Pack) -> Lanes {
        let (lo, hi, max, min) = match pack.signed() {
            true => (-128, 127, V::Maxsb, V::Minsb),
            false => (0, 255, V::Maxub, V::Minub),
        };
        let bounds = [(pack.lo > lo, pack.lo, max), (pack.hi < hi, pack.hi, min)];
        bounds.into_iter().filter(|b| b.0).fold(v, |v, (_, bound, op)| {
            self.each(&v, &mut |s, n, r| {
                let n = n.max(16);
                let bound = s.c(1, bound as u64, n);
                s.new2(op, n, r, bound)
            })
        })
    }
    /// I32 clamped to bytes, at the low end of a register.
    fn saturated(&mut self, n: u8, r: VReg, signed: bool) -> VReg {
        if !self.isa.avx512 {
            let high = if n == 32 { self.low(r, 32, 16, 16) } else { r };
            let words = self.new2(V::Packssdw, 16, r, high);
            return self.new2(if signed { V::Packsswb } else { V::Packuswb }, 16, words, words);
        }
        let d = self.vec();
        let (op, r) = match signed {
            true => (V::Movsdb, r),
            false => {
                let zero = self.new_zero(n);
                (V::Movusdb, self.new2(V::Maxsd, n, r, zero))
            }
        };
        self.v(op, n, &[Opnd::Def(d, (n / 4).max(16)), Opnd::Use(r, n)]);
        d
    }
    /// The same for two to four zmm registers at once: halved twice, within each 128 bits, then put in order.
    fn packed(&mut self, v: &Lanes, signed: bool) -> Option<Lanes> {
        let parts = self.parts_of(v.width, v.lanes);
        if !self.isa.avx512 {
            return self.packed_pair(v, signed);
        }
        if !(2..=4).contains(&parts.len()) || parts.iter().any(|p| p.bytes != 64) {
            return None;
        }
        let halves: Vec<VReg> = v
            .regs
            .chunks(2)
            .map(|pair| self.new2(V::Packssdw, 64, pair[0], *pair.last().unwrap_or(&pair[0])))
            .collect();
        let op = if signed { V::Packsswb } else { V::Packuswb };
        let bytes = self.new2(op, 64, halves[0], *halves.last().unwrap_or(&halves[0]));
        // Each 128 bits hold four bytes of every register in turn.
        let order: Vec<u8> = (0..16u8).flat_map(|i| [i % 4 * 4 + i / 4, 0, 0, 0]).collect();
        let order = self.pattern(&order, 64);
        let order = self.in_reg(order, 4, 64);
        let all = self.new2(V::Permd, 64, order, bytes);
        let pieces = self.parts_of(1, v.lanes);
        let regs = pieces.iter().map(|p| self.low(all, 64, p.first.into(), p.bytes.into())).collect();
        Some(Lanes { width: 1, lanes: v.lanes, regs })
    }
    /// The same for two ymm registers.
    fn packed_pair(&mut self, v: &Lanes, signed: bool) -> Option<Lanes> {
        let &[low, high] = v.regs.as_slice() else { return None };
        if v.lanes != 16 {
            return None;
        }
        let words = self.new2(V::Packssdw, 32, low, high);
        // Each 128 bits hold four words of every register.
        let words = self.new1i(V::Permq, 32, words, 0b11_01_10_00);
        let high = self.low(words, 32, 16, 16);
        let bytes = self.new2(if signed { V::Packsswb } else { V::Packuswb }, 16, words, high);
        Some(Lanes { width: 1, lanes: v.lanes, regs: vec![bytes] })
    }
    /// An instruction on every part.
    pub fn each(&mut self, v: &Lanes, f: &mut dyn FnMut(&mut Self, u8, VReg) -> VReg) -> Lanes {
        let parts = self.parts_of(v.width, v.lanes);
        let regs = parts.iter().zip(&v.regs).map(|(p, &r)| f(self, p.bytes, r)).collect();
        Lanes { width: v.width, lanes: v.lanes, regs }
    }
    /// I32 or I64 to float, rounded once.
    pub fn floats_of(&mut self, v: &Lanes, signed: bool, to: Elem) -> Lanes {
        let wide = self.isa.avx512;
        match (v.width, to, signed) {
            (4, Elem::F32, true) => self.each(v, &mut |s, n, r| s.new1(V::Cvtdq2ps, n, r)),
            (4, Elem::F32, false) if wide => self.each(v, &mut |s, n, r| s.new1(V::Cvtudq2ps, n, r)),
            (4, Elem::F32, false) => self.each(v, &mut |s, n, r| s.u32_to_f32(n, r)),
            (4, _, true) => self.widen_by(v, 8, &mut |s, n, d, x| s.half(V::Cvtdq2pd, n, d, x)),
            (4, _, false) if wide => self.widen_by(v, 8, &mut |s, n, d, x| s.half(V::Cvtudq2pd, n, d, x)),
            (4, _, false) => {
                let v = self.resize(v, 8, false);
                self.each(&v, &mut |s, n, r| s.small_to_f64(n, r))
            }
            (_, Elem::F64, _) if wide => {
                let op = if signed { V::Cvtqq2pd } else { V::Cvtuqq2pd };
                self.each(v, &mut |s, n, r| s.new1(op, n, r))
            }
            (_, Elem::F64, _) => self.each(v, &mut |s, n, r| s.i64_to_f64(n, r, signed)),
            _ if wide => self.halved(if signed { V::Cvtqq2ps } else { V::Cvtuqq2ps }, v),
            _ => {
                let v = self.each(v, &mut |s, n, r| {
                    let r = s.sticky(n, r, signed);
                    s.i64_to_f64(n, r, signed)
                });
                self.halved(V::Cvtpd2ps, &v)
            }
        }
    }
    /// Upper and lower halves are exact; the sum rounds.
    fn u32_to_f32(&mut self, n: u8, r: VReg) -> VReg {
        let c = self.c32(0xffff, n);
        let low = self.new2(V::And, n, r, c);
        let low = self.new1(V::Cvtdq2ps, n, low);
        let high = self.new1i(V::Srldi, n, r, 16);
        let high = self.new1(V::Cvtdq2ps, n, high);
        let c = self.c32(65536f32.to_bits(), n);
        self.v(V::Fmadd132ps, n, &[Opnd::UseDef(high, n), Opnd::Use(low, n), c.opnd(n)]);
        high
    }
    /// Quadwords below 2^32, exact: they are the mantissa of a number from 2^52 on.
    fn small_to_f64(&mut self, n: u8, r: VReg) -> VReg {
        let c = self.c_reg(8, 2f64.powi(52).to_bits(), n);
        let x = self.new2(V::Or, n, r, c);
        self.new2(V::Subpd, n, x, c)
    }
    /// Halves as mantissas of 2^52 and 2^84, whose excess is subtracted; the sum rounds. AVX2.
    fn i64_to_f64(&mut self, n: u8, r: VReg, signed: bool) -> VReg {
        let (two52, two63, two84) = (2f64.powi(52), 2f64.powi(63), 2f64.powi(84));
        let (flip, excess) = if signed {
            (0x4530_0000_8000_0000u64, two84 + two63 + two52)
        } else {
            (0x4530 << 48, two84 + two52)
        };
        let low = self.c_reg(8, 0xffff_ffff, n);
        let low = self.new2(V::And, n, r, low);
        let c = self.c(8, two52.to_bits(), n);
        let low = self.new2(V::Or, n, low, c);
        let high = self.new1i(V::Srlqi, n, r, 32);
        let c = self.c(8, flip, n);
        let high = self.new2(V::Xor, n, high, c);
        let c = self.c(8, excess.to_bits(), n);
        let high = self.new2(V::Subpd, n, high, c);
        self.new2(V::Addpd, n, high, low)
    }
    /// Quadwords of more than 53 bits lose their last 11, with the lowest bit that stays telling that something was
    /// lost: rounding to f64 is then exact, and rounding that to f32 right. AVX2.
    fn sticky(&mut self, n: u8, r: VReg, signed: bool) -> VReg {
        let low = self.c_reg(8, 0x7ff, n);
        let lost = self.new2(V::And, n, r, low);
        // 0x7ff + lost has bit 11 where anything is lost.
        let bit = self.new2(V::Addq, n, lost, low);
        let bit = self.new2(V::Or, n, bit, r);
        let odd = self.new2(V::Andn, n, low, bit);
        // Whether the value fits: its bits from 53 on are equal.
        let top = self.new1i(V::Srlqi, n, r, 53);
        let zero = self.new_zero(n);
        let fits = self.new2(V::Eqq, n, top, zero);
        let fits = if signed {
            let c = self.c(8, 0x7ff, n);
            let minus = self.new2(V::Eqq, n, top, c);
            self.new2(V::Or, n, fits, minus)
        } else {
            fits
        };
        let d = self.vec();
        self.blend(n, d, fits, r, odd);
        d
    }
    /// Float to I32 or I64: truncated, saturated, 0 for NaN.
    fn ints_of(&mut self, v: &Lanes, signed: bool, to: Elem) -> Lanes {
        let wide = self.isa.avx512;
        // The next larger or smaller type where a conversion needs it is exact.
        match (v.width, to, signed) {
            (4, Elem::I32, true) => self.each(v, &mut |s, n, r| s.f32_to_i32(n, r)),
            (4, Elem::I32, false) => self.each(v, &mut |s, n, r| s.f32_to_u32(n, r)),
            (4, _, _) => {
                let v = self.widen_by(v, 8, &mut |s, n, d, x| s.half(V::Cvtps2pd, n, d, x));
                self.ints_of(&v, signed, to)
            }
            (_, Elem::I64, true) => self.each(v, &mut |s, n, r| s.f64_to_i64(n, r)),
            (_, Elem::I64, false) => self.each(v, &mut |s, n, r| s.f64_to_u64(n, r)),
            (_, _, true) => {
                // 2^31 - 1 is an f64: what is above becomes it. Below -2^31 the instruction gives -2^31 itself.
                let v = self.each(v, &mut |s, n, r| {
                    let r = s.no_nan(8, n, r);
                    let c = s.c_reg(8, 2147483647f64.to_bits(), n);
                    s.new2(V::Minpd, n, r, c)
                });
                self.halved(V::Cvttpd2dq, &v)
            }
            (_, _, false) if wide => {
                let v = self.each(v, &mut |s, n, r| s.not_negative(8, n, r));
                self.halved(V::Cvttpd2udq, &v)
            }
            _ => {
                let v = self.each(v, &mut |s, n, r| {
                    let r = s.not_negative(8, n, r);
                    let c = s.c(8, 4294967295f64.to_bits(), n);
                    let r = s.new2(V::Minpd, n, r, c);
                    let r = s.new1i(V::Roundpd, n, r, 11);
                    let c = s.c(8, 2f64.powi(52).to_bits(), n);
                    s.new2(V::Addpd, n, r, c)
                });
                self.resize(&v, 4, false)
            }
        }
    }
    /// 0 where negative or NaN: Max gives its second operand then.
    fn not_negative(&mut self, width: u32, n: u8, r: VReg) -> VReg {
        let z = self.new_zero(n);
        self.new2(if width == 8 { V::Maxpd } else { V::Maxps }, n, r, z)
    }
    /// 0 where NaN.
    fn no_nan(&mut self, width: u32, n: u8, r: VReg) -> VReg {
        let d = self.vec();
        if self.isa.avx512 {
            let (k, cmp, mov) = match width {
                8 => (self.mask(), V::Kcmppd, V::Movdqu),
                _ => (self.mask(), V::Kcmpps, V::Movdqu32),
            };
            self.v(cmp, n, &[Opnd::Def(k, 8), Opnd::Use(r, n), Opnd::Use(r, n), Opnd::Imm(7)]);
            let code = mov.code(self.isa, n);
            self.f.op_masked(code, &[Opnd::Def(d, n), Opnd::Use(r, n)], k, true);
            return d;
        }
        let (cmp, and) = if width == 8 { (V::Cmppd, V::Andpd) } else { (V::Cmpps, V::Andps) };
        self.v2i(cmp, n, d, r, r, 7);
        self.new2(and, n, r, d)
    }
    /// Out of range the instruction gives -2^31, whose bits are the opposite of 2^31 - 1.
    fn f32_to_i32(&mut self, n: u8, r: VReg) -> VReg {
        let r = self.no_nan(4, n, r);
        let x = self.new1(V::Cvttps2dq, n, r);
        let over = self.over(4, n, r, 2f64.powi(31));
        self.new2(V::Xor, n, x, over)
    }
    /// All ones where a float is at least a power of two.
    fn over(&mut self, width: u32, n: u8, r: VReg, least: f64) -> VReg {
        let bits = if width == 8 { least.to_bits() } else { (least as f32).to_bits().into() };
        let c = self.c(width, bits, n);
        let d = self.vec();
        if self.isa.avx512 {
            let k = self.mask();
            let (cmp, fill) = if width == 8 { (V::Kcmppd, V::Movm2q) } else { (V::Kcmpps, V::Movm2d) };
            self.v(cmp, n, &[Opnd::Def(k, 8), Opnd::Use(r, n), c.opnd(n), Opnd::Imm(0x1d)]);
            self.v(fill, n, &[Opnd::Def(d, n), Opnd::Use(k, 8)]);
        } else {
            self.v2i(if width == 8 { V::Cmppd } else { V::Cmpps }, n, d, r, c, 0x1d);
        }
        d
    }
    fn f32_to_u32(&mut self, n: u8, r: VReg) -> VReg {
        let r = self.not_negative(4, n, r);
        if self.isa.avx512 {
            // Gives all ones above the range.
            return self.new1(V::Cvttps2udq, n, r);
        }
        // From 2^31 on: bit 31 from the conversion that overflows, the others from what is left of the number.
        let x = self.new1(V::Cvttps2dq, n, r);
        let c = self.c(4, 2f32.powi(31).to_bits().into(), n);
        let rest = self.new2(V::Subps, n, r, c);
        let rest = self.new1(V::Cvttps2dq, n, rest);
        let high = self.new1i(V::Sradi, n, x, 31);
        let rest = self.new2(V::And, n, rest, high);
        let x = self.new2(V::Or, n, x, rest);
        let over = self.over(4, n, r, 2f64.powi(32));
        self.new2(V::Or, n, x, over)
    }
    fn f64_to_i64(&mut self, n: u8, r: VReg) -> VReg {
        let r = self.no_nan(8, n, r);
        let x = if self.isa.avx512 { self.new1(V::Cvttpd2qq, n, r) } else { self.f64_halves(n, r) };
        let over = self.over(8, n, r, 2f64.powi(63));
        if self.isa.avx512 {
            return self.new2(V::Xorq, n, x, over);
        }
        let c = self.c_reg(8, i64::MAX as u64, n);
        let d = self.vec();
        self.blend(n, d, over, c, x);
        // -2^63 and below.
        let c = self.c(8, (-2f64.powi(63)).to_bits(), n);
        let under = self.vec();
        self.v2i(V::Cmppd, n, under, r, c, 0x12);
        let c = self.c_reg(8, 1 << 63, n);
        let out = self.vec();
        self.blend(n, out, under, c, d);
        out
    }
    fn f64_to_u64(&mut self, n: u8, r: VReg) -> VReg {
        let r = self.not_negative(8, n, r);
        if self.isa.avx512 {
            return self.new1(V::Cvttpd2uqq, n, r);
        }
        let x = self.f64_halves(n, r);
        let over = self.over(8, n, r, 2f64.powi(64));
        self.new2(V::Or, n, x, over)
    }
    /// Truncated f64 within the range of quadwords: the upper and the lower 32 bits each as the mantissa of a sum. AVX2.
    fn f64_halves(&mut self, n: u8, r: VReg) -> VReg {
        let r = self.new1i(V::Roundpd, n, r, 11);
        let c = self.c(8, 2f64.powi(-32).to_bits(), n);
        let high = self.new2(V::Mulpd, n, r, c);
        let high = self.new1i(V::Roundpd, n, high, 9);
        let low = self.vec();
        self.mov(low, high, n);
        // r - high * 2^32 is exact.
        let c = self.c(8, (-2f64.powi(32)).to_bits(), n);
        self.v(V::Fmadd132pd, n, &[Opnd::UseDef(low, n), Opnd::Use(r, n), c.opnd(n)]);
        let two52 = self.c_reg(8, 2f64.powi(52).to_bits(), n);
        let low = self.new2(V::Addpd, n, low, two52);
        let low = self.new2(V::Xor, n, low, two52);
        let c = self.c(8, (1.5 * 2f64.powi(52)).to_bits(), n);
        let high = self.new2(V::Addpd, n, high, c);
        let high = self.new1i(V::Sllqi, n, high, 32);
        self.new2(V::Or, n, high, low)
    }
}

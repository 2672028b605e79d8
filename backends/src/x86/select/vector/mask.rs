//! Truth vectors: a bit per lane in mask registers with AVX-512, 32-bit lanes of all zeros or ones without.

use super::arith::by_width;
use super::codes::V;
use super::emit::{Src, Vx};
use super::resize::{Lanes, int_of};
use crate::x86::mir::{Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Reg, Ty};

/// A truth vector in its canonical form.
pub type Truth = Vec<VReg>;

impl Vx<'_, '_> {
    /// Truth of lanes of which each element has `width` bytes: vector masks of that width, AVX2.
    pub fn truth_at(&mut self, t: &Truth, lanes: u16, width: u32) -> Lanes {
        let v = Lanes { width: 4, lanes, regs: t.clone() };
        self.resize(&v, width, true)
    }
    /// Bits of lanes `first..` at the low end of a mask register, AVX-512.
    pub fn bits_at(&mut self, t: &Truth, first: u16) -> VReg {
        let k = t[usize::from(first / 64)];
        match first % 64 {
            0 => k,
            by => {
                let d = self.mask();
                let by = Opnd::Imm(by.into());
                self.op(Code::VEX_Kshiftrq_kr_kr_imm8, &[Opnd::Def(d, 8), Opnd::Use(k, 8), by]);
                d
            }
        }
    }
    /// Bits of parts joined into a canonical truth vector.
    pub fn put_bits(&mut self, to: &[VReg], bits: &[(u16, VReg)]) {
        for (i, &d) in to.iter().enumerate() {
            let of_word: Vec<(u16, VReg)> =
                bits.iter().filter(|(first, _)| usize::from(first / 64) == i).copied().collect();
            let mut sum: Option<VReg> = None;
            for &(first, k) in &of_word {
                let moved = match first % 64 {
                    0 => k,
                    by => {
                        let t = self.mask();
                        let by = Opnd::Imm(by.into());
                        self.op(Code::VEX_Kshiftlq_kr_kr_imm8, &[Opnd::Def(t, 8), Opnd::Use(k, 8), by]);
                        t
                    }
                };
                sum = Some(match sum {
                    None => moved,
                    Some(s) => self.k2(Code::VEX_Korq_kr_kr_kr, s, moved),
                });
            }
            if let Some(s) = sum {
                self.mov(d, s, 8);
            }
        }
    }
    /// A mask instruction of two operands.
    pub fn k2(&mut self, code: Code, a: VReg, b: VReg) -> VReg {
        let d = self.mask();
        self.op(code, &[Opnd::Def(d, 8), Opnd::Use(a, 8), Opnd::Use(b, 8)]);
        d
    }
    /// Not, of one part.
    pub fn not_mask(&mut self, d: VReg, a: Src, n: u8) {
        let a = self.in_reg(a, 4, n);
        if self.isa.avx512 {
            return self.op(Code::VEX_Knotq_kr_kr, &[Opnd::Def(d, 8), Opnd::Use(a, 8)]);
        }
        let c = self.c32(u32::MAX, n);
        self.v2(V::Xor, n, d, a, c);
    }
    /// And, Or, Xor of one part.
    pub fn logic_mask(&mut self, op: BinOp, d: VReg, a: VReg, b: VReg, n: u8) {
        if self.isa.avx512 {
            let code = match op {
                BinOp::And => Code::VEX_Kandq_kr_kr_kr,
                BinOp::Or => Code::VEX_Korq_kr_kr_kr,
                _ => Code::VEX_Kxorq_kr_kr_kr,
            };
            return self.op(code, &[Opnd::Def(d, 8), Opnd::Use(a, 8), Opnd::Use(b, 8)]);
        }
        let op = match op {
            BinOp::And => V::And,
            BinOp::Or => V::Or,
            _ => V::Xor,
        };
        self.v2(op, n, d, a, b);
    }
    /// The same truth in all lanes of a part: 0 or 1 in a Gpr.
    pub fn splat_truth(&mut self, d: VReg, c: VReg, n: u8) {
        let t = self.gpr();
        self.op(Code::Mov_r32_rm32, &[Opnd::Def(t, 4), Opnd::Use(c, 4)]);
        self.op(Code::Neg_rm64, &[Opnd::UseDef(t, 8)]);
        if self.isa.avx512 {
            return self.op(Code::VEX_Kmovq_kr_r64, &[Opnd::Def(d, 8), Opnd::Use(t, 8)]);
        }
        let x = self.of_gpr(t, 4);
        self.broadcast(4, n, d, Src::Reg(x));
    }
    /// A comparison.
    pub fn compare(&mut self, op: CmpOp, dst: Reg, a: Reg, b: Reg) {
        let ty = self.ty(a);
        if ty.elem == Elem::B1 {
            return self.compare_truth(op, dst, a, b);
        }
        let parts = self.layout(ty);
        let (x, y) = (self.operand(a), self.operand(b));
        let d = self.dst(dst);
        let direct = !self.isa.avx512 && ty.elem.bytes() == 4;
        let mut out = Vec::new();
        for (i, p) in parts.iter().enumerate() {
            let (op, x, y) = if x[i].is_memory() { (swapped(op), y[i], x[i]) } else { (op, x[i], y[i]) };
            let x = self.in_reg(x, ty.elem.bytes(), p.bytes);
            let m = if self.isa.avx512 {
                if parts.len() == 1 { d[0] } else { self.mask() }
            } else if direct {
                d[i]
            } else {
                self.vec()
            };
            if self.isa.avx512 {
                self.compare_bits(op, ty.elem, p.bytes, m, x, y);
            } else {
                self.compare_lanes(op, ty.elem, p.bytes, m, x, y);
            }
            out.push((p.first, m));
        }
        if self.isa.avx512 {
            return self.put_bits(&d, &out);
        }
        if !direct {
            let regs = out.into_iter().map(|(_, m)| m).collect();
            let v = Lanes { width: ty.elem.bytes(), lanes: ty.lanes, regs };
            let v = self.resize(&v, 4, true);
            self.put(&d, &v);
        }
    }
    fn compare_truth(&mut self, op: CmpOp, dst: Reg, a: Reg, b: Reg) {
        let parts = self.layout(self.ty(dst));
        let (x, y, d) = (self.parts(a), self.parts(b), self.dst(dst));
        for (i, p) in parts.iter().enumerate() {
            if op == CmpOp::Ne {
                self.logic_mask(BinOp::Xor, d[i], x[i], y[i], p.bytes);
            } else {
                let t = self.temp(p.class);
                self.logic_mask(BinOp::Xor, t, x[i], y[i], p.bytes);
                self.not_mask(d[i], Src::Reg(t), p.bytes);
            }
        }
    }
    /// A comparison of one part into mask bits.
    fn compare_bits(&mut self, op: CmpOp, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        let code = if e.is_float() {
            if e == Elem::F64 { V::Kcmppd } else { V::Kcmpps }
        } else if is_unsigned(op) {
            by_width(e, [V::Kcmpub, V::Kcmpuw, V::Kcmpud, V::Kcmpuq])
        } else {
            by_width(e, [V::Kcmpb, V::Kcmpw, V::Kcmpd, V::Kcmpq])
        };
        let how = if e.is_float() { float_predicate(op) } else { int_predicate(op) };
        self.v(code, n, &[Opnd::Def(d, 8), Opnd::Use(a, n), b.opnd(n), Opnd::Imm(how)]);
    }
    /// A comparison of one part into lanes of all zeros or ones, AVX2.
    fn compare_lanes(&mut self, op: CmpOp, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        use CmpOp::*;
        if e.is_float() {
            let code = if e == Elem::F64 { V::Cmppd } else { V::Cmpps };
            return self.v2i(code, n, d, a, b, float_predicate(op));
        }
        let eq = by_width(e, [V::Eqb, V::Eqw, V::Eqd, V::Eqq]);
        let gt = by_width(e, [V::Gtb, V::Gtw, V::Gtd, V::Gtq]);
        let b = self.in_reg(b, e.bytes(), n);
        let (mut x, mut y) = (a, b);
        if is_unsigned(op) {
            let c = self.c_reg(e.bytes(), super::arith::sign(e), n);
            (x, y) = (self.new2(V::Xor, n, a, c), self.new2(V::Xor, n, b, c));
        }
        let not = matches!(op, Ne | Le | LeU | Ge | GeU);
        let t = if not { self.vec() } else { d };
        match op {
            Eq | Ne => self.v2(eq, n, t, x, y),
            Gt | GtU | Le | LeU => self.v2(gt, n, t, x, y),
            Lt | LtU | Ge | GeU => self.v2(gt, n, t, y, x),
        }
        if not {
            self.not_mask(d, Src::Reg(t), n);
        }
    }
    /// `cond ? a : b`.
    pub fn select(&mut self, dst: Reg, c: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        let scalar = self.ty(c).lanes == 1;
        let cond: Truth = if scalar {
            let c = self.one(c);
            let d = if self.isa.avx512 { self.mask() } else { self.vec() };
            self.splat_truth(d, c, parts.iter().map(|p| p.bytes).max().unwrap_or(16).min(32));
            vec![d]
        } else {
            self.parts(c)
        };
        // Per part: a mask register, or vector lanes as wide as the elements.
        let masks: Vec<VReg> = if scalar {
            vec![cond[0]; parts.len()]
        } else if self.isa.avx512 && ty.elem == Elem::B1 {
            cond
        } else if self.isa.avx512 {
            parts.iter().map(|p| self.bits_at(&cond, p.first)).collect()
        } else if ty.elem == Elem::B1 {
            cond
        } else {
            self.truth_at(&cond, ty.lanes, ty.elem.bytes()).regs
        };
        let (yes, no) = (self.operand(a), self.operand(b));
        let d = self.dst(dst);
        for (i, p) in parts.iter().enumerate() {
            let no = self.in_reg(no[i], ty.elem.bytes(), p.bytes);
            self.select_part(ty, p.bytes, d[i], masks[i], yes[i], no);
        }
    }
    fn select_part(&mut self, ty: Ty, n: u8, d: VReg, m: VReg, yes: Src, no: VReg) {
        if !self.isa.avx512 {
            let yes = if yes.is_memory() { Src::Reg(self.in_reg(yes, ty.elem.bytes(), n)) } else { yes };
            return self.blend(n, d, m, yes, no);
        }
        if ty.elem == Elem::B1 {
            let yes = self.in_reg(yes, 4, n);
            let x = self.k2(Code::VEX_Kandq_kr_kr_kr, m, yes);
            let y = self.k2(Code::VEX_Kandnq_kr_kr_kr, m, no);
            return self.op(Code::VEX_Korq_kr_kr_kr, &[Opnd::Def(d, 8), Opnd::Use(x, 8), Opnd::Use(y, 8)]);
        }
        let code = by_width(ty.elem, [V::Blendmb, V::Blendmw, V::Blendmd, V::Blendmq]).code(self.isa, n);
        self.f.op_masked(code, &[Opnd::Def(d, n), Opnd::Use(no, n), yes.opnd(n)], m, false);
    }
    /// Truth values as integers: 0 / -1, or 0 / 1.
    pub fn truth_to_int(&mut self, dst: Reg, a: Reg, signed: bool) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        let (t, d) = (self.parts(a), self.dst(dst));
        let w = ty.elem.bytes();
        if !self.isa.avx512 {
            let v = self.truth_at(&t, ty.lanes, w);
            for ((p, d), x) in parts.iter().zip(d).zip(v.regs) {
                match (signed, ty.elem) {
                    (true, _) => self.mov(d, x, p.bytes),
                    (false, Elem::I64) => self.v1i(V::Srlqi, p.bytes, d, x, 63),
                    (false, e) => self.v1(by_width(e, [V::Absb, V::Absw, V::Absd, V::Absd]), p.bytes, d, x),
                }
            }
            return;
        }
        for (p, d) in parts.iter().zip(d) {
            let (n, k) = (p.bytes, self.bits_at(&t, p.first));
            if signed {
                let op = by_width(ty.elem, [V::Movm2b, V::Movm2w, V::Movm2d, V::Movm2q]);
                self.v(op, n, &[Opnd::Def(d, n), Opnd::Use(k, 8)]);
                continue;
            }
            let one = self.f.pool(&1u64.to_le_bytes()[..w as usize], w as usize);
            let op = match int_of(w) {
                Elem::I8 => V::Broadcastb,
                Elem::I16 => V::Broadcastw,
                Elem::I32 => V::Broadcastd,
                _ => V::Broadcastq,
            };
            let code = op.code(self.isa, n);
            self.f.op_masked(code, &[Opnd::Def(d, n), Opnd::Mem(one.into())], k, true);
        }
    }
}

fn is_unsigned(op: CmpOp) -> bool {
    matches!(op, CmpOp::LtU | CmpOp::LeU | CmpOp::GtU | CmpOp::GeU)
}

/// The comparison of the operands in the other order.
fn swapped(op: CmpOp) -> CmpOp {
    use CmpOp::*;
    match op {
        Eq | Ne => op,
        Lt => Gt,
        Le => Ge,
        Gt => Lt,
        Ge => Le,
        LtU => GtU,
        LeU => GeU,
        GtU => LtU,
        GeU => LeU,
    }
}

/// Ordered and quiet; Ne is unordered.
fn float_predicate(op: CmpOp) -> i64 {
    match op {
        CmpOp::Eq => 0x00,
        CmpOp::Ne => 0x04,
        CmpOp::Lt | CmpOp::LtU => 0x11,
        CmpOp::Le | CmpOp::LeU => 0x12,
        CmpOp::Gt | CmpOp::GtU => 0x1e,
        CmpOp::Ge | CmpOp::GeU => 0x1d,
    }
}

fn int_predicate(op: CmpOp) -> i64 {
    match op {
        CmpOp::Eq => 0,
        CmpOp::Ne => 4,
        CmpOp::Lt | CmpOp::LtU => 1,
        CmpOp::Le | CmpOp::LeU => 2,
        CmpOp::Gt | CmpOp::GtU => 6,
        CmpOp::Ge | CmpOp::GeU => 5,
    }
}

//! Arithmetic lane by lane: operands and results have the same parts.

use super::codes::V;
use super::emit::{Src, Vx};
use crate::x86::mir::{Opnd, VReg};
use sinter_ir::tile::{BinOp, Elem, Reg, UnOp};

/// Sign bit of an element.
pub fn sign(e: Elem) -> u64 {
    1 << (e.bits() - 1)
}

/// One of four by the element's width: 8, 16, 32, 64 bits.
pub fn by_width(e: Elem, ops: [V; 4]) -> V {
    ops[e.bytes().trailing_zeros().min(3) as usize]
}

/// The form for F32 or F64.
fn float(e: Elem, single: V, double: V) -> V {
    if e == Elem::F64 { double } else { single }
}

impl Vx<'_, '_> {
    /// An operation of one operand.
    pub fn unary(&mut self, op: UnOp, dst: Reg, a: Reg) {
        let ty = self.ty(dst);
        let parts = self.layout(ty);
        let a = self.operand(a);
        let d = self.dst(dst);
        for ((p, d), a) in parts.iter().zip(d).zip(a) {
            if ty.elem == Elem::B1 {
                self.not_mask(d, a, p.bytes);
            } else {
                self.un(op, ty.elem, p.bytes, d, a);
            }
        }
    }
    /// One operation on one part.
    fn un(&mut self, op: UnOp, e: Elem, n: u8, d: VReg, a: Src) {
        let w = e.bytes();
        match (op, e.is_float()) {
            (UnOp::Neg, true) => {
                let (a, c) = (self.in_reg(a, w, n), self.c(w, sign(e), n));
                self.v2(float(e, V::Xorps, V::Xorpd), n, d, a, c);
            }
            (UnOp::Abs, true) => {
                let (a, c) = (self.in_reg(a, w, n), self.c(w, sign(e) - 1, n));
                self.v2(float(e, V::Andps, V::Andpd), n, d, a, c);
            }
            (UnOp::Neg, false) => {
                let z = self.new_zero(n);
                self.v2(by_width(e, [V::Subb, V::Subw, V::Subd, V::Subq]), n, d, z, a);
            }
            (UnOp::Abs, false) if e == Elem::I64 && !self.isa.avx512 => {
                let (a, z) = (self.in_reg(a, w, n), self.new_zero(n));
                let s = self.new2(V::Gtq, n, z, a);
                let x = self.new2(V::Xor, n, a, s);
                self.v2(V::Subq, n, d, x, s);
            }
            (UnOp::Abs, false) => self.v1(by_width(e, [V::Absb, V::Absw, V::Absd, V::Absq]), n, d, a),
            (UnOp::Not, _) => {
                let (a, c) = (self.in_reg(a, w, n), self.c32(u32::MAX, n));
                self.v2(V::Xor, n, d, a, c);
            }
            (UnOp::Sqrt, _) => self.v1(float(e, V::Sqrtps, V::Sqrtpd), n, d, a),
            (op, _) => {
                // Without the inexact exception.
                let how = match op {
                    UnOp::Nearest => 8,
                    UnOp::Floor => 9,
                    UnOp::Ceil => 10,
                    _ => 11,
                };
                self.v1i(float(e, V::Roundps, V::Roundpd), n, d, a, how);
            }
        }
    }
    /// An operation of two operands.
    pub fn binary(&mut self, op: BinOp, dst: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        if matches!(op, BinOp::Min | BinOp::Max) && self.bounded(op, dst, a, b) {
            return;
        }
        if let (BinOp::Shl | BinOp::ShrS | BinOp::ShrU, Some(by)) = (op, self.int_const(b)) {
            return self.shift_by(op, dst, a, by);
        }
        if matches!(op, BinOp::DivS | BinOp::DivU | BinOp::RemS | BinOp::RemU) {
            return self.divide(op, dst, a, b);
        }
        let parts = self.layout(ty);
        let (mut x, mut y) = (self.operand(a), self.operand(b));
        if x.iter().any(|s| s.is_memory()) && commutes(op) {
            std::mem::swap(&mut x, &mut y);
        }
        let d = self.dst(dst);
        for (((p, d), x), y) in parts.iter().zip(d).zip(x).zip(y) {
            let x = self.in_reg(x, ty.elem.bytes(), p.bytes);
            if ty.elem == Elem::B1 {
                let y = self.in_reg(y, 4, p.bytes);
                self.logic_mask(op, d, x, y, p.bytes);
            } else {
                self.bin(op, ty.elem, p.bytes, d, x, y);
            }
        }
    }
    /// One operation on one part. The destination may be an operand.
    pub fn bin(&mut self, op: BinOp, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        use BinOp::*;
        let wide = self.isa.avx512;
        let four = |ops| by_width(e, ops);
        let direct = match op {
            Add if e.is_float() => float(e, V::Addps, V::Addpd),
            Sub if e.is_float() => float(e, V::Subps, V::Subpd),
            Mul if e.is_float() => float(e, V::Mulps, V::Mulpd),
            Div => float(e, V::Divps, V::Divpd),
            Scale => float(e, V::Scalefps, V::Scalefpd),
            Min | Max => return self.min_max(op, e, n, d, a, b),
            Add => four([V::Addb, V::Addw, V::Addd, V::Addq]),
            Sub => four([V::Subb, V::Subw, V::Subd, V::Subq]),
            Mul if e == Elem::I16 => V::Mulw,
            Mul if e == Elem::I32 => V::Muld,
            Mul if e == Elem::I64 && wide => V::Mulq,
            Mul => return self.multiply(e, n, d, a, b),
            MinS | MaxS | MinU | MaxU if e == Elem::I64 && !wide => return self.min_max_64(op, n, d, a, b),
            MinS => four([V::Minsb, V::Minsw, V::Minsd, V::Minsq]),
            MaxS => four([V::Maxsb, V::Maxsw, V::Maxsd, V::Maxsq]),
            MinU => four([V::Minub, V::Minuw, V::Minud, V::Minuq]),
            MaxU => four([V::Maxub, V::Maxuw, V::Maxud, V::Maxuq]),
            And if wide && e == Elem::I64 => V::Andq,
            Or if wide && e == Elem::I64 => V::Orq,
            Xor if wide && e == Elem::I64 => V::Xorq,
            And => V::And,
            Or => V::Or,
            Xor => V::Xor,
            Shl | ShrS | ShrU => return self.shift(op, e, n, d, a, b),
            DivS | DivU | RemS | RemU | Pow | Fmod => return,
        };
        self.v2(direct, n, d, a, b);
    }
    /// Float Min or Max by a constant, where one or two instructions do: those that give their second operand where
    /// either is NaN or both are zero. False where the general form is needed.
    fn bounded(&mut self, op: BinOp, dst: Reg, a: Reg, b: Reg) -> bool {
        let (x, c, v) = match (self.float_const(a), self.float_const(b)) {
            (_, Some(v)) => (a, b, v),
            (Some(v), None) => (b, a, v),
            _ => return false,
        };
        let zero = v == 0.0;
        let lift = zero && op == BinOp::Max && v.is_sign_positive();
        if v.is_nan() || (zero && op == BinOp::Min && v.is_sign_negative()) {
            return false;
        }
        let e = self.ty(dst).elem;
        let parts = self.layout(self.ty(dst));
        let (x, c, d) = (self.operand(x), self.parts(c), self.dst(dst));
        for (((p, d), x), c) in parts.iter().zip(d).zip(x).zip(c) {
            let n = p.bytes;
            if op == BinOp::Min {
                self.v2(float(e, V::Minps, V::Minpd), n, d, c, x);
            } else if lift {
                // max(0, -0) gave -0 above: adding 0 makes it 0 and changes nothing else.
                let t = self.new2(float(e, V::Maxps, V::Maxpd), n, c, x);
                self.v2(float(e, V::Addps, V::Addpd), n, d, t, c);
            } else {
                self.v2(float(e, V::Maxps, V::Maxpd), n, d, c, x);
            }
        }
        true
    }
    /// A selection that is the larger of two floats: the instruction gives its second operand where either is NaN.
    pub fn greater(&mut self, dst: Reg) {
        let Some(&(a, b)) = self.facts.patterns.greater.get(&dst) else { return };
        let parts = self.layout(self.ty(dst));
        let (x, y) = (self.operand(a), self.operand(b));
        for (((p, d), x), y) in parts.iter().zip(self.dst(dst)).zip(x).zip(y) {
            let x = self.in_reg(x, 4, p.bytes);
            self.v2(V::Maxps, p.bytes, d, x, y);
        }
    }
    /// Float Min and Max: NaN where either is, -0 below 0.
    fn min_max(&mut self, op: BinOp, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        let b = self.in_reg(b, e.bytes(), n);
        if op == BinOp::Min {
            // Both orders: they differ where one is NaN (the other operand's bits come on top, still NaN) and for zeros
            // (the sign comes on top).
            let op = float(e, V::Minps, V::Minpd);
            let (x, y) = (self.new2(op, n, a, b), self.new2(op, n, b, a));
            return self.v2(float(e, V::Orps, V::Orpd), n, d, x, y);
        }
        if self.isa.avx512 {
            let k = self.mask();
            let cmp = float(e, V::Kcmpps, V::Kcmppd);
            self.v(cmp, n, &[Opnd::Def(k, 8), Opnd::Use(a, n), Opnd::Use(b, n), Opnd::Imm(3)]);
            // The sign of zeros is honoured, a NaN loses: it is put back by an addition.
            let t = self.vec();
            self.v2i(float(e, V::Rangeps, V::Rangepd), n, t, a, b, 0b0101);
            let add = float(e, V::Addps, V::Addpd).code(self.isa, n);
            self.f.op_masked(add, &[Opnd::UseDef(t, n), Opnd::Use(a, n), Opnd::Use(b, n)], k, false);
            return self.mov(d, t, n);
        }
        let max = float(e, V::Maxps, V::Maxpd);
        let (x, y) = (self.new2(max, n, a, b), self.new2(max, n, b, a));
        let m = self.new2(float(e, V::Andps, V::Andpd), n, x, y);
        let nan = self.vec();
        self.v2i(float(e, V::Cmpps, V::Cmppd), n, nan, a, b, 3);
        self.v2(float(e, V::Orps, V::Orpd), n, d, m, nan);
    }
    /// Products that no instruction makes: bytes, and quadwords of AVX2.
    fn multiply(&mut self, e: Elem, n: u8, d: VReg, a: VReg, b: Src) {
        let b = self.in_reg(b, e.bytes(), n);
        if e == Elem::I8 {
            let even = self.new2(V::Mulw, n, a, b);
            let (ah, bh) = (self.new1i(V::Srlwi, n, a, 8), self.new1i(V::Srlwi, n, b, 8));
            let odd = self.new2(V::Mulw, n, ah, bh);
            let odd = self.new1i(V::Sllwi, n, odd, 8);
            let low = self.c32(0x00ff_00ff, n);
            let even = self.new2(V::And, n, even, low);
            return self.v2(V::Or, n, d, even, odd);
        }
        let low = self.new2(V::Muludq, n, a, b);
        let (ah, bh) = (self.new1i(V::Srlqi, n, a, 32), self.new1i(V::Srlqi, n, b, 32));
        let (x, y) = (self.new2(V::Muludq, n, ah, b), self.new2(V::Muludq, n, a, bh));
        let high = self.new2(V::Addq, n, x, y);
        let high = self.new1i(V::Sllqi, n, high, 32);
        self.v2(V::Addq, n, d, low, high);
    }
    /// AVX2 has no minimum of quadwords.
    fn min_max_64(&mut self, op: BinOp, n: u8, d: VReg, a: VReg, b: Src) {
        let b = self.in_reg(b, 8, n);
        let (x, y) = if matches!(op, BinOp::MinU | BinOp::MaxU) {
            let c = self.c_reg(8, 1 << 63, n);
            (self.new2(V::Xor, n, a, c), self.new2(V::Xor, n, b, c))
        } else {
            (a, b)
        };
        let a_is_more = self.new2(V::Gtq, n, x, y);
        let (yes, no) = if matches!(op, BinOp::MinS | BinOp::MinU) { (b, a) } else { (a, b) };
        self.blend(n, d, a_is_more, yes, no);
    }
    /// `a * b + c`.
    pub fn mul_add(&mut self, dst: Reg, a: Reg, b: Reg, c: Reg) {
        let ty = self.ty(dst);
        let (e, w) = (ty.elem, ty.elem.bytes());
        let parts = self.layout(ty);
        // Whose last use this is may give its register to the result.
        let dies = [self.dies(a), self.dies(b), self.dies(c)];
        let (x, y, z) = (self.operand(a), self.operand(b), self.operand(c));
        for (i, (p, d)) in parts.iter().zip(self.dst(dst)).enumerate() {
            let n = p.bytes;
            let (x, y, z) = (x[i], y[i], z[i]);
            if e.is_float() {
                self.fused(e, n, d, [x, y, z], dies);
                continue;
            }
            let (x, y) = if x.is_memory() { (y, x) } else { (x, y) };
            let (x, t) = (self.in_reg(x, w, n), self.vec());
            self.bin(BinOp::Mul, e, n, t, x, y);
            self.bin(BinOp::Add, e, n, d, t, z);
        }
    }
    fn fused(&mut self, e: Elem, n: u8, d: VReg, s: [Src; 3], dies: [bool; 3]) {
        let w = e.bytes();
        // At most one operand stays in memory, and never the first factor.
        let [x, y, z] = s;
        let (x, y, dies) = if x.is_memory() { (y, x, [dies[1], dies[0], dies[2]]) } else { (x, y, dies) };
        let x = self.in_reg(x, w, n);
        let z = if y.is_memory() { Src::Reg(self.in_reg(z, w, n)) } else { z };
        let is_d = |s: Src| matches!(s, Src::Reg(r) if r == d);
        let (f132, f213, f231) = (
            float(e, V::Fmadd132ps, V::Fmadd132pd),
            float(e, V::Fmadd213ps, V::Fmadd213pd),
            float(e, V::Fmadd231ps, V::Fmadd231pd),
        );
        let emit = |s: &mut Self, op: V, b: VReg, c: Src| {
            s.v(op, n, &[Opnd::UseDef(d, n), Opnd::Use(b, n), c.opnd(n)]);
        };
        match (x, y, z) {
            (x, y, z) if is_d(z) => emit(self, f231, x, y),
            (x, Src::Reg(y), z) if x == d => emit(self, f213, y, z),
            (x, Src::Reg(y), z) if y == d => emit(self, f213, x, z),
            // One factor in memory, so that the summand is a register: d = d * memory + z.
            (x, y, Src::Reg(z)) if x == d => emit(self, f132, z, y),
            (x, Src::Reg(y), z) if z.is_memory() || ((dies[0] || dies[1]) && !dies[2]) => {
                let (first, second) = if dies[1] && !dies[0] { (y, x) } else { (x, y) };
                self.mov(d, first, n);
                emit(self, f213, second, z);
            }
            (x, y, Src::Reg(z)) if y.is_memory() && dies[0] && !dies[2] => {
                self.mov(d, x, n);
                emit(self, f132, z, y);
            }
            (x, y, z) => {
                let z = self.in_reg(z, w, n);
                self.mov(d, z, n);
                emit(self, f231, x, y);
            }
        }
    }
}

fn commutes(op: BinOp) -> bool {
    use BinOp::*;
    matches!(op, Add | Mul | Min | Max | MinS | MaxS | MinU | MaxU | And | Or | Xor)
}

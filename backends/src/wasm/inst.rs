//! Right-hand sides.

use super::kernel::Emit;
use super::memory::counting;
use super::scalar;
use super::shape::{parts, per_part};
use super::vector;
use sinter_ir::tile::{BinOp, Elem, Inst, Reg, Scalar, Ty};
use wasm_encoder::{Instruction as I, ValType};

impl Emit<'_> {
    /// Emits an assignment.
    pub fn assign(&mut self, dst: Reg, inst: &Inst) {
        let ty = self.ty(dst);
        let e = ty.elem;
        let vector = ty.lanes > 1;
        match inst {
            Inst::Const(s) if vector => self.splat_const(dst, ty, *s),
            Inst::Const(s) => self.f.push(scalar::constant(e, *s)),
            Inst::Copy(a) if vector => {
                let (from, to) = (self.bits(*a), self.bits(dst));
                match e {
                    Elem::B1 => self.mask(ty, &self.parts(*a), from, to),
                    _ => self.parts(*a).into_iter().for_each(|l| self.f.get(l)),
                }
            }
            Inst::Copy(a) => self.push(*a),
            Inst::Dim(d) => self.dim(d),
            Inst::Un(op, a) if vector => {
                let (from, to) = (self.bits(*a), self.bits(dst));
                let src = self.cast(ty, *a, from, to);
                for l in src {
                    self.f.get(l);
                    self.f.op(vector::unary(*op, e));
                }
            }
            Inst::Un(op, a) => {
                let x = self.val(*a);
                scalar::unary(&mut self.f, *op, e, x);
            }
            Inst::Bin(op, a, b) if vector => return self.binary(*op, dst, *a, *b),
            Inst::Bin(op, a, b) => {
                let (x, y) = (self.val(*a), self.val(*b));
                scalar::binary(&mut self.f, *op, e, x, y);
            }
            Inst::Cmp(op, a, b) if vector => {
                let (from, to) = (self.bits(*a), self.bits(dst));
                let n = parts(ty, from);
                let y = self.cast(self.ty(*b), *b, self.bits(*b), from);
                for (x, y) in self.parts(*a).into_iter().zip(y) {
                    vector::compare(&mut self.f, *op, self.k.ty(*a).elem, x, y);
                }
                if from != to {
                    let kept = self.keep_parts(n);
                    self.mask(ty, &kept, from, to);
                }
            }
            Inst::Cmp(op, a, b) => {
                let (from, x, y) = (self.ty(*a).elem, self.val(*a), self.val(*b));
                scalar::compare(&mut self.f, *op, from, x, y);
            }
            Inst::Select(c, a, b) => return self.select(dst, *c, *a, *b),
            Inst::MulAdd(a, b, c) if vector => {
                for ((x, y), z) in self.parts(*a).into_iter().zip(self.parts(*b)).zip(self.parts(*c)) {
                    vector::multiply(&mut self.f, e, x, y);
                    self.f.ops([I::LocalGet(z), vector::add(e)]);
                }
            }
            Inst::MulAdd(a, b, c) => {
                let (x, y, z) = (self.val(*a), self.val(*b), self.val(*c));
                scalar::mul_add(&mut self.f, e, x, y, z);
            }
            Inst::Dot4 { acc, a, b, a_signed, b_signed, .. } => {
                return self.dot4(dst, *acc, (*a, *a_signed), (*b, *b_signed));
            }
            // Not for this target: `legalise` has seen to that.
            Inst::Dot2 { .. } | Inst::Mat8 { .. } | Inst::Mat4 { .. } | Inst::Halves { .. } => {
                self.f.op(I::Unreachable)
            }
            Inst::Cvt(op, a) if vector => return self.convert(*op, dst, *a),
            Inst::Cvt(op, a) => {
                let (from, x) = (self.ty(*a).elem, self.val(*a));
                scalar::convert(&mut self.f, *op, from, e, x);
            }
            Inst::Load { buf, at, tail } => return self.load(dst, *buf, at, *tail),
            Inst::LoadGather { buf, at, index, tail } => return self.gather(dst, (*buf, at), *index, *tail),
            Inst::Address(buf) => self.f.ops([I::LocalGet(buf.0), I::I64ExtendI32U]),
            Inst::LoadAt(a) => {
                self.push(*a);
                self.f.ops([I::I32WrapI64, scalar::load(e, 0)]);
            }
            Inst::Splat(a) if vector => {
                let bits = self.bits(dst);
                self.push(*a);
                self.splat(e, bits);
                self.repeat(parts(ty, bits));
            }
            Inst::Splat(a) => self.push(*a),
            Inst::Lane(a, i) => {
                let v = self.lane(*a, usize::from(*i));
                self.f.push(v);
            }
            Inst::LaneIndex if vector => {
                let bits = e.bits();
                for i in 0..parts(ty, bits) {
                    self.f.op(I::V128Const(counting(bits, (i * per_part(bits)) as u64)));
                }
            }
            Inst::LaneIndex => self.f.push(scalar::zero(e)),
            Inst::Fold(op, a) => self.fold(*op, *a),
        }
        self.set(dst);
    }
    /// One constant in every lane.
    fn splat_const(&mut self, dst: Reg, ty: Ty, s: Scalar) {
        let bits = self.bits(dst);
        let lane = match s {
            Scalar::B1(v) => -i64::from(v),
            Scalar::Int(v) => v,
            Scalar::F32(v) => v.to_bits().into(),
            Scalar::F64(v) => v.to_bits().cast_signed(),
        };
        let lane = i128::from(lane) & (u64::MAX >> (64 - bits)) as i128;
        let all = (0..per_part(bits)).fold(0i128, |v, i| v | lane << (bits as usize * i));
        self.f.op(I::V128Const(all));
        self.repeat(parts(ty, bits));
    }
    /// Pushes the vector on the stack again, until there are `n`.
    fn repeat(&mut self, n: usize) {
        if n > 1 {
            let l = self.f.keep(ValType::V128);
            (0..n).for_each(|_| self.f.get(l));
        }
    }
    /// Parts of a vector in lanes of `to` bits: truth vectors change their width.
    fn cast(&mut self, ty: Ty, r: Reg, from: u32, to: u32) -> Vec<u32> {
        let src = self.parts(r);
        if from == to || ty.elem != Elem::B1 {
            return src;
        }
        self.mask(ty, &src, from, to);
        self.keep_parts(parts(ty, to))
    }
    fn binary(&mut self, op: BinOp, dst: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        let e = ty.elem;
        if matches!(op, BinOp::Shl | BinOp::ShrS | BinOp::ShrU)
            && let Some(by) = self.splat_of(b)
        {
            for l in self.parts(a) {
                self.f.ops([
                    I::LocalGet(l),
                    I::I32Const((by & i64::from(e.bits() - 1)) as i32),
                    vector::shift(op, e),
                ]);
            }
            return self.set(dst);
        }
        if !vector::has(op, e) {
            self.by_lanes(ty, &[a, b], &|s, x| scalar::binary(&mut s.f, op, e, x[0], x[1]));
            return self.set(dst);
        }
        let to = self.bits(dst);
        let (x, y) = (self.bits(a), self.bits(b));
        let (x, y) = (self.cast(ty, a, x, to), self.cast(ty, b, y, to));
        for (x, y) in x.into_iter().zip(y) {
            vector::binary(&mut self.f, op, e, x, y);
        }
        self.set(dst);
    }
    fn select(&mut self, dst: Reg, c: Reg, a: Reg, b: Reg) {
        let ty = self.ty(dst);
        if ty.lanes == 1 {
            [a, b, c].into_iter().for_each(|r| self.push(r));
            self.f.op(I::Select);
            return self.set(dst);
        }
        let to = self.bits(dst);
        let (x, y) = (self.bits(a), self.bits(b));
        let (x, y) = (self.cast(ty, a, x, to), self.cast(ty, b, y, to));
        let (one, masks, from) = (self.ty(c).lanes == 1, self.parts(c), self.bits(c));
        for (i, (x, y)) in x.into_iter().zip(y).enumerate() {
            self.f.ops([I::LocalGet(x), I::LocalGet(y)]);
            if one {
                self.push(c);
                self.f.op(I::Select);
            } else {
                self.mask_part(&masks, from, to, i);
                self.f.op(I::V128Bitselect);
            }
        }
        self.set(dst);
    }
    /// Sums of four products of bytes: products of words, summed in pairs, and the pairs again.
    fn dot4(&mut self, dst: Reg, acc: Reg, (a, a_signed): (Reg, bool), (b, b_signed): (Reg, bool)) {
        let ty = self.ty(dst);
        if ty.lanes == 1 {
            return self.dot4_scalar(dst, acc, (a, a_signed), (b, b_signed));
        }
        let (x, y, z) = (self.parts(a), self.parts(b), self.parts(acc));
        for (i, sum) in z.into_iter().enumerate() {
            for half in [2 * i, 2 * i + 1] {
                self.widen(8, 16, a_signed, &x, half);
                self.widen(8, 16, b_signed, &y, half);
                self.f.op(I::I32x4DotI16x8S);
            }
            let pairs = self.keep_parts(2);
            for odd in [0, 1] {
                pairs.iter().for_each(|&l| self.f.get(l));
                self.f.op(super::convert::shuffle(4, &[odd, 2 + odd, 4 + odd, 6 + odd]));
            }
            self.f.ops([I::I32x4Add, I::LocalGet(sum), I::I32x4Add]);
        }
        self.set(dst);
    }
    fn dot4_scalar(&mut self, dst: Reg, acc: Reg, (a, a_signed): (Reg, bool), (b, b_signed): (Reg, bool)) {
        self.push(acc);
        for i in 0..4 {
            for (r, signed) in [(a, a_signed), (b, b_signed)] {
                if self.ty(r).elem == Elem::I32 {
                    self.push(r);
                    self.f.ops([I::I32Const(8 * i), I::I32ShrU, I::I32Extend8S]);
                } else {
                    let v = self.lane(r, i as usize);
                    self.f.push(v);
                }
                if !signed {
                    self.f.ops([I::I32Const(0xff), I::I32And]);
                }
            }
            self.f.ops([I::I32Mul, I::I32Add]);
        }
        self.set(dst);
    }
    /// Pushes a horizontal reduction: pairwise halves.
    fn fold(&mut self, op: BinOp, a: Reg) {
        let ty = self.ty(a);
        if ty.lanes == 1 {
            return self.push(a);
        }
        let bits = self.bits(a);
        let mut src = self.parts(a);
        if ty.elem == Elem::B1 {
            return self.fold_truth(op, ty, bits, &src);
        }
        while src.len() > 1 {
            let half = src.len() / 2;
            (0..half).for_each(|i| vector::binary(&mut self.f, op, ty.elem, src[i], src[i + half]));
            src = self.keep_parts(half);
        }
        let mut last = src[0];
        let mut lanes = per_part(bits).min(ty.lanes.into()) as u8;
        while lanes > 1 {
            lanes /= 2;
            let size = (bits / 8) as u8;
            let upper: Vec<u8> = (0..16 / size).map(|i| (i + lanes) % (16 / size)).collect();
            self.f.ops([I::LocalGet(last), I::LocalGet(last), super::convert::shuffle(size, &upper)]);
            let other = self.f.keep(ValType::V128);
            vector::binary(&mut self.f, op, ty.elem, last, other);
            last = self.f.keep(ValType::V128);
        }
        self.f.get(last);
        self.extract(ty.elem, bits, 0);
    }
    /// All or any of the lanes.
    fn fold_truth(&mut self, op: BinOp, ty: Ty, bits: u32, src: &[u32]) {
        let per = per_part(bits);
        for (i, &l) in src.iter().enumerate() {
            let here = per.min(usize::from(ty.lanes) - i * per);
            let valid = (1i32 << here) - 1;
            self.f.get(l);
            self.f.op(match bits {
                8 => I::I8x16Bitmask,
                16 => I::I16x8Bitmask,
                32 => I::I32x4Bitmask,
                _ => I::I64x2Bitmask,
            });
            self.f.ops([I::I32Const(valid), I::I32And]);
            match op {
                BinOp::And => self.f.ops([I::I32Const(valid), I::I32Eq]),
                _ => self.f.ops([I::I32Const(0), I::I32Ne]),
            }
            if i > 0 {
                self.f.op(if op == BinOp::And { I::I32And } else { I::I32Or });
            }
        }
    }
    /// The number that all lanes of a register have wherever it is read.
    fn splat_of(&self, r: Reg) -> Option<i64> {
        self.splats.get(&r).copied()
    }
}

//! Arithmetic, comparisons and choice.

use super::{Puller, access, not_vector};
use crate::lower::index::Idx;
use crate::math::coarse;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Reg, UnOp};
use sinter_ir::{DType, Result, ValueId};

impl Puller<'_> {
    pub(super) fn unary(
        &mut self,
        b: &mut KernelBuilder,
        kind: U,
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dtype = self.ty(x).dtype;
        let v = self.at(b, x, idx, lanes)?;
        let elem = b.ty(v).elem;
        let num = |b: &mut KernelBuilder, c: f64| access::constant(b, elem, lanes, c);
        let r = match kind {
            U::IsNan => return Ok(b.cmp(CmpOp::Ne, v, v)),
            U::IsInf | U::IsInfPos | U::IsInfNeg => {
                let (inf, low) = (num(b, f64::INFINITY), num(b, f64::NEG_INFINITY));
                let (p, n) = (b.cmp(CmpOp::Eq, v, inf), b.cmp(CmpOp::Eq, v, low));
                return Ok(match kind {
                    U::IsInfPos => p,
                    U::IsInfNeg => n,
                    _ => b.bin(BinOp::Or, p, n),
                });
            }
            U::Neg => b.un(UnOp::Neg, v),
            U::Abs if dtype.is_unsigned_int() => v,
            U::Abs => b.un(UnOp::Abs, v),
            U::Not => b.un(UnOp::Not, v),
            U::Sign => self.sign(b, dtype, v, lanes),
            U::Recip => {
                let one = num(b, 1.0);
                b.bin(BinOp::Div, one, v)
            }
            _ if !elem.is_float() => v,
            U::Ceil => b.un(UnOp::Ceil, v),
            U::Floor => b.un(UnOp::Floor, v),
            U::Round => b.un(UnOp::Nearest, v),
            U::Trunc => b.un(UnOp::Trunc, v),
            U::Sqrt => b.un(UnOp::Sqrt, v),
            U::Exp => b.un(UnOp::Exp, v),
            U::Log => b.un(UnOp::Log, v),
            U::Sin => b.un(UnOp::Sin, v),
            U::Cos => b.un(UnOp::Cos, v),
            U::Tan => b.un(UnOp::Tan, v),
            U::Asin => b.un(UnOp::Asin, v),
            U::Acos => b.un(UnOp::Acos, v),
            U::Atan => b.un(UnOp::Atan, v),
            U::Sinh => b.un(UnOp::Sinh, v),
            U::Cosh => b.un(UnOp::Cosh, v),
            U::Tanh => b.un(UnOp::Tanh, v),
            U::Asinh => b.un(UnOp::Asinh, v),
            U::Acosh => b.un(UnOp::Acosh, v),
            U::Atanh => b.un(UnOp::Atanh, v),
            U::Erf if self.coarse && elem == Elem::F32 => coarse::erf(b, v),
            U::Erf => b.un(UnOp::Erf, v),
            U::Sigmoid => b.un(UnOp::Sigmoid, v),
        };
        Ok(access::result(b, dtype, r))
    }
    /// -1, 0 or 1; zeros and NaN stay what they are.
    fn sign(&mut self, b: &mut KernelBuilder, dtype: DType, v: Reg, lanes: u16) -> Reg {
        let elem = b.ty(v).elem;
        let c = |b: &mut KernelBuilder, x: f64| access::constant(b, elem, lanes, x);
        let (zero, one, minus) = (c(b, 0.0), c(b, 1.0), c(b, -1.0));
        if dtype.is_unsigned_int() {
            let some = b.cmp(CmpOp::Ne, v, zero);
            return b.select(some, one, zero);
        }
        let (up, down) = (b.cmp(CmpOp::Gt, v, zero), b.cmp(CmpOp::Lt, v, zero));
        let low = b.select(down, minus, v);
        b.select(up, one, low)
    }

    /// The operands' elements at a result's index.
    fn operands<const N: usize>(
        &mut self,
        b: &mut KernelBuilder,
        x: [ValueId; N],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<[Reg; N]> {
        let mut out = [Reg(0); N];
        for (r, v) in out.iter_mut().zip(x) {
            let at = self.aligned(v, idx);
            *r = self.at(b, v, &at, lanes)?;
        }
        Ok(out)
    }

    pub(super) fn binary(
        &mut self,
        b: &mut KernelBuilder,
        kind: B,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dtype = self.ty(x[0]).dtype;
        let [p, q] = self.operands(b, x, idx, lanes)?;
        let r = arithmetic(b, kind, dtype, p, q, lanes)?;
        Ok(access::result(b, dtype, r))
    }

    pub(super) fn compare(
        &mut self,
        b: &mut KernelBuilder,
        kind: C,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dtype = self.ty(x[0]).dtype;
        let [p, q] = self.operands(b, x, idx, lanes)?;
        if dtype == DType::Bool {
            let differ = b.bin(BinOp::Xor, p, q);
            return Ok(if kind == C::Ne { differ } else { b.un(UnOp::Not, differ) });
        }
        let unsigned = matches!(dtype, DType::U32 | DType::U64);
        let op = match (kind, unsigned) {
            (C::Eq, _) => CmpOp::Eq,
            (C::Ne, _) => CmpOp::Ne,
            (C::Lt, false) => CmpOp::Lt,
            (C::Le, false) => CmpOp::Le,
            (C::Gt, false) => CmpOp::Gt,
            (C::Ge, false) => CmpOp::Ge,
            (C::Lt, true) => CmpOp::LtU,
            (C::Le, true) => CmpOp::LeU,
            (C::Gt, true) => CmpOp::GtU,
            (C::Ge, true) => CmpOp::GeU,
        };
        Ok(b.cmp(op, p, q))
    }

    pub(super) fn select(
        &mut self,
        b: &mut KernelBuilder,
        x: [ValueId; 3],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let [c, p, q] = self.operands(b, x, idx, lanes)?;
        Ok(b.select(c, p, q))
    }

    pub(super) fn mul_add(
        &mut self,
        b: &mut KernelBuilder,
        x: [ValueId; 3],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let [p, q, r] = self.operands(b, x, idx, lanes)?;
        let sum = b.mul_add(p, q, r);
        Ok(access::result(b, self.ty(x[0]).dtype, sum))
    }
}

/// One operation on compute registers; the caller rounds or wraps.
pub fn arithmetic(b: &mut KernelBuilder, kind: B, dtype: DType, p: Reg, q: Reg, lanes: u16) -> Result<Reg> {
    let elem = b.ty(p).elem;
    let unsigned = dtype.is_unsigned_int();
    if elem.is_float() {
        return Ok(match kind {
            B::Add => b.add(p, q),
            B::Sub => b.sub(p, q),
            B::Mul => b.mul(p, q),
            B::Div => b.bin(BinOp::Div, p, q),
            B::Min => b.bin(BinOp::Min, p, q),
            B::Max => b.bin(BinOp::Max, p, q),
            B::Pow => b.bin(BinOp::Pow, p, q),
            B::Rem => b.bin(BinOp::Fmod, p, q),
            _ => {
                // Mod: the remainder moves to the sign of the divisor.
                let r = b.bin(BinOp::Fmod, p, q);
                let zero = access::constant(b, elem, lanes, 0.0);
                let some = b.cmp(CmpOp::Ne, r, zero);
                let (rn, qn) = (b.cmp(CmpOp::Lt, r, zero), b.cmp(CmpOp::Lt, q, zero));
                let differ = b.bin(BinOp::Xor, rn, qn);
                let move_it = b.bin(BinOp::And, some, differ);
                let moved = b.add(r, q);
                b.select(move_it, moved, r)
            }
        });
    }
    if elem == Elem::B1 {
        return Ok(match kind {
            B::And | B::Min => b.bin(BinOp::And, p, q),
            B::Or | B::Max => b.bin(BinOp::Or, p, q),
            _ => b.bin(BinOp::Xor, p, q),
        });
    }
    let pick = |u, s| if unsigned { u } else { s };
    Ok(match kind {
        B::Add => b.add(p, q),
        B::Sub => b.sub(p, q),
        B::Mul => b.mul(p, q),
        B::Div => b.bin(pick(BinOp::DivU, BinOp::DivS), p, q),
        B::Rem => b.bin(pick(BinOp::RemU, BinOp::RemS), p, q),
        B::Min => b.bin(pick(BinOp::MinU, BinOp::MinS), p, q),
        B::Max => b.bin(pick(BinOp::MaxU, BinOp::MaxS), p, q),
        B::And => b.bin(BinOp::And, p, q),
        B::Or => b.bin(BinOp::Or, p, q),
        B::Xor => b.bin(BinOp::Xor, p, q),
        B::Shl | B::Shr => {
            let bits = dtype.bits() as i64;
            let (limit, zero) = (access::whole(b, elem, lanes, bits), access::whole(b, elem, lanes, 0));
            let beyond = b.cmp(CmpOp::GeU, q, limit);
            if kind == B::Shl {
                let v = b.bin(BinOp::Shl, p, q);
                return Ok(b.select(beyond, zero, v));
            }
            if unsigned {
                let v = b.bin(BinOp::ShrU, p, q);
                return Ok(b.select(beyond, zero, v));
            }
            let most = access::whole(b, elem, lanes, i64::from(elem.bits()) - 1);
            let q = b.select(beyond, most, q);
            b.bin(BinOp::ShrS, p, q)
        }
        B::Mod if unsigned => b.bin(BinOp::RemU, p, q),
        B::Mod => {
            let r = b.bin(BinOp::RemS, p, q);
            let zero = access::whole(b, elem, lanes, 0);
            let some = b.cmp(CmpOp::Ne, r, zero);
            let signs = b.bin(BinOp::Xor, r, q);
            let differ = b.cmp(CmpOp::Lt, signs, zero);
            let move_it = b.bin(BinOp::And, some, differ);
            let moved = b.add(r, q);
            b.select(move_it, moved, r)
        }
        B::Pow => {
            if lanes > 1 {
                return Err(not_vector());
            }
            int_pow(b, p, q)
        }
    })
}

/// Wrapping power by squaring; negative exponents truncate towards zero.
fn int_pow(b: &mut KernelBuilder, base: Reg, exp: Reg) -> Reg {
    let elem = b.ty(base).elem;
    let zero = access::whole(b, elem, 1, 0);
    let one = access::whole(b, elem, 1, 1);
    let minus = access::whole(b, elem, 1, -1);
    let (r, x, e) = (b.reg(elem, 1), b.reg(elem, 1), b.reg(elem, 1));
    b.copy_to(r, one);
    b.copy_to(x, base);
    b.copy_to(e, exp);
    b.while_(
        |b| b.cmp(CmpOp::Gt, e, zero),
        |b| {
            let odd = b.bin(BinOp::And, e, one);
            let odd = b.cmp(CmpOp::Ne, odd, zero);
            let next = b.mul(r, x);
            let next = b.select(odd, next, r);
            b.copy_to(r, next);
            let sq = b.mul(x, x);
            b.copy_to(x, sq);
            let half = b.bin(BinOp::ShrU, e, one);
            b.copy_to(e, half);
        },
    );
    // base^-n is 1 for 1, ±1 for -1, else 0.
    let negative = b.cmp(CmpOp::Lt, exp, zero);
    let odd = b.bin(BinOp::And, exp, one);
    let odd = b.cmp(CmpOp::Ne, odd, zero);
    let alternating = b.select(odd, minus, one);
    let (is_one, is_minus) = (b.cmp(CmpOp::Eq, base, one), b.cmp(CmpOp::Eq, base, minus));
    let low = b.select(is_minus, alternating, zero);
    let low = b.select(is_one, one, low);
    b.select(negative, low, r)
}

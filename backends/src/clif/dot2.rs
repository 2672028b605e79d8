//! Dot products of pairs, one operation after the other.

use super::kernel::Emit;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};

impl Emit<'_, '_> {
    /// `acc + a1 * b1 + a0 * b0`, see [`sinter_ir::tile::Inst::Dot2`].
    pub(super) fn dot2(&mut self, acc: Value, a: Value, b: Value) -> Value {
        if self.b.func.dfg.value_type(acc) == I32 {
            let high = |e: &mut Self, x| e.b.ins().sshr_imm_u(x, 16);
            let low = |e: &mut Self, x| {
                let x = e.b.ins().ishl_imm_u(x, 16);
                high(e, x)
            };
            let (a0, b0, a1, b1) = (low(self, a), low(self, b), high(self, a), high(self, b));
            let (even, odd) = (self.b.ins().imul(a0, b0), self.b.ins().imul(a1, b1));
            let sum = self.b.ins().iadd(acc, even);
            return self.b.ins().iadd(sum, odd);
        }
        let mut sum = self.flushed(acc);
        for high in [true, false] {
            let (x, y) = (self.half_of_pair(a, high), self.half_of_pair(b, high));
            sum = self.fused(x, y, sum);
            sum = self.flushed(sum);
        }
        sum
    }
    fn half_of_pair(&mut self, pair: Value, high: bool) -> Value {
        let bits =
            if high { self.b.ins().band_imm_u(pair, 0xffff_0000) } else { self.b.ins().ishl_imm_u(pair, 16) };
        let x = self.b.ins().bitcast(F32, MemFlagsData::new(), bits);
        self.flushed(x)
    }
    /// Subnormal numbers become zeros of their sign.
    fn flushed(&mut self, x: Value) -> Value {
        let bits = self.b.ins().bitcast(I32, MemFlagsData::new(), x);
        let exponent = self.b.ins().band_imm_u(bits, 0x7f80_0000);
        let sign = self.b.ins().band_imm_u(bits, 0x8000_0000);
        let tiny = self.b.ins().icmp_imm_u(IntCC::Equal, exponent, 0);
        let bits = self.b.ins().select(tiny, sign, bits);
        self.b.ins().bitcast(F32, MemFlagsData::new(), bits)
    }
    /// `x * y + z` with one rounding, for products that f64 holds exactly: the sum in f64 is rounded to odd, so that
    /// the second rounding cannot be led astray by the first.
    fn fused(&mut self, x: Value, y: Value, z: Value) -> Value {
        let [x, y, z] = [x, y, z].map(|v| self.b.ins().fpromote(F64, v));
        let p = self.b.ins().fmul(x, y);
        let s = self.b.ins().fadd(p, z);
        // What the addition lost.
        let zs = self.b.ins().fsub(s, p);
        let ps = self.b.ins().fsub(s, zs);
        let (dz, dp) = (self.b.ins().fsub(z, zs), self.b.ins().fsub(p, ps));
        let lost = self.b.ins().fadd(dz, dp);
        let bits = self.b.ins().bitcast(I64, MemFlagsData::new(), s);
        let lost_bits = self.b.ins().bitcast(I64, MemFlagsData::new(), lost);
        let zero = self.b.ins().f64const(0.0);
        // Not equal and ordered: infinities and NaN stay as they are.
        let inexact = self.b.ins().fcmp(FloatCC::OrderedNotEqual, lost, zero);
        let odd = self.b.ins().band_imm_u(bits, 1);
        let even = self.b.ins().icmp_imm_u(IntCC::Equal, odd, 0);
        let moves = self.b.ins().band(inexact, even);
        // Away from zero where what was lost has the sign of the sum, else towards it.
        let signs = self.b.ins().bxor(bits, lost_bits);
        let against = self.b.ins().ushr_imm_u(signs, 63);
        let twice = self.b.ins().ishl_imm_u(against, 1);
        let one = self.b.ins().iconst(I64, 1);
        let step = self.b.ins().isub(one, twice);
        let moved = self.b.ins().iadd(bits, step);
        let bits = self.b.ins().select(moves, moved, bits);
        let s = self.b.ins().bitcast(F64, MemFlagsData::new(), bits);
        self.b.ins().fdemote(F32, s)
    }
}

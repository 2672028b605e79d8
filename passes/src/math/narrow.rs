//! 16-bit floats to and from f32, exact or nearest even, by integer arithmetic.

use super::{Math, int, num};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg};

const I: Elem = Elem::I32;

/// I16 bits to f32: the exponent is moved by a multiplication, which also normalises subnormals.
pub fn f16_to_f32(b: &mut Math, x: Reg) -> Reg {
    let u = b.cvt(CvtOp::ZExt, I, x);
    let (sign, rest, s16, s13) =
        (int(b, u, I, 0x8000), int(b, u, I, 0x7fff), int(b, u, I, 16), int(b, u, I, 13));
    let sign = b.bin(BinOp::And, u, sign);
    let sign = b.bin(BinOp::Shl, sign, s16);
    let em = b.bin(BinOp::And, u, rest);
    let up = b.bin(BinOp::Shl, em, s13);
    let v = b.cvt(CvtOp::Bits, Elem::F32, up);
    let scale = num(b, v, 2f64.powi(112));
    let v = b.mul(v, scale);
    let v = b.cvt(CvtOp::Bits, I, v);
    let (top, ones) = (int(b, u, I, 0x7c00), int(b, u, I, 0x7f80_0000));
    let special = b.cmp(CmpOp::Ge, em, top);
    let s = b.bin(BinOp::Or, up, ones);
    let v = b.select(special, s, v);
    let v = b.bin(BinOp::Or, v, sign);
    b.cvt(CvtOp::Bits, Elem::F32, v)
}

/// f32 to I16 bits.
pub fn f32_to_f16(b: &mut Math, x: Reg) -> Reg {
    let u = b.cvt(CvtOp::Bits, I, x);
    let c = |b: &mut Math, v: i64| int(b, u, I, v);
    let (mask, s16, s13, one) = (c(b, 0x7fff_ffff), c(b, 16), c(b, 13), c(b, 1));
    let abs = b.bin(BinOp::And, u, mask);
    let high = b.bin(BinOp::ShrU, u, s16);
    let bit = c(b, 0x8000);
    let sign = b.bin(BinOp::And, high, bit);
    // Subnormal results: adding 0.5 aligns the mantissa and rounds.
    let af = b.cvt(CvtOp::Bits, Elem::F32, abs);
    let half = num(b, af, 0.5);
    let sub = b.add(af, half);
    let sub = b.cvt(CvtOp::Bits, I, sub);
    let magic = c(b, 126 << 23);
    let sub = b.sub(sub, magic);
    // Normal results: rebias, add just under a half, plus one when the kept mantissa is odd.
    let odd = b.bin(BinOp::ShrU, abs, s13);
    let odd = b.bin(BinOp::And, odd, one);
    let bias = c(b, ((15 - 127) << 23) + 0xfff);
    let n = b.add(abs, bias);
    let n = b.add(n, odd);
    let n = b.bin(BinOp::ShrU, n, s13);
    let (small, large, inf32) = (c(b, 113 << 23), c(b, 143 << 23), c(b, 0x7f80_0000));
    let is_small = b.cmp(CmpOp::Lt, abs, small);
    let y = b.select(is_small, sub, n);
    let (inf, nan) = (c(b, 0x7c00), c(b, 0x7e00));
    let is_large = b.cmp(CmpOp::Ge, abs, large);
    let y = b.select(is_large, inf, y);
    let is_nan = b.cmp(CmpOp::Gt, abs, inf32);
    let y = b.select(is_nan, nan, y);
    let y = b.bin(BinOp::Or, y, sign);
    b.cvt(CvtOp::Narrow, Elem::I16, y)
}

/// I16 bits to f32: the upper half.
pub fn bf16_to_f32(b: &mut Math, x: Reg) -> Reg {
    let u = b.cvt(CvtOp::ZExt, I, x);
    let s = int(b, u, I, 16);
    let u = b.bin(BinOp::Shl, u, s);
    b.cvt(CvtOp::Bits, Elem::F32, u)
}

/// f32 to I16 bits, subnormal numbers as zeros.
pub fn f32_to_bf16_flush(b: &mut Math, x: Reg) -> Reg {
    let u = b.cvt(CvtOp::Bits, I, x);
    let (rest, sign, least) =
        (int(b, u, I, 0x7fff_ffff), int(b, u, I, i32::MIN.into()), int(b, u, I, 0x0080_0000));
    let abs = b.bin(BinOp::And, u, rest);
    let small = b.cmp(CmpOp::Lt, abs, least);
    let zero = b.bin(BinOp::And, u, sign);
    let u = b.select(small, zero, u);
    let x = b.cvt(CvtOp::Bits, Elem::F32, u);
    f32_to_bf16(b, x)
}

/// f32 to I16 bits.
pub fn f32_to_bf16(b: &mut Math, x: Reg) -> Reg {
    let u = b.cvt(CvtOp::Bits, I, x);
    let (s, one, low, nan) = (int(b, u, I, 16), int(b, u, I, 1), int(b, u, I, 0x7fff), int(b, u, I, 0x7fc0));
    let odd = b.bin(BinOp::ShrU, u, s);
    let odd = b.bin(BinOp::And, odd, one);
    let v = b.add(u, low);
    let v = b.add(v, odd);
    let v = b.bin(BinOp::ShrU, v, s);
    let is_nan = b.cmp(CmpOp::Ne, x, x);
    let v = b.select(is_nan, nan, v);
    b.cvt(CvtOp::Narrow, Elem::I16, v)
}

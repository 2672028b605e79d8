//! 8-bit and 4-bit floats in f32 registers, by integer arithmetic.

use super::access::{constant, whole};
use sinter_ir::DType;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Reg, UnOp};

struct Format {
    exp: i64,
    man: i64,
    bias: i64,
    inf: bool,
    nuz: bool,
    nan: bool,
}

fn format(dtype: DType) -> Format {
    let f = |exp, man, bias, inf, nuz, nan| Format { exp, man, bias, inf, nuz, nan };
    match dtype {
        DType::F8E4M3FN => f(4, 3, 7, false, false, true),
        DType::F8E4M3FNUZ => f(4, 3, 8, false, true, true),
        DType::F8E5M2 => f(5, 2, 15, true, false, true),
        DType::F8E5M2FNUZ => f(5, 2, 16, false, true, true),
        _ => f(2, 1, 1, false, false, false),
    }
}

impl Format {
    fn sign(&self) -> i64 {
        1 << (self.exp + self.man)
    }
    fn max(&self) -> i64 {
        let all = self.sign() - 1;
        match (self.inf, self.nan && !self.nuz) {
            (true, _) => all - (1 << self.man),
            (_, true) => all - 1,
            _ => all,
        }
    }
}

fn bits(b: &mut KernelBuilder, v: Reg) -> Reg {
    b.cvt(CvtOp::Bits, Elem::F32, v)
}

/// i32 codes to f32.
pub fn decode(b: &mut KernelBuilder, dtype: DType, code: Reg) -> Reg {
    let n = b.ty(code).lanes;
    let k = |b: &mut KernelBuilder, v: i64| whole(b, Elem::I32, n, v);
    let nan = constant(b, Elem::F32, n, f64::NAN);
    if dtype == DType::F8E8M0 {
        // Exponents 1..=254 are f32 exponents; 0 is 2^-127, a subnormal.
        let (s, zero, sub, top) = (k(b, 23), k(b, 0), k(b, 1 << 22), k(b, 255));
        let up = b.bin(BinOp::Shl, code, s);
        let low = b.cmp(CmpOp::Eq, code, zero);
        let v = b.select(low, sub, up);
        let v = bits(b, v);
        let bad = b.cmp(CmpOp::Eq, code, top);
        return b.select(bad, nan, v);
    }
    let f = format(dtype);
    let (mask, man_mask, man) = (k(b, f.sign() - 1), k(b, (1 << f.man) - 1), k(b, f.man));
    let magnitude = b.bin(BinOp::And, code, mask);
    let m = b.bin(BinOp::And, magnitude, man_mask);
    let e = b.bin(BinOp::ShrU, magnitude, man);
    let (rebias, s23, sm) = (k(b, 127 - f.bias), k(b, 23), k(b, 23 - f.man));
    let fe = b.add(e, rebias);
    let fe = b.bin(BinOp::Shl, fe, s23);
    let fm = b.bin(BinOp::Shl, m, sm);
    let normal = b.bin(BinOp::Or, fe, fm);
    let normal = bits(b, normal);
    let unit = constant(b, Elem::F32, n, 2f64.powi((1 - f.bias - f.man) as i32));
    let mf = b.cvt(CvtOp::SToF, Elem::F32, m);
    let small = b.mul(mf, unit);
    let zero = k(b, 0);
    let sub = b.cmp(CmpOp::Eq, e, zero);
    let mut v = b.select(sub, small, normal);
    if f.inf {
        let top = k(b, (1 << f.exp) - 1);
        let special = b.cmp(CmpOp::Eq, e, top);
        let inf = constant(b, Elem::F32, n, f64::INFINITY);
        let whole_man = b.cmp(CmpOp::Eq, m, zero);
        let s = b.select(whole_man, inf, nan);
        v = b.select(special, s, v);
    } else if f.nan && !f.nuz {
        let special = b.cmp(CmpOp::Eq, magnitude, mask);
        v = b.select(special, nan, v);
    }
    let negated = b.un(UnOp::Neg, v);
    let sign = k(b, f.sign());
    let signed = b.bin(BinOp::And, code, sign);
    let minus = b.cmp(CmpOp::Ne, signed, zero);
    v = b.select(minus, negated, v);
    if f.nuz {
        let special = b.cmp(CmpOp::Eq, code, sign);
        v = b.select(special, nan, v);
    }
    v
}

/// f32 to i32 codes, nearest even; overflow clamps when `saturate`, else gives infinity or NaN.
pub fn encode(b: &mut KernelBuilder, dtype: DType, v: Reg, saturate: bool) -> Reg {
    let n = b.ty(v).lanes;
    let k = |b: &mut KernelBuilder, v: i64| whole(b, Elem::I32, n, v);
    let raw = b.cvt(CvtOp::Bits, Elem::I32, v);
    let abs_mask = k(b, 0x7fff_ffff);
    let abs = b.bin(BinOp::And, raw, abs_mask);
    let inf_bits = k(b, 0x7f80_0000);
    let is_nan = b.cmp(CmpOp::Gt, abs, inf_bits);
    let s23 = k(b, 23);
    if dtype == DType::F8E8M0 {
        // The exponent, one more when anything of the fraction is left.
        let (low, zero, one) = (k(b, 0x007f_ffff), k(b, 0), k(b, 1));
        let frac = b.bin(BinOp::And, abs, low);
        let e = b.bin(BinOp::ShrU, abs, s23);
        let more = b.cmp(CmpOp::Ne, frac, zero);
        let up = b.add(e, one);
        let mut code = b.select(more, up, e);
        // Subnormals: at most 2^-127 is 0, the rest 1.
        let half = k(b, 1 << 22);
        let tiny = b.cmp(CmpOp::Le, abs, half);
        code = b.select(tiny, zero, code);
        let (top, nan) = (k(b, 254), k(b, 255));
        let over = b.cmp(CmpOp::Gt, code, top);
        let limit = if saturate { top } else { nan };
        code = b.select(over, limit, code);
        return b.select(is_nan, nan, code);
    }
    let f = format(dtype);
    let e = b.bin(BinOp::ShrU, abs, s23);
    // Exponent of the unit in the last place, not below that of subnormals.
    let (bias, lowest) = (k(b, 127), k(b, 1 - f.bias));
    let e = b.sub(e, bias);
    let e = b.bin(BinOp::MaxS, e, lowest);
    let inv = k(b, f.man + 127);
    let scale = b.sub(inv, e);
    let scale = b.bin(BinOp::Shl, scale, s23);
    let scale = bits(b, scale);
    let a = bits(b, abs);
    let q = b.mul(a, scale);
    let q = b.un(UnOp::Nearest, q);
    let q = b.cvt(CvtOp::FToS, Elem::I32, q);
    let (base, sm) = (k(b, f.bias - 1), k(b, f.man));
    let base = b.add(e, base);
    let base = b.bin(BinOp::Shl, base, sm);
    let code = b.add(base, q);
    let max = k(b, f.max());
    let over = b.cmp(CmpOp::Gt, code, max);
    let huge = b.cmp(CmpOp::Ge, abs, inf_bits);
    let over = b.bin(BinOp::Or, over, huge);
    let nan_code = if f.nuz { f.sign() } else { f.sign() - 1 };
    let limit = match (saturate || !f.nan, f.inf) {
        (true, _) => f.max(),
        (false, true) => f.max() + 1,
        (false, false) => nan_code,
    };
    let limit = k(b, limit);
    let code = b.select(over, limit, code);
    let (zero, sign) = (k(b, 0), k(b, f.sign()));
    let minus = b.cmp(CmpOp::Lt, raw, zero);
    let signed = b.bin(BinOp::Or, code, sign);
    let signed = match f.nuz {
        // Negative zero would be NaN.
        true => {
            let nothing = b.cmp(CmpOp::Eq, code, zero);
            b.select(nothing, zero, signed)
        }
        false => signed,
    };
    let code = b.select(minus, signed, code);
    let nan = if f.nan { k(b, nan_code) } else { sign };
    b.select(is_nan, nan, code)
}

//! Operations on one lane. A lane is a u64: integers zero-extended, floats as their bits, truth as 0 or 1.

use crate::op::unary::erf;
use crate::tile::{BinOp, CmpOp, CvtOp, Elem, UnOp};
use half::{bf16, f16};

/// Function of one lane.
pub(super) type F1 = fn(u64) -> u64;
/// Function of two lanes.
pub(super) type F2 = fn(u64, u64) -> u64;
/// Function of three lanes.
pub(super) type F3 = fn(u64, u64, u64) -> u64;

fn mask<const B: u32>(v: u64) -> u64 {
    v & (u64::MAX >> (64 - B))
}
fn signed<const B: u32>(v: u64) -> i64 {
    ((v << (64 - B)) as i64) >> (64 - B)
}
/// Low bits of an integer as a lane of an element type.
pub(super) fn truncate(v: u64, e: Elem) -> u64 {
    v & (u64::MAX >> (64 - e.bits()))
}
/// A lane as a signed integer.
pub(super) fn extend(v: u64, e: Elem) -> i64 {
    let s = 64 - e.bits();
    ((v << s) as i64) >> s
}

fn s32(v: u64) -> f32 {
    f32::from_bits(v as u32)
}
fn d64(v: u64) -> f64 {
    f64::from_bits(v)
}
fn of32(v: f32) -> u64 {
    u64::from(v.to_bits())
}
fn of64(v: f64) -> u64 {
    v.to_bits()
}

/// An integer function at the element's width.
macro_rules! at_width {
    ($e:expr, $f:ident) => {
        match $e {
            Elem::B1 => $f::<1>,
            Elem::I8 => $f::<8>,
            Elem::I16 => $f::<16>,
            Elem::I32 | Elem::F32 => $f::<32>,
            Elem::I64 | Elem::F64 => $f::<64>,
        }
    };
}
/// A float function at the element's width, written once over the float type.
macro_rules! float1 {
    ($e:expr, |$x:ident| $body:expr) => {
        if $e == Elem::F64 {
            |v| {
                let $x = d64(v);
                of64($body)
            }
        } else {
            |v| {
                let $x = s32(v);
                of32($body)
            }
        }
    };
}
macro_rules! float2 {
    ($e:expr, |$x:ident, $y:ident| $body:expr) => {
        if $e == Elem::F64 {
            |v, w| {
                let ($x, $y) = (d64(v), d64(w));
                of64($body)
            }
        } else {
            |v, w| {
                let ($x, $y) = (s32(v), s32(w));
                of32($body)
            }
        }
    };
}
/// A function of the mathematical kind: F32 goes through F64, so that its result is nearly always the nearest.
macro_rules! real1 {
    ($e:expr, |$x:ident| $body:expr) => {
        if $e == Elem::F64 {
            |v| {
                let $x = d64(v);
                of64($body)
            }
        } else {
            |v| {
                let $x = f64::from(s32(v));
                of32(($body) as f32)
            }
        }
    };
}

fn neg<const B: u32>(v: u64) -> u64 {
    mask::<B>(v.wrapping_neg())
}
fn abs<const B: u32>(v: u64) -> u64 {
    mask::<B>(signed::<B>(v).unsigned_abs())
}
fn not<const B: u32>(v: u64) -> u64 {
    mask::<B>(!v)
}

/// One operand of type `e` (the operand's type where it differs from the result's).
pub(super) fn unary(op: UnOp, e: Elem) -> F1 {
    match op {
        UnOp::Neg if e.is_float() => float1!(e, |x| -x),
        UnOp::Neg => at_width!(e, neg),
        UnOp::Abs if e.is_float() => float1!(e, |x| x.abs()),
        UnOp::Abs => at_width!(e, abs),
        UnOp::Not => at_width!(e, not),
        UnOp::Ceil => float1!(e, |x| x.ceil()),
        UnOp::Floor => float1!(e, |x| x.floor()),
        UnOp::Trunc => float1!(e, |x| x.trunc()),
        UnOp::Nearest => float1!(e, |x| x.round_ties_even()),
        UnOp::Sqrt => float1!(e, |x| x.sqrt()),
        UnOp::Exp => real1!(e, |x| x.exp()),
        UnOp::Log => real1!(e, |x| x.ln()),
        UnOp::Sin => real1!(e, |x| x.sin()),
        UnOp::Cos => real1!(e, |x| x.cos()),
        UnOp::Tan => real1!(e, |x| x.tan()),
        UnOp::Asin => real1!(e, |x| x.asin()),
        UnOp::Acos => real1!(e, |x| x.acos()),
        UnOp::Atan => real1!(e, |x| x.atan()),
        UnOp::Sinh => real1!(e, |x| x.sinh()),
        UnOp::Cosh => real1!(e, |x| x.cosh()),
        UnOp::Tanh => real1!(e, |x| x.tanh()),
        UnOp::Asinh => real1!(e, |x| x.asinh()),
        UnOp::Acosh => real1!(e, |x| x.acosh()),
        UnOp::Atanh => real1!(e, |x| x.atanh()),
        UnOp::Erf => real1!(e, |x| erf(x)),
        UnOp::Sigmoid => real1!(e, |x| 1.0 / (1.0 + (-x).exp())),
        UnOp::F16ToF32 => |v| of32(f16::from_bits(v as u16).to_f32()),
        UnOp::F32ToF16 => |v| u64::from(f16::from_f32(s32(v)).to_bits()),
        UnOp::Bf16ToF32 => |v| of32(bf16::from_bits(v as u16).to_f32()),
        UnOp::F32ToBf16 => |v| u64::from(bf16::from_f32(s32(v)).to_bits()),
        UnOp::F32ToBf16Flush => |v| u64::from(bf16::from_f32(flushed(s32(v))).to_bits()),
    }
}

fn add<const B: u32>(x: u64, y: u64) -> u64 {
    mask::<B>(x.wrapping_add(y))
}
fn sub<const B: u32>(x: u64, y: u64) -> u64 {
    mask::<B>(x.wrapping_sub(y))
}
fn mul<const B: u32>(x: u64, y: u64) -> u64 {
    mask::<B>(x.wrapping_mul(y))
}
fn div_s<const B: u32>(x: u64, y: u64) -> u64 {
    if y == 0 { 0 } else { mask::<B>(signed::<B>(x).wrapping_div(signed::<B>(y)) as u64) }
}
fn rem_s<const B: u32>(x: u64, y: u64) -> u64 {
    if y == 0 { 0 } else { mask::<B>(signed::<B>(x).wrapping_rem(signed::<B>(y)) as u64) }
}
fn min_s<const B: u32>(x: u64, y: u64) -> u64 {
    if signed::<B>(x) <= signed::<B>(y) { x } else { y }
}
fn max_s<const B: u32>(x: u64, y: u64) -> u64 {
    if signed::<B>(x) >= signed::<B>(y) { x } else { y }
}
fn shl<const B: u32>(x: u64, y: u64) -> u64 {
    mask::<B>(x << (y % u64::from(B)))
}
fn shr_s<const B: u32>(x: u64, y: u64) -> u64 {
    mask::<B>((signed::<B>(x) >> (y % u64::from(B))) as u64)
}
fn shr_u<const B: u32>(x: u64, y: u64) -> u64 {
    x >> (y % u64::from(B))
}

/// Two operands of type `e`.
pub(super) fn binary(op: BinOp, e: Elem) -> F2 {
    use BinOp::*;
    match op {
        Add if e.is_float() => float2!(e, |x, y| x + y),
        Sub if e.is_float() => float2!(e, |x, y| x - y),
        Mul if e.is_float() => float2!(e, |x, y| x * y),
        Add => at_width!(e, add),
        Sub => at_width!(e, sub),
        Mul => at_width!(e, mul),
        Div => float2!(e, |x, y| x / y),
        Min => float2!(e, |x, y| {
            if x.is_nan() || y.is_nan() {
                x + y
            } else if x < y || (x == y && x.is_sign_negative()) {
                x
            } else {
                y
            }
        }),
        Max => float2!(e, |x, y| {
            if x.is_nan() || y.is_nan() {
                x + y
            } else if x > y || (x == y && x.is_sign_positive()) {
                x
            } else {
                y
            }
        }),
        DivS => at_width!(e, div_s),
        DivU => |x, y| x.checked_div(y).unwrap_or(0),
        RemS => at_width!(e, rem_s),
        RemU => |x, y| x.checked_rem(y).unwrap_or(0),
        MinS => at_width!(e, min_s),
        MaxS => at_width!(e, max_s),
        MinU => |x, y| x.min(y),
        MaxU => |x, y| x.max(y),
        And => |x, y| x & y,
        Or => |x, y| x | y,
        Xor => |x, y| x ^ y,
        Shl => at_width!(e, shl),
        ShrS => at_width!(e, shr_s),
        ShrU => at_width!(e, shr_u),
        Pow if e == Elem::F64 => |x, y| of64(d64(x).powf(d64(y))),
        Pow => |x, y| of32(f64::from(s32(x)).powf(f64::from(s32(y))) as f32),
        Fmod => float2!(e, |x, y| x % y),
        Scale if e == Elem::F64 => |x, y| of64(scale(d64(x), d64(y))),
        // Exact in f64, or so far out that f32 overflows or vanishes as well.
        Scale => |x, y| of32(scale(f64::from(s32(x)), f64::from(s32(y))) as f32),
    }
}

/// `x * 2^floor(n)` with one rounding.
fn scale(x: f64, n: f64) -> f64 {
    let n = n.floor();
    // As the product says for zero and infinity: 0 * 2^inf and inf * 2^-inf are NaN.
    if n.is_nan() || n.is_infinite() {
        return x * if n > 0.0 { f64::INFINITY } else { n.exp2() };
    }
    let mut n = n.clamp(-2300.0, 2300.0) as i32;
    let mut y = x;
    while n > 1023 {
        y *= 2f64.powi(1023);
        n -= 1023;
    }
    // Steps stop where the last one alone rounds.
    while n < -1022 {
        y *= 2f64.powi(-1022) * 2f64.powi(53);
        n += 1022 - 53;
    }
    y * 2f64.powi(n)
}

fn lt<const B: u32>(x: u64, y: u64) -> u64 {
    u64::from(signed::<B>(x) < signed::<B>(y))
}
fn le<const B: u32>(x: u64, y: u64) -> u64 {
    u64::from(signed::<B>(x) <= signed::<B>(y))
}

macro_rules! ordered {
    ($e:expr, $op:tt) => {
        if $e == Elem::F64 { |x, y| u64::from(d64(x) $op d64(y)) } else { |x, y| u64::from(s32(x) $op s32(y)) }
    };
}

/// Comparison of operands of type `e`, and whether they are to be swapped.
pub(super) fn compare(op: CmpOp, e: Elem) -> (F2, bool) {
    if e.is_float() {
        let f: F2 = match op {
            CmpOp::Eq => ordered!(e, ==),
            CmpOp::Ne => ordered!(e, !=),
            CmpOp::Lt | CmpOp::LtU => ordered!(e, <),
            CmpOp::Le | CmpOp::LeU => ordered!(e, <=),
            CmpOp::Gt | CmpOp::GtU => ordered!(e, >),
            CmpOp::Ge | CmpOp::GeU => ordered!(e, >=),
        };
        return (f, false);
    }
    match op {
        CmpOp::Eq => (|x, y| u64::from(x == y), false),
        CmpOp::Ne => (|x, y| u64::from(x != y), false),
        CmpOp::Lt => (at_width!(e, lt), false),
        CmpOp::Le => (at_width!(e, le), false),
        CmpOp::Gt => (at_width!(e, lt), true),
        CmpOp::Ge => (at_width!(e, le), true),
        CmpOp::LtU => (|x, y| u64::from(x < y), false),
        CmpOp::LeU => (|x, y| u64::from(x <= y), false),
        CmpOp::GtU => (|x, y| u64::from(x > y), false),
        CmpOp::GeU => (|x, y| u64::from(x >= y), false),
    }
}

/// Sign-extends from `B` bits to 64.
fn widen<const B: u32>(v: u64) -> u64 {
    signed::<B>(v) as u64
}
fn s_to_f32<const B: u32>(v: u64) -> u64 {
    of32(signed::<B>(v) as f32)
}
fn s_to_f64<const B: u32>(v: u64) -> u64 {
    of64(signed::<B>(v) as f64)
}

/// Conversion between element types; the caller truncates the result to the destination's width.
pub(super) fn convert(op: CvtOp, from: Elem, to: Elem) -> F1 {
    match op {
        CvtOp::SExt => at_width!(from, widen),
        CvtOp::ZExt | CvtOp::Narrow | CvtOp::Bits => |v| v,
        CvtOp::SToF if to == Elem::F64 => at_width!(from, s_to_f64),
        CvtOp::SToF => at_width!(from, s_to_f32),
        CvtOp::UToF if to == Elem::F64 => |v| of64(v as f64),
        CvtOp::UToF => |v| of32(v as f32),
        // Rust's float to integer casts saturate and give 0 for NaN, as TileIR wants.
        CvtOp::FToS => match (from, to) {
            (Elem::F64, Elem::I64) => |v| d64(v) as i64 as u64,
            (Elem::F64, _) => |v| d64(v) as i32 as u64,
            (_, Elem::I64) => |v| s32(v) as i64 as u64,
            _ => |v| s32(v) as i32 as u64,
        },
        CvtOp::FToU => match (from, to) {
            (Elem::F64, Elem::I64) => |v| d64(v) as u64,
            (Elem::F64, _) => |v| u64::from(d64(v) as u32),
            (_, Elem::I64) => |v| s32(v) as u64,
            _ => |v| u64::from(s32(v) as u32),
        },
        CvtOp::FToF if to == Elem::F64 => |v| of64(f64::from(s32(v))),
        CvtOp::FToF => |v| of32(d64(v) as f32),
    }
}

fn mul_add_int<const B: u32>(x: u64, y: u64, z: u64) -> u64 {
    mask::<B>(x.wrapping_mul(y).wrapping_add(z))
}

/// Zeros for subnormal numbers.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// [`Inst::Dot2`](crate::tile::Inst::Dot2).
pub(super) fn dot2(e: Elem) -> F3 {
    if e == Elem::I32 { dot2_int } else { dot2_bf16 }
}

fn dot2_int(a: u64, b: u64, acc: u64) -> u64 {
    let part = |x: u64, high: u32| (x >> (16 * high)) as i16 as i64;
    let sum: i64 = [0, 1].into_iter().map(|i| part(a, i) * part(b, i)).sum();
    mask::<32>(acc.wrapping_add(sum as u64))
}

fn dot2_bf16(a: u64, b: u64, acc: u64) -> u64 {
    let part = |x: u64, high: bool| flushed(s32(if high { x & 0xffff_0000 } else { (x & 0xffff) << 16 }));
    let add = |acc: f32, high| flushed(part(a, high).mul_add(part(b, high), acc));
    of32(add(add(flushed(s32(acc)), true), false))
}

/// `a * b + c`; `fused` says whether float products are rounded.
pub(super) fn mul_add(e: Elem, fused: bool) -> F3 {
    match (e, fused) {
        (Elem::F32, true) => |x, y, z| of32(s32(x).mul_add(s32(y), s32(z))),
        (Elem::F32, false) => |x, y, z| of32(s32(x) * s32(y) + s32(z)),
        (Elem::F64, true) => |x, y, z| of64(d64(x).mul_add(d64(y), d64(z))),
        (Elem::F64, false) => |x, y, z| of64(d64(x) * d64(y) + d64(z)),
        _ => at_width!(e, mul_add_int),
    }
}

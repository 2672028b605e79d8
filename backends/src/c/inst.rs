//! Right-hand sides as C expressions of one lane.
//!
//! Integers are held in unsigned types, which wrap, truth values in `uint8_t`; signed operations convert.

use super::expr::int;
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Scalar, UnOp};

/// C type of a register's lane.
pub fn ctype(e: Elem) -> &'static str {
    match e {
        Elem::B1 | Elem::I8 => "uint8_t",
        Elem::I16 => "uint16_t",
        Elem::I32 => "uint32_t",
        Elem::I64 => "uint64_t",
        Elem::F32 => "float",
        Elem::F64 => "double",
    }
}

/// What the prelude's functions for an element type end in.
pub fn suffix(e: Elem) -> &'static str {
    match e {
        Elem::B1 | Elem::I8 => "i8",
        Elem::I16 => "i16",
        Elem::I32 => "i32",
        Elem::I64 => "i64",
        Elem::F32 => "f32",
        Elem::F64 => "f64",
    }
}

/// The signed type of the same width.
fn signed(e: Elem) -> &'static str {
    match e {
        Elem::B1 | Elem::I8 => "int8_t",
        Elem::I16 => "int16_t",
        Elem::I64 | Elem::F64 => "int64_t",
        Elem::I32 | Elem::F32 => "int32_t",
    }
}

/// A constant, for a register of this C type.
pub fn constant(held: &str, s: Scalar) -> String {
    match s {
        Scalar::B1(v) => u8::from(v).to_string(),
        Scalar::Int(v) => format!("({held}){}", int(v)),
        // By their bits, where decimal digits cannot say it.
        Scalar::F32(v) if !v.is_finite() || v == 0.0 && v.is_sign_negative() => {
            format!("f32_bits({:#x}u)", v.to_bits())
        }
        Scalar::F32(v) => format!("{v:e}f"),
        Scalar::F64(v) if !v.is_finite() || v == 0.0 && v.is_sign_negative() => {
            format!("f64_bits({:#x}u)", v.to_bits())
        }
        Scalar::F64(v) => format!("{v:e}"),
    }
}

/// One operand.
pub fn unary(op: UnOp, e: Elem, x: &str) -> String {
    let (ty, s) = (ctype(e), suffix(e));
    match op {
        UnOp::Neg if e.is_float() => format!("-{x}"),
        UnOp::Neg => format!("({ty})(0 - {x})"),
        UnOp::Abs if e == Elem::F32 => format!("f32_bits(bits_f32({x}) & 0x7fffffffu)"),
        UnOp::Abs if e == Elem::F64 => format!("f64_bits(bits_f64({x}) & 0x7fffffffffffffffu)"),
        UnOp::Abs => format!("(({}){x} < 0 ? ({ty})(0 - {x}) : {x})", signed(e)),
        UnOp::Not if e == Elem::B1 => format!("!{x}"),
        UnOp::Not => format!("({ty})~{x}"),
        UnOp::Ceil => format!("ceil_{s}({x})"),
        UnOp::Floor => format!("floor_{s}({x})"),
        UnOp::Trunc => format!("trunc_{s}({x})"),
        UnOp::Nearest => format!("nearest_{s}({x})"),
        UnOp::Sqrt => format!("sqrt_{s}({x})"),
        // Expanded before emission: legalise has seen to it.
        _ => x.to_owned(),
    }
}

/// Two operands of one type.
pub fn binary(op: BinOp, e: Elem, x: &str, y: &str) -> String {
    use BinOp::*;
    let (ty, s) = (ctype(e), suffix(e));
    let plain = |sign: &str| match e {
        Elem::F32 | Elem::F64 => format!("{x} {sign} {y}"),
        // Products of 16 bits are formed in int, which must not overflow.
        Elem::I8 | Elem::I16 | Elem::B1 => format!("({ty})((uint32_t){x} {sign} (uint32_t){y})"),
        _ => format!("{x} {sign} {y}"),
    };
    let choose = |sign: &str, cast: &str| format!("(({cast}){x} {sign} ({cast}){y} ? {x} : {y})");
    let amount = format!("({y} & {})", e.bits().max(8) - 1);
    match op {
        Add => plain("+"),
        Sub => plain("-"),
        Mul => plain("*"),
        Div => format!("{x} / {y}"),
        Min => format!("min_{s}({x}, {y})"),
        Max => format!("max_{s}({x}, {y})"),
        DivS => format!("divs_{s}({x}, {y})"),
        DivU => format!("divu_{s}({x}, {y})"),
        RemS => format!("rems_{s}({x}, {y})"),
        RemU => format!("remu_{s}({x}, {y})"),
        MinS => choose("<=", signed(e)),
        MaxS => choose(">=", signed(e)),
        MinU => choose("<=", ty),
        MaxU => choose(">=", ty),
        And => format!("({ty})({x} & {y})"),
        Or => format!("({ty})({x} | {y})"),
        Xor => format!("({ty})({x} ^ {y})"),
        Shl => format!("({ty})((uint{0}_t){x} << {amount})", e.bits().max(32)),
        ShrS => format!("shrs_{s}({x}, {y})"),
        ShrU => format!("({ty})({x} >> {amount})"),
        // Expanded before emission.
        Pow | Fmod | Scale => x.to_owned(),
    }
}

/// A comparison; NaN is unequal to everything.
pub fn compare(op: CmpOp, e: Elem, x: &str, y: &str) -> String {
    use CmpOp::*;
    let (sign, unsigned) = match op {
        Eq => ("==", true),
        Ne => ("!=", true),
        Lt => ("<", false),
        Le => ("<=", false),
        Gt => (">", false),
        Ge => (">=", false),
        LtU => ("<", true),
        LeU => ("<=", true),
        GtU => (">", true),
        GeU => (">=", true),
    };
    let cast = if unsigned || e.is_float() || e == Elem::B1 { ctype(e) } else { signed(e) };
    format!("({cast}){x} {sign} ({cast}){y}")
}

/// `x * y + z`.
pub fn mul_add(e: Elem, x: &str, y: &str, z: &str) -> String {
    let product = binary(BinOp::Mul, e, x, y);
    match e {
        Elem::I8 | Elem::I16 => format!("({})({product} + {z})", ctype(e)),
        _ => format!("{product} + {z}"),
    }
}

/// A conversion.
pub fn convert(op: CvtOp, from: Elem, to: Elem, x: &str) -> String {
    let ty = ctype(to);
    match op {
        CvtOp::SExt if from == Elem::B1 => format!("({ty})(0 - {x})"),
        CvtOp::SExt => format!("({ty})({}){x}", signed(from)),
        CvtOp::ZExt => format!("({ty}){x}"),
        CvtOp::Narrow if to == Elem::B1 => format!("{x} & 1"),
        CvtOp::Narrow => format!("({ty}){x}"),
        CvtOp::SToF => format!("({ty})({}){x}", signed(from)),
        CvtOp::UToF | CvtOp::FToF => format!("({ty}){x}"),
        CvtOp::FToS => format!("s{}_{}({x})", to.bits(), suffix(from)),
        CvtOp::FToU => format!("u{}_{}({x})", to.bits(), suffix(from)),
        CvtOp::Bits => match (from, to) {
            (Elem::F32, Elem::I32) => format!("bits_f32({x})"),
            (Elem::I32, Elem::F32) => format!("f32_bits({x})"),
            (Elem::F64, Elem::I64) => format!("bits_f64({x})"),
            (Elem::I64, Elem::F64) => format!("f64_bits({x})"),
            _ => x.to_owned(),
        },
    }
}

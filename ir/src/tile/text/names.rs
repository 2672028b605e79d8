//! Words of the text form.

use crate::tile::{Access, BinOp, CmpOp, CvtOp, Elem, LoopKind, UnOp};

/// Every value of a closed set with its word.
pub(crate) type Names<T> = &'static [(T, &'static str)];

pub(crate) const ELEMS: Names<Elem> = &[
    (Elem::B1, "b1"),
    (Elem::I8, "i8"),
    (Elem::I16, "i16"),
    (Elem::I32, "i32"),
    (Elem::I64, "i64"),
    (Elem::F32, "f32"),
    (Elem::F64, "f64"),
];

pub(crate) const ACCESSES: Names<Access> =
    &[(Access::Read, "read"), (Access::Write, "write"), (Access::ReadWrite, "readwrite")];

pub(crate) const KINDS: Names<LoopKind> =
    &[(LoopKind::Serial, "serial"), (LoopKind::Parallel, "parallel"), (LoopKind::Unrolled, "unrolled")];

pub(crate) const UNARY: Names<UnOp> = &[
    (UnOp::Neg, "neg"),
    (UnOp::Abs, "abs"),
    (UnOp::Not, "not"),
    (UnOp::Ceil, "ceil"),
    (UnOp::Floor, "floor"),
    (UnOp::Trunc, "trunc"),
    (UnOp::Nearest, "nearest"),
    (UnOp::Sqrt, "sqrt"),
    (UnOp::Exp, "exp"),
    (UnOp::Log, "log"),
    (UnOp::Sin, "sin"),
    (UnOp::Cos, "cos"),
    (UnOp::Tan, "tan"),
    (UnOp::Asin, "asin"),
    (UnOp::Acos, "acos"),
    (UnOp::Atan, "atan"),
    (UnOp::Sinh, "sinh"),
    (UnOp::Cosh, "cosh"),
    (UnOp::Tanh, "tanh"),
    (UnOp::Asinh, "asinh"),
    (UnOp::Acosh, "acosh"),
    (UnOp::Atanh, "atanh"),
    (UnOp::Erf, "erf"),
    (UnOp::Sigmoid, "sigmoid"),
    (UnOp::F16ToF32, "f16tof32"),
    (UnOp::F32ToF16, "f32tof16"),
    (UnOp::Bf16ToF32, "bf16tof32"),
    (UnOp::F32ToBf16, "f32tobf16"),
    (UnOp::F32ToBf16Flush, "f32tobf16flush"),
];

pub(crate) const BINARY: Names<BinOp> = &[
    (BinOp::Add, "add"),
    (BinOp::Sub, "sub"),
    (BinOp::Mul, "mul"),
    (BinOp::Div, "div"),
    (BinOp::DivS, "divs"),
    (BinOp::DivU, "divu"),
    (BinOp::RemS, "rems"),
    (BinOp::RemU, "remu"),
    (BinOp::Min, "min"),
    (BinOp::Max, "max"),
    (BinOp::MinS, "mins"),
    (BinOp::MaxS, "maxs"),
    (BinOp::MinU, "minu"),
    (BinOp::MaxU, "maxu"),
    (BinOp::And, "and"),
    (BinOp::Or, "or"),
    (BinOp::Xor, "xor"),
    (BinOp::Shl, "shl"),
    (BinOp::ShrS, "shrs"),
    (BinOp::ShrU, "shru"),
    (BinOp::Pow, "pow"),
    (BinOp::Fmod, "fmod"),
    (BinOp::Scale, "scale"),
];

pub(crate) const COMPARE: Names<CmpOp> = &[
    (CmpOp::Eq, "eq"),
    (CmpOp::Ne, "ne"),
    (CmpOp::Lt, "lt"),
    (CmpOp::Le, "le"),
    (CmpOp::Gt, "gt"),
    (CmpOp::Ge, "ge"),
    (CmpOp::LtU, "ltu"),
    (CmpOp::LeU, "leu"),
    (CmpOp::GtU, "gtu"),
    (CmpOp::GeU, "geu"),
];

pub(crate) const CONVERT: Names<CvtOp> = &[
    (CvtOp::SExt, "sext"),
    (CvtOp::ZExt, "zext"),
    (CvtOp::Narrow, "narrow"),
    (CvtOp::SToF, "stof"),
    (CvtOp::UToF, "utof"),
    (CvtOp::FToS, "ftos"),
    (CvtOp::FToU, "ftou"),
    (CvtOp::FToF, "ftof"),
    (CvtOp::Bits, "bits"),
];

/// Word of a value.
pub(crate) fn name_of<T: PartialEq>(names: Names<T>, v: T) -> &'static str {
    names.iter().find(|(x, _)| *x == v).map_or("?", |(_, n)| n)
}

/// Value of a word.
pub(crate) fn named<T: Copy>(names: Names<T>, word: &str) -> Option<T> {
    names.iter().find(|(_, n)| *n == word).map(|(x, _)| *x)
}

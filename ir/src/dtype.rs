//! Element types of tensors: everything ONNX can say.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Element type. Names in text form follow Rust where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DType {
    Bool,
    U2,
    I2,
    U4,
    I4,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F4E2M1,
    F8E4M3FN,
    F8E4M3FNUZ,
    F8E5M2,
    F8E5M2FNUZ,
    F8E8M0,
    F16,
    BF16,
    F32,
    F64,
    C64,
    C128,
    /// UTF-8 strings. Machine code sees views: an address and a number of bytes, 8 bytes each.
    Str,
}

/// All element types with their text names.
pub const DTYPES: &[(DType, &str)] = &[
    (DType::Bool, "bool"),
    (DType::U2, "u2"),
    (DType::I2, "i2"),
    (DType::U4, "u4"),
    (DType::I4, "i4"),
    (DType::U8, "u8"),
    (DType::I8, "i8"),
    (DType::U16, "u16"),
    (DType::I16, "i16"),
    (DType::U32, "u32"),
    (DType::I32, "i32"),
    (DType::U64, "u64"),
    (DType::I64, "i64"),
    (DType::F4E2M1, "f4e2m1"),
    (DType::F8E4M3FN, "f8e4m3fn"),
    (DType::F8E4M3FNUZ, "f8e4m3fnuz"),
    (DType::F8E5M2, "f8e5m2"),
    (DType::F8E5M2FNUZ, "f8e5m2fnuz"),
    (DType::F8E8M0, "f8e8m0"),
    (DType::F16, "f16"),
    (DType::BF16, "bf16"),
    (DType::F32, "f32"),
    (DType::F64, "f64"),
    (DType::C64, "c64"),
    (DType::C128, "c128"),
    (DType::Str, "str"),
];

impl DType {
    /// Bits per element in storage; sub-byte types are packed, first element in the low bits.
    pub fn bits(self) -> usize {
        use DType::*;
        match self {
            U2 | I2 => 2,
            U4 | I4 | F4E2M1 => 4,
            Bool | U8 | I8 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 => 8,
            U16 | I16 | F16 | BF16 => 16,
            U32 | I32 | F32 => 32,
            U64 | I64 | F64 | C64 => 64,
            C128 | Str => 128,
        }
    }
    /// Storage bytes of `n` elements, or `None` on overflow.
    pub fn bytes_for(self, n: usize) -> Option<usize> {
        n.checked_mul(self.bits()).map(|b| b.div_ceil(8))
    }
    /// Weights of this type go with data of another: the same type, 16-bit floats with f32, bytes with f32 or i32.
    pub fn weighs(self, data: DType) -> bool {
        match self {
            DType::F16 | DType::BF16 => data == DType::F32 || data == self,
            DType::I8 | DType::U8 => matches!(data, DType::F32 | DType::I32) || data == self,
            _ => data == self,
        }
    }
    /// Real floating-point types, 4 bits to 64.
    pub fn is_float(self) -> bool {
        use DType::*;
        matches!(self, F4E2M1 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F16 | BF16 | F32 | F64)
    }
    /// Integer types, without `Bool`.
    pub fn is_int(self) -> bool {
        self.is_signed_int() || self.is_unsigned_int()
    }
    /// Two's complement integers.
    pub fn is_signed_int(self) -> bool {
        use DType::*;
        matches!(self, I2 | I4 | I8 | I16 | I32 | I64)
    }
    /// Unsigned integers, without `Bool`.
    pub fn is_unsigned_int(self) -> bool {
        use DType::*;
        matches!(self, U2 | U4 | U8 | U16 | U32 | U64)
    }
    /// Inclusive range of an integer type as i128; `None` for others.
    pub fn int_range(self) -> Option<(i128, i128)> {
        let b = self.bits() as u32;
        if self.is_signed_int() {
            Some((-(1i128 << (b - 1)), (1i128 << (b - 1)) - 1))
        } else if self.is_unsigned_int() {
            Some((0, (1i128 << b) - 1))
        } else {
            None
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = DTYPES.iter().find(|(d, _)| d == self).map_or("?", |(_, n)| n);
        f.write_str(name)
    }
}

impl FromStr for DType {
    type Err = crate::Diag;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        DTYPES
            .iter()
            .find(|(_, n)| *n == s)
            .map(|(d, _)| *d)
            .ok_or_else(|| crate::Diag::input(format!("unknown element type `{s}`")))
    }
}

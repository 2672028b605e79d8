//! Element types in memory and in the registers that contractions compute with.

use crate::lower::access;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, Buf, CvtOp, Elem, Reg};
use sinter_ir::{DType, Diag, Result};

/// How elements of a dtype are held in memory and in arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Num {
    /// The type in memory.
    pub dtype: DType,
    /// Arithmetic: f32 for all narrower floats, i32 for narrower integers (wrapping agrees modulo their width).
    pub acc: Elem,
}

impl Num {
    /// The arithmetic of a dtype that contractions take.
    pub fn of(dtype: DType) -> Result<Self> {
        if dtype.bits() < 8 || dtype == DType::Bool {
            return Err(Diag::unsupported(format!("contractions of {dtype}"))
                .help("cast the operands to f32 or i32 in the model"));
        }
        Ok(Self { dtype, acc: access::compute(dtype)? })
    }
    /// The arithmetic of weights in a contraction of `data`.
    pub fn of_weights(dtype: DType, data: Num) -> Result<Self> {
        Ok(Self { acc: data.acc, ..Self::of(dtype)? })
    }
    /// Elements already in the form of the arithmetic.
    pub fn ready(self) -> Self {
        let dtype = match self.acc {
            Elem::F64 => DType::F64,
            Elem::I64 => DType::I64,
            Elem::F32 => DType::F32,
            _ => DType::I32,
        };
        Self { dtype, ..self }
    }
    /// Loads elements ready for arithmetic.
    pub fn load(self, b: &mut KernelBuilder, lanes: u16, buf: Buf, at: Addr, tail: Option<Reg>) -> Reg {
        let raw = b.load(access::memory(self.dtype), lanes, buf, at, tail);
        let x = access::widen(b, self.dtype, raw);
        if self.acc == Elem::F32 && b.ty(x).elem == Elem::I32 { b.cvt(CvtOp::SToF, Elem::F32, x) } else { x }
    }
    /// Bytes per element in memory.
    pub fn bytes(self) -> i64 {
        self.dtype.bits() as i64 / 8
    }
}

//! Element types in memory and in the registers that contractions compute with.

use crate::lower::access;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, Buf, CvtOp, Elem, Inst, Reg};
use sinter_ir::{DType, Diag, Result};

/// How elements of a dtype are held in memory and in arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Num {
    /// The type in memory.
    pub dtype: DType,
    /// Arithmetic: f32 for all narrower floats, i32 for narrower integers (wrapping agrees modulo their width).
    pub acc: Elem,
    /// An element is a word of two bf16, neighbours along the terms of the sums.
    pub pairs: bool,
}

impl Num {
    /// The arithmetic of a dtype that contractions take.
    pub fn of(dtype: DType) -> Result<Self> {
        if dtype.bits() < 8 || dtype == DType::Bool {
            return Err(Diag::unsupported(format!("contractions of {dtype}"))
                .help("cast the operands to f32 or i32 in the model"));
        }
        Ok(Self { dtype, acc: access::compute(dtype)?, pairs: false })
    }
    /// f32.
    pub fn f32() -> Self {
        Self { dtype: DType::F32, acc: Elem::F32, pairs: false }
    }
    /// Words of two bf16 whose products are summed in f32.
    pub fn bf16_pairs() -> Self {
        Self { dtype: DType::U32, acc: Elem::F32, pairs: true }
    }
    /// The arithmetic of weights in a contraction of `data`.
    pub fn of_weights(dtype: DType, data: Num) -> Result<Self> {
        Ok(Self { acc: data.acc, ..Self::of(dtype)? })
    }
    /// Elements already in the form of the arithmetic.
    pub fn ready(self) -> Self {
        if self.pairs {
            return self;
        }
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
        if self.pairs {
            return raw;
        }
        let x = access::widen(b, self.dtype, raw);
        if self.acc == Elem::F32 && b.ty(x).elem == Elem::I32 { b.cvt(CvtOp::SToF, Elem::F32, x) } else { x }
    }
    /// `acc += x * y` on loaded elements.
    pub fn mul_add(self, b: &mut KernelBuilder, x: Reg, y: Reg, acc: Reg) {
        let inst = if self.pairs { Inst::Dot2 { acc, a: x, b: y } } else { Inst::MulAdd(x, y, acc) };
        b.set(acc, inst);
    }
    /// Bytes per element in memory.
    pub fn bytes(self) -> i64 {
        self.dtype.bits() as i64 / 8
    }
}

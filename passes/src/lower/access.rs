//! Elements in memory and in compute registers.
//!
//! Compute types: floats up to 32 bits are f32 (rounded to their type after every operation), f64 is itself, bool
//! is a truth value, integers up to 32 bits are i32 holding the exact value (u32: its bits), wider ones i64.

use super::index::{Idx, int};
use super::pull::not_vector;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Inst, Reg, Scalar, UnOp};
use sinter_ir::{DType, Diag, Result};

/// Element type of compute registers.
pub fn compute(dtype: DType) -> Result<Elem> {
    use DType::*;
    Ok(match dtype {
        Bool => Elem::B1,
        U2 | I2 | U4 | I4 | U8 | I8 | U16 | I16 | U32 | I32 => Elem::I32,
        U64 | I64 => Elem::I64,
        F4E2M1 | F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F16 | BF16 | F32 => Elem::F32,
        F64 => Elem::F64,
        C64 | C128 | Str => return Err(Diag::unsupported(format!("machine code on {dtype} elements"))),
    })
}

/// Element type of memory accesses.
pub fn memory(dtype: DType) -> Elem {
    match dtype.bits() {
        16 => Elem::I16,
        32 if dtype == DType::F32 => Elem::F32,
        32 => Elem::I32,
        64 if dtype == DType::F64 => Elem::F64,
        64 => Elem::I64,
        _ => Elem::I8,
    }
}

/// Whether vectors of this type are worth while: 32-bit lanes and what converts to them.
pub fn vectorises(dtype: DType) -> bool {
    use DType::*;
    matches!(dtype, F32 | F16 | BF16 | I32 | U32 | I8 | U8 | Bool)
}

/// A hoisted constant of a compute type.
pub fn constant(b: &mut KernelBuilder, elem: Elem, lanes: u16, v: f64) -> Reg {
    let s = match elem {
        Elem::B1 => Scalar::B1(v != 0.0),
        Elem::F32 => Scalar::F32(v as f32),
        Elem::F64 => Scalar::F64(v),
        _ => Scalar::Int(v as i64),
    };
    b.hoist(elem, lanes, Inst::Const(s))
}

/// A hoisted integer constant of a compute type.
pub fn whole(b: &mut KernelBuilder, elem: Elem, lanes: u16, v: i64) -> Reg {
    b.hoist(elem, lanes, Inst::Const(Scalar::Int(v)))
}

/// Loads the element at a linear index, or `lanes` of them.
pub fn load(
    b: &mut KernelBuilder,
    dtype: DType,
    buf: Buf,
    at: &Idx,
    lanes: u16,
    tail: Option<Reg>,
) -> Result<Reg> {
    if lanes > 1 && at.step != 1 {
        // The same element in every lane, or a strided access.
        if at.step != 0 {
            return Err(not_vector());
        }
        let one = load(b, dtype, buf, at, 1, None)?;
        return Ok(b.splat(one, lanes));
    }
    compute(dtype)?;
    if dtype.bits() < 8 {
        if lanes > 1 {
            return Err(not_vector());
        }
        return Ok(load_packed(b, dtype, buf, at));
    }
    let raw = b.load(memory(dtype), lanes, buf, at.addr(), tail.filter(|_| lanes > 1));
    Ok(widen(b, dtype, raw))
}

/// Memory form to compute form.
pub fn widen(b: &mut KernelBuilder, dtype: DType, raw: Reg) -> Reg {
    use DType::*;
    let lanes = b.ty(raw).lanes;
    match dtype {
        F32 | F64 | I32 | U32 | I64 | U64 => raw,
        F16 => b.un(UnOp::F16ToF32, raw),
        BF16 => b.un(UnOp::Bf16ToF32, raw),
        Bool => {
            let zero = whole(b, Elem::I8, lanes, 0);
            b.cmp(CmpOp::Ne, raw, zero)
        }
        d if d.is_signed_int() => b.cvt(CvtOp::SExt, Elem::I32, raw),
        d if d.is_int() => b.cvt(CvtOp::ZExt, Elem::I32, raw),
        d => {
            let code = b.cvt(CvtOp::ZExt, Elem::I32, raw);
            super::mini::decode(b, d, code)
        }
    }
}

fn load_packed(b: &mut KernelBuilder, dtype: DType, buf: Buf, at: &Idx) -> Reg {
    let bits = dtype.bits() as i64;
    let x = at.materialise(b);
    let per = int(b, (8 / bits).trailing_zeros().into());
    let byte = b.bin(BinOp::ShrU, x, per);
    let raw = b.load(Elem::I8, 1, buf, Addr::reg(byte), None);
    let raw = b.cvt(CvtOp::ZExt, Elem::I32, raw);
    let mask = int(b, 8 / bits - 1);
    let slot = b.bin(BinOp::And, x, mask);
    let width = int(b, bits);
    let shift = b.mul(slot, width);
    let shift = b.cvt(CvtOp::Narrow, Elem::I32, shift);
    let v = b.bin(BinOp::ShrU, raw, shift);
    let code = {
        let m = whole(b, Elem::I32, 1, (1 << bits) - 1);
        b.bin(BinOp::And, v, m)
    };
    if dtype.is_float() { super::mini::decode(b, dtype, code) } else { wrap(b, dtype, code) }
}

/// Brings an i32 or i64 compute register back into the range of its integer type.
pub fn wrap(b: &mut KernelBuilder, dtype: DType, v: Reg) -> Reg {
    let bits = dtype.bits() as i64;
    if bits >= 32 || !dtype.is_int() {
        return v;
    }
    let lanes = b.ty(v).lanes;
    if dtype.is_unsigned_int() {
        let m = whole(b, Elem::I32, lanes, (1 << bits) - 1);
        return b.bin(BinOp::And, v, m);
    }
    let s = whole(b, Elem::I32, lanes, 32 - bits);
    let up = b.bin(BinOp::Shl, v, s);
    b.bin(BinOp::ShrS, up, s)
}

/// A result of arithmetic in its type. Integers wrap and 8-bit floats round, as a store and load would; 16-bit floats
/// stay in f32 until they are stored: inside a kernel nothing is gained by rounding, and digits are lost.
pub fn result(b: &mut KernelBuilder, dtype: DType, v: Reg) -> Reg {
    if matches!(dtype, DType::F16 | DType::BF16) { v } else { round(b, dtype, v) }
}

/// Rounds a compute register to its type, as a store and load would.
pub fn round(b: &mut KernelBuilder, dtype: DType, v: Reg) -> Reg {
    match dtype {
        DType::F16 => {
            let h = b.un(UnOp::F32ToF16, v);
            b.un(UnOp::F16ToF32, h)
        }
        DType::BF16 => {
            let h = b.un(UnOp::F32ToBf16, v);
            b.un(UnOp::Bf16ToF32, h)
        }
        d if d.is_int() => wrap(b, d, v),
        d if d.is_float() && d.bits() <= 8 => {
            let code = super::mini::encode(b, d, v, true);
            super::mini::decode(b, d, code)
        }
        _ => v,
    }
}

/// Compute form to memory form; sub-byte types give their code as I8.
pub fn narrow(b: &mut KernelBuilder, dtype: DType, v: Reg) -> Reg {
    use DType::*;
    match dtype {
        F32 | F64 | I32 | U32 | I64 | U64 => v,
        F16 => b.un(UnOp::F32ToF16, v),
        BF16 => b.un(UnOp::F32ToBf16, v),
        Bool => b.cvt(CvtOp::ZExt, Elem::I8, v),
        d if d.is_int() => b.cvt(CvtOp::Narrow, memory(d), v),
        d => {
            // Registers hold values of their type: infinities among them stay.
            let code = super::mini::encode(b, d, v, false);
            b.cvt(CvtOp::Narrow, Elem::I8, code)
        }
    }
}

/// Stores an element (or lanes) at a linear index.
pub fn store(
    b: &mut KernelBuilder,
    dtype: DType,
    buf: Buf,
    at: &Idx,
    v: Reg,
    tail: Option<Reg>,
) -> Result<()> {
    if b.ty(v).lanes > 1 && at.step != 1 {
        return Err(not_vector());
    }
    if dtype.bits() < 8 {
        return Err(Diag::bug(format!("single {dtype} elements cannot be stored")));
    }
    let raw = narrow(b, dtype, v);
    b.store(buf, at.addr(), raw, tail);
    Ok(())
}

//! Operations on parts of vectors.

use super::body::{Body, Inst};
use super::convert::shuffle;
use sinter_ir::tile::{BinOp, CmpOp, Elem, UnOp};
use wasm_encoder::{Instruction as I, ValType};

/// The instruction for one of the six number types.
macro_rules! by {
    ($e:expr, $b:ident, $h:ident, $i:ident, $l:ident, $f:ident, $d:ident) => {
        match $e {
            Elem::I8 => I::$b,
            Elem::I16 => I::$h,
            Elem::B1 | Elem::I32 => I::$i,
            Elem::I64 => I::$l,
            Elem::F32 => I::$f,
            Elem::F64 => I::$d,
        }
    };
}
/// The instruction for one of two float types.
macro_rules! float {
    ($e:expr, $f:ident, $d:ident) => {
        if $e == Elem::F64 { I::$d } else { I::$f }
    };
}

/// One operand.
pub fn unary(op: UnOp, e: Elem) -> Inst {
    match op {
        UnOp::Not => I::V128Not,
        UnOp::Neg => by!(e, I8x16Neg, I16x8Neg, I32x4Neg, I64x2Neg, F32x4Neg, F64x2Neg),
        UnOp::Abs => by!(e, I8x16Abs, I16x8Abs, I32x4Abs, I64x2Abs, F32x4Abs, F64x2Abs),
        UnOp::Ceil => float!(e, F32x4Ceil, F64x2Ceil),
        UnOp::Floor => float!(e, F32x4Floor, F64x2Floor),
        UnOp::Trunc => float!(e, F32x4Trunc, F64x2Trunc),
        UnOp::Nearest => float!(e, F32x4Nearest, F64x2Nearest),
        UnOp::Sqrt => float!(e, F32x4Sqrt, F64x2Sqrt),
        // Functions are expanded before: `legalise` has seen to that.
        _ => I::Nop,
    }
}

/// Addition.
pub fn add(e: Elem) -> Inst {
    by!(e, I8x16Add, I16x8Add, I32x4Add, I64x2Add, F32x4Add, F64x2Add)
}

/// Whether an operation works on all lanes at once.
pub fn has(op: BinOp, e: Elem) -> bool {
    use BinOp::*;
    e == Elem::B1 || !matches!(op, DivS | DivU | RemS | RemU | Shl | ShrS | ShrU)
}

/// Pushes a product; the upper halves of integer products are lost.
pub fn multiply(f: &mut Body, e: Elem, x: u32, y: u32) {
    if e == Elem::I8 {
        // Products of words, of which the low bytes stay.
        for i in [I::I16x8ExtMulLowI8x16U, I::I16x8ExtMulHighI8x16U] {
            f.ops([I::LocalGet(x), I::LocalGet(y), i]);
        }
        return f.op(shuffle(1, &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30]));
    }
    f.ops([I::LocalGet(x), I::LocalGet(y)]);
    f.op(by!(e, Nop, I16x8Mul, I32x4Mul, I64x2Mul, F32x4Mul, F64x2Mul));
}

/// Pushes the result of an operation that [`has`] a vector form.
pub fn binary(f: &mut Body, op: BinOp, e: Elem, x: u32, y: u32) {
    use BinOp::*;
    match op {
        Mul => return multiply(f, e, x, y),
        MinS | MaxS | MinU | MaxU if e == Elem::I64 => {
            f.ops([I::LocalGet(x), I::LocalGet(y)]);
            let less = match op {
                MinS => CmpOp::Lt,
                MaxS => CmpOp::Gt,
                MinU => CmpOp::LtU,
                _ => CmpOp::GtU,
            };
            compare(f, less, e, x, y);
            return f.op(I::V128Bitselect);
        }
        _ => f.ops([I::LocalGet(x), I::LocalGet(y)]),
    }
    f.op(match op {
        Add => add(e),
        Sub => by!(e, I8x16Sub, I16x8Sub, I32x4Sub, I64x2Sub, F32x4Sub, F64x2Sub),
        Div => float!(e, F32x4Div, F64x2Div),
        Min => float!(e, F32x4Min, F64x2Min),
        Max => float!(e, F32x4Max, F64x2Max),
        MinS => by!(e, I8x16MinS, I16x8MinS, I32x4MinS, Nop, Nop, Nop),
        MaxS => by!(e, I8x16MaxS, I16x8MaxS, I32x4MaxS, Nop, Nop, Nop),
        MinU => by!(e, I8x16MinU, I16x8MinU, I32x4MinU, Nop, Nop, Nop),
        MaxU => by!(e, I8x16MaxU, I16x8MaxU, I32x4MaxU, Nop, Nop, Nop),
        And => I::V128And,
        Or => I::V128Or,
        Xor => I::V128Xor,
        _ => I::Nop,
    });
}

/// A shift of all lanes by the `i32` on the stack.
pub fn shift(op: BinOp, e: Elem) -> Inst {
    match op {
        BinOp::Shl => by!(e, I8x16Shl, I16x8Shl, I32x4Shl, I64x2Shl, Nop, Nop),
        BinOp::ShrS => by!(e, I8x16ShrS, I16x8ShrS, I32x4ShrS, I64x2ShrS, Nop, Nop),
        _ => by!(e, I8x16ShrU, I16x8ShrU, I32x4ShrU, I64x2ShrU, Nop, Nop),
    }
}

/// Pushes a comparison as a mask with the operands' lanes.
pub fn compare(f: &mut Body, op: CmpOp, e: Elem, x: u32, y: u32) {
    use CmpOp::*;
    if e == Elem::B1 {
        f.ops([I::LocalGet(x), I::LocalGet(y), I::V128Xor]);
        if op == Eq {
            f.op(I::V128Not);
        }
        return;
    }
    let unsigned = matches!(op, LtU | LeU | GtU | GeU);
    if e == Elem::I64 && unsigned {
        // Only signed comparisons exist: turning the top bits over makes them unsigned.
        f.ops([I::I64Const(i64::MIN), I::I64x2Splat]);
        let top = f.keep(ValType::V128);
        for v in [x, y] {
            f.ops([I::LocalGet(v), I::LocalGet(top), I::V128Xor]);
        }
    } else {
        f.ops([I::LocalGet(x), I::LocalGet(y)]);
    }
    f.op(match op {
        Eq => by!(e, I8x16Eq, I16x8Eq, I32x4Eq, I64x2Eq, F32x4Eq, F64x2Eq),
        Ne => by!(e, I8x16Ne, I16x8Ne, I32x4Ne, I64x2Ne, F32x4Ne, F64x2Ne),
        Lt => by!(e, I8x16LtS, I16x8LtS, I32x4LtS, I64x2LtS, F32x4Lt, F64x2Lt),
        Le => by!(e, I8x16LeS, I16x8LeS, I32x4LeS, I64x2LeS, F32x4Le, F64x2Le),
        Gt => by!(e, I8x16GtS, I16x8GtS, I32x4GtS, I64x2GtS, F32x4Gt, F64x2Gt),
        Ge => by!(e, I8x16GeS, I16x8GeS, I32x4GeS, I64x2GeS, F32x4Ge, F64x2Ge),
        LtU => by!(e, I8x16LtU, I16x8LtU, I32x4LtU, I64x2LtS, Nop, Nop),
        LeU => by!(e, I8x16LeU, I16x8LeU, I32x4LeU, I64x2LeS, Nop, Nop),
        GtU => by!(e, I8x16GtU, I16x8GtU, I32x4GtU, I64x2GtS, Nop, Nop),
        GeU => by!(e, I8x16GeU, I16x8GeU, I32x4GeU, I64x2GeS, Nop, Nop),
    });
}

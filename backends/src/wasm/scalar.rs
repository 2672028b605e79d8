//! Operations on scalars. Integers of 8 and 16 bits live sign-extended in an `i32`, truth values as 0 or 1.

use super::body::{Body, Inst, Val};
use sinter_ir::tile::{BinOp, CmpOp, CvtOp, Elem, Scalar, UnOp};
use wasm_encoder::{BlockType, Instruction as I, MemArg, MemArgTarget, ValType};

/// The type of a scalar's local.
pub fn val_type(e: Elem) -> ValType {
    match e {
        Elem::B1 | Elem::I8 | Elem::I16 | Elem::I32 => ValType::I32,
        Elem::I64 => ValType::I64,
        Elem::F32 => ValType::F32,
        Elem::F64 => ValType::F64,
    }
}

/// An access at an offset; nothing is assumed aligned.
pub fn memory(offset: u64) -> MemArg {
    MemArg { offset, align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

/// Loads an element from the address on the stack.
pub fn load(e: Elem, offset: u64) -> Inst {
    let m = memory(offset);
    match e {
        Elem::B1 | Elem::I8 => I::I32Load8S(m),
        Elem::I16 => I::I32Load16S(m),
        Elem::I32 => I::I32Load(m),
        Elem::I64 => I::I64Load(m),
        Elem::F32 => I::F32Load(m),
        Elem::F64 => I::F64Load(m),
    }
}

/// Stores an element to the address below it on the stack.
pub fn store(e: Elem, offset: u64) -> Inst {
    let m = memory(offset);
    match e {
        Elem::B1 | Elem::I8 => I::I32Store8(m),
        Elem::I16 => I::I32Store16(m),
        Elem::I32 => I::I32Store(m),
        Elem::I64 => I::I64Store(m),
        Elem::F32 => I::F32Store(m),
        Elem::F64 => I::F64Store(m),
    }
}

/// A constant of a type.
pub fn constant(e: Elem, s: Scalar) -> Val {
    match s {
        Scalar::B1(v) => Val::I32(v.into()),
        Scalar::Int(v) if e == Elem::I64 => Val::I64(v),
        Scalar::Int(v) => {
            let unused = 64 - e.bits();
            Val::I32((v << unused >> unused) as i32)
        }
        Scalar::F32(v) => Val::F32(v),
        Scalar::F64(v) => Val::F64(v),
    }
}

/// Zero of a type.
pub fn zero(e: Elem) -> Val {
    match e {
        Elem::F32 => Val::F32(0.0),
        Elem::F64 => Val::F64(0.0),
        e => constant(e, Scalar::Int(0)),
    }
}

/// Brings a narrow integer with anything in its upper bits back to its form.
pub fn canonical(f: &mut Body, e: Elem) {
    match e {
        Elem::I8 => f.op(I::I32Extend8S),
        Elem::I16 => f.op(I::I32Extend16S),
        _ => {}
    }
}

/// Pushes an integer with zeros above its bits.
fn push_unsigned(f: &mut Body, e: Elem, x: Val) {
    f.push(x);
    match e {
        Elem::I8 => f.ops([I::I32Const(0xff), I::I32And]),
        Elem::I16 => f.ops([I::I32Const(0xffff), I::I32And]),
        _ => {}
    }
}

/// The instruction for one of the four number types; 8 and 16 bits go through 32.
macro_rules! by {
    ($e:expr, $i:ident, $l:ident) => {
        if $e == Elem::I64 { I::$l } else { I::$i }
    };
    ($e:expr, $i:ident, $l:ident, $f:ident, $d:ident) => {
        match $e {
            Elem::I64 => I::$l,
            Elem::F32 => I::$f,
            Elem::F64 => I::$d,
            _ => I::$i,
        }
    };
}

/// One operand of a type, which is the result's too.
pub fn unary(f: &mut Body, op: UnOp, e: Elem, x: Val) {
    match op {
        UnOp::Neg if !e.is_float() => {
            f.push(zero(e));
            f.push(x);
            f.op(by!(e, I32Sub, I64Sub));
            return canonical(f, e);
        }
        UnOp::Abs if !e.is_float() => {
            f.push(zero(e));
            f.push(x);
            f.op(by!(e, I32Sub, I64Sub));
            f.push(x);
            f.push(x);
            f.push(zero(e));
            f.op(by!(e, I32LtS, I64LtS));
            f.op(I::Select);
            return canonical(f, e);
        }
        UnOp::Not => {
            f.push(x);
            if e == Elem::B1 {
                return f.op(I::I32Eqz);
            }
            f.push(constant(e, Scalar::Int(-1)));
            return f.op(by!(e, I32Xor, I64Xor));
        }
        _ => f.push(x),
    }
    let wide = e == Elem::F64;
    f.op(match op {
        UnOp::Neg if wide => I::F64Neg,
        UnOp::Neg => I::F32Neg,
        UnOp::Abs if wide => I::F64Abs,
        UnOp::Abs => I::F32Abs,
        UnOp::Ceil if wide => I::F64Ceil,
        UnOp::Ceil => I::F32Ceil,
        UnOp::Floor if wide => I::F64Floor,
        UnOp::Floor => I::F32Floor,
        UnOp::Trunc if wide => I::F64Trunc,
        UnOp::Trunc => I::F32Trunc,
        UnOp::Nearest if wide => I::F64Nearest,
        UnOp::Nearest => I::F32Nearest,
        UnOp::Sqrt if wide => I::F64Sqrt,
        UnOp::Sqrt => I::F32Sqrt,
        // Functions are expanded before: `legalise` has seen to that.
        _ => return,
    });
}

/// Two operands of a type, which is the result's too.
pub fn binary(f: &mut Body, op: BinOp, e: Elem, x: Val, y: Val) {
    use BinOp::*;
    match op {
        DivS | DivU | RemS | RemU => return divide(f, op, e, x, y),
        MinS | MaxS | MinU | MaxU => {
            f.push(x);
            f.push(y);
            let signed = matches!(op, MinS | MaxS);
            let of = |f: &mut Body, v| if signed { f.push(v) } else { push_unsigned(f, e, v) };
            of(f, x);
            of(f, y);
            f.op(match op {
                MinS => by!(e, I32LtS, I64LtS),
                MaxS => by!(e, I32GtS, I64GtS),
                MinU => by!(e, I32LtU, I64LtU),
                _ => by!(e, I32GtU, I64GtU),
            });
            return f.op(I::Select);
        }
        _ => {}
    }
    if op == ShrU {
        push_unsigned(f, e, x)
    } else {
        f.push(x)
    }
    f.push(y);
    if matches!((op, e), (Shl | ShrS | ShrU, Elem::I8 | Elem::I16)) {
        f.ops([I::I32Const(e.bits() as i32 - 1), I::I32And]);
    }
    f.op(match op {
        Add => by!(e, I32Add, I64Add, F32Add, F64Add),
        Sub => by!(e, I32Sub, I64Sub, F32Sub, F64Sub),
        Mul => by!(e, I32Mul, I64Mul, F32Mul, F64Mul),
        Div if e == Elem::F64 => I::F64Div,
        Div => I::F32Div,
        Min if e == Elem::F64 => I::F64Min,
        Min => I::F32Min,
        Max if e == Elem::F64 => I::F64Max,
        Max => I::F32Max,
        And => by!(e, I32And, I64And),
        Or => by!(e, I32Or, I64Or),
        Xor => by!(e, I32Xor, I64Xor),
        Shl => by!(e, I32Shl, I64Shl),
        ShrS => by!(e, I32ShrS, I64ShrS),
        ShrU => by!(e, I32ShrU, I64ShrU),
        _ => return,
    });
    if matches!(op, Add | Sub | Mul | Shl | ShrU) {
        canonical(f, e);
    }
}

/// Division that cannot trap: by zero gives 0, `MIN / -1` gives `MIN`.
fn divide(f: &mut Body, op: BinOp, e: Elem, x: Val, y: Val) {
    let signed = matches!(op, BinOp::DivS | BinOp::RemS);
    let of = |f: &mut Body, v| if signed { f.push(v) } else { push_unsigned(f, e, v) };
    let instruction = match op {
        BinOp::DivS => by!(e, I32DivS, I64DivS),
        BinOp::DivU => by!(e, I32DivU, I64DivU),
        BinOp::RemS => by!(e, I32RemS, I64RemS),
        _ => by!(e, I32RemU, I64RemU),
    };
    if matches!(y, Val::I32(1..) | Val::I64(1..)) {
        of(f, x);
        of(f, y);
        f.op(instruction);
        return canonical(f, e);
    }
    f.push(y);
    if signed {
        // -1 and 0 together: the quotient is the product.
        f.push(constant(e, Scalar::Int(1)));
        f.op(by!(e, I32Add, I64Add));
        f.push(constant(e, Scalar::Int(2)));
        f.op(by!(e, I32LtU, I64LtU));
    } else {
        f.op(by!(e, I32Eqz, I64Eqz));
    }
    f.op(I::If(BlockType::Result(val_type(e))));
    if op == BinOp::DivS {
        f.push(x);
        f.push(y);
        f.op(by!(e, I32Mul, I64Mul));
    } else {
        f.push(zero(e));
    }
    f.op(I::Else);
    of(f, x);
    of(f, y);
    f.ops([instruction, I::End]);
    canonical(f, e);
}

/// `x * y + z`, rounded twice.
pub fn mul_add(f: &mut Body, e: Elem, x: Val, y: Val, z: Val) {
    f.push(x);
    f.push(y);
    f.op(by!(e, I32Mul, I64Mul, F32Mul, F64Mul));
    f.push(z);
    f.op(by!(e, I32Add, I64Add, F32Add, F64Add));
    canonical(f, e);
}

/// A comparison of operands of a type.
pub fn compare(f: &mut Body, op: CmpOp, e: Elem, x: Val, y: Val) {
    use CmpOp::*;
    let unsigned = matches!(op, LtU | LeU | GtU | GeU);
    for v in [x, y] {
        if unsigned { push_unsigned(f, e, v) } else { f.push(v) }
    }
    f.op(match op {
        Eq => by!(e, I32Eq, I64Eq, F32Eq, F64Eq),
        Ne => by!(e, I32Ne, I64Ne, F32Ne, F64Ne),
        Lt => by!(e, I32LtS, I64LtS, F32Lt, F64Lt),
        Le => by!(e, I32LeS, I64LeS, F32Le, F64Le),
        Gt => by!(e, I32GtS, I64GtS, F32Gt, F64Gt),
        Ge => by!(e, I32GeS, I64GeS, F32Ge, F64Ge),
        LtU => by!(e, I32LtU, I64LtU),
        LeU => by!(e, I32LeU, I64LeU),
        GtU => by!(e, I32GtU, I64GtU),
        GeU => by!(e, I32GeU, I64GeU),
    });
}

/// Converts between element types.
pub fn convert(f: &mut Body, op: CvtOp, from: Elem, to: Elem, x: Val) {
    let (wide, double) = (from == Elem::I64, to == Elem::F64);
    match op {
        CvtOp::SExt if from == Elem::B1 => {
            f.push(zero(to));
            f.push(x);
            if to == Elem::I64 {
                f.op(I::I64ExtendI32U);
            }
            f.op(by!(to, I32Sub, I64Sub));
        }
        CvtOp::SExt => {
            f.push(x);
            if to == Elem::I64 {
                f.op(I::I64ExtendI32S);
            }
        }
        CvtOp::ZExt => {
            push_unsigned(f, from, x);
            if to == Elem::I64 {
                f.op(I::I64ExtendI32U);
            }
        }
        CvtOp::Narrow => {
            f.push(x);
            if wide {
                f.op(I::I32WrapI64);
            }
            canonical(f, to);
        }
        CvtOp::SToF => {
            f.push(x);
            f.op(match (wide, double) {
                (true, true) => I::F64ConvertI64S,
                (true, false) => I::F32ConvertI64S,
                (false, true) => I::F64ConvertI32S,
                (false, false) => I::F32ConvertI32S,
            });
        }
        CvtOp::UToF => {
            push_unsigned(f, from, x);
            f.op(match (wide, double) {
                (true, true) => I::F64ConvertI64U,
                (true, false) => I::F32ConvertI64U,
                (false, true) => I::F64ConvertI32U,
                (false, false) => I::F32ConvertI32U,
            });
        }
        CvtOp::FToS | CvtOp::FToU => {
            f.push(x);
            f.op(match (op == CvtOp::FToS, from == Elem::F64, to == Elem::I64) {
                (true, false, false) => I::I32TruncSatF32S,
                (true, false, true) => I::I64TruncSatF32S,
                (true, true, false) => I::I32TruncSatF64S,
                (true, true, true) => I::I64TruncSatF64S,
                (false, false, false) => I::I32TruncSatF32U,
                (false, false, true) => I::I64TruncSatF32U,
                (false, true, false) => I::I32TruncSatF64U,
                (false, true, true) => I::I64TruncSatF64U,
            });
        }
        CvtOp::FToF => {
            f.push(x);
            f.op(if double { I::F64PromoteF32 } else { I::F32DemoteF64 });
        }
        CvtOp::Bits => {
            f.push(x);
            match (from, to) {
                (Elem::F32, Elem::I32) => f.op(I::I32ReinterpretF32),
                (Elem::I32, Elem::F32) => f.op(I::F32ReinterpretI32),
                (Elem::F64, Elem::I64) => f.op(I::I64ReinterpretF64),
                (Elem::I64, Elem::F64) => f.op(I::F64ReinterpretI64),
                _ => {}
            }
        }
    }
}

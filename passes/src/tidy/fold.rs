//! Index arithmetic (I64 scalars) with known operands.

use sinter_ir::tile::{BinOp, CmpOp, Inst, Reg, Scalar};

/// A simpler instruction with the same value, given the integers that registers are known to hold.
pub(super) fn simpler(inst: &Inst, known: &dyn Fn(Reg) -> Option<i64>) -> Option<Inst> {
    let int = |v: i64| Some(Inst::Const(Scalar::Int(v)));
    match *inst {
        Inst::Bin(op, a, b) => match (op, known(a), known(b)) {
            (_, Some(x), Some(y)) => int(value(op, x, y)?),
            (BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor | BinOp::Shl, _, Some(0)) => {
                Some(Inst::Copy(a))
            }
            (BinOp::ShrS | BinOp::ShrU, _, Some(0)) | (BinOp::Mul | BinOp::DivS, _, Some(1)) => {
                Some(Inst::Copy(a))
            }
            (BinOp::Add | BinOp::Or | BinOp::Xor, Some(0), _) | (BinOp::Mul, Some(1), _) => {
                Some(Inst::Copy(b))
            }
            (BinOp::Mul | BinOp::And, Some(0), _) | (BinOp::Mul | BinOp::And, _, Some(0)) => int(0),
            (BinOp::RemS, _, Some(1)) => int(0),
            _ => None,
        },
        Inst::MulAdd(a, b, c) => match (known(a), known(b), known(c)) {
            (Some(x), Some(y), Some(z)) => int(x.wrapping_mul(y).wrapping_add(z)),
            (Some(0), ..) | (_, Some(0), _) => Some(Inst::Copy(c)),
            (Some(1), ..) => Some(Inst::Bin(BinOp::Add, b, c)),
            (_, Some(1), _) => Some(Inst::Bin(BinOp::Add, a, c)),
            (.., Some(0)) => Some(Inst::Bin(BinOp::Mul, a, b)),
            _ => None,
        },
        _ => None,
    }
}

/// The truth of a comparison of known integers.
pub(super) fn truth(op: CmpOp, x: i64, y: i64) -> bool {
    let (u, v) = (x as u64, y as u64);
    match op {
        CmpOp::Eq => x == y,
        CmpOp::Ne => x != y,
        CmpOp::Lt => x < y,
        CmpOp::Le => x <= y,
        CmpOp::Gt => x > y,
        CmpOp::Ge => x >= y,
        CmpOp::LtU => u < v,
        CmpOp::LeU => u <= v,
        CmpOp::GtU => u > v,
        CmpOp::GeU => u >= v,
    }
}

fn value(op: BinOp, x: i64, y: i64) -> Option<i64> {
    Some(match op {
        BinOp::Add => x.wrapping_add(y),
        BinOp::Sub => x.wrapping_sub(y),
        BinOp::Mul => x.wrapping_mul(y),
        BinOp::DivS if y != 0 => x.wrapping_div(y),
        BinOp::RemS if y != 0 => x.wrapping_rem(y),
        BinOp::MinS => x.min(y),
        BinOp::MaxS => x.max(y),
        BinOp::And => x & y,
        BinOp::Or => x | y,
        BinOp::Xor => x ^ y,
        _ => return None,
    })
}

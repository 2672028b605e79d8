//! What processors have, and what kernels want of them.

use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{BinOp, Inst, Stmt, UnOp};

/// Instructions beyond those of every ARMv8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    /// FEAT_DotProd: products of bytes of one signedness.
    pub dotprod: bool,
    /// FEAT_I8MM: of different ones.
    pub i8mm: bool,
    /// FEAT_BF16: products of matrices of bf16.
    pub bf16: bool,
}

impl Isa {
    /// Of a target; none where this emitter has no code for it.
    pub fn of(t: &TargetDesc) -> Option<Self> {
        let arm = t.triple.starts_with("aarch64-") && t.has("neon") && t.has("fma");
        arm.then(|| Self { dotprod: t.has("dotprod"), i8mm: t.has("i8mm"), bf16: t.has("bf16") })
    }
}

/// Whether the emitter carries a kernel; the reason where not.
pub fn supports(body: &[Stmt], isa: Isa) -> Result<(), String> {
    use UnOp::*;
    for s in body {
        if let Stmt::Let { inst, .. } = s {
            match inst {
                Inst::Dot2 { .. } => return Err("products of pairs of bf16".into()),
                Inst::Mat8 { .. } if !isa.i8mm => return Err("products of matrices of bytes".into()),
                Inst::Mat4 { .. } if !isa.bf16 => return Err("products of matrices of bf16".into()),
                Inst::Bin(op @ (BinOp::Pow | BinOp::Fmod | BinOp::Scale), ..) => {
                    return Err(format!("{op:?}"));
                }
                Inst::Un(
                    Neg | Abs | Not | Ceil | Floor | Trunc | Nearest | Sqrt | F16ToF32 | F32ToF16,
                    _,
                ) => {}
                Inst::Un(op, _) => return Err(format!("{op:?}")),
                _ => {}
            }
        }
        s.blocks().into_iter().try_for_each(|b| supports(b, isa))?;
    }
    Ok(())
}

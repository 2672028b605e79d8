//! The numbers of a kernel: constants, bounds, parts of addresses, sizes that depend on symbols.

use sinter_ir::Expr;
use sinter_ir::tile::{Bound, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, Ty};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An integer of 64 bits.
    Int,
    /// The bits of a constant of 32 bits or fewer, and its type.
    Bits(Elem),
}

/// Calls `f` for every number of a kernel, in order.
pub(super) fn numbers(kernel: &mut Kernel, f: &mut dyn FnMut(Kind, &mut i64)) {
    walk(&mut kernel.body, &kernel.regs, f);
}

fn walk(body: &mut [Stmt], regs: &[Ty], f: &mut dyn FnMut(Kind, &mut i64)) {
    for s in body {
        match s {
            Stmt::Let { dst, inst: Inst::Const(c) } => {
                if let Some((kind, mut v)) = constant(*c, regs[dst.0 as usize]) {
                    f(kind, &mut v);
                    *c = match kind {
                        Kind::Bits(Elem::F32) => Scalar::F32(f32::from_bits(v as u32)),
                        _ => Scalar::Int(v),
                    };
                }
            }
            Stmt::Let { inst: Inst::Load { at, .. } | Inst::LoadGather { at, .. }, .. }
            | Stmt::Store { at, .. } => {
                at.terms.iter_mut().for_each(|(_, scale)| f(Kind::Int, scale));
                f(Kind::Int, &mut at.offset);
            }
            Stmt::For { lo, hi, kind: LoopKind::Serial, .. } => {
                for b in [lo, hi] {
                    if let Bound::Const(v) = b {
                        f(Kind::Int, v);
                    }
                }
            }
            _ => {}
        }
        s.blocks_mut().into_iter().for_each(|b| walk(b, regs, f));
    }
}

/// A constant that can come from a table.
pub(super) fn constant(c: Scalar, ty: Ty) -> Option<(Kind, i64)> {
    match c {
        Scalar::F32(v) => Some((Kind::Bits(Elem::F32), v.to_bits().into())),
        Scalar::Int(v) if matches!(ty.elem, Elem::I8 | Elem::I16 | Elem::I32) => {
            Some((Kind::Bits(ty.elem), v))
        }
        Scalar::Int(v) if ty == INDEX => Some((Kind::Int, v)),
        _ => None,
    }
}

/// Integers of addresses.
pub(super) const INDEX: Ty = Ty { elem: Elem::I64, lanes: 1 };

/// Calls `f` for every symbolic integer of a kernel, in order; the bound of the parallel loop is the last.
pub(super) fn dims(kernel: &mut Kernel, f: &mut dyn FnMut(&mut Expr)) {
    fn walk(body: &mut [Stmt], f: &mut dyn FnMut(&mut Expr)) {
        for s in body {
            if let Stmt::Let { inst: Inst::Dim(e), .. } = s {
                f(e);
            }
            s.blocks_mut().into_iter().for_each(|b| walk(b, f));
        }
    }
    walk(&mut kernel.body, f);
    let Some(bound) = kernel.parallel.as_mut() else { return };
    f(bound);
    // The loop ends there; a constant end becomes a register where it no longer is one.
    let at = kernel.body.iter().position(|s| matches!(s, Stmt::For { kind: LoopKind::Parallel, .. }));
    let Some(at) = at else { return };
    if let Some(Stmt::For { hi: hi @ Bound::Const(_), .. }) = kernel.body.get_mut(at) {
        if let Some(c) = bound.as_const() {
            *hi = Bound::Const(c);
            return;
        }
        let reg = Reg(kernel.regs.len() as u32);
        kernel.regs.push(INDEX);
        *hi = Bound::Reg(reg);
        kernel.body.insert(at, Stmt::Let { dst: reg, inst: Inst::Dim(bound.clone()) });
    }
}

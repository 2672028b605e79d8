//! The portable emitter: TileIR and Program through Cranelift.
//!
//! Every function is compiled on its own and laid into one position-independent blob; calls between them are
//! resolved here, so that nothing is left for a linker but the public symbols.

mod expr;
mod glue;
mod inst;
mod isa;
mod kernel;
mod layout;
mod program;
mod stmt;

use crate::{Blob, x86};
use cranelift_codegen::Context;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{BinOp, Inst, Kernel, Stmt, UnOp};
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Problems that keep this emitter from compiling a program.
pub fn legalise(program: &Program, target: &TargetDesc) -> Vec<Diag> {
    let mut out = Vec::new();
    if !target.triple.starts_with("x86_64-") {
        out.push(
            Diag::unsupported(format!("code for {}", target.triple))
                .help("`sinter targets` lists what is supported"),
        );
    }
    for k in program.kernels.iter().filter(|k| x86::refuses(k, target).is_some()) {
        visit(&k.body, &mut |i| {
            if let Some(what) = unexpanded(i) {
                out.push(Diag::bug(format!("kernel {}: {what} reached the emitter unexpanded", k.name)));
            }
        });
    }
    out.dedup();
    out
}

fn visit(body: &[Stmt], f: &mut dyn FnMut(&Inst)) {
    for s in body {
        if let Stmt::Let { inst, .. } = s {
            f(inst);
        }
        s.blocks().into_iter().for_each(|b| visit(b, f));
    }
}

/// Functions that math expansion must have removed.
fn unexpanded(i: &Inst) -> Option<String> {
    match i {
        Inst::Un(
            op @ (UnOp::Exp
            | UnOp::Log
            | UnOp::Sin
            | UnOp::Cos
            | UnOp::Tan
            | UnOp::Asin
            | UnOp::Acos
            | UnOp::Atan
            | UnOp::Sinh
            | UnOp::Cosh
            | UnOp::Tanh
            | UnOp::Asinh
            | UnOp::Acosh
            | UnOp::Atanh
            | UnOp::Erf
            | UnOp::Sigmoid
            | UnOp::F16ToF32
            | UnOp::F32ToF16
            | UnOp::Bf16ToF32
            | UnOp::F32ToBf16),
            _,
        ) => Some(format!("{op:?}")),
        Inst::Bin(op @ (BinOp::Pow | BinOp::Fmod | BinOp::Scale), ..) => Some(format!("{op:?}")),
        _ => None,
    }
}

/// Whether a kernel uses vectors: such code keeps the lowering's instruction order.
fn is_vector(k: &Kernel) -> bool {
    k.regs.iter().any(|t| t.lanes > 1)
}

/// Compiles everything, for measuring with a stopwatch around every site. Also gives code bytes per function.
pub fn compile(
    program: &Program,
    target: &TargetDesc,
    weights: &[u8],
    measure: bool,
) -> Result<(Blob, BTreeMap<String, u64>)> {
    let isas = isa::Isas::new(target)?;
    let mut layout = layout::Layout::new(&program.name, program.kernels.len());
    for (i, k) in program.kernels.iter().enumerate() {
        if x86::refuses(k, target).is_none() {
            let bytes = x86::emit(k, target)?;
            layout.add_code(layout::Name::Kernel(i as u32), &k.name, &bytes, x86::ALIGN);
            continue;
        }
        let isa = if is_vector(k) { &isas.ordered } else { &isas.optimised };
        let mut ctx = Context::new();
        kernel::build(&mut ctx.func, k, isa.as_ref(), target)?;
        layout.add(layout::Name::Kernel(i as u32), &k.name, &mut ctx, isa.as_ref())?;
    }
    glue::add_all(&mut layout, program, target, weights, isas.small.as_ref())?;
    if measure {
        layout.add_raw(layout::Name::Ticks, "ticks", glue::TICKS);
    }
    let mut ctx = Context::new();
    program::build(&mut ctx.func, program, isas.small.as_ref(), measure)?;
    layout.add(layout::Name::Run, "run", &mut ctx, isas.small.as_ref())?;
    layout.finish()
}

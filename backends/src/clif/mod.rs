//! The portable emitter: TileIR and Program through Cranelift.
//!
//! Every function is compiled on its own and laid into one position-independent blob; calls between them are
//! resolved here, so that nothing is left for a linker but the public symbols.

mod cpu;
mod dot2;
mod expr;
mod glue;
mod inst;
mod isa;
mod kernel;
mod known;
mod layout;
mod program;
mod relocs;
mod stmt;

use crate::{Blob, Level};
use cranelift_codegen::Context;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{BinOp, Inst, Kernel, Stmt, UnOp};
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Problems that keep this emitter from compiling a program.
pub fn legalise(program: &Program, target: &TargetDesc) -> Vec<Diag> {
    let mut out = Vec::new();
    if isa::Arch::of(target).is_none() {
        out.push(
            Diag::unsupported(format!("code for {}", target.triple))
                .help("`sinter targets` lists what is supported"),
        );
    }
    let ours = || program.kernels.iter().filter(|k| crate::refuses(k, target).is_some());
    out.extend(unexpanded_kernels(ours()));
    out.extend(products_of_matrices(ours()));
    out
}

/// Kernels with functions that math expansion must have removed.
pub(crate) fn unexpanded_kernels<'a>(kernels: impl Iterator<Item = &'a Kernel>) -> Vec<Diag> {
    let mut out = Vec::new();
    for k in kernels {
        visit(&k.body, &mut |i| {
            if let Some(what) = unexpanded(i) {
                out.push(Diag::bug(format!("kernel {}: {what} reached the emitter unexpanded", k.name)));
            }
        });
    }
    out.dedup();
    out
}

/// Kernels with products that only some processors have: emitters without an instruction for them leave those out.
pub(crate) fn special_products(program: &Program) -> Vec<Diag> {
    let mut out = products_of_matrices(program.kernels.iter());
    for k in &program.kernels {
        let mut found = false;
        visit(&k.body, &mut |i| found |= matches!(i, Inst::Dot2 { .. }));
        if found {
            out.push(Diag::unsupported(format!("kernel {}: products of bf16", k.name)));
        }
    }
    out
}

/// Kernels that multiply small matrices: 64-bit Arm alone has them, in an emitter of its own.
pub(crate) fn products_of_matrices<'a>(kernels: impl Iterator<Item = &'a Kernel>) -> Vec<Diag> {
    let has = |k: &&Kernel| {
        let mut found = false;
        let is = |i: &Inst| matches!(i, Inst::Mat8 { .. } | Inst::Mat4 { .. } | Inst::Halves { .. });
        visit(&k.body, &mut |i| found |= is(i));
        found
    };
    kernels
        .filter(has)
        .map(|k| Diag::unsupported(format!("kernel {}: products of small matrices", k.name)))
        .collect()
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
            | UnOp::F32ToBf16
            | UnOp::F32ToBf16Flush),
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

/// Compiles everything, for measuring with a stopwatch around every site. The levels are tried in their order; what is
/// in `lacking` no processor has (see [`cpu::check`]). Also gives code bytes per function; with several levels, names
/// of what belongs to one begin with the target's name and a slash.
pub fn compile(
    levels: &[Level],
    weights: &[u8],
    lacking: &[String],
    measure: bool,
) -> Result<(Blob, BTreeMap<String, u64>)> {
    // What is shared has to run before a level is chosen: it is compiled for the weakest.
    let [.., Level { program, target }] = levels else { return Err(Diag::bug("code for no level")) };
    let weakest = isa::Isas::new(target)?;
    let kernels = levels.iter().map(|l| l.program.kernels.len()).sum();
    let mut layout = layout::Layout::new(&program.name, kernels);
    let alone = levels.len() == 1;
    for (i, Level { program, target }) in levels.iter().enumerate() {
        let isas = isa::Isas::new(target)?;
        if !alone {
            layout.level = level_prefix(target);
        }
        kernels_of(&mut layout, i as u32, program, target, &isas)?;
        let mut ctx = Context::new();
        // The optimiser would keep addresses in memory that are less code to compute again.
        let isa = isas.ordered.as_ref();
        program::build(&mut ctx.func, program, i as u32, isa, measure)?;
        let name = if alone { layout::Name::Run } else { layout::Name::LevelRun(i as u32) };
        layout.add(name, "run", &mut ctx, isa)?;
    }
    layout.level.clear();
    glue::add_all(&mut layout, levels, lacking, weights, weakest.small.as_ref())?;
    if measure {
        layout.add_raw(layout::Name::Ticks, "ticks", glue::TICKS);
    }
    layout.finish()
}

/// What the names of a level's functions begin with where there are several.
pub fn level_prefix(target: &TargetDesc) -> String {
    format!("{}/", target.name)
}

fn kernels_of(
    layout: &mut layout::Layout,
    level: u32,
    program: &Program,
    target: &TargetDesc,
    isas: &isa::Isas,
) -> Result<()> {
    for (i, k) in program.kernels.iter().enumerate() {
        let name = layout::Name::Kernel(level, i as u32);
        if crate::refuses(k, target).is_none() {
            let (code, align) = crate::kernel(k, target)?;
            layout.add_code(name, &k.name, &code, align);
            continue;
        }
        let isa = if is_vector(k) { &isas.ordered } else { &isas.optimised };
        let mut ctx = Context::new();
        kernel::build(&mut ctx.func, k, isa.as_ref(), target)?;
        layout.add(name, &k.name, &mut ctx, isa.as_ref())?;
    }
    Ok(())
}

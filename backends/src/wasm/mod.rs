//! The emitter for browsers: TileIR and Program to one WebAssembly module with 128-bit vectors.
//!
//! The module imports its memory and nothing else; everything but states lies at addresses known at compile time, which
//! it exports as constants. With threads, workers have instances of the same module ([`threads`]). There is no fused multiply-add: `MulAdd` rounds twice.

mod address;
mod body;
mod convert;
mod expr;
mod inst;
mod kernel;
mod layout;
mod memory;
mod module;
mod program;
mod scalar;
mod shape;
mod stmt;
mod threads;
mod vector;

use crate::object;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

pub use layout::{Layout, layout};

/// What a bundle for browsers needs from code generation.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// The module.
    pub module: Vec<u8>,
    /// Weights file.
    pub weights: Vec<u8>,
    /// Code bytes per function: kernels by name, and what is around them.
    pub code: BTreeMap<String, u64>,
    /// Where everything lies in memory.
    pub layout: Layout,
}

/// The feature of targets whose kernels run on several threads.
const THREADS: &str = "atomics";

/// Whether a target is WebAssembly.
pub fn is(target: &TargetDesc) -> bool {
    target.triple.starts_with("wasm32-")
}

/// Problems that keep a program from being emitted: all at once.
pub fn legalise(program: &Program) -> Vec<Diag> {
    let mut out = crate::clif::unexpanded_kernels(program.kernels.iter());
    out.extend(crate::clif::special_products(program));
    out.extend(layout(program, true).err());
    out
}

/// Emits a program. Call [`crate::legalise`] first.
pub fn emit(program: &Program, target: &TargetDesc) -> Result<Emitted> {
    emit_with(program, target, object::weights::file(program))
}

/// Emits a program whose constants lie in a file already, behind room for the header; `sum` is their
/// [`sinter_abi::hash`]. [`Emitted::weights`] is the header alone.
pub fn emit_apart(program: &Program, target: &TargetDesc, sum: u64) -> Result<Emitted> {
    emit_with(program, target, object::weights::head(program, sum).to_vec())
}

fn emit_with(program: &Program, target: &TargetDesc, weights: Vec<u8>) -> Result<Emitted> {
    if let Some(d) = legalise(program).into_iter().next() {
        return Err(d);
    }
    let layout = layout(program, target.has(THREADS))?;
    let (module, code) = module::assemble(program, &layout, &weights)?;
    Ok(Emitted { module, weights, code, layout })
}

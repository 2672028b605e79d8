//! The emitter for AArch64: TileIR to machine code with what Cranelift has no instructions for: multiply-adds by one
//! lane of a vector, dot products of bytes.
//!
//! A kernel is selected into machine IR over virtual registers, gets machine registers by the allocation that all our
//! emitters share ([`crate::machine`]), and is encoded with its constants behind it.

mod encode;
pub mod form;
pub mod mir;
mod pairs;
mod regs;
mod select;
#[cfg(test)]
mod tests;

use crate::machine::alloc;
use select::Isa;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::Kernel;
use sinter_ir::{Diag, Result};

/// Alignment that emitted code wants.
pub const ALIGN: usize = encode::ALIGN;

/// Why the emitter leaves a kernel to the portable one; none when it carries it.
pub fn refuses(k: &Kernel, target: &TargetDesc) -> Option<String> {
    match Isa::of(target) {
        Some(isa) => select::supports(&k.body, isa).err(),
        None => Some(format!("no emitter of its own for {}", target.name)),
    }
}

/// Machine code of a kernel that is not [refused](refuses): `fn(bufs, syms, begin, end) -> i32`, AAPCS64.
pub fn emit(k: &Kernel, target: &TargetDesc) -> Result<Vec<u8>> {
    let isa = Isa::of(target).ok_or_else(|| Diag::bug(format!("kernel {} for {}", k.name, target.name)))?;
    assemble(select::select(k, isa))
}

/// Machine code of what selection built, position independent, for a multiple of [`ALIGN`] bytes.
pub fn assemble(mut f: mir::Func) -> Result<Vec<u8>> {
    let regs = alloc::allocate(&mut f, ())?;
    encode::encode(&f, &regs)
}

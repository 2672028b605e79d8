//! The emitter for x86-64 with AVX2 and FMA or AVX-512: TileIR to machine code with our own register allocation.
//!
//! A kernel is selected into machine IR ([`mir`]) over virtual registers, gets machine registers by linear scan, and is
//! encoded with its constants behind it. What the emitter does not carry it says before it starts.

mod audit;
mod cond;
mod encode;
mod forms;
mod instr;
pub mod mir;
mod peephole;
mod regs;
pub mod select;
mod short;

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
        Some(isa) => select::supports(k, isa).err(),
        None => Some(format!("no emitter of its own for {}", target.name)),
    }
}

/// Machine code of a kernel that is not [refused](refuses): `fn(bufs, syms, begin, end) -> i32`, System V.
pub fn emit(k: &Kernel, target: &TargetDesc) -> Result<Vec<u8>> {
    let isa = Isa::of(target).ok_or_else(|| Diag::bug(format!("kernel {} for {}", k.name, target.name)))?;
    assemble(select::select(k, isa), isa)
}

/// Machine code of what selection built, position independent, for a multiple of [`ALIGN`] bytes.
pub fn assemble(mut f: mir::Func, isa: Isa) -> Result<Vec<u8>> {
    let regs = alloc::allocate(&mut f, isa.avx512)?;
    if cfg!(debug_assertions) {
        audit::audit(&f, &regs, isa)?;
    }
    encode::encode(&f, &regs)
}

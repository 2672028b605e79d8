//! Instructions on vectors.

use super::{Isa, Select};
use crate::x86::mir::Mem;
use sinter_ir::tile::{Addr, Buf, Inst, Kernel, Reg};

/// Whether an assignment of or from a vector can be emitted; the reason where not.
pub fn supports(k: &Kernel, isa: Isa, dst: Reg, inst: &Inst) -> Result<(), String> {
    let _ = (k, isa, dst);
    Err(format!("{inst:?}"))
}

/// Whether a store of a vector can be emitted; the reason where not.
pub fn supports_store(k: &Kernel, isa: Isa, value: Reg, tail: Option<Reg>) -> Result<(), String> {
    let _ = (k, isa, tail);
    Err(format!("store of r{}", value.0))
}

impl Select<'_> {
    /// An assignment whose result or any operand has more than one lane, but not of a load that is to stay pending.
    pub fn vector(&mut self, dst: Reg, inst: &Inst) {
        let _ = (dst, inst);
    }
    /// Loads all parts of a register.
    pub fn load_vector(&mut self, r: Reg, from: Mem) {
        let _ = (r, from);
    }
    /// Brings one element from memory to every lane of a register.
    pub fn splat_vector(&mut self, r: Reg, from: Mem) {
        let _ = (r, from);
    }
    /// A store of more than one lane.
    pub fn store_vector(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let _ = (buf, at, value, tail);
    }
}

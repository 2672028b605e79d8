//! TileIR to machine IR.
//!
//! Every TileIR register is a list of parts ([`layout`]). Scalars of integer types are in Gprs: of I8 and I16 only the
//! low bits are defined, I32 leaves the upper half undefined, B1 is 0 or 1 in 32 bits. Float scalars are the low lane of
//! a Vec whose other lanes are undefined. Lanes of a part beyond its count are undefined too.

mod layout;
pub mod vector;

use super::mir::{Class, Func, Mem, VReg};
pub use layout::{Part, layout};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{Addr, Buf, Elem, Kernel, Reg, Ty};
use std::collections::BTreeMap;

/// What the target offers beyond AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    /// AVX-512 F, BW, DQ and VL.
    pub avx512: bool,
    /// AVX512-VNNI.
    pub vnni: bool,
    /// AVX512-BF16.
    pub bf16: bool,
    /// Conversions of half floats.
    pub f16c: bool,
}

impl Isa {
    /// Of a target; none where this emitter has no code for it.
    pub fn of(t: &TargetDesc) -> Option<Self> {
        let needs = ["avx", "avx2", "bmi1", "bmi2", "fma", "lzcnt"];
        (t.triple.starts_with("x86_64-") && needs.iter().all(|f| t.has(f))).then(|| {
            let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| t.has(f));
            Self {
                avx512,
                vnni: avx512 && t.has("avx512vnni"),
                bf16: avx512 && t.has("avx512bf16"),
                f16c: avx512 || t.has("f16c"),
            }
        })
    }
    /// Bytes of the widest vector register.
    pub fn vector_bytes(self) -> u32 {
        if self.avx512 { 64 } else { 32 }
    }
}

/// A value that is not in registers yet: its only use may take it as a memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Contiguous elements from this address on; part `i` is [`Part::at`] bytes further.
    Load(Mem),
    /// One element, in every lane.
    Splat(Mem),
}

/// Selection state of one kernel.
pub struct Select<'k> {
    /// The code so far.
    pub f: Func,
    /// The kernel.
    pub k: &'k Kernel,
    /// The target.
    pub isa: Isa,
    regs: Vec<Vec<VReg>>,
    pending: BTreeMap<Reg, Pending>,
}

impl Select<'_> {
    /// Type of a TileIR register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.k.ty(r)
    }
    /// How a type is spread over machine registers.
    pub fn layout(&self, ty: Ty) -> Vec<Part> {
        layout(ty, self.isa)
    }
    /// Parts of a register to read; loads it first where that is pending.
    pub fn parts(&mut self, r: Reg) -> Vec<VReg> {
        if let Some(p) = self.pending.remove(&r) {
            self.load_pending(r, p);
        }
        self.regs[r.0 as usize].clone()
    }
    /// Parts of a register to write.
    pub fn dst(&self, r: Reg) -> Vec<VReg> {
        self.regs[r.0 as usize].clone()
    }
    /// The only part of a scalar, to read.
    pub fn one(&mut self, r: Reg) -> VReg {
        self.parts(r)[0]
    }
    /// Takes a register's value as a memory operand, when it is a load that nothing else wants. Whoever takes it must
    /// use it.
    pub fn take_pending(&mut self, r: Reg) -> Option<Pending> {
        self.pending.remove(&r)
    }
    /// A fresh register.
    pub fn temp(&mut self, class: Class) -> VReg {
        self.f.vreg(class)
    }
    /// Memory operand of an access to a buffer in elements of a type.
    pub fn address(&mut self, buf: Buf, at: &Addr, elem: Elem) -> Mem {
        let _ = (buf, at, elem);
        Mem { base: super::mir::Base::Frame(0), index: None, disp: 0 }
    }
    fn load_pending(&mut self, r: Reg, p: Pending) {
        let _ = (r, p);
    }
}

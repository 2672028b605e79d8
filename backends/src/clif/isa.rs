//! Cranelift settings per target.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};

/// Instruction sets with an emitter for whole programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86,
    /// AArch64.
    Arm,
    /// RISC-V, 64 bits.
    RiscV,
}

impl Arch {
    /// By the first part of the target's triple.
    pub fn of(target: &TargetDesc) -> Option<Self> {
        match target.triple.split('-').next() {
            Some("x86_64") => Some(Self::X86),
            Some("aarch64") => Some(Self::Arm),
            Some("riscv64" | "riscv64gc") => Some(Self::RiscV),
            _ => None,
        }
    }
}

/// One instruction set under the optimisation levels that kernels and glue want.
pub struct Isas {
    /// Keeps instruction order: vector kernels, whose register tiles the optimiser would tear apart.
    pub ordered: OwnedTargetIsa,
    /// Scalar kernels.
    pub optimised: OwnedTargetIsa,
    /// Glue.
    pub small: OwnedTargetIsa,
}

/// TOML feature names and Cranelift's. What it has no name for, it has no use for.
fn extensions(arch: Arch) -> &'static [(&'static str, &'static str)] {
    match arch {
        Arch::X86 => &[
            ("sse3", "has_sse3"),
            ("ssse3", "has_ssse3"),
            ("sse4.1", "has_sse41"),
            ("sse4.2", "has_sse42"),
            ("popcnt", "has_popcnt"),
            ("avx", "has_avx"),
            ("avx2", "has_avx2"),
            ("fma", "has_fma"),
            ("bmi1", "has_bmi1"),
            ("bmi2", "has_bmi2"),
            ("lzcnt", "has_lzcnt"),
        ],
        Arch::Arm => &[("dotprod", "has_dotprod"), ("i8mm", "has_i8mm"), ("lse", "has_lse")],
        Arch::RiscV => &[("rvv", "has_v"), ("zba", "has_zba"), ("zbb", "has_zbb")],
    }
}

impl Isas {
    /// Looks the target up.
    pub fn new(target: &TargetDesc) -> Result<Self> {
        Ok(Self {
            ordered: isa(target, "none")?,
            optimised: isa(target, "speed")?,
            small: isa(target, "speed_and_size")?,
        })
    }
}

fn isa(target: &TargetDesc, opt_level: &str) -> Result<OwnedTargetIsa> {
    let bad = |e: String| Diag::bug(format!("target {}: {e}", target.name));
    let mut flags = settings::builder();
    let set = [
        ("opt_level", opt_level),
        // All functions are in one blob and reached relative to the program counter either way; with `is_pic`
        // their addresses would go through a GOT that a blob does not have.
        ("is_pic", "false"),
        ("use_colocated_libcalls", "true"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
        ("preserve_frame_pointers", "false"),
    ];
    for (name, value) in set {
        flags.set(name, value).map_err(|e| bad(e.to_string()))?;
    }
    let triple = target.triple.parse().map_err(|_| bad(format!("bad triple {}", target.triple)))?;
    let mut builder = cranelift_codegen::isa::lookup(triple).map_err(|e| bad(e.to_string()))?;
    for (name, flag) in Arch::of(target).map_or(&[][..], extensions) {
        if target.has(name) {
            builder.enable(flag).map_err(|e| bad(e.to_string()))?;
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| bad(e.to_string()))
}

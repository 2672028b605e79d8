//! Cranelift settings per target.

use cranelift_codegen::isa::{CallConv, OwnedTargetIsa, TargetIsa};
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

/// Whether the host's functions are called, and call, in another way than those of a bundle among each other: those
/// speak System V everywhere.
fn win64(target: &TargetDesc) -> bool {
    is_windows(target) && Arch::of(target) == Some(Arch::X86)
}

/// Whether the target's system is Windows, where stacks grow page by page.
fn is_windows(target: &TargetDesc) -> bool {
    target.triple.contains("-windows")
}

/// How the host's functions are called where that differs from the bundle's own.
pub fn host_convention(target: &TargetDesc) -> Option<CallConv> {
    win64(target).then_some(CallConv::WindowsFastcall)
}

/// How the host and a bundle call each other.
pub fn host_or_own(target: &TargetDesc, isa: &dyn TargetIsa) -> CallConv {
    host_convention(target).unwrap_or_else(|| isa.default_call_conv())
}

/// One instruction set under the optimisation levels that kernels and glue want.
pub struct Isas {
    /// Keeps instruction order: vector kernels, whose register tiles the optimiser would tear apart, and `run`.
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
        ("enable_probestack", if is_windows(target) { "true" } else { "false" }),
        ("probestack_strategy", "inline"),
        ("unwind_info", "false"),
        ("preserve_frame_pointers", "false"),
    ];
    for (name, value) in set {
        flags.set(name, value).map_err(|e| bad(e.to_string()))?;
    }
    // Between its own functions a bundle calls as on Linux.
    let triple = match target.triple.split_once('-') {
        Some((arch, _)) if is_windows(target) => format!("{arch}-unknown-linux-gnu"),
        _ => target.triple.clone(),
    };
    let triple = triple.parse().map_err(|_| bad(format!("bad triple {}", target.triple)))?;
    let mut builder = cranelift_codegen::isa::lookup(triple).map_err(|e| bad(e.to_string()))?;
    for (name, flag) in Arch::of(target).map_or(&[][..], extensions) {
        if target.has(name) {
            builder.enable(flag).map_err(|e| bad(e.to_string()))?;
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| bad(e.to_string()))
}

//! Program to machine code, objects, archives, headers and weights files.
//!
//! Owns: instruction selection and file formats. Pure functions to bytes: no files, threads or environment.
//! `legalise` says no before emission, with reasons; afterwards emission cannot fail.

#![forbid(unsafe_code)]

pub mod aarch64;
pub mod c;
pub mod clif;
pub mod fat;
pub mod machine;
pub mod object;
pub mod peaks;
mod sites;
mod targets;
pub mod wasm;
pub mod x86;

use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::Kernel;
use sinter_ir::{Diag, Result};
pub use sites::{Site, sites};
use std::collections::BTreeMap;
pub use targets::{cpus, sources, target, targets, variants};

/// Why a kernel is left to Cranelift; none where an emitter of our own carries it.
pub fn refuses(k: &Kernel, target: &TargetDesc) -> Option<String> {
    if target.triple.starts_with("aarch64-") { aarch64::refuses(k, target) } else { x86::refuses(k, target) }
}

/// Machine code of a kernel that is not [`refuses`]d, and the alignment that it wants.
pub fn kernel(k: &Kernel, target: &TargetDesc) -> Result<(Vec<u8>, usize)> {
    match target.triple.starts_with("aarch64-") {
        true => Ok((aarch64::emit(k, target)?, aarch64::ALIGN)),
        false => Ok((x86::emit(k, target)?, x86::ALIGN)),
    }
}

/// Everything that a bundle needs from code generation.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// Static archive with one object.
    pub archive: Vec<u8>,
    /// C header.
    pub header: String,
    /// Weights file.
    pub weights: Vec<u8>,
    /// Machine code bytes per function: kernels by name, and the glue.
    pub code: BTreeMap<String, u64>,
    /// The machine code itself: position independent, complete, executable wherever it is mapped.
    pub blob: Blob,
}

/// Position-independent machine code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Code and its constants.
    pub bytes: Vec<u8>,
    /// Offsets of the public functions.
    pub entries: BTreeMap<String, u64>,
}

/// Problems that keep a program from being emitted for a target: all at once.
pub fn legalise(program: &Program, target: &TargetDesc) -> Vec<Diag> {
    match () {
        () if c::is(target) => c::legalise(program),
        () if wasm::is(target) => wasm::legalise(program),
        () => clif::legalise(program, target),
    }
}

/// A program and the target that it was lowered for.
#[derive(Debug, Clone, Copy)]
pub struct Level<'a> {
    /// The program.
    pub program: &'a Program,
    /// The target.
    pub target: &'a TargetDesc,
}

/// Emits a program. Call [`legalise`] first.
pub fn emit(program: &Program, target: &TargetDesc) -> Result<Emitted> {
    let weights = object::weights::file(program);
    emit_as(&[Level { program, target }], weights, &[], false)
}

/// Emits a program whose constants lie in a file already, behind room for the header; `sum` is their
/// [`sinter_abi::hash`]. [`Emitted::weights`] is the header alone.
pub fn emit_apart(program: &Program, target: &TargetDesc, sum: u64) -> Result<Emitted> {
    let weights = object::weights::head(program, sum).to_vec();
    emit_as(&[Level { program, target }], weights, &[], false)
}

/// Emits a program that notes down how long each of its [`sites`] takes, in memory named by the context. Only for
/// running in the process that asked: such code is no bundle.
pub fn emit_measured(program: &Program, target: &TargetDesc) -> Result<Emitted> {
    let weights = object::weights::file(program);
    emit_as(&[Level { program, target }], weights, &[], true)
}

/// Emits one archive for several levels of instruction sets, strongest first; its `init` chooses the first that the
/// processor can run. The programs must share their weights: see [`fat::join`]. `lacking` is for tests: features that
/// `init` is to find missing on any processor.
pub fn emit_levels(levels: &[Level], lacking: &[String]) -> Result<Emitted> {
    let weights = levels.first().map(|l| object::weights::file(l.program)).unwrap_or_default();
    emit_as(levels, weights, lacking, false)
}

fn emit_as(levels: &[Level], weights: Vec<u8>, lacking: &[String], measure: bool) -> Result<Emitted> {
    if let Some(d) = levels.iter().flat_map(|l| legalise(l.program, l.target)).next() {
        return Err(d);
    }
    let [Level { program, target }, others @ ..] = levels else { return Err(Diag::bug("code for no level")) };
    if others.iter().any(|l| !fat::same_interface(program, l.program) || l.target.triple != target.triple) {
        return Err(Diag::bug("levels of one bundle that differ in more than their code"));
    }
    let (blob, code) = clif::compile(levels, &weights, lacking, measure)?;
    let archive = object::archive(&program.name, &blob, target)?;
    let targets: Vec<&str> = levels.iter().map(|l| l.target.name.as_str()).collect();
    let header = object::header::text(program, &targets, "");
    Ok(Emitted { archive, header, weights, code, blob })
}

impl Emitted {
    /// Code bytes per function of one of several levels: see [`emit_levels`].
    pub fn code_of(&self, target: &TargetDesc) -> BTreeMap<String, u64> {
        let prefix = clif::level_prefix(target);
        let own = self.code.iter().filter_map(|(n, b)| Some((n.strip_prefix(&prefix)?.to_owned(), *b)));
        own.collect()
    }
}

//! Program to machine code, objects, archives, headers and weights files.
//!
//! Owns: instruction selection and file formats. Pure functions to bytes: no files, threads or environment.
//! `legalise` says no before emission, with reasons; afterwards emission cannot fail.

#![forbid(unsafe_code)]

pub mod clif;
pub mod object;
pub mod peaks;
mod sites;
mod targets;
pub mod x86;

use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Result};
pub use sites::{Site, sites};
use std::collections::BTreeMap;
pub use targets::{cpus, target, targets, variants};

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
    clif::legalise(program, target)
}

/// Emits a program. Call [`legalise`] first.
pub fn emit(program: &Program, target: &TargetDesc) -> Result<Emitted> {
    emit_as(program, target, false)
}

/// Emits a program that notes down how long each of its [`sites`] takes, in memory named by the context. Only for
/// running in the process that asked: such code is no bundle.
pub fn emit_measured(program: &Program, target: &TargetDesc) -> Result<Emitted> {
    emit_as(program, target, true)
}

fn emit_as(program: &Program, target: &TargetDesc, measure: bool) -> Result<Emitted> {
    if let Some(d) = legalise(program, target).into_iter().next() {
        return Err(d);
    }
    let weights = object::weights::file(program);
    let (blob, code) = clif::compile(program, target, &weights, measure)?;
    let archive = object::archive(&program.name, &blob, target)?;
    let header = object::header::text(program);
    Ok(Emitted { archive, header, weights, code, blob })
}

//! Lays compiled functions into one blob and resolves the calls between them.

use super::relocs::{self, Fixup};
use crate::Blob;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{ExternalName, Function, UserExternalName, UserFuncName};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{Context, FinalizedRelocTarget};
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Functions of a bundle as numbers in Cranelift's name spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// A kernel by its number, of a level by its number.
    Kernel(u32, u32),
    /// Runs a kernel over a sub-range: what `parallel_for` calls.
    Task,
    /// Calls a kernel, through the host's threads when it has any.
    Dispatch,
    /// Reads the processor's counter of time.
    Ticks,
    /// cpuid and xgetbv checks of a level.
    Cpu(u32),
    /// Error texts, NUL-terminated.
    Texts,
    /// `run` of one level, where a bundle has several.
    LevelRun(u32),
    /// Public: run.
    Run,
    /// Public: init.
    Init,
    /// Public: sizes.
    Sizes,
    /// Public: state_bytes, in bundles with states.
    StateBytes,
    /// Public: error_text.
    ErrorText,
    /// Public: abi_version.
    AbiVersion,
    /// What the host calls in place of one of [`PUBLIC`], where it calls in another way.
    Export(u32),
}

/// Public functions and the ends of their names.
pub const PUBLIC: &[(Name, &str)] = &[
    (Name::Run, "run"),
    (Name::Init, "init"),
    (Name::Sizes, "sizes"),
    (Name::StateBytes, "state_bytes"),
    (Name::ErrorText, "error_text"),
    (Name::AbiVersion, "abi_version"),
];

impl Name {
    /// As a Cranelift name.
    pub fn user(self) -> UserExternalName {
        let (namespace, index) = match self {
            Name::Kernel(level, i) => (8 + level, i),
            Name::Task => (1, 0),
            Name::Dispatch => (1, 1),
            Name::Cpu(level) => (0, level),
            Name::Texts => (1, 3),
            Name::Ticks => (1, 4),
            Name::LevelRun(level) => (3, level),
            Name::Run => (2, 0),
            Name::Init => (2, 1),
            Name::Sizes => (2, 2),
            Name::ErrorText => (2, 3),
            Name::AbiVersion => (2, 4),
            Name::StateBytes => (2, 5),
            Name::Export(i) => (4, i),
        };
        UserExternalName { namespace, index }
    }
    /// As the name of a function being defined.
    pub fn func(self) -> UserFuncName {
        UserFuncName::User(self.user())
    }
}

/// What a fixup points to.
enum To {
    Function(UserExternalName),
    /// Offset in the blob.
    Address(u64),
}

/// The blob under construction.
pub struct Layout {
    prefix: String,
    bytes: Vec<u8>,
    at: BTreeMap<(u32, u32), u64>,
    fixups: Vec<(To, Fixup)>,
    code: BTreeMap<String, u64>,
    /// What labels begin with: the level that is laid out now, where there are several.
    pub level: String,
}

impl Layout {
    /// An empty blob; `prefix` names the public functions.
    pub fn new(prefix: &str, kernels: usize) -> Self {
        let bytes = Vec::with_capacity(kernels * 1024);
        Self {
            prefix: prefix.to_owned(),
            bytes,
            at: BTreeMap::new(),
            fixups: vec![],
            code: BTreeMap::new(),
            level: String::new(),
        }
    }
    fn place(&mut self, name: Name, label: &str, bytes: &[u8], align: usize) -> u64 {
        let start = self.bytes.len().next_multiple_of(align);
        // int3 between functions, where instructions are bytes; nothing goes there elsewhere.
        self.bytes.resize(start, 0xcc);
        self.bytes.extend_from_slice(bytes);
        let u = name.user();
        self.at.insert((u.namespace, u.index), start as u64);
        *self.code.entry(format!("{}{label}", self.level)).or_default() += bytes.len() as u64;
        start as u64
    }
    /// Whether a function is there.
    pub fn has(&self, name: Name) -> bool {
        self.find(name).is_some()
    }
    fn find(&self, name: Name) -> Option<u64> {
        let u = name.user();
        self.at.get(&(u.namespace, u.index)).copied()
    }
    /// Adds ready bytes (code or data).
    pub fn add_raw(&mut self, name: Name, label: &str, bytes: &[u8]) {
        self.place(name, label, bytes, 16);
    }
    /// Adds a kernel from another emitter.
    pub fn add_code(&mut self, name: Name, label: &str, bytes: &[u8], align: usize) {
        self.place(name, label, bytes, align);
    }
    /// Compiles a function and adds it.
    pub fn add(&mut self, name: Name, label: &str, ctx: &mut Context, isa: &dyn TargetIsa) -> Result<()> {
        let bug = |e: String| Diag::bug(format!("code generation of {label}: {e}"));
        let compiled =
            ctx.compile(isa, &mut ControlPlane::default()).map_err(|e| bug(format!("{:?}", e.inner)))?;
        let bytes = compiled.code_buffer().to_vec();
        let relocs = compiled.buffer.relocs().to_vec();
        let start = self.place(name, label, &bytes, 32);
        for r in relocs {
            let at = start + u64::from(r.offset);
            let to =
                match &r.target {
                    FinalizedRelocTarget::ExternalName(target) => external(&ctx.func, target)
                        .map(To::Function)
                        .ok_or_else(|| bug(format!("a call out of the bundle: {target:?}")))?,
                    FinalizedRelocTarget::Func(offset) => To::Address(start + u64::from(*offset)),
                };
            self.fixups.push((to, Fixup { at, kind: r.kind, addend: r.addend }));
        }
        Ok(())
    }
    /// Resolves everything.
    pub fn finish(mut self) -> Result<(Blob, BTreeMap<String, u64>)> {
        for (to, f) in &self.fixups {
            let target = match to {
                To::Address(at) => *at,
                To::Function(name) => *self
                    .at
                    .get(&(name.namespace, name.index))
                    .ok_or_else(|| Diag::bug(format!("function {name} is missing")))?,
            };
            relocs::resolve(&mut self.bytes, f, target)?;
        }
        let mut entries = BTreeMap::new();
        for (i, (name, suffix)) in PUBLIC.iter().enumerate() {
            if let Some(at) = self.find(Name::Export(i as u32)).or(self.find(*name)) {
                entries.insert(format!("{}_{suffix}", self.prefix), at);
            }
        }
        Ok((Blob { bytes: self.bytes, entries }, self.code))
    }
}

fn external(func: &Function, name: &ExternalName) -> Option<UserExternalName> {
    match name {
        ExternalName::User(r) => func.params.user_named_funcs().get(*r).cloned(),
        _ => None,
    }
}

//! From a model file to bundles in memory: import, passes, emission.

use crate::frontend::onnx::{self, ImportOptions, Imported};
use crate::manifest::{Manifest, sha256};
use crate::report::Report;
use crate::system;
use bytes::Bytes;
use sinter_backends as backends;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Module};
use sinter_passes::pipeline::{self, PipelineOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What to compile and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The model file.
    pub model: PathBuf,
    /// Dims, fixed inputs, name.
    pub import: ImportOptions,
    /// Target names; `native` is this machine.
    pub targets: Vec<String>,
    /// Stop after this pass.
    pub stop_after: Option<String>,
    /// Verify after every pass.
    pub verify_each: bool,
    /// Keep the module's text after every pass, and the program's.
    pub dump_ir: bool,
    /// Flags for the manifest.
    pub flags: BTreeMap<String, String>,
}

/// One finished bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Folder name: the target as it was asked for.
    pub folder: String,
    /// Describes everything.
    pub manifest: Manifest,
    /// What the report says.
    pub report: Report,
    /// Files by name.
    pub files: BTreeMap<String, Bytes>,
    /// The program, for inspection.
    pub program: Program,
}

/// Everything that a compilation gives.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// One per target; none when stopped before the end.
    pub bundles: Vec<Bundle>,
    /// Module texts by pass, in order; the program's is the last.
    pub dumps: Vec<(String, String)>,
    /// Things in the model that look wrong.
    pub warnings: Vec<String>,
}

/// The strongest target of the table that this machine can run.
pub fn native() -> Result<&'static TargetDesc, Diag> {
    let able = |t: &&TargetDesc| {
        t.triple.starts_with(std::env::consts::ARCH) && t.features.iter().all(|f| host_has(f))
    };
    backends::targets().iter().rev().find(able).ok_or_else(|| {
        Diag::unsupported(format!("no target fits this machine ({})", std::env::consts::ARCH))
            .help("name one with --target; `sinter targets` lists them")
    })
}

#[cfg(target_arch = "x86_64")]
fn host_has(feature: &str) -> bool {
    use std::is_x86_feature_detected as has;
    match feature {
        "sse3" => has!("sse3"),
        "ssse3" => has!("ssse3"),
        "sse4.1" => has!("sse4.1"),
        "sse4.2" => has!("sse4.2"),
        "popcnt" => has!("popcnt"),
        "avx" => has!("avx"),
        "avx2" => has!("avx2"),
        "bmi1" => has!("bmi1"),
        "bmi2" => has!("bmi2"),
        "fma" => has!("fma"),
        "lzcnt" => has!("lzcnt"),
        "avx512f" => has!("avx512f"),
        "avx512bw" => has!("avx512bw"),
        "avx512dq" => has!("avx512dq"),
        "avx512vl" => has!("avx512vl"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn host_has(_: &str) -> bool {
    false
}

/// A target by name.
pub fn target(name: &str) -> Result<&'static TargetDesc, Diag> {
    if name == "native" {
        return native();
    }
    backends::target(name)
        .ok_or_else(|| Diag::input(format!("unknown target `{name}`")).help("`sinter targets` lists them"))
}

/// Compiles a model for all targets.
pub fn compile(request: &Request, step: &dyn Fn(&str)) -> Result<Output, Vec<Diag>> {
    let targets: Result<Vec<_>, Vec<Diag>> =
        request.targets.iter().map(|t| target(t).map(|d| (t.clone(), d)).map_err(|d| vec![d])).collect();
    let targets = targets?;
    step("reading the model");
    let imported = onnx::import(&request.model, &request.import)?;
    let mut sources = BTreeMap::new();
    for f in &imported.files {
        let name = f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        sources.insert(name, sha256(&system::read(f).map_err(|d| vec![d])?));
    }
    compile_module(imported, sources, request, &targets, step)
}

fn compile_module(
    imported: Imported,
    sources: BTreeMap<String, String>,
    request: &Request,
    targets: &[(String, &'static TargetDesc)],
    step: &dyn Fn(&str),
) -> Result<Output, Vec<Diag>> {
    let Imported { module, warnings, .. } = imported;
    let mut out = Output { warnings, ..Output::default() };
    let mut module = Some(module);
    for (i, (folder, target)) in targets.iter().enumerate() {
        step(&format!("optimising for {folder}"));
        // The last target takes the module itself: weights are not held twice.
        let m = if i + 1 == targets.len() { module.take() } else { module.clone() };
        let Some(m) = m else { break };
        let mut dumps = Vec::new();
        let mut keep = |pass: &str, m: &Module| {
            if request.dump_ir {
                dumps.push((pass.to_owned(), m.dump_text()));
            }
        };
        let mut options = PipelineOptions {
            stop_after: request.stop_after.clone(),
            verify_each: request.verify_each,
            on_dump: Some(&mut keep),
        };
        let compiled = pipeline::run(m, &mut options, target)?;
        if let (true, Some(p)) = (request.dump_ir, &compiled.program) {
            dumps.push((pipeline::ASSEMBLE.to_owned(), p.dump_text()));
        }
        if i == 0 {
            out.dumps = dumps;
        }
        let Some(program) = compiled.program else { continue };
        drop(compiled.module);
        let problems = backends::legalise(&program, target);
        if !problems.is_empty() {
            return Err(problems);
        }
        step(&format!("generating code for {folder}"));
        let emitted = backends::emit(&program, target).map_err(|d| vec![d])?;
        let mut manifest = Manifest::new(&program, target, emitted.code.values().sum());
        manifest.sources.clone_from(&sources);
        manifest.flags.clone_from(&request.flags);
        let report = Report::new(
            &program,
            folder,
            &emitted.code,
            &compiled.report.rules,
            &manifest.dims,
            &out.warnings,
        );
        let files = files(&program, emitted, &mut manifest, &report).map_err(|d| vec![d])?;
        // The weights are in the files now.
        let program = Program { weights: Vec::new(), ..program };
        out.bundles.push(Bundle { folder: folder.clone(), manifest, report, files, program });
    }
    Ok(out)
}

fn files(
    program: &Program,
    emitted: backends::Emitted,
    manifest: &mut Manifest,
    report: &Report,
) -> Result<BTreeMap<String, Bytes>, Diag> {
    let name = &program.name;
    let json = |v: serde_json::Result<String>| {
        v.map(|t| Bytes::from(t + "\n")).map_err(|e| Diag::bug(format!("writing JSON: {e}")))
    };
    let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
    files.insert(format!("lib{name}.a"), emitted.archive.into());
    files.insert(format!("{name}.h"), emitted.header.into());
    files.insert(format!("{name}.weights"), emitted.weights.into());
    files.insert("report.json".into(), json(serde_json::to_string_pretty(report))?);
    files.insert("report.html".into(), report.html().into());
    for (path, text) in crate::bindings::files(program) {
        files.insert(path, text.into());
    }
    manifest.files = files.iter().map(|(n, b)| (n.clone(), sha256(b))).collect();
    files.insert("manifest.json".into(), json(serde_json::to_string_pretty(manifest))?);
    Ok(files)
}

/// Name of a bundle's folder as text.
pub fn folder(dir: &Path, bundle: &Bundle) -> PathBuf {
    dir.join(&bundle.folder)
}

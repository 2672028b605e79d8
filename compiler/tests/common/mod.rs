//! Shared by the data-driven tests: finding suites, reading cases, comparing tensors.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

pub mod browser;
#[path = "../../../runtime/std/tests/emulated/mod.rs"]
pub mod emulator;
pub mod model;

use sinter::frontend::onnx::{self, ImportOptions, tensor_from_pb};
use sinter::manifest::Manifest;
use sinter::session::Session;
use sinter_backends::Emitted;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Diag, Fault, Tensor};
use sinter_runtime::remote::Remote;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder with models and suites that lies beside the checkout; absent on a bare clone.
pub fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut candidates = vec![root.parent().unwrap().join("shared")];
    candidates.extend(std::env::var("SINTER_SHARED").ok().map(PathBuf::from));
    candidates.into_iter().find(|p| p.is_dir())
}

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Says loudly that something was not tested.
pub fn skip(what: &str) {
    eprintln!("SKIP: {what}");
    println!("SKIP: {what}");
}

/// One case: a model with inputs and expected outputs.
#[derive(Debug, Clone)]
pub struct Case {
    /// Folder name.
    pub name: String,
    /// The model file.
    pub model: PathBuf,
    /// Relative tolerance.
    pub rtol: f64,
    /// Absolute tolerance.
    pub atol: f64,
}

/// All cases of a folder, sorted by name.
pub fn cases(dir: &Path) -> Vec<Case> {
    let mut out: Vec<Case> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("model.onnx").is_file())
        .map(|p| {
            let text = std::fs::read_to_string(p.join("tolerance.json")).unwrap_or_else(|_| "{}".into());
            let t: serde_json::Value = serde_json::from_str(&text).unwrap();
            Case {
                name: p.file_name().unwrap().to_string_lossy().into_owned(),
                model: p.join("model.onnx"),
                rtol: t["rtol"].as_f64().unwrap_or(1e-3),
                atol: t["atol"].as_f64().unwrap_or(1e-7),
            }
        })
        .collect();
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// Inputs and expected outputs of one run.
pub type DataSet = (Vec<Tensor>, Vec<Tensor>);

/// Data sets of a case: inputs and outputs in order; an error where a file is not a tensor.
pub fn data(case: &Case) -> Result<Vec<DataSet>, String> {
    let dir = case.model.parent().unwrap();
    let mut sets = vec![];
    for k in 0.. {
        let set = dir.join(format!("test_data_set_{k}"));
        if !set.is_dir() {
            break;
        }
        let read = |kind: &str| -> Result<Vec<Tensor>, String> {
            (0..)
                .map(|i| set.join(format!("{kind}_{i}.pb")))
                .take_while(|p| p.is_file())
                .map(|p| tensor_from_pb(&std::fs::read(&p).unwrap()).map_err(|d| d.to_string()))
                .collect()
        };
        sets.push((read("input")?, read("output")?));
    }
    Ok(sets)
}

/// Imports a case as it is; where a value is needed at compile time that the case feeds at run time (axes, scales,
/// ...), once more with its small integer and one-dimensional float inputs fixed.
pub fn import(case: &Case, inputs: Vec<Tensor>) -> Result<(onnx::Imported, Vec<Tensor>), String> {
    let text = |d: Vec<Diag>| d.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("; ");
    let first = onnx::import(&case.model, &ImportOptions::default());
    let needs_values =
        |d: &[Diag]| d.iter().any(|d| d.message.contains("compile time") || d.message.contains("run time"));
    match first {
        Err(d) if needs_values(&d) || d.iter().any(|d| d.fault == Fault::Limit) => {
            let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
            let fixable = |t: &Tensor| {
                t.len() <= 64
                    && t.rank() <= 1
                    && (t.dtype().is_int() || t.dtype().is_float() || t.dtype() == DType::Bool)
            };
            let (mut options, mut rest) = (ImportOptions::default(), vec![]);
            for (name, t) in names.into_iter().zip(inputs) {
                if fixable(&t) {
                    options.fixed.insert(name, t);
                } else {
                    rest.push(t);
                }
            }
            Ok((onnx::import(&case.model, &options).map_err(text)?, rest))
        }
        other => Ok((other.map_err(text)?, inputs)),
    }
}

/// Imports a model with ranges of dims.
pub fn import_with(case: &Case, dims: BTreeMap<String, (i64, i64)>) -> Result<sinter_ir::Module, String> {
    let text = |d: Vec<Diag>| d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let options = ImportOptions { dims, ..ImportOptions::default() };
    Ok(onnx::import(&case.model, &options).map_err(text)?.module)
}

/// Open dims stay open, with the sizes of the stored inputs as upper ends.
pub fn open_dims(case: &Case, inputs: &[Tensor]) -> Result<BTreeMap<String, (i64, i64)>, String> {
    let plain = import_with(case, BTreeMap::new())?;
    let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
    let mut out = BTreeMap::new();
    for ((name, t), v) in names.iter().zip(inputs).zip(&plain.graph.inputs) {
        for (i, (d, &n)) in plain.graph.ty(*v).dims.iter().zip(t.shape()).enumerate() {
            match d.as_const() {
                Some(fixed) if fixed == n as i64 => {}
                // Fixed by default only (a batch of one): asked for exactly.
                Some(_) => drop(out.insert(format!("{name}.{i}"), (n as i64, n as i64))),
                None => drop(out.insert(format!("{name}.{i}"), (n.min(1) as i64, n as i64))),
            }
        }
    }
    Ok(out)
}

/// Compares like numpy's allclose, NaN equal to NaN; integers and texts exactly.
pub fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        let show = |t: &Tensor| format!("{}{:?}", t.dtype(), t.shape());
        return Err(format!("got {}, expected {}", show(got), show(want)));
    }
    if !want.dtype().is_float() {
        return if got == want { Ok(()) } else { Err(mismatch(got, want)) };
    }
    let (g, w) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    // Narrow floats may round the other way in the last place.
    let ulp = match want.dtype() {
        DType::F16 => 1.0 / 1024.0,
        DType::BF16 => 1.0 / 128.0,
        _ => 0.0,
    };
    for (i, (&g, &w)) in g.iter().zip(&w).enumerate() {
        let close = (g.is_nan() && w.is_nan()) || g == w || (g - w).abs() <= atol + rtol.max(ulp) * w.abs();
        if !close {
            return Err(format!("element {i}: got {g}, expected {w}"));
        }
    }
    Ok(())
}

fn mismatch(got: &Tensor, want: &Tensor) -> String {
    match (got.to_i64(), want.to_i64()) {
        (Ok(g), Ok(w)) => {
            let i = g.iter().zip(&w).position(|(a, b)| a != b).unwrap_or(0);
            format!("element {i}: got {}, expected {}", g[i], w[i])
        }
        _ => "values differ".into(),
    }
}

/// Unpacks the ONNX backend suite once per build folder and returns where it lies.
pub fn suite() -> Option<PathBuf> {
    // Tests of one process wait for the first; other processes see the folder only when it is complete.
    static UNPACKED: std::sync::OnceLock<Option<PathBuf>> = std::sync::OnceLock::new();
    UNPACKED.get_or_init(unpack).clone()
}

fn unpack() -> Option<PathBuf> {
    let archive = shared()?.join("onnx-backend-tests.tar.xz");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let out = place.join("onnx-suite");
    if out.join("done").is_file() {
        return Some(out);
    }
    let own = place.join(format!("onnx-suite-{}", std::process::id()));
    std::fs::create_dir_all(&own).unwrap();
    let status =
        std::process::Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&own).status().ok()?;
    if !status.success() {
        return None;
    }
    std::fs::write(own.join("done"), "").unwrap();
    if std::fs::rename(&own, &out).is_err() {
        // Another process was faster, or an older one stopped half-way.
        if !out.join("done").is_file() {
            std::fs::remove_dir_all(&out).unwrap();
            std::fs::rename(&own, &out).unwrap();
        } else {
            std::fs::remove_dir_all(&own).unwrap();
        }
    }
    Some(out)
}

/// Runs `f` over items on all cores, keeping order.
pub fn parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut results: Vec<(usize, R)> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(|| {
                    let mut mine = vec![];
                    loop {
                        let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(item) = items.get(i) else { return mine };
                        mine.push((i, f(item)));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    results.sort_by_key(|r| r.0);
    results.into_iter().map(|r| r.1).collect()
}

/// Runs a closure; a panic becomes an error.
pub fn no_panic<R>(f: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|e| {
        let text =
            e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("PANIC: {}", text.unwrap_or_default()))
    })
}

/// Sizes of a compiled program.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Machine code.
    pub code: u64,
    /// Planned arena.
    pub arena: u64,
    /// Largest sum of live buffers.
    pub live: u64,
}

/// Compiles a module for this machine and runs it on one thread.
pub fn native(module: sinter_ir::Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    native_with_sizes(module, inputs).map(|r| r.0)
}

/// [`native`], with the program's sizes.
pub fn native_with_sizes(
    module: sinter_ir::Module,
    inputs: &[Tensor],
) -> Result<(Vec<Tensor>, Sizes), String> {
    run_native(&program(module)?, inputs)
}

/// Compiles a module for this machine.
pub fn program(module: sinter_ir::Module) -> Result<Program, String> {
    program_for(sinter::driver::native().map_err(|d| d.to_string())?, module)
}

/// Compiles a module for a target.
pub fn program_for(target: &TargetDesc, module: sinter_ir::Module) -> Result<Program, String> {
    let mut options = sinter_passes::pipeline::PipelineOptions::default();
    let all = |d: Vec<Diag>| d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let compiled = sinter_passes::pipeline::run(module, &mut options, target).map_err(all)?;
    compiled.program.ok_or_else(|| "no program".into())
}

/// Emits a program for this machine and runs it on one thread.
pub fn run_native(program: &Program, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Sizes), String> {
    run_on(sinter::driver::native().map_err(|d| d.to_string())?, program, inputs)
}

/// Emits a program for a target that this machine can run, and runs it on one thread.
pub fn run_on(
    target: &TargetDesc,
    program: &Program,
    inputs: &[Tensor],
) -> Result<(Vec<Tensor>, Sizes), String> {
    let (mut session, sizes) = open(target, program)?;
    Ok((session.run(inputs).map_err(|d| d.to_string())?, sizes))
}

/// Emits a program for a target of another architecture and runs it on one thread of an emulator: the one that is
/// left from the run before, when that went well.
pub fn run_emulated(
    remote: &mut Option<Remote>,
    target: &TargetDesc,
    program: &Program,
    inputs: &[Tensor],
) -> Result<(Vec<Tensor>, Sizes), String> {
    let (mut session, sizes) = session_through(remote.take(), target, program)?;
    let outputs = session.run(inputs).map_err(|d| d.to_string())?;
    *remote = session.into_remote();
    Ok((outputs, sizes))
}

/// Emits a program for a target of another architecture and loads it in an emulator.
pub fn emulated(target: &TargetDesc, program: &Program) -> Result<Session, String> {
    session_through(None, target, program).map(|s| s.0)
}

fn session_through(
    left: Option<Remote>,
    target: &TargetDesc,
    program: &Program,
) -> Result<(Session, Sizes), String> {
    let (emitted, manifest, sizes) = emit(target, program)?;
    let remote = match left {
        Some(left) => left,
        None => emulator::start(&target.triple, &target.features)?,
    };
    let session = Session::through(remote, manifest, &emitted.archive, &emitted.weights, 1);
    Ok((session.map_err(|d| d.to_string())?, sizes))
}

/// A session of a module on this machine.
pub fn session(module: sinter_ir::Module) -> Result<Session, String> {
    let target = sinter::driver::native().map_err(|d| d.to_string())?;
    open(target, &program(module)?).map(|s| s.0)
}

/// Emits a program for a target that this machine can run, and loads it for one thread.
pub fn open(target: &TargetDesc, program: &Program) -> Result<(Session, Sizes), String> {
    let text = |d: Diag| d.to_string();
    let (emitted, manifest, sizes) = emit(target, program)?;
    let weights = sinter_runtime::Aligned::copy_of(&emitted.weights).map_err(|e| e.to_string())?;
    let image = sinter_runtime::Image::Heap(weights);
    let session = Session::new(manifest, &emitted.archive, image, 1).map_err(text)?;
    Ok((session, sizes))
}

fn emit(target: &TargetDesc, program: &Program) -> Result<(Emitted, Manifest, Sizes), String> {
    // The portable emitter is for targets without an emitter of ours: no kernel of the others falls back to it.
    let own = target.has("avx2") || target.has("neon");
    for k in program.kernels.iter().filter(|_| own) {
        if let Some(why) = sinter_backends::refuses(k, target) {
            return Err(format!("kernel {} falls back to the portable emitter: {why}", k.name));
        }
    }
    let problems = sinter_backends::legalise(program, target);
    if let Some(first) = problems.first() {
        return Err(first.to_string());
    }
    let emitted = sinter_backends::emit(program, target).map_err(|d| d.to_string())?;
    let sizes =
        Sizes { code: emitted.code.values().sum(), arena: program.arena_bytes, live: program.live_bytes };
    Ok((emitted, Manifest::new(program, target, 0), sizes))
}

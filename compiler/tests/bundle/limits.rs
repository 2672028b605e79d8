//! Bounds on what a compilation takes and gives, over all real models.

use crate::{common, scratch, sinter};
use std::path::Path;

/// Peak memory of a compilation: so many times the model file, and so much for everything else.
const TIMES_FILE: u64 = 3;
const FIXED_BYTES: u64 = 200_000_000;
/// The same of a language model whose weights are rounded: in hundredths of the file.
const LANGUAGE_MODEL_PERCENT: u64 = 150;
/// Largest arena as a part of the largest sum of live buffers.
const ARENA_OF_BOUND: f64 = 1.1;
/// Machine code of a bundle: of a language model, of any other.
const CODE_BYTES: [u64; 2] = [150_000, 100_000];
/// What the symbol array in front of the buffers may take.
const SYMBOLS_BYTES: f64 = 4096.0;

/// Compiles a model; gives the peak memory, `peak memory: N bytes` in what `--timings` prints.
fn peak(model: &Path, arguments: &[&str], out: &Path) -> Option<u64> {
    let mut c = sinter();
    let done =
        c.arg("compile").arg(model).args(arguments).arg("--timings").arg("-o").arg(out).output().unwrap();
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {text}", model.display());
    let line = text.lines().find_map(|l| l.trim().strip_prefix("peak memory"));
    let bytes = line.and_then(|l| l.split_whitespace().find_map(|w| w.parse().ok()));
    match bytes {
        None if cfg!(target_os = "linux") => panic!("{}: no peak: {text}", model.display()),
        None => common::skip("peak memory is only known on Linux"),
        Some(_) => {}
    }
    bytes
}

#[test]
fn memory_of_compilations_and_arenas() {
    let mut dirs = vec![common::root().join("testdata/models")];
    match common::shared() {
        Some(s) => dirs.push(s.join("models")),
        None => common::skip("real models not found"),
    }
    let out = scratch("limits");
    let mut failures = vec![];
    for case in dirs.iter().flat_map(|d| common::cases(d)) {
        let file = std::fs::metadata(&case.model).unwrap().len();
        let bound = TIMES_FILE * file + FIXED_BYTES;
        if let Some(bytes) = peak(&case.model, &[], &out) {
            println!("{}: file {file}, peak {bytes} of {bound} bytes", case.name);
            if bytes > bound {
                failures.push(format!("{}: peak memory {bytes} bytes, bound {bound}", case.name));
            }
        }
        failures.extend(arena(&case.name, &out.join("native/report.json")));
        failures.extend(code(&case.name, &out.join("native/manifest.json")));
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Weights go through one by one: from the file to codes, and from those to their packed form.
#[test]
fn memory_of_compiling_a_language_model() {
    let Some(shared) = common::shared() else { return common::skip("there is no folder of shared models") };
    let model = shared.join("models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    let file = std::fs::metadata(&model).unwrap().len();
    if let Some(bytes) = peak(&model, &["--quantize", "w4"], &scratch("language_limits")) {
        println!("file {file}, peak {bytes} bytes");
        assert!(bytes * 100 <= file * LANGUAGE_MODEL_PERCENT, "peak memory {bytes} bytes, file {file}");
    }
}

/// Bytes of code within the bar.
fn code(name: &str, manifest: &Path) -> Option<String> {
    let m: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let (code, room) = (m["code_bytes"].as_u64().unwrap(), CODE_BYTES[usize::from(m["states"].is_null())]);
    println!("  code {code} of {room} bytes");
    (code > room).then(|| format!("{name}: {code} bytes of code"))
}

/// The report's two numbers, and that its buffers fit what it says.
fn arena(name: &str, report: &Path) -> Option<String> {
    let r: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    let (arena, live) = (r["arena_bytes"].as_u64().unwrap(), r["live_bytes"].as_u64().unwrap());
    println!("  arena {arena} bytes, bound {live}");
    let buffers = r["timeline"].as_array().unwrap();
    let field = |b: &serde_json::Value, f: &str| b[f].as_u64().unwrap();
    let end = buffers.iter().map(|b| field(b, "offset") + field(b, "bytes")).max().unwrap_or(0);
    // The bound again, from the timeline alone: the largest sum of buffers alive at one step.
    let steps = buffers.iter().map(|b| field(b, "last")).max().unwrap_or(0);
    let alive = |s| buffers.iter().filter(move |b| field(b, "first") <= s && s <= field(b, "last"));
    let most = (0..=steps).map(|s| alive(s).map(|b| field(b, "bytes")).sum::<u64>()).max().unwrap_or(0);
    if end > arena {
        return Some(format!("{name}: a buffer ends at {end} in an arena of {arena} bytes"));
    }
    if arena as f64 > most as f64 * ARENA_OF_BOUND + SYMBOLS_BYTES {
        return Some(format!("{name}: arena {arena} bytes, {most} alive at once"));
    }
    // The report's bound also counts symbols and alignment: it may be a little above, never below.
    let fits = most <= live && live as f64 <= most as f64 * 1.01 + SYMBOLS_BYTES;
    (!fits).then(|| format!("{name}: {most} bytes are alive at once, the report says {live}"))
}

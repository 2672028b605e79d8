//! The command line as users type it: real files in, numbers and labels out.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod bench;
#[path = "../importer/build.rs"]
#[allow(dead_code)]
mod build;
#[path = "../common/mod.rs"]
mod common;
mod describe;
mod files;
mod photo;
mod random;
mod refused;
mod sound;

use build::{F32, encode, graph, model, node, value};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Exit code, standard output, standard error.
fn sinter(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_sinter")).current_dir(dir).args(arguments).output().unwrap();
    let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
    let error = text(&out.stderr);
    assert!(!error.contains("panicked"), "{arguments:?}: {error}");
    (out.status.code().unwrap(), text(&out.stdout), error)
}

/// Standard output of a command that must succeed.
fn ok(dir: &Path, arguments: &[&str]) -> String {
    let (code, out, error) = sinter(dir, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    out
}

/// A command that must fail as the user's fault, saying all of this.
fn refused(dir: &Path, arguments: &[&str], says: &[&str]) {
    let (code, out, error) = sinter(dir, arguments);
    assert_eq!(code, 1, "{arguments:?}: {error}{out}");
    says.iter().for_each(|s| assert!(error.contains(s), "`{s}` is not in: {error}"));
}

/// One output of `run --json`: shape and numbers.
fn output(text: &str, name: &str) -> (Vec<usize>, Vec<f64>) {
    let v: Value = serde_json::from_str(text).unwrap();
    let get = |key: &str| v[name][key].clone();
    (serde_json::from_value(get("shape")).unwrap(), serde_json::from_value(get("data")).unwrap())
}

/// Writes a model `y = |x|` and gives its file name. Dims below zero are open.
fn abs_model(dir: &Path, dims: &[i64]) -> &'static str {
    let g = graph(
        vec![value("x", F32, dims)],
        vec![value("y", F32, dims)],
        vec![],
        vec![node("Abs", &["x"], &["y"], vec![])],
    );
    std::fs::write(dir.join("abs.onnx"), encode(&model(g))).unwrap();
    "abs.onnx"
}

/// The target that a bundle says it was made for.
fn manifest_target(bundle: &Path) -> String {
    let text = std::fs::read_to_string(bundle.join("manifest.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["target"].as_str().unwrap().to_owned()
}

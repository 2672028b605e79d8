//! What a target cannot do: said before anything is written, all of it at once, with the reason and a way out.

use super::{scratch, sinter};
use crate::build::{F32, encode, f32s, graph, model, node, value};
use std::path::Path;

/// A product with 272 KB of weights; the number of rows is open.
fn product(dir: &Path) -> &'static str {
    let weights = f32s("w", &[264, 264], &[0.5; 264 * 264]);
    let nodes =
        vec![node("MatMul", &["x", "w"], &["a"], vec![]), node("MatMul", &["a", "w"], &["y"], vec![])];
    let g = graph(vec![value("x", F32, &[-1, 264])], vec![value("y", F32, &[-1, 264])], vec![weights], nodes);
    std::fs::write(dir.join("product.onnx"), encode(&model(g))).unwrap();
    "product.onnx"
}

/// Compiles for a target with some more options; a limit must be what it fails with, in so many diagnostics.
fn limit(target: &str, options: &[&str], problems: usize, says: &[&str]) {
    let dir = scratch(&format!("refused-{target}"));
    let mut arguments = vec!["compile", product(&dir), "--target", target, "-o", "out"];
    arguments.extend(options);
    let (code, out, error) = sinter(&dir, &arguments);
    assert_eq!(code, 4, "{target}: {error}{out}");
    says.iter().for_each(|s| assert!(error.contains(s), "{target}: `{s}` is not in: {error}"));
    let (told, ways) = (error.matches("limit exceeded: ").count(), error.matches("help: ").count());
    assert!(told >= problems && ways >= problems, "{target}: {told} problems, {ways} ways out: {error}");
    assert!(!dir.join("out").join(target).exists(), "{target}: something was written");
}

#[test]
fn memory_of_chips() {
    let says = ["lm3s6965", "of RAM", "of flash", "--max-ram", "--max-flash", "quantise"];
    limit("lm3s6965", &["--dim", "x.0=1..512"], 2, &says);
    limit(
        "generic-c",
        &["--dim", "x.0=1..4", "--max-ram", "1K", "--max-flash", "4K"],
        2,
        &["of RAM", "of flash"],
    );
}

#[test]
fn memory_of_modules() {
    let says = ["WebAssembly module", "arena", "--dim", "64-bit target"];
    limit("browser-wasm", &["--dim", "x.0=1..3000000"], 1, &says);
}

#[test]
fn levels_of_one_bundle_speak_together() {
    let says = ["x86-64-v2 has", "x86-64-v3 has", "of RAM"];
    limit("x86-64-v3,x86-64-v2", &["--dim", "x.0=1..4", "--max-ram", "1K"], 2, &says);
}

#[test]
fn other_machines() {
    for target in ["aarch64", "riscv64-rv64gc", "windows-x86-64-v3", "iphone-17"] {
        limit(
            target,
            &["--dim", "x.0=1..4", "--max-ram", "1K", "--max-flash", "4K"],
            2,
            &[target, "of RAM", "of flash"],
        );
    }
}

#[test]
fn mixtures() {
    let dir = scratch("refused-mixtures");
    let model = product(&dir);
    for (targets, says) in [
        ("aarch64,x86-64-v3", "cannot share"),
        ("browser-wasm,x86-64-v3", "cannot share"),
        ("z80", "sinter targets"),
    ] {
        let (code, _, error) = sinter(&dir, &["compile", model, "--target", targets, "-o", "out"]);
        assert!(code == 1 && error.contains(says) && error.contains("help"), "{targets}: {error}");
        assert!(!dir.join("out").exists());
    }
}

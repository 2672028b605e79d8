//! Programs that link a bundle: C, C++, Rust, CMake.

use crate::{Model, common, has, run, scratch, sinter};
use sinter::manifest::Manifest;
use sinter_ir::{Tensor, tensor::storage_bytes};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bundle on disk.
pub struct Bundle {
    pub dir: PathBuf,
    pub manifest: Manifest,
}

fn compile(model: &Model, dir: &Path) -> Bundle {
    compile_for(model, dir, "native")
}

/// Compiles a model for a target into a folder.
pub fn compile_for(model: &Model, dir: &Path, target: &str) -> Bundle {
    let options = ["--name", &name(model), "--target", target];
    run(sinter().arg("compile").arg(&model.file).arg("-o").arg(dir).args(options));
    let dir = dir.join(target);
    let manifest = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    Bundle { dir, manifest }
}

fn name(model: &Model) -> String {
    format!("m_{}", model.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

pub fn write_inputs(model: &Model, dir: &Path) -> Vec<PathBuf> {
    let write = |(i, t): (usize, &Tensor)| {
        let path = dir.join(format!("input.{i}"));
        std::fs::write(&path, t.bytes()).unwrap();
        path
    };
    model.inputs.iter().enumerate().map(write).collect()
}

/// Compares output files, at their largest size, with the stored outputs.
pub fn compare(model: &Model, m: &Manifest, prefix: &Path, dims: &[usize]) {
    let mut rest = dims;
    for (i, (want, port)) in model.outputs.iter().zip(&m.outputs).enumerate() {
        let (shape, more) = rest.split_at(port.range.len());
        rest = more;
        let mut bytes = std::fs::read(format!("{}.{i}", prefix.display())).unwrap();
        bytes.truncate(storage_bytes(port.dtype, shape).unwrap());
        let got = Tensor::from_bytes(port.dtype, shape.to_vec(), bytes).unwrap();
        if model.name.contains("qdq") {
            // Stored by a runtime that sums in another order: the best label stays, values move by a step or two.
            let best = |t: &Tensor| {
                let v = t.to_f64().unwrap();
                (0..v.len()).max_by(|&a, &b| v[a].total_cmp(&v[b]))
            };
            assert_eq!((got.shape(), best(&got)), (want.shape(), best(want)), "{} output {i}", model.name);
        } else {
            let full = want.to_f64().unwrap().iter().fold(0f64, |m, v| m.max(v.abs()));
            let result = common::compare(&got, want, 1e-3, 1e-4 * full);
            assert_eq!(result, Ok(()), "{} output {i}", model.name);
        }
    }
    assert!(rest.is_empty());
}

pub fn numbers(line: &str) -> Vec<usize> {
    line.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

/// Defines that fit the host program to a bundle.
pub fn defines(b: &Bundle) -> Vec<String> {
    let m = &b.manifest;
    let maxima: Vec<String> = m.outputs.iter().map(|o| format!("{}u", o.max_bytes)).collect();
    vec![
        format!("HEADER=\"{}.h\"", m.name),
        format!("NAME={}", m.name),
        format!("UP={}", m.name.to_ascii_uppercase()),
        format!("OUTPUT_BYTES={}", maxima.join(",")),
        format!("FIXED={}", u8::from(m.dims.is_empty())),
    ]
}

/// Runs the host, as this command, and compares what it gives.
pub fn run_host(mut program: Command, model: &Model, b: &Bundle, dir: &Path) {
    let weights = b.dir.join(format!("{}.weights", b.manifest.name));
    let prefix = dir.join("output");
    let dims = model.inputs.iter().flat_map(|t| t.shape().iter().map(ToString::to_string));
    let out = run(program.arg(weights).arg(&prefix).args(write_inputs(model, dir)).args(dims));
    let lines: Vec<&str> = out.lines().collect();
    compare(model, &b.manifest, &prefix, &numbers(lines[0]));
    let threads = numbers(lines[1]);
    assert!(threads[0] > 0 && threads[1] > threads[0], "{}: parallel_for was not used", model.name);
}

/// Builds the host with a compiler of C for a system with POSIX.
pub fn build_host(compiler: &mut Command, b: &Bundle, program: &Path) {
    build(compiler.args(["-pedantic", "-pthread"]), "host.c", b, program);
}

/// Builds a host with a compiler of C.
pub fn build(compiler: &mut Command, host: &str, b: &Bundle, program: &Path) {
    run(compiler
        .args(["-O1", "-Wall", "-Wextra", "-Werror"])
        .args(defines(b).iter().map(|d| format!("-D{d}")))
        .arg("-I")
        .arg(&b.dir)
        .arg(common::root().join("compiler/tests/bundle").join(host))
        // As a C file or not, the archive is one.
        .args(["-x", "none"])
        .arg(b.dir.join(format!("lib{}.a", b.manifest.name)))
        .arg("-o")
        .arg(program));
}

/// Builds the host with one compiler and runs it.
fn c_like(model: &str, compiler: &str, flags: &[&str]) {
    if !has(compiler) {
        return;
    }
    let Some(model) = Model::find(model) else { return };
    let dir = scratch(&format!("{compiler}-{}", model.name));
    let b = compile(&model, &dir);
    let program = dir.join("host");
    build_host(Command::new(compiler).args(flags), &b, &program);
    run_host(Command::new(program), &model, &b, &dir);
}

/// Builds the host with the source of a bundle in C.
fn from_source(model: &str) {
    if !has("cc") {
        return;
    }
    let Some(model) = Model::find(model) else { return };
    let dir = scratch(&format!("source-{}", model.name));
    let b = compile_for(&model, &dir, "generic-c");
    let program = dir.join("host");
    run(Command::new("cc")
        .current_dir(&b.dir)
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wno-unused-function"])
        .args(["-Wno-maybe-uninitialized", "-ffp-contract=off", "-pthread"])
        .args(defines(&b).iter().map(|d| format!("-D{d}")))
        .args(["-I", "."])
        .arg(common::root().join("compiler/tests/bundle/host.c"))
        .args([format!("{}.c", b.manifest.name), format!("{}_weights.S", b.manifest.name)])
        .arg("-o")
        .arg(&program));
    run_host(Command::new(program), &model, &b, &dir);
}

#[test]
fn source_of_models() {
    for model in ["slovorez", "oww-embedding", "silero-vad-16k-sequence", "efficientnet-lite0-qdq"] {
        from_source(model);
    }
}

#[test]
fn c_program_static_model() {
    c_like("efficientnet-lite0-qdq", "cc", &["-std=c99"]);
}

#[test]
fn c_program_text_model() {
    c_like("magika-v3.3", "cc", &["-std=c11"]);
}

#[test]
fn c_program_symbolic_dims() {
    c_like("silero-vad", "cc", &["-std=c99"]);
}

#[test]
fn cpp_program() {
    c_like("efficientnet-lite0-qdq", "c++", &["-x", "c++", "-std=c++11"]);
}

#[test]
fn cpp_program_symbolic_dims() {
    c_like("silero-vad", "c++", &["-x", "c++", "-std=c++20"]);
}

const RUST_HOST: &str = r#"
use std::path::Path;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let read = |i: usize| std::fs::read(&args[i]).unwrap();
    let weights = read(1);
    let inputs: Vec<Vec<u8>> = (0..MODEL::INPUTS).map(|i| read(3 + i)).collect();
    let slices: Vec<&[u8]> = inputs.iter().map(|v| v.as_slice()).collect();
    let dims: Vec<i64> = args[3 + MODEL::INPUTS..].iter().map(|a| a.parse().unwrap()).collect();
    assert_eq!(MODEL::Model::new(&weights[1..]).err().map(|e| e.0), Some(3));
    let mut model = MODEL::Model::new(&weights).unwrap();
    let mut wrong: [i64; MODEL::INPUT_DIMS] = dims.clone().try_into().unwrap();
    wrong[0] = -1;
    let inputs: &[&[u8]; MODEL::INPUTS] = slices.as_slice().try_into().unwrap();
    let refused = unsafe { model.run(inputs, &wrong) }.unwrap_err();
    assert!(refused.to_string().contains("dim"), "{refused}");
    let (out, shape) = unsafe { model.run(inputs, &dims.try_into().unwrap()) }.unwrap();
    for (i, bytes) in out.iter().enumerate() {
        std::fs::write(Path::new(&format!("{}.{i}", args[2])), bytes).unwrap();
    }
    for d in shape {
        print!("{d} ");
    }
}
"#;

fn rust(model: &str) {
    let Some(model) = Model::find(model) else { return };
    let dir = scratch(&format!("rust-{}", model.name));
    let b = compile(&model, &dir);
    let m = &b.manifest;
    let app = dir.join("app");
    std::fs::create_dir_all(app.join("src")).unwrap();
    std::fs::write(
        app.join("Cargo.toml"),
        format!(
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n\
             {} = {{ path = \"../native/rust\" }}\n\n[workspace]\n",
            m.name.replace('_', "-")
        ),
    )
    .unwrap();
    std::fs::write(app.join("src/main.rs"), RUST_HOST.replace("MODEL", &m.name)).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(&app)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("RUSTFLAGS", "-Dwarnings"));
    let prefix = dir.join("output");
    let dims = model.inputs.iter().flat_map(|t| t.shape().iter().map(ToString::to_string));
    let out = run(Command::new(dir.join("target/debug/app"))
        .arg(b.dir.join(format!("{}.weights", m.name)))
        .arg(&prefix)
        .args(write_inputs(&model, &dir))
        .args(dims));
    compare(&model, m, &prefix, &numbers(&out));
}

#[test]
fn rust_program() {
    rust("efficientnet-lite0-qdq");
}

#[test]
fn rust_program_symbolic_dims() {
    rust("silero-vad");
}

#[test]
fn cmake_package() {
    if !has("cmake") || !has("make") || !has("cc") {
        return;
    }
    let Some(model) = Model::find("efficientnet-lite0-qdq") else { return };
    let dir = scratch("cmake");
    let b = compile(&model, &dir);
    let n = &b.manifest.name;
    let quoted: Vec<String> = defines(&b).iter().map(|d| format!("\"{}\"", d.replace('"', "\\\""))).collect();
    std::fs::write(
        dir.join("CMakeLists.txt"),
        format!(
            "cmake_minimum_required(VERSION 3.10)\nproject(host C)\nfind_package({n} REQUIRED CONFIG)\n\
             find_package(Threads REQUIRED)\nadd_executable(host host.c)\n\
             target_compile_definitions(host PRIVATE {})\n\
             target_link_libraries(host PRIVATE {n}::{n} Threads::Threads)\n\
             file(WRITE ${{CMAKE_BINARY_DIR}}/weights.txt \"${{{n}_WEIGHTS}}\")\n",
            quoted.join(" ")
        ),
    )
    .unwrap();
    std::fs::copy(common::root().join("compiler/tests/bundle/host.c"), dir.join("host.c")).unwrap();
    let build = dir.join("build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&dir)
        .arg("-B")
        .arg(&build)
        .arg(format!("-D{n}_DIR={}", b.dir.join("cmake").display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    let weights = std::fs::read_to_string(build.join("weights.txt")).unwrap();
    assert!(Path::new(&weights).is_file(), "{weights}");
    run_host(Command::new(build.join("host")), &model, &b, &dir);
}

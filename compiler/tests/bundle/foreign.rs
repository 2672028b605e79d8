//! Bundles for other machines, linked with the tools that their users have: cross compilers of gcc, and zig, which needs no
//! SDK for macOS. What can run here runs, by qemu.

use crate::link::{Bundle, build_host, compile_for, run_host};
use crate::{Model, common, has, scratch};
use object::{Object, ObjectKind};
use std::path::PathBuf;
use std::process::Command;

const MODEL: &str = "silero-vad-16k-sequence";

/// The model, its bundle for a target, and the folder they are in.
fn made(target: &str, tool: &str) -> Option<(Model, Bundle, PathBuf)> {
    let model = Model::find(MODEL)?;
    let dir = scratch(&format!("{tool}-{target}"));
    let b = compile_for(&model, &dir, target);
    Some((model, b, dir))
}

/// Links the host for a target and runs it by qemu.
fn linked_and_run(target: &str, tool: &str, compiler: &mut Command, qemu: &str) {
    let Some((model, b, dir)) = made(target, tool) else { return };
    let program = dir.join("host");
    build_host(compiler.args(["-std=c11", "-static"]), &b, &program);
    let mut run = Command::new(qemu);
    run.arg(program);
    run_host(run, &model, &b, &dir);
}

fn gcc(target: &str, compiler: &str, qemu: &str) {
    if has(compiler) && has(qemu) {
        linked_and_run(target, compiler, &mut Command::new(compiler), qemu);
    }
}

#[test]
fn gcc_for_aarch64() {
    gcc("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64-static");
}

#[test]
fn gcc_for_riscv64() {
    gcc("riscv64-rv64gc", "riscv64-linux-gnu-gcc", "qemu-riscv64-static");
}

/// Zig's compiler of C for a target, from the wheel that `test.sh` installs; says so when it is missing.
fn zig(target: &str) -> Option<Command> {
    let python = common::root().join("target/zig/bin/python");
    let mut zig = Command::new(python);
    zig.args(["-m", "ziglang"]);
    if !zig.arg("version").output().is_ok_and(|o| o.status.success()) {
        common::skip("zig is not installed in target/zig");
        return None;
    }
    let mut zig = Command::new(zig.get_program());
    zig.args(["-m", "ziglang", "cc", "-target", target]);
    Some(zig)
}

#[test]
fn zig_for_musl() {
    if let Some(mut zig) = zig("aarch64-linux-musl").filter(|_| has("qemu-aarch64-static")) {
        linked_and_run("raspberry-pi-4", "zig", &mut zig, "qemu-aarch64-static");
    }
}

#[test]
fn zig_for_macos() {
    let Some(mut zig) = zig("aarch64-macos") else { return };
    let Some((_, b, dir)) = made("apple-m4", "zig") else { return };
    let program = dir.join("host");
    build_host(zig.arg("-std=c11"), &b, &program);
    let bytes = std::fs::read(program).unwrap();
    let file = object::File::parse(bytes.as_slice()).unwrap();
    let is = (file.format(), file.architecture(), file.kind());
    assert_eq!(is, (object::BinaryFormat::MachO, object::Architecture::Aarch64, ObjectKind::Executable));
}

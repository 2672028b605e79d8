//! Bundles for other machines, linked with the tools that their users have: cross compilers of gcc, and zig, which needs no
//! SDK for macOS and Windows. What can run here runs, by qemu or Wine.

use crate::link::{self, Bundle, build_host, compile_for, run_host};
use crate::{Model, common, has, run, scratch};
use object::{Object, ObjectKind};
use std::path::{Path, PathBuf};
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
pub fn zig(target: &str) -> Option<Command> {
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
fn zig_for_riscv64() {
    if let Some(mut zig) = zig("riscv64-linux-musl").filter(|_| has("qemu-riscv64-static")) {
        linked_and_run("riscv64-rv64gc", "zig", &mut zig, "qemu-riscv64-static");
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

/// Links the host for Windows; `None` where the tools are missing.
fn windows(target: &str, triple: &str) -> Option<(Model, Bundle, PathBuf)> {
    let mut zig = zig(triple)?;
    let (model, b, dir) = made(target, "zig")?;
    link::build(zig.arg("-std=c11"), "windows.c", &b, &dir.join("host.exe"));
    Some((model, b, dir))
}

/// Runs a program for Windows on x86-64. Wine keeps what it needs in the build folder.
fn wine(program: &Path) -> Command {
    let mut wine = Command::new("wine");
    wine.arg(program).env("WINEPREFIX", Path::new(env!("CARGO_TARGET_TMPDIR")).join("wine"));
    // Neither a window nor the parts that ask for one.
    let quiet = [
        ("WINEDEBUG", "-all"),
        ("WINEDLLOVERRIDES", "mscoree,mshtml="),
        ("WINEARCH", "win64"),
        ("DISPLAY", ""),
    ];
    wine.envs(quiet);
    wine
}

#[test]
fn zig_for_windows() {
    for target in ["windows-x86-64-v2", "windows-x86-64-v3", "windows-x86-64-v4"] {
        let Some((model, b, dir)) = windows(target, "x86_64-windows-gnu") else { return };
        // Wine runs programs on this machine's processor.
        let lacks =
            sinter_backends::target(target).unwrap().features.iter().find(|f| !sinter::system::host_has(f));
        match lacks {
            Some(feature) => common::skip(&format!("{target}: this machine has no {feature}")),
            None if has("wine") => run_host(wine(&dir.join("host.exe")), &model, &b, &dir),
            None => {}
        }
    }
}

#[test]
fn zig_for_windows_on_arm() {
    let Some((_, _, dir)) = windows("windows-arm64", "aarch64-windows-gnu") else { return };
    let bytes = std::fs::read(dir.join("host.exe")).unwrap();
    let file = object::File::parse(bytes.as_slice()).unwrap();
    let is = (file.format(), file.architecture(), file.kind());
    assert_eq!(is, (object::BinaryFormat::Pe, object::Architecture::Aarch64, ObjectKind::Executable));
}

/// A Rust library for Android with a bundle in it: as far as it goes without Android's own linker.
#[test]
fn rustc_for_android() {
    const TARGET: &str = "aarch64-linux-android";
    let probe = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let there = probe.is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_dir());
    if !there {
        return common::skip(&format!("no rust target {TARGET}"));
    }
    let Some((_, b, dir)) = made("android-arm64-baseline", "rustc") else { return };
    let n = &b.manifest.name;
    let app = dir.join("app");
    std::fs::create_dir_all(app.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[lib]\ncrate-type = [\"staticlib\"]\n\n\
         [dependencies]\n{} = {{ path = \"../android-arm64-baseline/rust\" }}\n\n[workspace]\n",
        n.replace('_', "-")
    );
    std::fs::write(app.join("Cargo.toml"), manifest).unwrap();
    let source = format!(
        "#[no_mangle]\npub extern \"C\" fn weights_are_refused() -> bool {{\n    {n}::Model::new(&[]).is_err()\n}}\n"
    );
    std::fs::write(app.join("src/lib.rs"), source).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "--target", TARGET])
        .current_dir(&app)
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .env("RUSTFLAGS", "-Dwarnings"));
    let library = dir.join("target").join(TARGET).join("debug/libapp.a");
    let symbols = run(Command::new("nm").args(["--defined-only", "--quiet"]).arg(library));
    for wanted in ["weights_are_refused".to_owned(), format!("{n}_init"), format!("{n}_run")] {
        assert!(
            symbols.lines().any(|l| l.ends_with(&format!(" T {wanted}"))),
            "{wanted} is not in the library"
        );
    }
}

//! Foreign processors by emulation: `serve`, built for them and run by qemu. Shared by the tests of several packages.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

use sinter_runtime::remote::Remote;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// A processor that qemu plays.
struct Machine {
    /// First part of the triples of its targets.
    arch: &'static str,
    /// Rust's name for it.
    triple: &'static str,
    linker: &'static str,
    qemu: [&'static str; 2],
}

const MACHINES: [Machine; 2] = [
    Machine {
        arch: "aarch64",
        triple: "aarch64-unknown-linux-musl",
        linker: "rust-lld",
        qemu: ["qemu-aarch64", "qemu-aarch64-static"],
    },
    Machine {
        arch: "riscv64",
        triple: "riscv64gc-unknown-linux-gnu",
        linker: "riscv64-linux-gnu-gcc",
        qemu: ["qemu-riscv64", "qemu-riscv64-static"],
    },
];

/// What qemu should have for a target with these features: no more, so that code that needs more is found out.
fn cpu(arch: &str, features: &[String]) -> &'static str {
    let has = |f: &str| features.iter().any(|x| x == f);
    match arch {
        "aarch64" if has("i8mm") || has("bf16") => "max",
        "aarch64" if has("dotprod") => "neoverse-n1",
        "aarch64" => "cortex-a53",
        _ if has("rvv") => "rv64,v=true,vlen=128,vext_spec=v1.0",
        _ if has("zbb") => "rv64,zba=true,zbb=true",
        _ => "rv64",
    }
}

/// A process that runs bundles for a target of another architecture; without one, why.
pub fn start(triple: &str, features: &[String]) -> Result<Remote, String> {
    let arch = triple.split('-').next().unwrap_or_default();
    let machine = MACHINES.iter().find(|m| m.arch == arch).ok_or(format!("no emulator for {triple}"))?;
    let qemu = qemu(machine).ok_or(format!("{} is not installed", machine.qemu[0]))?;
    let server = server(machine)?;
    let mut command = Command::new(&qemu);
    command.args(["-cpu", cpu(arch, features)]).arg(server);
    Remote::start(command).map_err(|e| format!("{}: {e}", qemu.display()))
}

/// The emulator: the one that `testdata/scripts/qemu.sh` brings before that of the system.
fn qemu(machine: &Machine) -> Option<PathBuf> {
    let own = root().join("target/qemu").join(machine.qemu[0]);
    let all = [own].into_iter().chain(machine.qemu.map(PathBuf::from));
    all.into_iter().find(|q| Command::new(q).arg("--version").output().is_ok())
}

/// Whether it is the emulator that failed, not what ran in it: before version 8, qemu aborts where a block of code begins
/// with the vector instruction vfcvt.rtz.x.f.v.
pub fn gave_up(features: &[String], why: &str) -> bool {
    let old = |m: &Machine| {
        let text = qemu(m).and_then(|q| Command::new(q).arg("--version").output().ok());
        let text = text.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        let major = text.split(" version ").nth(1).and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        major.is_some_and(|v| v < 8)
    };
    features.iter().any(|f| f == "rvv") && why.contains("signal: 6") && old(&MACHINES[1])
}

fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.ancestors().find(|p| p.join("Cargo.lock").is_file()).unwrap()
}

/// Builds `serve` for a machine, once.
fn server(machine: &Machine) -> Result<PathBuf, String> {
    static BUILT: OnceLock<Mutex<BTreeMap<&str, Result<PathBuf, String>>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap();
    built.entry(machine.triple).or_insert_with(|| build(machine)).clone()
}

fn build(machine: &Machine) -> Result<PathBuf, String> {
    let Machine { triple, linker, .. } = machine;
    let root = root();
    let target = root.join("target/emulated");
    let variable = |what: &str| format!("CARGO_TARGET_{}_{what}", triple.to_uppercase().replace('-', "_"));
    let out = Command::new(env!("CARGO"))
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "sinter-runtime",
            "--example",
            "serve",
            "--target",
            triple,
        ])
        .env("CARGO_TARGET_DIR", &target)
        .env(variable("LINKER"), linker)
        .env(variable("RUSTFLAGS"), "-Ctarget-feature=+crt-static")
        .output()
        .map_err(|e| e.to_string())?;
    match out.status.success() {
        true => Ok(target.join(triple).join("debug/examples/serve")),
        false => Err(format!("serve for {triple}: {}", String::from_utf8_lossy(&out.stderr))),
    }
}

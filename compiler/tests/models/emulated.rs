//! Every model on processors that an emulator plays.

use super::bar::{self, MODELS};
use super::common::{self, data, import_with, no_panic, open_dims};
use sinter_ir::target::TargetDesc;

/// `(model, target, why)`: the emulator itself fails. The day that it does not, the line must go.
const EMULATOR_FAILS: &[(&str, &str, &str)] = &[(
    "efficientnet-lite0-qdq",
    "riscv64-rv64gcv",
    "qemu 7.2 aborts in decode_save_opc when it translates vfcvt.rtz.x.f.v",
)];

fn matches(case: &common::Case, held: &bar::Expect, target: &TargetDesc) -> Result<(), String> {
    let mut remote = None;
    for (inputs, outputs) in data(case)? {
        let program = common::program_for(target, import_with(case, open_dims(case, &inputs)?)?)?;
        let (got, sizes) = common::run_emulated(&mut remote, target, &program, &inputs)?;
        println!("{} on {}: code {}", case.name, target.name, sizes.code);
        if got.len() != outputs.len() {
            return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
        }
        for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
            held.bar.check_tensor(g, w).map_err(|e| format!("output {i}: {e}"))?;
        }
    }
    Ok(())
}

fn every_model(name: &str) {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let target = sinter_backends::target(name).unwrap();
    if let Err(why) = common::emulator::start(&target.triple, &target.features) {
        return common::skip(&format!("{name}: {why}"));
    }
    let mut failures = vec![];
    for (case, held) in common::cases(&shared.join("models")).iter().zip(MODELS) {
        let fails = EMULATOR_FAILS.iter().find(|f| (f.0, f.1) == (&case.name, name));
        match (no_panic(|| matches(case, held, target)), fails) {
            (Ok(()), None) => {}
            (Err(e), Some((.., why))) if e.contains("SIGABRT") => {
                common::skip(&format!("{} on {name}: {why}", case.name));
            }
            (Ok(()), Some(_)) => failures.push(format!("{} on {name} runs: strike it off", case.name)),
            (Err(e), _) => failures.push(format!("{} on {name}: {e}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn aarch64() {
    every_model("aarch64");
}

#[test]
fn aarch64_with_dot_products() {
    every_model("aarch64-v8.2");
}

#[test]
fn riscv64_without_vectors() {
    every_model("riscv64-rv64gc");
}

#[test]
fn riscv64_with_vectors() {
    every_model("riscv64-rv64gcv");
}

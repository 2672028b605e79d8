//! Every model on processors that an emulator plays.

use super::bar::{self, MODELS};
use super::common::{self, data, import_with, no_panic, open_dims};
use sinter_ir::target::TargetDesc;
use sinter_passes::compress::Recipe;
use sinter_passes::pipeline::{self, PipelineOptions};

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
    models_on(name, &|_| true);
}

fn models_on(name: &str, which: &dyn Fn(&str) -> bool) {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let target = sinter_backends::target(name).unwrap();
    if let Err(why) = common::emulator::start(&target.triple, &target.features) {
        return common::skip(&format!("{name}: {why}"));
    }
    let mut failures = vec![];
    let cases = common::cases(&shared.join("models"));
    for (case, held) in cases.iter().zip(MODELS).filter(|(c, _)| which(&c.name)) {
        match no_panic(|| matches(case, held, target)) {
            Ok(()) => {}
            Err(e) if common::emulator::gave_up(&target.features, &e) => {
                common::skip(&format!("{} on {name}: qemu is too old: {e}", case.name));
            }
            Err(e) => failures.push(format!("{} on {name}: {e}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn aarch64() {
    every_model("aarch64");
}

/// Networks of bytes by dot products; others are as on every processor.
#[test]
fn aarch64_with_dot_products() {
    models_on("aarch64-v8.2", &|name| name.ends_with("-qdq") || name.ends_with("-int4"));
}

/// A language model with weights of four bits and activations of bytes: the same codes as on this machine, whose sums
/// are exact; scales are applied in f32.
#[test]
fn four_bits_on_aarch64() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let cases = common::cases(&shared.join("models"));
    let Some(case) = cases.iter().find(|c| c.name == "stories260k-dynamo18") else {
        return common::skip("stories260k not found");
    };
    let (inputs, _) = data(case).unwrap().swap_remove(0);
    let compiled = |target: &TargetDesc| {
        let mut options = PipelineOptions { compress: Recipe::parse("w4").unwrap(), ..Default::default() };
        let module = import_with(case, open_dims(case, &inputs).unwrap()).unwrap();
        pipeline::run(module, &mut options, target).unwrap().program.unwrap()
    };
    let want = common::run_native(&compiled(sinter::driver::native().unwrap()), &inputs).unwrap().0;
    for name in ["aarch64", "aarch64-v8.2", "aarch64-v8.6"] {
        let target = sinter_backends::target(name).unwrap();
        if let Err(why) = common::emulator::start(&target.triple, &target.features) {
            return common::skip(&format!("{name}: {why}"));
        }
        let program = compiled(target);
        assert!(program.kernels.iter().any(|k| k.name.starts_with("quantized_4")), "{name}");
        let got = common::run_emulated(&mut None, target, &program, &inputs).unwrap().0;
        for (g, w) in got.iter().zip(&want) {
            let full = w.to_f64().unwrap().iter().fold(0f64, |m, v| m.max(v.abs()));
            assert_eq!(common::compare(g, w, 1e-3, 1e-4 * full), Ok(()), "{name}");
        }
    }
}

/// With everything that there is: networks of bytes by products of small matrices.
#[test]
fn aarch64_with_matrix_products() {
    every_model("aarch64-v8.6");
}

#[test]
fn riscv64_without_vectors() {
    every_model("riscv64-rv64gc");
}

#[test]
fn riscv64_with_vectors() {
    every_model("riscv64-rv64gcv");
}

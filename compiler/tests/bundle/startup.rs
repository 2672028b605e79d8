//! Memory of a C program that maps a bundle's weights, initialises it and runs it once.

use crate::{Model, common, has, run, scratch, sinter};
use sinter::manifest::{Manifest, PortInfo};
use std::process::Command;

/// What a process may have beyond weights, arena, inputs and outputs: the C library, its stack, the code.
const BEYOND: u64 = 2_000_000;

fn check(name: &str) {
    let Some(model) = Model::find(name).filter(|_| has("cc")) else { return };
    let dir = scratch(&format!("startup-{name}"));
    run(sinter().arg("compile").arg(&model.file).args(["--name", "m", "-o"]).arg(&dir));
    let bundle = dir.join("native");
    let m: Manifest = serde_json::from_slice(&std::fs::read(bundle.join("manifest.json")).unwrap()).unwrap();
    let bytes =
        |ports: &[PortInfo]| ports.iter().map(|p| format!("{}u", p.max_bytes)).collect::<Vec<_>>().join(",");
    let defines = [
        "HEADER=\"m.h\"".to_owned(),
        "NAME=m".to_owned(),
        "UP=M".to_owned(),
        format!("INPUT_BYTES={}", bytes(&m.inputs)),
        format!("OUTPUT_BYTES={}", bytes(&m.outputs)),
    ];
    let program = dir.join("startup");
    run(Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(&bundle)
        .args(defines.iter().map(|d| format!("-D{d}")))
        .arg(common::root().join("testdata/scripts/startup.c"))
        .arg(bundle.join("libm.a"))
        .arg("-o")
        .arg(&program));
    let dims = model.inputs.iter().flat_map(|t| t.shape()).map(ToString::to_string);
    let told = run(Command::new(&program).arg(bundle.join("m.weights")).args(dims));
    let [_, _, code, peak] = told.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert_eq!(code, "0", "{name}");
    let ports: u64 = m.inputs.iter().chain(&m.outputs).map(|p| p.max_bytes).sum();
    let bound = m.weights_bytes + m.arena_bytes + ports + BEYOND;
    let peak: u64 = peak.parse().unwrap();
    assert!(peak > 0, "the program could not tell");
    assert!(peak <= bound, "{name}: {peak} bytes resident, bound {bound}");
}

#[test]
fn resident_memory_of_an_image_model() {
    check("efficientnet-lite0-qdq");
}

#[test]
fn resident_memory_of_a_small_model() {
    check("oww-embedding");
}

#[test]
fn resident_memory_of_a_text_model() {
    check("magika-v3.3");
}

//! Bundles for several levels of instruction sets: each level, chosen by init, computes what a bundle for it alone does.

use crate::{Model, common, run, scratch, sinter};
use sinter::driver::{self, Levels, Request};
use sinter::manifest::Manifest;
use sinter::session::Session;
use sinter_ir::Tensor;
use sinter_runtime::{Aligned, Image};

const LEVELS: &str = "x86-64-v2,x86-64-v3,x86-64-v4,x86-64-v4+avx512vnni";

fn bundle(model: &Model, targets: &str, lacking: &[&str]) -> driver::Bundle {
    let request = Request {
        model: model.file.clone(),
        targets: vec![targets.into()],
        lacking: lacking.iter().map(|f| (*f).to_owned()).collect(),
        ..Request::default()
    };
    driver::compile(&request, &|_| {}).unwrap().bundles.remove(0)
}

fn session(b: &driver::Bundle) -> sinter_ir::Result<Session> {
    let n = &b.manifest.name;
    let weights = Image::Heap(Aligned::copy_of(&b.files[&format!("{n}.weights")]).unwrap());
    Session::new(b.manifest.clone(), &b.files[&format!("lib{n}.a")], weights, 1)
}

fn bytes(outputs: &[Tensor]) -> Vec<Vec<u8>> {
    outputs.iter().map(|t| t.bytes().to_vec()).collect()
}

/// Feature by feature, what the strongest level that is left needs is taken away until nothing fits.
fn check(name: &str) {
    let Some(model) = Model::find(name) else { return };
    let levels = Levels::parse(LEVELS).unwrap();
    let mut lacking: Vec<&str> = vec![];
    for (i, level) in levels.targets.iter().enumerate() {
        let fits = level.features.iter().all(|f| sinter::system::host_has(f));
        if fits {
            let own = session(&bundle(&model, &level.name, &[])).unwrap().run(&model.inputs).unwrap();
            let fat = session(&bundle(&model, LEVELS, &lacking)).unwrap().run(&model.inputs).unwrap();
            assert!(bytes(&own) == bytes(&fat), "{name}: {} differs in a bundle with others", level.name);
        }
        // What this level has and no weaker one.
        let weaker = &levels.targets[i + 1..];
        let only = level.features.iter().find(|f| weaker.iter().all(|w| !w.has(f)));
        lacking.push(only.expect("every level adds something"));
    }
    let refused = session(&bundle(&model, LEVELS, &lacking)).err().expect("nothing fits");
    assert!(refused.message.contains("lacks instructions"), "{refused}");
    assert!(refused.message.contains("code 6"), "{refused}");
}

#[test]
fn every_level_of_a_convolution_network() {
    check("ppocrv2-cls");
}

#[test]
fn every_level_with_branches_and_symbolic_dims() {
    check("silero-vad");
}

/// What the manifest and the report say of levels fits the files.
#[test]
fn told_in_manifest_header_and_report() {
    let Some(model) = Model::find("ppocrv2-cls") else { return };
    let dir = scratch("levels");
    // A comma or a second flag: the same.
    let flags = ["--target", "x86-64-v2,x86-64-v4", "--target", "x86-64-v3"];
    run(sinter().arg("compile").arg(&model.file).args(flags).args(["--name", "m", "-o"]).arg(&dir));
    let dir = dir.join("x86-64-v2,x86-64-v4,x86-64-v3");
    let m: Manifest = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(m.target, "x86-64-v4,x86-64-v3,x86-64-v2");
    let names: Vec<&str> = m.levels.iter().map(|l| l.target.as_str()).collect();
    assert_eq!(names.join(","), m.target);
    assert_eq!(m.features, m.levels[2].features, "every level needs what the weakest needs");
    let header = std::fs::read_to_string(dir.join("m.h")).unwrap();
    assert!(header.contains("x86-64-v4, x86-64-v3, x86-64-v2"), "{header}");

    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap();
    let kernels = report["kernels"].as_array().unwrap();
    for l in &m.levels {
        let own = kernels.iter().filter(|k| k["level"] == l.target.as_str());
        let code: u64 = own.map(|k| k["code_bytes"].as_u64().unwrap()).sum();
        assert!(code > 0 && code < l.code_bytes, "{}: kernels {code} of {}", l.target, l.code_bytes);
        assert!(l.own_weights_bytes <= l.weights_bytes && l.weights_bytes <= m.weights_bytes, "{l:?}");
        assert!(l.arena_bytes <= m.arena_bytes, "{l:?}");
    }
    let levels: u64 = m.levels.iter().map(|l| l.code_bytes).sum();
    assert!(levels < m.code_bytes);
    assert_eq!(m.levels.iter().map(|l| l.arena_bytes).max(), Some(m.arena_bytes));
    // Something is shared: the section is smaller than one for each.
    assert!(m.weights_bytes < m.levels.iter().map(|l| l.weights_bytes).sum(), "{:?}", m.levels);
    let own: u64 = m.levels.iter().map(|l| l.own_weights_bytes).sum();
    assert!(own < m.weights_bytes, "nothing is shared: {:?}", m.levels);
}

#[test]
fn levels_that_cannot_be_told_apart() {
    let model = common::root().join("testdata/models");
    let Some(case) = common::cases(&model).into_iter().next() else { panic!("no models in testdata") };
    let dir = scratch("same-levels");
    let out = sinter()
        .arg("compile")
        .arg(&case.model)
        .args(["--target", "x86-64-v3,haswell", "-o"])
        .arg(&dir)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("one would never be chosen"), "{out:?}");
}

//! Choices that are measured, and code that is to be small.

use crate::reproducible::{assert_same, files};
use crate::{Model, common, run, scratch, sinter};
use sinter::driver::{self, Request};
use sinter::session::Session;
use sinter::tune::{Answers, Tuned};
use sinter_ir::Tensor;
use sinter_runtime::{Aligned, Image};
use std::path::Path;

fn outputs(b: &driver::Bundle, inputs: &[Tensor]) -> Vec<Tensor> {
    let n = &b.manifest.name;
    let weights = Image::Heap(Aligned::copy_of(&b.files[&format!("{n}.weights")]).unwrap());
    Session::new(b.manifest.clone(), &b.files[&format!("lib{n}.a")], weights, 1).unwrap().run(inputs).unwrap()
}

fn bundle(request: Request) -> driver::Bundle {
    driver::compile(&request, &|_| {}).unwrap().bundles.remove(0)
}

fn close(got: &[Tensor], want: &[Tensor]) {
    for (got, want) in got.iter().zip(want) {
        assert_eq!(common::compare(got, want, 1e-3, 1e-4), Ok(()));
    }
}

/// What was measured once gives the same bytes again, from either of the files that tell it.
#[test]
fn measured_once() {
    let Some(model) = Model::find("slovorez") else { return };
    let dir = scratch("tuned");
    let compile = |out: &str, flags: &[&str]| {
        run(sinter()
            .arg("compile")
            .arg(&model.file)
            .args(flags)
            .args(["--name", "m", "-o", out])
            .current_dir(&dir));
        files(&dir.join(out))
    };
    let inputs = model.file.parent().unwrap().join("test_data_set_0");
    let tuned = compile("a", &["--tune", "--tune-seconds", "2", "--tune-inputs", inputs.to_str().unwrap()]);
    assert_same("slovorez", "tuned.json", &tuned, &compile("b", &["--tuned", "a/native/tuned.json"]));
    assert_same("slovorez", "manifest", &tuned, &compile("c", &["--tuned", "a/native/manifest.json"]));
    let told: Tuned = serde_json::from_slice(&tuned[Path::new("native/tuned.json")]).unwrap();
    let [answers] = told.tuned.values().collect::<Vec<_>>()[..] else { panic!("{told:?}") };
    assert!(!answers.is_empty());
}

/// Answers reach the code: others than the cost model's give other code and the same results.
#[test]
fn answers_are_followed() {
    let Some(model) = Model::find("slovorez") else { return };
    let target = driver::native().unwrap().name.clone();
    let request = Request { model: model.file.clone(), targets: vec![target.clone()], ..Request::default() };
    let plain = bundle(request.clone());
    assert!(plain.manifest.tuned.is_empty(), "nothing was measured");
    let with =
        |answers: &Answers| Request { tuned: [(target.clone(), answers.clone())].into(), ..request.clone() };
    // Which questions there are, from a measurement that ends after the first candidates.
    let how =
        sinter::tune::Tuning { seconds: 0.0, inputs: model.file.parent().map(|d| d.join("test_data_set_0")) };
    let asked = bundle(Request { tune: Some(how), ..request.clone() }).manifest.tuned[&target].clone();
    let archive = |b: &driver::Bundle| b.files[&format!("lib{}.a", b.manifest.name)].clone();
    assert!(archive(&bundle(with(&asked))) == archive(&plain), "the cost model's own answers change nothing");
    let smaller: Answers = asked.iter().map(|(q, [mr, nv])| (q.clone(), [(*mr / 2).max(1), *nv])).collect();
    let other = bundle(with(&smaller));
    assert!(archive(&other) != archive(&plain));
    close(&outputs(&other, &model.inputs), &outputs(&plain, &model.inputs));
    // An answer to a question that nobody asks is told.
    let strange: Answers = [("f32 rows 0 1 x 1 lanes 3".to_owned(), [1, 1])].into();
    let told = driver::compile(&with(&strange), &|_| {}).unwrap();
    assert!(told.warnings.iter().any(|w| w.contains("1 of the tuned choices")), "{:?}", told.warnings);
}

/// Files without choices are refused.
#[test]
fn files_that_tell_nothing() {
    let Some(model) = Model::find("slovorez") else { return };
    let dir = scratch("not-tuned");
    for (text, why) in [
        ("{}", "holds no choices"),
        ("[1", "invalid type"),
        ("{\"tuned\":{\"x\":{\"q\":[1]}}}", "invalid length"),
    ] {
        std::fs::write(dir.join("t.json"), text).unwrap();
        let mut c = sinter();
        let out =
            c.arg("compile").arg(&model.file).args(["--tuned", "t.json", "-o", "out"]).current_dir(&dir);
        let out = out.output().unwrap();
        assert_eq!(out.status.code(), Some(1), "{text}");
        assert!(String::from_utf8_lossy(&out.stderr).contains(why), "{text}: {out:?}");
    }
}

/// Small code is smaller by a fifth at least, and computes the same.
#[test]
fn small_code() {
    let Some(model) = Model::find("ppocrv2-cls") else { return };
    let request = Request { model: model.file.clone(), targets: vec!["native".into()], ..Request::default() };
    let plain = bundle(request.clone());
    let small = bundle(Request { opt_size: true, ..request });
    assert!(plain.manifest.code_bytes <= 100_000, "{}", plain.manifest.code_bytes);
    let (small_bytes, plain_bytes) = (small.manifest.code_bytes, plain.manifest.code_bytes);
    assert!(small_bytes * 5 <= plain_bytes * 4, "{small_bytes} of {plain_bytes}");
    close(&outputs(&small, &model.inputs), &outputs(&plain, &model.inputs));
}

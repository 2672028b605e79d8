//! `--dump-ir`, `--stop-after`, `--start-from`: a compilation that is interrupted gives the bundle that it gives in one
//! go, byte for byte.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{cases, no_panic, parallel};
use sinter::driver::{self, Request};
use sinter_passes::compress::Recipe;
use sinter_passes::pipeline::{self, ASSEMBLE, PASSES};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dumps").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn request(model: &Path) -> Request {
    Request { model: model.to_owned(), targets: vec!["native".into()], ..Request::default() }
}

/// All files of the only bundle.
fn bundle(request: &Request) -> Result<BTreeMap<String, bytes::Bytes>, String> {
    let out = driver::compile(request, &|_| {}).map_err(|d| d[0].to_string())?;
    Ok(out.bundles.into_iter().next().ok_or("no bundle")?.files)
}

/// The dumped file to start with so that `pass` is the next one.
fn text_before(pass: usize) -> String {
    let name = if pass == 0 { "import" } else { PASSES[pass - 1].name };
    format!("{pass:02}-{name}.mir")
}

/// Number of passes up to and with `fold`, the one before `ranges`.
fn past_fold() -> usize {
    pipeline::position("ranges").unwrap()
}

/// Compiles in one go with a dump, then from the dump starting with each of these passes. Models that do not compile
/// are left out; gives the number of bundles compared.
fn interrupted(model: &Path, dir: &Path, passes: &[usize]) -> Result<usize, String> {
    let mut whole = request(model);
    whole.dump_ir = Some(dir.to_owned());
    let Ok(want) = bundle(&whole) else { return Ok(0) };
    if want != bundle(&request(model))? {
        return Err("the dump changes the bundle".into());
    }
    for &p in passes {
        let name = PASSES.get(p).map_or(ASSEMBLE, |p| p.name);
        let mut rest = request(&dir.join(text_before(p)));
        rest.start_from = Some(name.to_owned());
        let got = bundle(&rest).map_err(|e| format!("from {name}: {e}"))?;
        for (file, bytes) in &want {
            if got.get(file) != Some(bytes) {
                return Err(format!("from {name}: {file} differs"));
            }
        }
        if got.len() != want.len() {
            return Err(format!("from {name}: other files"));
        }
    }
    Ok(passes.len())
}

#[test]
fn a_real_model_goes_on_from_passes() {
    let model = common::root().join("testdata/models/efficientnet-lite0-qdq/model.onnx");
    let done = interrupted(&model, &scratch("efficientnet"), &[0, 5, PASSES.len()]);
    assert_eq!(done, Ok(3));
}

/// Every eighth case of the suite, each from another pass; all with control flow from every pass.
#[test]
fn suite_goes_on_from_every_pass() {
    let Some(suite) = common::suite() else { return common::skip("ONNX backend suite not found") };
    let control = ["_if", "_loop", "_scan", "_nonzero", "_range_"];
    let jobs: Vec<(common::Case, Vec<usize>)> = cases(&suite.join("node"))
        .into_iter()
        .enumerate()
        .filter_map(|(i, c)| match control.iter().any(|n| c.name.contains(n)) {
            true => Some((c, (0..=PASSES.len()).collect())),
            false => (i % 8 == 0).then(|| (c, vec![i / 8 % (PASSES.len() + 1)])),
        })
        .collect();
    let dir = scratch("suite");
    let results = parallel(&jobs, |(c, p)| no_panic(|| interrupted(&c.model, &dir.join(&c.name), p)));
    let wrong: Vec<String> = jobs
        .iter()
        .zip(&results)
        .filter_map(|(j, r)| Some(format!("{}: {}", j.0.name, r.as_ref().err()?)))
        .collect();
    let compared: usize = results.iter().filter_map(|r| r.as_ref().ok()).sum();
    println!("{compared} bundles of {} cases", jobs.len());
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 300, "only {compared} bundles were compared");
}

const TEXT: &str = r#"sinter-graph 1
module "tiny"
graph(%0 "x": f32[4, 4]) {
  %1: f32[4, 4] = Constant [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16] ()
  %2 "y": f32[4, 4] = MatMul (%0, %1) ; "matmul (MatMul)"
  return %2
}
"#;

/// Runs the command.
fn sinter(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sinter")).args(args).current_dir(dir).output().unwrap()
}

/// Runs the command, which must fail with this text; gives its exit code.
#[track_caller]
fn failure(args: &[&str], dir: &Path, text: &str) -> Option<i32> {
    let out = sinter(args, dir);
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && error.contains(text), "{error}");
    out.status.code()
}

/// The request is wrong.
#[track_caller]
fn refused(args: &[&str], dir: &Path, text: &str) {
    assert_eq!(failure(args, dir, text), Some(1));
}

fn names(dir: &Path) -> Vec<String> {
    let mut list: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    list.sort();
    list
}

#[test]
fn commands() {
    let dir = scratch("commands");
    std::fs::write(dir.join("tiny.mir"), TEXT).unwrap();
    let run = |args: &[&str]| {
        let out = sinter(args, &dir);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    // A text without a dump around it has no past: all passes run on it.
    run(&["compile", "tiny.mir", "-o", "whole", "--dump-ir", "ir", "--verify-each"]);
    run(&["compile", "tiny.mir", "-o", "stopped", "--dump-ir", "head", "--stop-after", "fold"]);
    assert!(!dir.join("stopped").exists(), "no bundle where the compilation stops");
    let until_fold = past_fold();
    let texts = (1..=until_fold).map(text_before);
    let expected: Vec<String> = texts.chain(["constants.bin", "dump.json"].map(Into::into)).collect();
    assert_eq!(names(&dir.join("head")), expected);
    assert_eq!(names(&dir.join("ir")).len(), PASSES.len() + 3);
    let head = format!("head/{}", text_before(until_fold));
    let from = ["compile", &head, "-o", "rest", "--start-from", "ranges", "--dump-ir", "tail"];
    run(&from);
    let files = |folder: &str| {
        let dir = dir.join(folder).join("native");
        names(&dir)
            .into_iter()
            .filter(|n| dir.join(n).is_file())
            .map(|n| (n.clone(), std::fs::read(dir.join(n)).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(files("whole"), files("rest"));
    assert_eq!(names(&dir.join("tail")).len(), PASSES.len() - until_fold + 3);
    let last = |folder: &str| std::fs::read(dir.join(folder).join(text_before(PASSES.len()))).unwrap();
    assert_eq!(last("ir"), last("tail"));
}

#[test]
fn an_edited_text_is_its_own_source() {
    let dir = scratch("edited");
    std::fs::write(dir.join("tiny.mir"), TEXT).unwrap();
    let mut first = request(&dir.join("tiny.mir"));
    first.dump_ir = Some(dir.join("ir"));
    let manifest = |r: &Request| driver::compile(r, &|_| {}).unwrap().bundles[0].manifest.clone();
    let sources = |r: &Request| manifest(r).sources;
    assert_eq!(sources(&first).into_keys().collect::<Vec<_>>(), ["constants.bin", "tiny.mir"]);
    let mut rest = request(&dir.join("ir").join(text_before(past_fold())));
    rest.start_from = Some("ranges".into());
    assert_eq!(sources(&rest), sources(&first));
    assert_eq!(manifest(&rest).flags, BTreeMap::new());
    // Leaving out passes is said.
    let mut later = rest.clone();
    later.start_from = Some("cse".into());
    assert_eq!(manifest(&later).flags["start-from"], "cse");
    later.compress = Recipe::parse("w4").unwrap();
    assert!(driver::compile(&later, &|_| {}).unwrap_err()[0].message.contains("--start-from"));
    let text = std::fs::read_to_string(&rest.model).unwrap();
    std::fs::write(&rest.model, text.replace("matmul (MatMul)", "other (MatMul)")).unwrap();
    assert_eq!(
        sources(&rest).into_keys().collect::<Vec<_>>(),
        [text_before(past_fold()), "constants.bin".into()]
    );
    assert_eq!(manifest(&rest).flags["start-from"], "ranges");
}

/// What passes made is there to be looked at when a later step refuses the module.
#[test]
fn a_failing_compilation_leaves_its_dump() {
    let dir = scratch("failing");
    let text = r#"sinter-graph 1 module "texts" graph(%0 "x": str[2]) {
        %1 "y": f32[2] = Cast {"saturate":true,"to":"f32"} (%0) ; "number (Cast)" return %1 }"#;
    std::fs::write(dir.join("tiny.mir"), text).unwrap();
    let out = sinter(&["compile", "tiny.mir", "-o", "out", "--dump-ir", "ir"], &dir);
    assert_eq!(out.status.code(), Some(3), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(dir.join("ir").join(text_before(PASSES.len())).is_file() && dir.join("ir/dump.json").is_file());
    assert!(!dir.join("out").exists());
}

#[test]
fn wrong_requests_are_explained() {
    let dir = scratch("wrong");
    std::fs::write(dir.join("tiny.mir"), TEXT).unwrap();
    std::fs::write(dir.join("cut.mir"), &TEXT[..TEXT.len() / 2]).unwrap();
    std::fs::write(dir.join("unsound.mir"), TEXT.replace("\"y\": f32[4, 4]", "\"y\": f32[4, 5]")).unwrap();
    std::fs::write(
        dir.join("elsewhere.mir"),
        TEXT.replace("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]", "@64"),
    )
    .unwrap();
    std::fs::write(dir.join("model.onnx"), "").unwrap();
    let compile = |more: &[&'static str]| [&["compile", "-o", "out"], more].concat();
    refused(&compile(&["tiny.mir", "--start-from", "nothing"]), &dir, "passes: dce, captures");
    refused(&compile(&["tiny.mir", "--stop-after", "nothing"]), &dir, "no pass `nothing`");
    refused(&compile(&["tiny.mir", "--start-from", "cse", "--stop-after", "fold"]), &dir, "comes before");
    refused(
        &compile(&["tiny.mir", "--start-from", "cse", "--stop-after", "compress"]),
        &dir,
        "cannot start behind compress",
    );
    refused(&compile(&["tiny.mir", "--dim", "n=1"]), &dir, "has its dims");
    refused(&compile(&["model.onnx", "--start-from", "cse"]), &dir, "needs a dumped module");
    refused(&compile(&["cut.mir"]), &dir, "cut.mir: line");
    refused(&compile(&["unsound.mir"]), &dir, "the shape rule gives f32[4, 4]");
    refused(&compile(&["elsewhere.mir"]), &dir, "constant @64");
    let unwritable = compile(&["tiny.mir", "--dump-ir", "tiny.mir/ir"]);
    assert_eq!(failure(&unwritable, &dir, "cannot create tiny.mir/ir"), Some(5));
    assert!(!dir.join("out").exists(), "no partial bundle");
}

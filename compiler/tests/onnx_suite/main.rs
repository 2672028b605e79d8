//! The ONNX backend suite in the evaluator and as machine code, with ignore lists that must stay true and a table of
//! what passes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod outcome;
mod table;

use outcome::{Runner, outcomes};

/// Runs a folder of the suite against its ignore list: `case reason` per line. An ignored case that passes fails the
/// test, like one that is not ignored and fails. `BLESS=1` rewrites the list.
fn suite(folder: &'static str, runner: Runner, at_least: usize) {
    if runner == Runner::Browser && !common::browser::there() {
        return;
    }
    let Some(results) = outcomes(folder, runner) else { return common::skip("ONNX backend suite not found") };
    let passed = results.iter().filter(|r| r.error.is_none()).count();
    println!("{}: {passed} of {} {folder} cases pass", runner.name(), results.len());
    // One list for all machine code: elsewhere passes what passes here.
    let list = if runner == Runner::Evaluator { runner } else { Runner::Native };
    let file = common::root().join(format!("testdata/ignore/onnx-{folder}-{}.txt", list.name()));
    let failures: Vec<String> =
        results.iter().filter_map(|r| Some(format!("{} {}", r.case, short(r.error.as_ref()?)))).collect();
    if std::env::var("BLESS").is_ok() && list == runner {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, failures.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    }
    let ignored = std::fs::read_to_string(&file).unwrap_or_default();
    let name = |l: &str| l.split(' ').next().unwrap_or("").to_owned();
    let known: Vec<String> = ignored.lines().map(name).collect();
    let broken: Vec<&String> = failures.iter().filter(|l| !known.contains(&name(l))).collect();
    let fixed: Vec<&String> =
        known.iter().filter(|k| !results.iter().any(|r| r.case == **k && r.error.is_some())).collect();
    assert!(broken.is_empty(), "cases that are not ignored fail:\n{broken:#?}");
    assert!(fixed.is_empty(), "ignored cases pass or do not exist, take them off the list: {fixed:?}");
    assert!(!failures.iter().any(|l| l.contains("PANIC")), "a case panics");
    assert!(passed >= at_least, "{passed} cases pass, {at_least} are needed");
}

/// One line of bounded length.
fn short(e: &str) -> String {
    e.lines().next().unwrap_or("").chars().take(160).collect()
}

#[test]
fn node_cases_in_the_evaluator() {
    suite("node", Runner::Evaluator, 1500);
}

#[test]
fn node_cases_native() {
    suite("node", Runner::Native, 1300);
}

#[test]
fn node_cases_in_the_browser() {
    suite("node", Runner::Browser, 1300);
}

#[test]
fn other_cases_in_the_browser() {
    for (folder, at_least) in [("simple", 26), ("pytorch-converted", 82), ("pytorch-operator", 35)] {
        suite(folder, Runner::Browser, at_least);
    }
}

#[test]
fn node_cases_on_aarch64() {
    let target = outcome::aarch64();
    match common::emulator::start(&target.triple, &target.features) {
        Ok(_) => suite("node", Runner::Aarch64, 1300),
        Err(why) => common::skip(&format!("node cases on aarch64: {why}")),
    }
}

#[test]
fn simple_cases() {
    suite("simple", Runner::Evaluator, 26);
    suite("simple", Runner::Native, 26);
}

#[test]
fn pytorch_converted_cases() {
    suite("pytorch-converted", Runner::Evaluator, 82);
    suite("pytorch-converted", Runner::Native, 82);
}

#[test]
fn pytorch_operator_cases() {
    suite("pytorch-operator", Runner::Evaluator, 35);
    suite("pytorch-operator", Runner::Native, 35);
}

//! The ONNX backend suite in the evaluator, with ignore lists that must stay true.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{Case, cases, compare, data, import, no_panic, parallel};

fn evaluate(case: &Case) -> Result<(), String> {
    no_panic(|| {
        for (inputs, outputs) in data(case)? {
            let (imported, inputs) = import(case, inputs)?;
            if let Some(d) = imported.module.verify().first() {
                return Err(format!("verifier: {d}"));
            }
            let got = sinter_ir::eval::module(&imported.module, &inputs).map_err(|d| d.to_string())?;
            if got.len() != outputs.len() {
                return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
            }
            for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
                compare(g, w, case.rtol, case.atol).map_err(|e| format!("output {i}: {e}"))?;
            }
        }
        Ok(())
    })
}

fn compile_and_run(case: &Case) -> Result<(), String> {
    no_panic(|| {
        for (inputs, outputs) in data(case)? {
            let (imported, inputs) = import(case, inputs)?;
            let got = common::native(imported.module, &inputs)?;
            if got.len() != outputs.len() {
                return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
            }
            for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
                compare(g, w, case.rtol, case.atol).map_err(|e| format!("output {i}: {e}"))?;
            }
        }
        Ok(())
    })
}

/// Runs a folder of the suite against its ignore list: `case reason` per line. An ignored case that passes fails the
/// test, like one that is not ignored and fails. `BLESS=1` rewrites the list.
fn suite(folder: &str, runner: &str, f: fn(&Case) -> Result<(), String>, at_least: usize) {
    let Some(suite) = common::suite() else { return common::skip("ONNX backend suite not found") };
    let list = cases(&suite.join(folder));
    let results = parallel(&list, f);
    let passed = results.iter().filter(|r| r.is_ok()).count();
    println!("{runner}: {passed} of {} {folder} cases pass", list.len());
    let file = common::root().join(format!("testdata/ignore/onnx-{folder}-{runner}.txt"));
    let failures: Vec<String> = list
        .iter()
        .zip(&results)
        .filter_map(|(c, r)| Some(format!("{} {}", c.name, reason(r.as_ref().err()?))))
        .collect();
    if std::env::var("BLESS").is_ok() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, failures.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
    }
    let ignored = std::fs::read_to_string(&file).unwrap_or_default();
    let name = |l: &str| l.split(' ').next().unwrap_or("").to_owned();
    let known: Vec<String> = ignored.lines().map(name).collect();
    let broken: Vec<&String> = failures.iter().filter(|l| !known.contains(&name(l))).collect();
    let fixed: Vec<&String> =
        known.iter().filter(|k| list.iter().zip(&results).any(|(c, r)| c.name == **k && r.is_ok())).collect();
    assert!(broken.is_empty(), "cases that are not ignored fail:\n{broken:#?}");
    assert!(fixed.is_empty(), "ignored cases pass, take them off the list: {fixed:?}");
    assert!(!failures.iter().any(|l| l.contains("PANIC")), "a case panics");
    assert!(passed >= at_least, "{passed} cases pass, {at_least} are needed");
}

/// One line, without names of values that change from run to run.
fn reason(e: &str) -> String {
    e.lines().next().unwrap_or("").chars().take(160).collect()
}

#[test]
fn node_cases_in_the_evaluator() {
    suite("node", "evaluator", evaluate, 1500);
}

#[test]
fn node_cases_native() {
    suite("node", "native", compile_and_run, 1300);
}

#[test]
fn simple_cases_in_the_evaluator() {
    suite("simple", "evaluator", evaluate, 26);
}

#[test]
fn simple_cases_native() {
    suite("simple", "native", compile_and_run, 26);
}

#[test]
fn pytorch_converted_cases_native() {
    suite("pytorch-converted", "native", compile_and_run, 1);
}

#[test]
fn pytorch_operator_cases_native() {
    suite("pytorch-operator", "native", compile_and_run, 1);
}

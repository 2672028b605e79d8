//! The ONNX backend suite in the evaluator, with ignore lists that must stay true.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{Case, cases, compare, data, no_panic, parallel};
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::{DType, Diag, Fault, Tensor};

/// Imports a case as it is; where a value is needed at compile time that the case feeds at run time (axes, scales,
/// ...), once more with its small integer and one-dimensional float inputs fixed.
fn import(case: &Case, inputs: Vec<Tensor>) -> Result<(onnx::Imported, Vec<Tensor>), String> {
    let text = |d: Vec<Diag>| d.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("; ");
    let first = onnx::import(&case.model, &ImportOptions::default());
    let needs_values =
        |d: &[Diag]| d.iter().any(|d| d.message.contains("compile time") || d.message.contains("run time"));
    match first {
        Err(d) if needs_values(&d) || d.iter().any(|d| d.fault == Fault::Limit) => {
            let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
            let fixable = |t: &Tensor| {
                t.len() <= 64
                    && t.rank() <= 1
                    && (t.dtype().is_int() || t.dtype().is_float() || t.dtype() == DType::Bool)
            };
            let (mut options, mut rest) = (ImportOptions::default(), vec![]);
            for (name, t) in names.into_iter().zip(inputs) {
                if fixable(&t) {
                    options.fixed.insert(name, t);
                } else {
                    rest.push(t);
                }
            }
            Ok((onnx::import(&case.model, &options).map_err(text)?, rest))
        }
        other => Ok((other.map_err(text)?, inputs)),
    }
}

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
fn simple_cases_native() {
    suite("simple", "native", compile_and_run, 1);
}

#[test]
fn pytorch_converted_cases_native() {
    suite("pytorch-converted", "native", compile_and_run, 1);
}

#[test]
fn pytorch_operator_cases_native() {
    suite("pytorch-operator", "native", compile_and_run, 1);
}

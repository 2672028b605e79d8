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
    let needs_values = |d: &[Diag]| d.iter().any(|d| d.message.contains("compile time") || d.message.contains("run time"));
    match first {
        Err(d) if needs_values(&d) || d.iter().any(|d| d.fault == Fault::Limit) => {
            let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
            let fixable = |t: &Tensor| t.len() <= 64 && t.rank() <= 1 && (t.dtype().is_int() || t.dtype().is_float() || t.dtype() == DType::Bool);
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

#[test]
fn node_cases_in_the_evaluator() {
    let Some(suite) = common::suite() else { return common::skip("ONNX backend suite not found") };
    let list = cases(&suite.join("node"));
    let results = parallel(&list, evaluate);
    let mut passed = 0;
    for (c, r) in list.iter().zip(&results) {
        match r {
            Ok(()) => passed += 1,
            Err(e) => println!("FAIL {} {}", c.name, e.lines().next().unwrap_or("")),
        }
    }
    println!("evaluator: {passed} of {} node cases pass", list.len());
}

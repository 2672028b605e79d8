//! Every model against the outputs that lie beside it.

use super::bar::{self, MODELS};
use super::common::{self, Case, Sizes, data, no_panic};
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::{Diag, Tensor};
use std::collections::BTreeMap;

/// Largest code of a model.
const CODE_BYTES: u64 = 150_000;

/// Sizes that must hold for every program.
pub fn check_sizes(s: Sizes) -> Result<(), String> {
    if s.code > CODE_BYTES {
        return Err(format!("{} bytes of code, at most {CODE_BYTES}", s.code));
    }
    if s.arena > s.live + s.live / 10 {
        return Err(format!("arena {} bytes, lower bound {}", s.arena, s.live));
    }
    Ok(())
}

/// Imports a model with ranges of dims.
pub fn import(case: &Case, dims: BTreeMap<String, (i64, i64)>) -> Result<sinter_ir::Module, String> {
    let text = |d: Vec<Diag>| d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let options = ImportOptions { dims, ..ImportOptions::default() };
    Ok(onnx::import(&case.model, &options).map_err(text)?.module)
}

/// Open dims stay open, with the sizes of the stored inputs as upper ends.
fn open_dims(case: &Case, inputs: &[Tensor]) -> Result<BTreeMap<String, (i64, i64)>, String> {
    let plain = import(case, BTreeMap::new())?;
    let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
    let mut out = BTreeMap::new();
    for ((name, t), v) in names.iter().zip(inputs).zip(&plain.graph.inputs) {
        for (i, (d, &n)) in plain.graph.ty(*v).dims.iter().zip(t.shape()).enumerate() {
            match d.as_const() {
                Some(fixed) if fixed == n as i64 => {}
                // Fixed by default only (a batch of one): asked for exactly.
                Some(_) => drop(out.insert(format!("{name}.{i}"), (n as i64, n as i64))),
                None => drop(out.insert(format!("{name}.{i}"), (n.min(1) as i64, n as i64))),
            }
        }
    }
    Ok(out)
}

fn matches(case: &Case, held: &bar::Expect) -> Result<(), String> {
    for (inputs, outputs) in data(case)? {
        let module = import(case, open_dims(case, &inputs)?)?;
        let (got, sizes) = common::native_with_sizes(module, &inputs)?;
        println!("{}: code {}, arena {}, bound {}", case.name, sizes.code, sizes.arena, sizes.live);
        if got.len() != outputs.len() {
            return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
        }
        for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
            let used = held.bar.check_tensor(g, w).map_err(|e| format!("output {i}: {e}"))?;
            println!("  output {i}: {:.1} % of the allowed error", used * 100.0);
        }
        check_sizes(sizes)?;
    }
    Ok(())
}

#[test]
fn every_model_matches_the_stored_outputs() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let list = common::cases(&shared.join("models"));
    let names: Vec<&str> = list.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, MODELS.iter().map(|m| m.name).collect::<Vec<_>>(), "models on disk and in the table");
    let results =
        list.iter().zip(MODELS).map(|(c, m)| (c, no_panic(|| matches(c, m)).map_err(|e| (e, m.why))));
    let failures: Vec<String> =
        results.filter_map(|(c, r)| r.err().map(|(e, why)| format!("{}: {e} {why}", c.name))).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

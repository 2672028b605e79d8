//! Real models: compiled once, run natively, compared with the stored outputs of ONNX Runtime.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{data, no_panic};
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::Tensor;
use std::collections::BTreeMap;

/// Largest error of float outputs: relative, and absolute as a part of the output's full scale.
const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-4;
/// Largest code of a float model.
const CODE_BYTES: u64 = 150_000;

/// Dims that the stored inputs use, as exact sizes.
fn dims_of(names: &[String], inputs: &[Tensor]) -> BTreeMap<String, (i64, i64)> {
    let mut out = BTreeMap::new();
    for (name, t) in names.iter().zip(inputs) {
        for (i, &d) in t.shape().iter().enumerate() {
            // The model stays open where it is: the stored size is only the upper end.
            out.insert(format!("{name}.{i}"), (d.min(1) as i64, d as i64));
        }
    }
    out
}

fn scaled_error(got: &Tensor, want: &Tensor) -> Result<f64, String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        return Err(format!(
            "got {}{:?}, expected {}{:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    let (g, w) = (got.to_f64().unwrap(), want.to_f64().unwrap());
    let full = w.iter().fold(0f64, |m, v| m.max(v.abs()));
    let worst = g.iter().zip(&w).map(|(g, w)| ((g - w).abs() - RTOL * w.abs()).max(0.0) / full.max(1e-30));
    Ok(worst.fold(0.0, f64::max))
}

fn argmax(t: &Tensor) -> usize {
    let v = t.to_f64().unwrap();
    (0..v.len()).fold(0, |b, i| if v[i] > v[b] { i } else { b })
}

#[test]
fn every_model_matches_the_reference() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let mut failures = vec![];
    let list = common::cases(&shared.join("models"));
    for case in &list {
        let quantised = case.name.contains("qdq") || case.name.contains("int8");
        let result = no_panic(|| {
            let names = onnx::input_names(&case.model).map_err(|d| d.to_string())?;
            for (inputs, outputs) in data(case)? {
                let open: BTreeMap<String, (i64, i64)> = open_dims(case, &dims_of(&names, &inputs));
                let options = ImportOptions { dims: open, ..ImportOptions::default() };
                let imported = onnx::import(&case.model, &options)
                    .map_err(|d| d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
                let (got, sizes) = common::native_with_sizes(imported.module, &inputs)?;
                println!(
                    "{}: code {} bytes, arena {} bytes, bound {} bytes",
                    case.name, sizes.code, sizes.arena, sizes.live
                );
                for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
                    let e = scaled_error(g, w)?;
                    println!("  output {i}: error {e:.2e} of full scale beyond {RTOL} relative");
                    if quantised {
                        // Sums in another order move a few values by one step; the answer stays.
                        if argmax(g) != argmax(w) {
                            return Err(format!("output {i}: another best answer"));
                        }
                    } else if e > ATOL {
                        return Err(format!("output {i}: error {e:.2e} of full scale"));
                    }
                }
                if !quantised && sizes.code > CODE_BYTES {
                    return Err(format!("{} bytes of code", sizes.code));
                }
                if sizes.arena as f64 > sizes.live as f64 * 1.1 + 4096.0 {
                    return Err(format!("arena {} bytes, bound {}", sizes.arena, sizes.live));
                }
            }
            Ok(())
        });
        if let Err(e) = result {
            println!("{}: FAILED {e}", case.name);
            failures.push(format!("{}: {e}", case.name));
        }
    }
    println!("{} of {} models match", list.len() - failures.len(), list.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Only dims that the model leaves open can be asked for.
fn open_dims(case: &common::Case, all: &BTreeMap<String, (i64, i64)>) -> BTreeMap<String, (i64, i64)> {
    let module = onnx::import(&case.model, &ImportOptions::default());
    let Ok(i) = module else { return BTreeMap::new() };
    let fixed = |name: &str| {
        let (input, axis) = name.rsplit_once('.').unwrap();
        let v =
            i.module.graph.inputs.iter().find(|v| i.module.graph.value(**v).name.as_deref() == Some(input));
        let d = v.and_then(|v| i.module.graph.ty(*v).dims.get(axis.parse::<usize>().unwrap()).cloned());
        d.and_then(|d| d.as_const())
    };
    // A default that is already exact and equal needs no range.
    all.iter()
        .filter(|(n, r)| fixed(n) != Some(r.1))
        .map(|(n, r)| (n.clone(), if fixed(n).is_some() { (r.1, r.1) } else { *r }))
        .collect()
}

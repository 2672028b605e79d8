//! com.microsoft and ai.onnx.ml operators against the answers of ONNX Runtime, see testdata/scripts/contrib.py.

use crate::common;
use prost::Message;
use sinter::frontend::onnx::proto::{ModelProto, TensorProto};
use sinter::frontend::onnx::{self, ImportOptions, op, tensor_from_pb};
use sinter_ir::{DType, Tensor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn models() -> Vec<PathBuf> {
    let dir = common::root().join("testdata/contrib");
    let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut list: Vec<PathBuf> = all.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    list.sort();
    list
}

/// Inputs, expected outputs, tolerances.
struct Run {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    rtol: f64,
    atol: f64,
}

fn read(model: &Path) -> Run {
    let bytes = std::fs::read(model.with_extension("data")).unwrap();
    let g = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let list = |prefix: &str| -> Vec<Tensor> {
        let of = |t: &&TensorProto| t.name.starts_with(prefix);
        g.initializer.iter().filter(of).map(|t| tensor_from_pb(&t.encode_to_vec()).unwrap()).collect()
    };
    let tolerances: Vec<f64> = g.doc_string.split(' ').map(|t| t.parse().unwrap()).collect();
    Run { inputs: list("input_"), outputs: list("output_"), rtol: tolerances[0], atol: tolerances[1] }
}

fn check(model: &Path) -> Result<(), String> {
    common::no_panic(|| {
        let run = read(model);
        let text = |d: Vec<sinter_ir::Diag>| d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let imported = onnx::import(model, &ImportOptions::default()).map_err(text)?;
        let evaluated = sinter_ir::eval::module(&imported.module, &run.inputs).map_err(|d| d.to_string())?;
        let native = common::native(imported.module, &run.inputs).map_err(|e| format!("native: {e}"))?;
        for (how, got) in [("evaluator", evaluated), ("native", native)] {
            if got.len() != run.outputs.len() {
                return Err(format!("{how}: {} outputs, expected {}", got.len(), run.outputs.len()));
            }
            for (i, (g, w)) in got.iter().zip(&run.outputs).enumerate() {
                common::compare(g, w, run.rtol, run.atol).map_err(|e| format!("{how}: output {i}: {e}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn every_case_gives_the_answers_of_onnx_runtime() {
    let list = models();
    let results = common::parallel(&list, |p| check(p));
    let name = |p: &PathBuf| p.file_stem().unwrap().to_string_lossy().into_owned();
    let failures: Vec<String> = list
        .iter()
        .zip(&results)
        .filter_map(|(p, r)| Some(format!("{}: {}", name(p), r.as_ref().err()?)))
        .collect();
    println!("{} of {} cases pass", list.len() - failures.len(), list.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

/// An operator without a case is an operator that was never seen to work.
#[test]
fn every_operator_has_a_case() {
    let mut seen = BTreeSet::new();
    for m in models() {
        let model = ModelProto::decode(std::fs::read(&m).unwrap().as_slice()).unwrap();
        seen.extend(model.graph.unwrap().node.iter().map(|n| format!("{}:{}", n.domain, n.op_type)));
    }
    let foreign = |n: &str| n.starts_with("com.microsoft:") || n.starts_with("ai.onnx.ml:");
    // Labels have tests of their own, beside other operators on strings.
    seen.insert("ai.onnx.ml:LabelEncoder".to_owned());
    let untested: Vec<&str> = op::names().filter(|n| foreign(n) && !seen.contains(*n)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

/// A shorter sequence beside longer ones in a cache would need other positions: an error, not a wrong answer.
#[test]
fn caches_of_unequal_lengths_are_refused_at_run_time() {
    let model = common::root().join("testdata/contrib/gqa_decode.onnx");
    let mut run = read(&model);
    let lengths =
        run.inputs.iter_mut().find(|t| t.dtype() == DType::I32 && t.rank() == 1 && t.len() > 1).unwrap();
    let mut values = lengths.to_i64().unwrap();
    values[0] -= 1;
    *lengths = Tensor::from_i64(DType::I32, lengths.shape().to_vec(), &values).unwrap();
    let imported = onnx::import(&model, &ImportOptions::default()).unwrap();
    let e = common::native(imported.module, &run.inputs).unwrap_err();
    assert!(e.contains(sinter_abi::error_text(sinter_ir::tile::build::code::RANGE)), "{e}");
}

//! The importer on models made for the purpose: what `check` reports, external data, functions, control flow.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod build;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod contrib;
mod control;
mod external;
mod functions;
mod outputs;
mod signal;

use sinter::frontend::onnx::proto::ModelProto;
use sinter::frontend::onnx::{self, ImportOptions, Imported};
use sinter_ir::{Diag, Tensor};
use std::path::PathBuf;

/// Imports a model that lies nowhere.
fn import(m: &ModelProto) -> Result<Imported, Vec<Diag>> {
    onnx::import_bytes(build::encode(m).into(), None, "test", &ImportOptions::default())
}

/// Runs a model in the evaluator and natively; both must agree but for the order of sums.
fn run(m: &ModelProto, inputs: &[Tensor]) -> Vec<Tensor> {
    let imported = import(m).unwrap();
    let want = sinter_ir::eval::module(&imported.module, inputs).unwrap();
    let got = common::native(imported.module, inputs).unwrap();
    for (g, w) in got.iter().zip(&want) {
        let full = w.to_f64().unwrap_or_default().iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        common::compare(g, w, 1e-6, 1e-6 * full).unwrap();
    }
    assert_eq!(got.len(), want.len());
    want
}

/// An empty folder of this test.
fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("importer").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

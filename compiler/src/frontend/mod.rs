//! Importers: one folder per model format.

pub mod llm;
pub mod onnx;

use onnx::{ImportOptions, Imported, Survey};
use sinter_ir::Diag;
use std::path::Path;

/// Imports a model of any format.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, Vec<Diag>> {
    if llm::is_model(path) { llm::import(path, options) } else { onnx::import(path, options) }
}

/// Imports a model of any format as far as possible.
pub fn survey(path: &Path, options: &ImportOptions) -> Survey {
    if llm::is_model(path) { llm::survey(path, options) } else { onnx::survey(path, options) }
}

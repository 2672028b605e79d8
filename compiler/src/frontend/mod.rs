//! Importers: one folder per model format.

pub mod onnx;

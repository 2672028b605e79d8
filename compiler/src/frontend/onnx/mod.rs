//! ONNX: opsets 7 to the newest, functions, control flow, external data, and the com.microsoft ops that
//! exporters emit.
//!
//! Owns: reading the file and decomposing every operator into core ops. Must not know targets or kernels.

#![forbid(unsafe_code)]

mod contents;
mod dims;
mod emit;
mod external;
mod function;
mod importer;
mod inputs;
mod literal;
mod measure;
mod node;
pub mod op;
mod order;
pub mod proto;
mod scope;
pub mod tensor;

use super::llm::language::Language;
use crate::system;
use bytes::Bytes;
use importer::Importer;
use prost::Message;
use proto::ModelProto;
use sinter_ir::{Diag, Fault, Module, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
pub use tensor::from_pb as tensor_from_pb;

/// What the user may choose about an import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// Ranges of dims by symbol name or `INPUT.AXIS`.
    pub dims: BTreeMap<String, (i64, i64)>,
    /// Module name; default: the file's stem.
    pub name: Option<String>,
    /// Inputs fixed to a value: they become constants and leave the signature.
    pub fixed: BTreeMap<String, sinter_ir::Tensor>,
    /// Of a language model: logits of every token instead of those of the last.
    pub all_logits: bool,
    /// Of a language model: how caches hold keys and values; f16 unless said otherwise.
    pub kv_cache: Option<super::llm::cache::KvCache>,
    /// Of a language model: keep matrices that are stored in codes as they are, and what activations are in products
    /// with them; otherwise they become floats.
    pub stored: Option<sinter_ir::op::quantized_matmul::Activations>,
    /// Of a language model: rotate it.
    pub rotations: Option<sinter_passes::compress::rotation::Rotations>,
    /// Read no weight data: constants too large to decide shapes become inputs, see [`Survey::unread`].
    pub skip_weights: bool,
}

/// A model as graph IR.
#[derive(Debug, Clone, Default)]
pub struct Imported {
    /// The model.
    pub module: Module,
    /// Things that look wrong but do not matter to the result.
    pub warnings: Vec<String>,
    /// Files that the model consists of.
    pub files: Vec<PathBuf>,
    /// What its file says of itself.
    pub metadata: BTreeMap<String, String>,
    /// Of a language model: what its runtime has to know.
    pub language: Option<Language>,
}

/// What can be said about a model, however broken it is.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// What could be imported. Where nodes are missing, everything that nothing uses is an output.
    pub module: Option<Module>,
    /// The last so many inputs stand for weights that were not read.
    pub unread: usize,
    /// Everything that is wrong.
    pub problems: Vec<Diag>,
    /// Things that look wrong but do not matter to the result.
    pub warnings: Vec<String>,
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// What the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

impl Survey {
    fn failed(d: Diag) -> Self {
        Self { problems: vec![d], ..Self::default() }
    }
}

/// Imports a file.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, Vec<Diag>> {
    whole(survey(path, options))
}

/// Imports a file as far as possible.
pub fn survey(path: &Path, options: &ImportOptions) -> Survey {
    let bytes = match system::map(path) {
        Ok(bytes) => bytes,
        Err(d) => return Survey::failed(d),
    };
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    // A model in a folder of its own is better named by the folder.
    let folder = path.parent().and_then(|p| p.file_name()).map(|s| s.to_string_lossy().into_owned());
    let default = if stem == "model" { folder.unwrap_or(stem) } else { stem };
    survey_bytes(bytes, Some(path), &default, options).unwrap_or_else(Survey::failed)
}

/// Imports a serialised `ModelProto`. `path` is where external data lies beside.
pub fn import_bytes(
    bytes: Bytes,
    path: Option<&Path>,
    default_name: &str,
    options: &ImportOptions,
) -> Result<Imported, Vec<Diag>> {
    whole(survey_bytes(bytes, path, default_name, options).unwrap_or_else(Survey::failed))
}

fn whole(s: Survey) -> Result<Imported, Vec<Diag>> {
    match s.module {
        Some(module) if s.problems.is_empty() => {
            let Survey { warnings, files, metadata, .. } = s;
            Ok(Imported { module, warnings, files, metadata, language: None })
        }
        _ => Err(s.problems),
    }
}

fn survey_bytes(
    bytes: Bytes,
    path: Option<&Path>,
    default_name: &str,
    options: &ImportOptions,
) -> Result<Survey> {
    let model = decode(bytes)?;
    let mut importer = Importer::new(&model, path, options)?;
    let graph = model.graph.as_ref().ok_or_else(|| Diag::input("the model has no graph"))?;
    for asked in options.dims.keys() {
        if !known_dim(graph, asked) {
            return Err(Diag::input(format!("--dim {asked}: the model has no such dim")));
        }
    }
    for name in options.fixed.keys() {
        if !graph.input.iter().any(|i| &i.name == name) {
            return Err(Diag::input(format!("--fix {name}: the model has no such input")));
        }
    }
    let level = importer.main(graph);
    let mut problems = std::mem::take(&mut importer.diags);
    let name = identifier(options.name.as_deref().unwrap_or(default_name));
    let module = match level {
        Ok(level) => {
            let mut made = level.graph;
            let mut output_names = graph.output.iter().map(|o| o.name.as_str().into()).collect();
            if !problems.is_empty() {
                // What leads to a missing node is dead otherwise, and would not be looked at.
                let uses = made.uses();
                let ends: Vec<_> = made.iter().flat_map(|(_, n)| n.outputs.iter().copied()).collect();
                made.outputs = ends.into_iter().filter(|v| uses[v.0 as usize].is_empty()).collect();
                output_names = vec![];
            }
            let symbols = importer.symbols;
            Some(Module { name, symbols, graph: made, output_names, ..Module::default() })
        }
        Err(d) => {
            problems.push(d);
            problems.sort();
            None
        }
    };
    let files = path.into_iter().chain(importer.store.files()).map(Path::to_path_buf).collect();
    let (unread, warnings) = (importer.unread.len(), importer.warnings);
    let said = model.metadata_props.iter().map(|p| (p.key.clone(), p.value.clone()));
    Ok(Survey { module, unread, problems, warnings, files, metadata: said.collect() })
}

fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        return Err(Diag::input("the file is empty"));
    }
    measure::check(&bytes)?;
    let model = ModelProto::decode(bytes)
        .map_err(|e| Diag { fault: Fault::Input, ..Diag::input(format!("not an ONNX model: {e}")) })?;
    if model.graph.is_none() && model.opset_import.is_empty() {
        return Err(Diag::input("not an ONNX model: no graph and no opset"));
    }
    Ok(model)
}

fn known_dim(graph: &proto::GraphProto, asked: &str) -> bool {
    graph.input.iter().any(|i| {
        let Some(proto::type_proto::Value::TensorType(t)) = i.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
            return false;
        };
        t.shape.iter().flat_map(|s| s.dim.iter().enumerate()).any(|(k, d)| {
            let named = matches!(&d.value, Some(proto::tensor_shape_proto::dimension::Value::DimParam(p)) if p == asked);
            named || format!("{}.{k}", i.name) == asked
        })
    })
}

/// Names of the inputs that a caller feeds, in order.
pub fn input_names(path: &Path) -> Result<Vec<String>> {
    let model = decode(system::read(path)?)?;
    let graph = model.graph.unwrap_or_default();
    let held: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    Ok(graph.input.iter().filter(|i| !held.contains(&i.name.as_str())).map(|i| i.name.clone()).collect())
}

/// A C identifier from any text.
pub fn identifier(text: &str) -> String {
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    name.truncate(64);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert_str(0, "m_");
    }
    name
}

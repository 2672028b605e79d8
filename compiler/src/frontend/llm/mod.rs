//! Language models: folders from the Hugging Face hub and GGUF files.
//!
//! A file format gives a [`Config`], weights under the names of Hugging Face checkpoints, and what the runtime needs
//! ([`Checkpoint`]). An [`arch`] turns the configuration into a [`decoder::Decoder`], which builds the graph from shared
//! [`blocks`]. Must not know targets or kernels.

#![forbid(unsafe_code)]

pub mod arch;
pub mod blocks;
pub mod cache;
mod coded;
pub mod codes;
pub mod config;
pub mod decoder;
pub mod deferred;
pub mod gguf;
pub mod hf;
pub mod language;
pub mod net;
pub mod rotate;
pub mod weights;

use super::onnx::{ImportOptions, Imported, Survey, identifier};
use bytes::Bytes;
use cache::KvCache;
use config::Config;
use language::Language;
use net::Sizes;
use sinter_ir::{DType, Diag, Module, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weights::Weights;

/// Files for the bundle, by name.
pub type Assets = BTreeMap<String, Bytes>;

/// A model's files, opened.
pub struct Checkpoint {
    /// Sizes and names.
    pub config: Config,
    /// Tensors.
    pub weights: Arc<dyn Weights>,
    /// What the runtime needs.
    pub language: Language,
    /// Files that were opened.
    pub files: Vec<PathBuf>,
    /// What to call it.
    pub name: String,
}

/// Tokens of one run at most, unless the user says otherwise: larger chunks leave the second-level cache.
const CHUNK: i64 = 256;
/// Positions of a sequence at most, unless the user says otherwise and the model allows it: the arena is planned for it.
const CONTEXT: i64 = 8192;

/// Whether a path is a language model.
pub fn is_model(path: &Path) -> bool {
    hf::is_folder(path) || gguf::is_file(path)
}

/// Opens a model's files.
pub fn open(path: &Path) -> Result<Checkpoint> {
    if gguf::is_file(path) { gguf::open(path) } else { hf::open(path) }
}

/// Imports a model.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, Vec<Diag>> {
    let checkpoint = open(path).map_err(|d| vec![d])?;
    let (module, language) = build(&checkpoint, options)?;
    Ok(Imported { module, files: checkpoint.files, language: Some(language), ..Imported::default() })
}

/// Imports a model as far as possible, see [`super::onnx::survey`].
pub fn survey(path: &Path, options: &ImportOptions) -> Survey {
    let mut s = Survey::default();
    let checkpoint = match open(path) {
        Ok(c) => c,
        Err(d) => return Survey { problems: vec![d], ..s },
    };
    s.files.clone_from(&checkpoint.files);
    match build(&checkpoint, options) {
        Ok((m, _)) => {
            s.unread = match options.skip_weights {
                true => m.graph.inputs.len().saturating_sub(2 + m.states.len()),
                false => 0,
            };
            s.module = Some(m);
        }
        Err(d) => s.problems = d,
    }
    s
}

/// The graph of an opened model, and what the runtime has to know.
pub fn build(c: &Checkpoint, options: &ImportOptions) -> Result<(Module, Language), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let arch = arch::find(&c.config).map_err(one)?;
    let sizes = sizes(&c.config, options).map_err(one)?;
    let mut decoder = (arch.describe)(&c.config, &sizes).map_err(one)?;
    let name = identifier(options.name.as_deref().unwrap_or(&c.name));
    let mut language = c.language.clone();
    language.complete(arch.model_type, &decoder, &sizes);
    let (turned, weights) = match &options.rotations {
        Some(how) => rotate::rotate(&mut decoder, &c.weights, how).map(|(t, w)| (Some(t), w)).map_err(one)?,
        None => (None, c.weights.clone()),
    };
    Ok((decoder.build(&weights, turned, sizes, name)?, language))
}

/// What the user chose within what the model allows.
fn sizes(c: &Config, options: &ImportOptions) -> Result<Sizes> {
    for asked in options.dims.keys() {
        if asked != "tokens" && asked != "capacity" {
            let d = Diag::input(format!("--dim {asked}: a language model has `tokens` and `capacity`"));
            return Err(d.help("tokens of one run, and positions that a sequence has room for"));
        }
    }
    if let Some(name) = options.fixed.keys().next() {
        return Err(Diag::input(format!("--fix {name}: inputs of language models cannot be fixed")));
    }
    let mut most = None;
    let text = c.part("text_config");
    for key in ["max_position_embeddings", "n_positions", "n_ctx"] {
        let found = [Some(c), text.as_ref()].into_iter().flatten().map(|c| c.opt_size(key));
        most = found.chain([Ok(most)]).collect::<Result<Vec<_>>>()?.into_iter().flatten().next();
    }
    let asked = |dim: &str, default: i64| -> Result<i64> {
        let Some(&(_, hi)) = options.dims.get(dim) else { return Ok(default) };
        if hi < 1 { Err(Diag::input(format!("--dim {dim}: at least 1 is needed"))) } else { Ok(hi) }
    };
    let context = asked("capacity", most.unwrap_or(CONTEXT).min(CONTEXT))?;
    if most.is_some_and(|m| context > m) {
        return Err(Diag::input(format!(
            "--dim capacity: the model was made for {} positions",
            most.unwrap_or(0)
        )));
    }
    let chunk = asked("tokens", CHUNK.min(context))?;
    if chunk > context {
        return Err(Diag::input(format!("--dim tokens: {chunk} tokens are more than {context} positions")));
    }
    let cache = options.kv_cache.unwrap_or(KvCache::Floats(DType::F16));
    let (all_logits, skip_weights) = (options.all_logits, options.skip_weights);
    Ok(Sizes { chunk, context, cache, all_logits, skip_weights, stored: options.stored })
}

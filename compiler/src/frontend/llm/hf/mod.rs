//! Folders as the Hugging Face hub has them: `config.json`, weights in one or several safetensors files, and what the
//! runtime needs to turn text into tokens.

mod quantised;
pub mod safetensors;

use super::Checkpoint;
use super::config::Config;
use super::language::Language;
use super::weights::Weights;
use crate::system::{self, Mapping};
use bytes::Bytes;
use quantised::Quantised;
use safetensors::SafeTensors;
use serde_json::Value;
use sinter_ir::{DType, Diag, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a folder holds a language model.
pub fn is_folder(path: &Path) -> bool {
    system::is_dir(path) && system::exists(&path.join("config.json"))
}

/// Opens a folder.
pub fn open(dir: &Path) -> Result<Checkpoint> {
    let config_file = dir.join("config.json");
    let text = system::read(&config_file)?;
    let config = Config::parse(&text)?;
    let language = Language::of_folder(dir, &text)?;
    let (weights, shards) = shards(dir)?;
    let files = std::iter::once(config_file).chain(shards).collect();
    let weights = weights_of(&config, weights)?;
    Ok(Checkpoint { config, weights, language, files, name: last_name(dir) })
}

/// From a configuration and the bytes of one file.
pub fn of_bytes(config: &Bytes, file: &Bytes) -> Result<Checkpoint> {
    let config = Config::parse(config)?;
    let mut all = Shards::default();
    all.add(file.clone())?;
    let weights = weights_of(&config, all)?;
    Ok(Checkpoint { config, weights, language: Language::default(), files: vec![], name: "model".into() })
}

/// Weights under the names of checkpoints that are not quantised.
fn weights_of(config: &Config, weights: Shards) -> Result<Arc<dyn Weights>> {
    Ok(match config.get("quantization_config").or(config.get("compression_config")) {
        None => Arc::new(weights),
        Some(how) => Arc::new(Quantised::new(weights, config, &Config::of(how.clone())?)?),
    })
}

/// The last part of a path's name.
fn last_name(dir: &Path) -> String {
    let last = dir.components().next_back().map(|c| c.as_os_str().to_string_lossy().into_owned());
    last.filter(|l| l.chars().any(char::is_alphanumeric)).unwrap_or_else(|| "model".into())
}

/// All weights of a folder, and their files.
fn shards(dir: &Path) -> Result<(Shards, Vec<PathBuf>)> {
    let config = dir.join("config.json");
    let (one, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    let mut files = Vec::new();
    if system::exists(&one) {
        files.push(one);
    } else if system::exists(&index) {
        for name in listed(&system::read(&index)?)? {
            files.push(system::beside(&config, &name)?);
        }
    } else {
        let help = "convert other formats with the transformers library: save_pretrained(.., safe_serialization=True)";
        return Err(Diag::input(format!("{} has no model.safetensors", dir.display())).help(help));
    }
    let mut all = Shards::default();
    for path in &files {
        let mapping = Mapping::of(path)?;
        all.add(mapping.bytes())
            .map_err(|d| Diag { message: format!("{}: {}", path.display(), d.message), ..d })?;
        all.mappings.push(mapping);
    }
    Ok((all, files))
}

/// Files of an index, each once.
fn listed(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let bad = || Diag::input("model.safetensors.index.json has no weight_map of file names");
    let value: Value = serde_json::from_slice(bytes).map_err(|_| bad())?;
    let map = value.get("weight_map").and_then(Value::as_object).ok_or_else(bad)?;
    map.values().map(|v| v.as_str().map(str::to_owned).ok_or_else(bad)).collect()
}

/// Tensors of several files.
#[derive(Debug, Default)]
pub struct Shards {
    files: Vec<SafeTensors>,
    /// File of each tensor.
    at: BTreeMap<String, usize>,
    /// The files in memory, where they were mapped.
    mappings: Vec<Mapping>,
}

impl Shards {
    /// Adds the tensors of a file.
    pub fn add(&mut self, file: Bytes) -> Result<()> {
        let file = SafeTensors::parse(file)?;
        for name in file.names() {
            if self.at.insert(name.clone(), self.files.len()).is_some() {
                return Err(Diag::input(format!("tensor {name} is in two files")));
            }
        }
        self.files.push(file);
        Ok(())
    }
    /// A tensor as it is stored.
    fn stored(&self, name: &str) -> Option<Result<Tensor>> {
        self.file(name)?.load(name)
    }
    fn has(&self, name: &str) -> bool {
        self.at.contains_key(name)
    }
    fn file(&self, name: &str) -> Option<&SafeTensors> {
        self.at.get(name).and_then(|i| self.files.get(*i))
    }
}

impl Weights for Shards {
    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        self.file(name)?.dims(name).map(<[usize]>::to_vec)
    }
    fn dtype(&self, name: &str) -> Option<DType> {
        Some(match self.file(name)?.dtype(name)? {
            d @ (DType::F16 | DType::BF16) => d,
            _ => DType::F32,
        })
    }
    fn release(&self) {
        self.mappings.iter().for_each(Mapping::release);
    }
    fn load(&self, name: &str) -> Result<Tensor> {
        let t = self.file(name).and_then(|f| f.load(name));
        let t = t.ok_or_else(|| Diag::bug(format!("tensor {name} is not there")))??;
        match t.dtype() {
            DType::F32 | DType::F16 | DType::BF16 => Ok(t),
            d if d.is_float() => Tensor::from_f32(DType::F32, t.shape().to_vec(), &t.to_f32()?),
            d => Err(Diag::unsupported(format!("weights of type {d}"))),
        }
    }
    fn names(&self) -> Vec<String> {
        self.at.keys().cloned().collect()
    }
}

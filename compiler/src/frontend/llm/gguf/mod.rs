//! GGUF files: one file with metadata, vocabulary and weights, which are usually quantised.

pub mod blocks;
mod codes;
mod config;
mod family;
pub mod reader;
mod tensors;

use super::Checkpoint;
use super::language::Language;
use crate::system::Mapping;
use bytes::Bytes;
use reader::File;
use sinter_ir::Result;
use std::path::Path;
use std::sync::Arc;
use tensors::Tensors;

/// Whether a path names a GGUF file.
pub fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Opens a file.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let mapping = Mapping::of(path)?;
    let bytes = mapping.bytes();
    let c = of(&bytes, name, Some(mapping))?;
    Ok(Checkpoint { files: vec![path.to_owned()], ..c })
}

/// From the bytes of a file.
pub fn of_bytes(file: &Bytes, name: String) -> Result<Checkpoint> {
    of(file, name, None)
}

fn of(file: &Bytes, name: String, mapping: Option<Mapping>) -> Result<Checkpoint> {
    let file = File::parse(file)?;
    let family = family::find(&file)?;
    let config = config::of(&file, family)?;
    let language = Language::of_metadata(&file.metadata)?;
    let config = super::config::Config::of(config)?;
    let weights = Arc::new(Tensors::new(file, family, &config)?.of(mapping));
    Ok(Checkpoint { config, weights, language, files: vec![], name })
}

//! GGUF files: one file with metadata, vocabulary and weights, which are usually quantised.

pub mod blocks;
mod config;
mod family;
pub mod reader;
mod tensors;

use super::{Assets, Checkpoint};
use crate::system;
use reader::File;
use serde_json::Value;
use sinter_ir::{Diag, Result};
use std::path::Path;
use tensors::Tensors;

/// Whether a path names a GGUF file.
pub fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"))
}

/// Opens a file.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let file = File::parse(&system::map(path)?)?;
    let family = family::find(&file)?;
    let config = config::of(&file, family)?;
    let mut assets = Assets::new();
    for (name, value) in [("config.json", &config), ("gguf.json", &Value::Object(file.metadata.clone()))] {
        let text = serde_json::to_vec(value).map_err(|e| Diag::bug(format!("writing {name}: {e}")))?;
        assets.insert(name.to_owned(), text.into());
    }
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let config = super::config::Config::of(config)?;
    let weights = Box::new(Tensors::new(file, family, &config)?);
    Ok(Checkpoint { config, weights, assets, files: vec![path.to_owned()], name })
}

//! Bundles and saved sessions on disk.

#![allow(clippy::disallowed_methods)] // The hosts that link this runtime have no `system.rs`.

use crate::bundle::{BundleModel, Manifest};
use crate::error::{Error, Result};
use crate::info::{TABLES_FILE, TEMPLATE_FILE, TOKENIZER_FILE};
use crate::model::Model;
use crate::session::{Language, Session};
use crate::template::ChatTemplate;
use crate::tokenizer::{Blob, Tokenizer};
use sinter_runtime::{Bundle, Image};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// How a bundle is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opening {
    /// Threads; 0 and 1: only the caller's.
    pub threads: usize,
    /// Tokens that the cache has room for; `None`: see [`Manifest::capacity`].
    pub capacity: Option<usize>,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, e: &std::io::Error) -> Error {
    Error::input(format!("cannot read {}: {e}", path.display()))
}

/// What goes with the model: tokenizer and template. `file` gives the contents of a bundle's file, if it has it.
pub fn language(manifest: &Manifest, file: &dyn Fn(&str) -> Result<Option<Blob>>) -> Result<Language> {
    let info = manifest.language_model()?.clone();
    let tokenizer = file(TOKENIZER_FILE)?.ok_or_else(|| {
        Error::input(format!("the bundle `{}` has no {TOKENIZER_FILE}", manifest.name))
            .help("the checkpoint must bring one: the `transformers` library makes it from a tokenizer.model")
    })?;
    let tokenizer = Tokenizer::with_tables((*tokenizer).as_ref(), file(TABLES_FILE)?)?;
    let template = file(TEMPLATE_FILE)?;
    let template = match template.as_ref().map(|t| std::str::from_utf8((**t).as_ref())) {
        Some(Ok(text)) => Some(ChatTemplate::new(text)?),
        Some(Err(_)) => return Err(Error::input(format!("{TEMPLATE_FILE} is no UTF-8"))),
        None => None,
    };
    Ok(Language { info, tokenizer, template })
}

/// [`language`] of a bundle folder, whose files must not change while they are in use.
pub fn language_of(dir: &Path, manifest: &Manifest) -> Result<Language> {
    language(manifest, &|name| {
        let path = dir.join(name);
        if !path.is_file() {
            return Ok(None);
        }
        let map = Image::map(&path).map_err(|e| unreadable(&path, &e))?;
        Ok(Some(Arc::new(map)))
    })
}

/// Reads a bundle's manifest.
pub fn manifest(dir: &Path) -> Result<Manifest> {
    Manifest::read(&read(&dir.join("manifest.json"))?)
}

/// Maps the weights of a bundle.
pub fn weights(dir: &Path, name: &str) -> Result<Image> {
    let path = dir.join(format!("{name}.weights"));
    Image::map(&path).map_err(|e| Error::input(format!("cannot map {}: {e}", path.display())))
}

/// The model of a bundle folder, its code loaded into this process.
pub fn model(dir: &Path, opening: Opening) -> Result<BundleModel> {
    let manifest = manifest(dir)?;
    let archive = read(&dir.join(format!("lib{}.a", manifest.name)))?;
    let bundle =
        Bundle::load(&manifest.name, &archive, weights(dir, &manifest.name)?, opening.threads.max(1));
    let bundle = bundle.map_err(|e| Error::input(e.to_string()))?;
    BundleModel::new(&manifest, bundle, manifest.capacity(opening.capacity)?)
}

/// Opens a bundle folder for a session.
pub fn open(dir: &Path, opening: Opening) -> Result<Session<BundleModel>> {
    let language = language_of(dir, &manifest(dir)?)?;
    Session::new(model(dir, opening)?, Arc::new(language))
}

impl<M: Model> Session<M> {
    /// Saves the session to a file: under a temporary name first, so that no half of one is ever found there.
    pub fn save_file(&self, path: &Path) -> Result<()> {
        let temp = path.with_extension(format!("{}.tmp", std::process::id()));
        let failed = |e: std::io::Error| Error::output(format!("cannot write {}: {e}", path.display()));
        let written = fs::write(&temp, self.save()).and_then(|()| fs::rename(&temp, path));
        if written.is_err() {
            let _ = fs::remove_file(&temp);
        }
        written.map_err(failed)
    }
    /// Restores the session from a file.
    pub fn load_file(&mut self, path: &Path) -> Result<()> {
        let name = path.display().to_string();
        self.load(&read(path)?).map_err(|e| e.inside(&name))
    }
}

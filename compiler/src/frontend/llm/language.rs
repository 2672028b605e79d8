//! What the runtime has to know of a model besides its code: the manifest's section, the tokenizer, the chat template.

use super::Assets;
use super::blocks::cache;
use super::decoder::{Decoder, Mixer};
use super::net::Sizes;
use crate::system;
use bytes::Bytes;
use serde_json::{Map, Value};
use sinter_ir::{Diag, Fault, Result};
use sinter_llm::LanguageModel;
use sinter_llm::gguf::{Metadata, Vocabulary};
use sinter_llm::info::{TEMPLATE_FILE, TOKENIZER_FILE};
use std::path::Path;

/// What a checkpoint says about its use.
#[derive(Debug, Clone, Default)]
pub struct Language {
    /// For the manifest.
    pub info: LanguageModel,
    /// Files for the bundle.
    pub assets: Assets,
}

/// Only what is wrong with a file of the user can come from there.
fn wrong(e: sinter_llm::Error) -> Diag {
    let fault = match e.kind {
        sinter_llm::Kind::Unsupported => Fault::Unsupported,
        sinter_llm::Kind::Limit => Fault::Limit,
        _ => Fault::Input,
    };
    Diag { fault, help: e.help, ..Diag::input(e.message) }
}

impl Language {
    /// Of a folder. Files that are not there are not needed: a model without a tokenizer can be compiled all the same.
    pub fn of_folder(dir: &Path, config: &Bytes) -> Result<Self> {
        let mut l = Self::default();
        let file = |name: &str| {
            let path = dir.join(name);
            if system::exists(&path) { system::read(&path).map(Some) } else { Ok(None) }
        };
        l.info.read_config("config.json", config).map_err(wrong)?;
        if let Some(bytes) = file("generation_config.json")? {
            l.info.read_config("generation_config.json", &bytes).map_err(wrong)?;
        }
        let mut template = None;
        if let Some(bytes) = file("tokenizer_config.json")? {
            template = l.info.read_tokenizer_config(&bytes).map_err(wrong)?.map(Bytes::from);
        }
        // A file of its own counts more than the entry.
        template = file(TEMPLATE_FILE)?.or(template);
        let tokenizer = file(TOKENIZER_FILE)?;
        l.assets.extend(template.map(|t| (TEMPLATE_FILE.to_owned(), t)));
        l.assets.extend(tokenizer.map(|t| (TOKENIZER_FILE.to_owned(), t)));
        Ok(l)
    }
    /// Of the metadata of a GGUF file.
    pub fn of_metadata(pairs: &Map<String, Value>) -> Result<Self> {
        let mut l = Self::default();
        let words = Vocabulary::read(&Pairs(pairs)).map_err(wrong)?;
        words.describe(&mut l.info);
        let tokenizer = words.tokenizer_json().map_err(wrong)?;
        l.assets.insert(TOKENIZER_FILE.to_owned(), tokenizer.into());
        if let Some(t) = pairs.get("tokenizer.chat_template").and_then(Value::as_str) {
            l.assets.insert(TEMPLATE_FILE.to_owned(), t.to_owned().into());
        }
        Ok(l)
    }
    /// Adds what follows from the model itself.
    pub fn complete(&mut self, architecture: &str, d: &Decoder, sizes: &Sizes) {
        self.info.architecture = architecture.to_owned();
        self.info.vocab = usize::try_from(d.vocabulary).unwrap_or(0);
        self.info.context = usize::try_from(d.context).unwrap_or(0);
        // Whatever forgets cannot go back.
        self.info.rewinds = d.layers.iter().all(|l| match &l.mixer {
            Mixer::Attention(a) => !cache::forgets(a.window, sizes),
            Mixer::Latent(_) => true,
            Mixer::Mamba(_) | Mixer::Mamba2(_) => false,
        });
        // Ids that no logit stands for would only be waited for in vain.
        let vocab = self.info.vocab;
        self.info.eos.retain(|id| (*id as usize) < vocab);
    }
}

/// Metadata as the runtime's reader of vocabularies wants it.
struct Pairs<'a>(&'a Map<String, Value>);

impl Metadata for Pairs<'_> {
    fn text(&self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }
    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }
    fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }
    fn texts(&self, key: &str) -> Option<Vec<String>> {
        self.0.get(key)?.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect()
    }
    fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        self.0.get(key)?.as_array()?.iter().map(Value::as_f64).collect()
    }
}

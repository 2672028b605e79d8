//! Text to tokens and back, from a `tokenizer.json`.

mod blob;
mod bpe;
mod decoder;
mod fast;
mod inner;
mod pieces;
mod stream;
mod tables;

pub use blob::Blob;
pub use stream::Stream;
pub use tables::of_json as tables;

use crate::error::{Error, Result};
use inner::Inner;
use pieces::Pieces;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::ModelWrapper;

/// A tokenizer with the bytes of every token at hand.
pub struct Tokenizer {
    inner: Inner,
    pieces: Pieces,
}

/// What is read from the file beside the tokenizer itself.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    normalizer: Value,
}

/// Whether a step of this type is anywhere in a normalizer; nesting is bounded by the reader of JSON.
fn has_step(v: &Value, kind: &str) -> bool {
    let below = v.get("normalizers").and_then(Value::as_array).into_iter().flatten();
    v.get("type").and_then(Value::as_str) == Some(kind) || below.into_iter().any(|n| has_step(n, kind))
}

/// Calls the library, where damaged files can still end in a panic: that is an error like any other.
fn guarded<T>(body: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("the tokenizers library gave up".to_owned()),
    }
}

impl Tokenizer {
    /// Reads the contents of a `tokenizer.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::with_tables(bytes, None)
    }
    /// The same, with what [`tables`] made of it, maybe: then it takes less time.
    pub fn with_tables(bytes: &[u8], tables: Option<Blob>) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            let text = e.to_string();
            Error::input(format!("tokenizer.json: {}", text.lines().next().unwrap_or_default()))
                .help("the file must be one that the `tokenizers` library has written")
        };
        if let Some((inner, pieces)) = tables.and_then(|t| tables::read(bytes, t)) {
            return Ok(Self { inner, pieces });
        }
        let rules = |decoder: &Value| decoder::rules(decoder).map_err(|e| e.inside("tokenizer.json"));
        if let Some((inner, decoder)) = fast::read(bytes) {
            let pieces = Pieces::new(&inner, rules(&decoder)?)?;
            return Ok(Self { inner, pieces });
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|e| bad(&e))?;
        let rules = rules(&head.decoder)?;
        // Reading a damaged table of it panics.
        if has_step(&head.normalizer, "Precompiled") {
            return Err(Error::unsupported("tokenizer.json: normalizer Precompiled")
                .help("language models that generate text have tokenizers of the kind BPE; this one is of another kind"));
        }
        let mut inner = guarded(|| tokenizers::Tokenizer::from_bytes(bytes)).map_err(|e| bad(&e))?;
        // Those are settings of a training run.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| bad(&e))?;
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let inner = Inner::Library(Box::new(inner));
        let pieces = Pieces::new(&inner, rules)?;
        Ok(Self { inner, pieces })
    }
    /// One more than the largest token.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }
    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A model with `vocab` logits must know every token.
    pub fn check_fits(&self, vocab: usize) -> Result<()> {
        if self.len() <= vocab {
            return Ok(());
        }
        Err(Error::input(format!(
            "the tokenizer has tokens up to {}, the model knows {vocab}",
            self.len() - 1
        ))
        .help("take the tokenizer of the same checkpoint"))
    }
    /// The tokens of a text. Special tokens that are written out in it count as such. `whole`: the text stands for
    /// itself, and what the tokenizer puts around texts (a token for the beginning) is added.
    pub fn encode(&self, text: &str, whole: bool) -> Result<Vec<u32>> {
        let found = guarded(|| self.inner.encode(text, whole));
        let found = found.map_err(|e| Error::input(format!("the text cannot be tokenized: {e}")))?;
        Ok(found.get_ids().to_vec())
    }
    /// The bytes of tokens as one text of its own; special tokens only where they are wanted.
    pub fn decode(&self, tokens: &[u32], special: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut stream = self.stream(false);
        for &t in tokens {
            if special || !self.is_special(t) {
                out.extend_from_slice(stream.push(self.piece(t)));
            }
        }
        out.extend_from_slice(stream.rest());
        out
    }
    /// Bytes of a token inside a text; none for tokens that do not exist.
    pub fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }
    /// Whether a token is a mark rather than text.
    pub fn is_special(&self, token: u32) -> bool {
        self.pieces.is_special(token)
    }
    /// The token with this content.
    pub fn token(&self, content: &str) -> Option<u32> {
        self.inner.token(content)
    }
    /// Turns tokens into text as they come. `continues`: they go on with a text, so that no leading space is dropped.
    pub fn stream(&self, continues: bool) -> Stream {
        Stream::new(if continues { decoder::Lead::Keep } else { self.pieces.lead() }, self.pieces.longest())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

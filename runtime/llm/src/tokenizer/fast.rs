//! The usual kind of `tokenizer.json`, read in one go.
//!
//! The library reads a model of unknown kind through a copy of everything in memory, once per kind that it might be. A
//! file whose model says that it is BPE, as those of models that generate text do, needs none of that. Whatever is
//! unusual about a file is left to the library, errors included.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::fmt;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};

#[derive(Deserialize)]
struct File {
    version: String,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    vocab: Vocab,
    merges: Vec<Merge>,
}

/// `"a b"` or `["a", "b"]`.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("two tokens")
            }
            fn visit_str<E: serde::de::Error>(self, s: &str) -> Result<Merge, E> {
                let parts = s.split_once(' ').filter(|(_, b)| !b.contains(' '));
                parts.map(|(a, b)| Merge(a.into(), b.into())).ok_or_else(|| E::custom("no two tokens"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let none = || serde::de::Error::custom("no two tokens");
                let a = seq.next_element()?.ok_or_else(none)?;
                let b = seq.next_element()?.ok_or_else(none)?;
                match seq.next_element::<String>()? {
                    None => Ok(Merge(a, b)),
                    Some(_) => Err(none()),
                }
            }
        }
        d.deserialize_any(Pair)
    }
}

/// What the file says, where it is of the usual kind.
pub(super) struct Read {
    pub inner: tokenizers::Tokenizer,
    pub decoder: Value,
}

/// Reads a file of the usual kind; `None`: it is another one, or damaged.
pub(super) fn read(bytes: &[u8]) -> Option<Read> {
    let File { version, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } =
        serde_json::from_slice(bytes).ok()?;
    if model.kind != "BPE" || super::has_step(&normalizer, "Precompiled") {
        return None;
    }
    let around = json!({
        "version": version, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "decoder": decoder, "model": { "type": "BPE", "vocab": {}, "merges": [] },
    });
    let merges = model.merges.into_iter().map(|Merge(a, b)| (a, b)).collect();
    let mut bpe = BPE::builder()
        .vocab_and_merges(model.vocab, merges)
        .fuse_unk(model.fuse_unk.unwrap_or_default())
        .byte_fallback(model.byte_fallback.unwrap_or_default())
        .ignore_merges(model.ignore_merges.unwrap_or_default());
    if let Some(t) = model.unk_token {
        bpe = bpe.unk_token(t);
    }
    if let Some(p) = model.continuing_subword_prefix {
        bpe = bpe.continuing_subword_prefix(p);
    }
    if let Some(s) = model.end_of_word_suffix {
        bpe = bpe.end_of_word_suffix(s);
    }
    let made = super::guarded(|| {
        let mut t = tokenizers::Tokenizer::from_bytes(around.to_string())?;
        t.with_model(bpe.build()?);
        // Their numbers follow from the model: they come after it.
        t.add_tokens(added_tokens)?;
        Ok(t)
    });
    Some(Read { inner: made.ok()?, decoder })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(merges: Value) -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "added_tokens": [{"id": 4, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
                "vocab": {"a": 0, "b": 1, "ab": 2, "aba": 3}, "merges": merges},
        })
    }

    #[test]
    fn reads_what_the_library_reads() {
        for merges in [json!(["a b", "ab a"]), json!([["a", "b"], ["ab", "a"]])] {
            let text = file(merges).to_string();
            let (fast, whole) = (
                read(text.as_bytes()).unwrap().inner,
                tokenizers::Tokenizer::from_bytes(text.as_bytes()).unwrap(),
            );
            assert_eq!(fast.to_string(false).unwrap(), whole.to_string(false).unwrap());
            assert_eq!(fast.encode("ababa<end>b", false).unwrap().get_ids(), [2, 3, 4, 1]);
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_library() {
        for merges in [json!(["a b c"]), json!([["a"]]), json!([["a", "b", "c"]]), json!(["a x"]), json!(3)] {
            assert!(read(file(merges).to_string().as_bytes()).is_none());
        }
        let mut other = file(json!([]));
        other["model"]["type"] = "WordPiece".into();
        assert!(read(other.to_string().as_bytes()).is_none());
    }
}

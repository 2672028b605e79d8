//! The text of a `tokenizer.json`.

use super::{TokenKind, Vocabulary};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// What differs between kinds of vocabularies.
pub(super) struct Parts {
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub decoder: Value,
    /// Pairs, best first.
    pub merges: Vec<(String, String)>,
    pub byte_fallback: bool,
    pub ignore_merges: bool,
    /// Whether `bos` is added where the file does not say.
    pub add_bos: bool,
}

pub(super) fn write(v: &Vocabulary, parts: &Parts) -> Result<Vec<u8>> {
    let mut vocab = Map::new();
    for (id, content) in v.tokens.iter().enumerate() {
        // Of equal ones the first counts.
        vocab.entry(content.clone()).or_insert_with(|| id.into());
    }
    let known = |s: &str| vocab.contains_key(s);
    let able = |(a, b): &&(String, String)| known(a) && known(b) && known(&format!("{a}{b}"));
    let merges: Vec<Value> = parts.merges.iter().filter(able).map(|(a, b)| json!([a, b])).collect();
    let unknown = v.content(v.unknown).filter(|_| parts.byte_fallback);
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(v),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor(v, parts.add_bos),
        "decoder": parts.decoder,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": parts.byte_fallback,
            "byte_fallback": parts.byte_fallback,
            "ignore_merges": parts.ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    });
    serde_json::to_vec(&file).map_err(|e| Error::input(format!("tokenizer.ggml: {e}")))
}

/// Tokens that are found in texts before anything else.
fn added(v: &Vocabulary) -> Vec<Value> {
    let named = [v.bos, v.eos];
    let of = |(id, content): (usize, &String)| {
        let mark = matches!(v.kind(id), TokenKind::Control | TokenKind::Unknown);
        // Files without kinds name at least the ends of texts.
        let mark = mark || v.kinds.is_empty() && named.contains(&u32::try_from(id).ok());
        let whole = v.kind(id) == TokenKind::UserDefined;
        ((mark || whole) && !content.is_empty()).then(|| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": mark})
        })
    };
    v.tokens.iter().enumerate().filter_map(of).collect()
}

/// Puts tokens around texts.
fn post_processor(v: &Vocabulary, add_bos: bool) -> Value {
    let bos = v.bos.filter(|_| v.add_bos.unwrap_or(add_bos));
    let eos = v.eos.filter(|_| v.add_eos.unwrap_or(false));
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let mut special = Map::new();
    let mut mark = |id: Option<u32>| {
        let text = v.content(id)?;
        special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
        Some(json!({"SpecialToken": {"id": text, "type_id": 0}}))
    };
    let (front, back) = (mark(bos), mark(eos));
    let around = |name: &str| {
        let text = json!({"Sequence": {"id": name, "type_id": 0}});
        front.iter().cloned().chain([text]).chain(back.iter().cloned()).collect::<Vec<Value>>()
    };
    let pair: Vec<Value> = around("A").into_iter().chain(around("B")).collect();
    json!({"type": "TemplateProcessing", "single": around("A"), "pair": pair, "special_tokens": special})
}

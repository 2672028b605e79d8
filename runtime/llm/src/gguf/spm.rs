//! Vocabularies of the kind `llama`: pieces with scores. The pair whose joined piece has the best score is merged first,
//! which is a list of merges in the order of scores.

use super::Vocabulary;
use super::json::Parts;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Stands for a space.
const SPACE: &str = "\u{2581}";
/// Longer pieces are never made by merges.
const MAX_PIECE: usize = 256;

pub(super) fn parts(v: &Vocabulary) -> Result<Parts> {
    if v.scores.is_empty() {
        return Err(Error::input("tokenizer.ggml.model is `llama`, but there are no tokenizer.ggml.scores"));
    }
    if v.scores.iter().any(|s| s.is_nan()) {
        return Err(Error::input("tokenizer.ggml.scores holds values that are no numbers"));
    }
    let front = v.add_space_prefix.unwrap_or(true);
    let replace =
        |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders: Vec<Value> =
        vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if front {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        merges: merges(v),
        byte_fallback: true,
        ignore_merges: false,
        add_bos: true,
    })
}

/// Every way to put a piece together from two others, pieces in the order of their scores.
fn merges(v: &Vocabulary) -> Vec<(String, String)> {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, t) in v.tokens.iter().enumerate() {
        ids.entry(t).or_insert(i);
    }
    let score = |i: usize| v.scores.get(i).copied().unwrap_or(0.0);
    let mut order: Vec<usize> = (0..v.tokens.len()).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    let mut out = vec![];
    for i in order {
        let Some(piece) = v.tokens.get(i).filter(|p| p.len() <= MAX_PIECE) else { continue };
        let mut ways: Vec<(usize, usize, &str, &str)> = piece
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (a, b) = piece.split_at(at);
                Some((*ids.get(a)?, *ids.get(b)?, a, b))
            })
            .collect();
        ways.sort_unstable();
        out.extend(ways.into_iter().map(|(_, _, a, b)| (a.to_owned(), b.to_owned())));
    }
    out
}

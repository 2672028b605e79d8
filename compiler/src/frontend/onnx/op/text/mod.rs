//! Operators on strings.

mod concat;
mod equal;
mod label_encoder;
mod normalizer;
mod regex;
mod split;
mod tfidf;

use crate::frontend::onnx::node::{Build, NodeCx};
pub use equal::equal;
pub use label_encoder::mapped;
use sinter_ir::op::StringFind;
use sinter_ir::{Result, ValueId};

/// Operators.
pub const OPS: &[(&str, Build)] = &[
    ("StringConcat", concat::build),
    ("StringNormalizer", normalizer::build),
    ("StringSplit", split::build),
    ("RegexFullMatch", regex::build),
    ("TfIdfVectorizer", tfidf::build),
    ("ai.onnx.ml:LabelEncoder", label_encoder::build),
];

/// Strings of an attribute.
pub fn strings(cx: &NodeCx, name: &str) -> Vec<String> {
    let list = cx.attr(name).map(|a| a.strings.as_slice()).unwrap_or_default();
    list.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

/// Distinct words, sorted, and for each of the given ones its place among them.
pub fn dictionary(words: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut sorted = words.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let places = words.iter().map(|w| sorted.binary_search(w).unwrap_or_default()).collect();
    (sorted, places)
}

/// Index of each string among sorted words, -1 where it is none of them.
pub fn find(cx: &mut NodeCx, x: ValueId, words: Vec<String>) -> Result<ValueId> {
    cx.emit(StringFind { words }, &[x])
}

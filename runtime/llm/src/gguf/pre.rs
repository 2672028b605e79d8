//! Vocabularies of the kind `gpt2`: merges over bytes, inside the words that a pre-tokenizer finds. GGUF names the
//! pre-tokenizer only; what it does is what the model's own `tokenizer.json` says.

use super::Vocabulary;
use super::json::Parts;
use crate::error::{Error, Result};
use serde_json::{Value, json};

/// How words are found.
enum Words {
    /// The rule of GPT-2.
    Gpt2,
    /// Every digit by itself, then the rule of GPT-2.
    DigitsGpt2,
    /// Punctuation, the rule of GPT-2, digits in threes.
    Falcon,
    /// Texts that match one of the expressions, one expression after the other.
    Split(&'static [&'static str]),
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// A pre-tokenizer.
struct Pre {
    names: &'static [&'static str],
    words: Words,
    /// Words that are tokens as a whole need no merges.
    whole: bool,
    /// Texts are composed (NFC) first.
    compose: bool,
    /// Texts begin with a token where the file does not say.
    add_bos: bool,
}

const fn pre(names: &'static [&'static str], words: Words) -> Pre {
    Pre { names, words, whole: false, compose: false, add_bos: false }
}

const TABLE: &[Pre] = &[
    pre(&["gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "trillion"], Words::Gpt2),
    pre(
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        Words::DigitsGpt2,
    ),
    pre(&["falcon"], Words::Falcon),
    Pre {
        whole: true,
        add_bos: true,
        ..pre(&["llama-bpe", "llama3", "llama-v3", "falcon3"], Words::Split(&[LLAMA3]))
    },
    pre(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], Words::Split(&[LLAMA3])),
    Pre { compose: true, ..pre(&["qwen2", "deepseek-r1-qwen", "megrez"], Words::Split(&[QWEN2])) },
    pre(&["stablelm2", "hunyuan"], Words::Split(&[QWEN2])),
    pre(&["gpt-4o", "llama4"], Words::Split(&[GPT4O])),
    Pre { whole: true, add_bos: true, ..pre(&["tekken"], Words::Split(&[TEKKEN])) },
    pre(
        &["deepseek-v3"],
        Words::Split(&[r"\p{N}{1,3}", "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+", DEEPSEEK3]),
    ),
];

pub(super) fn parts(v: &Vocabulary) -> Result<Parts> {
    let name = v.pre.as_deref().unwrap_or("gpt-2");
    let Some(p) = TABLE.iter().find(|p| p.names.contains(&name)) else {
        let known: Vec<&str> = TABLE.iter().flat_map(|p| p.names).copied().collect();
        return Err(Error::unsupported(format!("tokenizer.ggml.pre `{name}`")).help(format!(
            "a Hugging Face folder brings its own tokenizer; known here: {}",
            known.join(", ")
        )));
    };
    let front = v.add_space_prefix.unwrap_or(false);
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": front, "trim_offsets": true, "use_regex": regex});
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let steps: Vec<Value> = match p.words {
        Words::Gpt2 => vec![bytes(true)],
        Words::DigitsGpt2 => vec![json!({"type": "Digits", "individual_digits": true}), bytes(true)],
        Words::Falcon => vec![
            json!({"type": "Punctuation", "behavior": "Contiguous"}),
            bytes(true),
            json!({"type": "Digits", "individual_digits": false}),
            split("[0-9][0-9][0-9]"),
        ],
        Words::Split(list) => list.iter().map(|r| split(r)).chain([bytes(false)]).collect(),
    };
    let pair = |m: &String| {
        // The first part may itself begin with a space.
        let at = m.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(i, _)| i);
        let cut = at.and_then(|i| Some((m.get(..i)?.to_owned(), m.get(i + 1..)?.to_owned())));
        cut.ok_or_else(|| Error::input(format!("tokenizer.ggml.merges holds {m:?}, not two parts")))
    };
    Ok(Parts {
        normalizer: if p.compose { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: json!({"type": "Sequence", "pretokenizers": steps}),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        merges: v.merges.iter().map(pair).collect::<Result<_>>()?,
        byte_fallback: false,
        ignore_merges: p.whole,
        add_bos: p.add_bos,
    })
}

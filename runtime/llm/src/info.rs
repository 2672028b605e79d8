//! The `language_model` section of a bundle's manifest: all that the runtime has to know of a model besides its code,
//! and how it follows from the files of a checkpoint.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// File of the tokenizer in a bundle.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// What was found out about it beforehand: [`crate::tokenizer::tables`].
pub const TABLES_FILE: &str = "tokenizer.tables";
/// File of the chat template in a bundle.
pub const TEMPLATE_FILE: &str = "chat_template.jinja";

/// A language model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LanguageModel {
    /// Name of the architecture: `llama`, `qwen2`.
    pub architecture: String,
    /// Entries of the logits.
    pub vocab: usize,
    /// Positions that the model was trained for; 0: not known.
    pub context: usize,
    /// Whether positions can be taken back: caches can be cut, recurrent states cannot.
    pub rewinds: bool,
    /// Token in front of every text, for tokenizers that do not add it themselves.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Special tokens by the names that chat templates use: `bos_token`, `eos_token`.
    pub special: BTreeMap<String, String>,
    /// How to choose tokens when nothing else is asked for.
    pub generation: Generation,
}

/// Defaults of sampling from the checkpoint; `None`: not stated there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Choose at random rather than the best.
    pub do_sample: Option<bool>,
    /// Divides logits.
    pub temperature: Option<f32>,
    /// Keeps the k best.
    pub top_k: Option<u32>,
    /// Keeps the best that make up this mass.
    pub top_p: Option<f32>,
    /// Keeps what has at least this part of the best one's probability.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen before.
    pub repetition_penalty: Option<f32>,
}

fn parse(file: &str, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::input(format!("{file}: {e}")))
}

/// A token id, or a list of them; what is not a token is an error.
fn ids(file: &str, key: &str, v: &Value) -> Result<Vec<u32>> {
    let one = |v: &Value| {
        v.as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| Error::input(format!("{file}: {key} is {v}, not a token")))
    };
    match v {
        Value::Null => Ok(vec![]),
        Value::Array(list) => list.iter().map(one).collect(),
        v => Ok(vec![one(v)?]),
    }
}

/// The text of a special token: a string, or an object with its `content`.
fn token_text(v: &Value) -> Option<&str> {
    v.as_str().or_else(|| v.get("content")?.as_str())
}

impl LanguageModel {
    /// Takes what `config.json` or `generation_config.json` say of tokens and sampling. Read the first one first: what
    /// the second states counts.
    pub fn read_config(&mut self, file: &str, bytes: &[u8]) -> Result<()> {
        let v = parse(file, bytes)?;
        if let Some(id) = v.get("bos_token_id") {
            self.bos = ids(file, "bos_token_id", id)?.first().copied().or(self.bos);
        }
        if let Some(id) = v.get("eos_token_id") {
            let found = ids(file, "eos_token_id", id)?;
            if !found.is_empty() {
                self.eos = found;
            }
        }
        let number = |key: &str| match v.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(n) => {
                let f = n.as_f64().map(|f| f as f32).filter(|f| f.is_finite());
                f.map(Some).ok_or_else(|| Error::input(format!("{file}: {key} is {n}, not a number")))
            }
        };
        let g = &mut self.generation;
        g.do_sample = v.get("do_sample").and_then(Value::as_bool).or(g.do_sample);
        g.temperature = number("temperature")?.or(g.temperature);
        g.top_k = number("top_k")?.map(|k| k.max(0.0) as u32).or(g.top_k);
        g.top_p = number("top_p")?.or(g.top_p);
        g.min_p = number("min_p")?.or(g.min_p);
        g.repetition_penalty = number("repetition_penalty")?.or(g.repetition_penalty);
        Ok(())
    }
    /// Takes the special tokens of `tokenizer_config.json` and returns the chat template in it, if there is one. Of
    /// several named templates it is the one called `default`.
    pub fn read_tokenizer_config(&mut self, bytes: &[u8]) -> Result<Option<String>> {
        let v = parse("tokenizer_config.json", bytes)?;
        for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
            if let Some(text) = v.get(key).and_then(token_text) {
                self.special.insert(key.to_owned(), text.to_owned());
            }
        }
        let named = |list: &Vec<Value>| {
            let text = |name: &str| {
                let found = list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some(name));
                found.and_then(|t| t.get("template")?.as_str())
            };
            text("default").map(str::to_owned)
        };
        Ok(match v.get("chat_template") {
            Some(Value::Array(list)) => named(list),
            Some(t) => t.as_str().map(str::to_owned),
            None => None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn later_files_count() {
        let mut m = LanguageModel::default();
        m.read_config("config.json", br#"{"bos_token_id": 1, "eos_token_id": 2, "temperature": null}"#)
            .unwrap();
        let text = br#"{"eos_token_id": [2, 7], "do_sample": true, "temperature": 0.6, "top_k": 20, "bos_token_id": null}"#;
        m.read_config("generation_config.json", text).unwrap();
        assert_eq!((m.bos, m.eos.as_slice()), (Some(1), &[2, 7][..]));
        assert_eq!((m.generation.temperature, m.generation.top_k), (Some(0.6), Some(20)));
        let e = m.read_config("config.json", br#"{"eos_token_id": -3}"#).unwrap_err();
        assert_eq!(e.message, "config.json: eos_token_id is -3, not a token");
        assert!(m.read_config("config.json", b"{").unwrap_err().message.starts_with("config.json: "));
    }

    #[test]
    fn templates_of_the_tokenizer() {
        let mut m = LanguageModel::default();
        let one = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": "a"}"#;
        assert_eq!(m.read_tokenizer_config(one).unwrap().as_deref(), Some("a"));
        assert_eq!((m.special["bos_token"].as_str(), m.special["eos_token"].as_str()), ("<s>", "</s>"));
        let many = br#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(m.read_tokenizer_config(many).unwrap().as_deref(), Some("d"));
    }
}

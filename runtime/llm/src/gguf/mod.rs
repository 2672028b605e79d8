//! Vocabularies of GGUF files as `tokenizer.json`, so that bundles know one kind of tokenizer only.

mod json;
mod pre;
mod spm;

use crate::error::{Error, Result};
use crate::info::LanguageModel;

/// Metadata of a GGUF file. Numbers of all types come as `f64`, which holds every token and score.
pub trait Metadata {
    /// A string.
    fn text(&self, key: &str) -> Option<String>;
    /// A number.
    fn number(&self, key: &str) -> Option<f64>;
    /// A truth value.
    fn flag(&self, key: &str) -> Option<bool>;
    /// A list of strings.
    fn texts(&self, key: &str) -> Option<Vec<String>>;
    /// A list of numbers.
    fn numbers(&self, key: &str) -> Option<Vec<f64>>;
}

/// What a token is for, as GGUF numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// Stands for what has no token.
    Unknown,
    /// A mark, never text.
    Control,
    /// Text that is never split.
    UserDefined,
    /// Only fills a place.
    Unused,
    /// A single byte: `<0x0A>`.
    Byte,
}

impl TokenKind {
    fn of(number: f64) -> Result<Self> {
        Ok(match number as i64 {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => {
                return Err(Error::input(format!(
                    "tokenizer.ggml.token_type holds {number}, not one of 1 to 6"
                )));
            }
        })
    }
}

/// The vocabulary of a GGUF file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `llama` or `gpt2`.
    pub model: String,
    /// `tokenizer.ggml.pre`: how texts are split before merging.
    pub pre: Option<String>,
    /// Contents by token.
    pub tokens: Vec<String>,
    /// Which pieces to prefer; for `llama`.
    pub scores: Vec<f32>,
    /// What tokens are for; empty: all are text.
    pub kinds: Vec<TokenKind>,
    /// Pairs separated by a space, best first; for `gpt2`.
    pub merges: Vec<String>,
    /// Token in front of texts.
    pub bos: Option<u32>,
    /// Token behind texts.
    pub eos: Option<u32>,
    /// Token for what has none.
    pub unknown: Option<u32>,
    /// Token that fills batches.
    pub padding: Option<u32>,
    /// Further tokens that end an answer: end of turn, end of message.
    pub ends: Vec<u32>,
    /// Whether texts begin with `bos`; by the model's kind where absent.
    pub add_bos: Option<bool>,
    /// Whether texts end with `eos`.
    pub add_eos: Option<bool>,
    /// Whether a space is put in front of texts.
    pub add_space_prefix: Option<bool>,
}

impl Vocabulary {
    /// Reads the keys `tokenizer.ggml.*`.
    pub fn read(m: &dyn Metadata) -> Result<Self> {
        let key = |k: &str| format!("tokenizer.ggml.{k}");
        let missing = |k: &str| Error::input(format!("the file has no {}", key(k)));
        let id =
            |k: &str| m.number(&key(k)).filter(|n| (0.0..=f64::from(u32::MAX)).contains(n)).map(|n| n as u32);
        let v = Self {
            model: m.text(&key("model")).ok_or_else(|| missing("model"))?,
            pre: m.text(&key("pre")),
            tokens: m.texts(&key("tokens")).ok_or_else(|| missing("tokens"))?,
            scores: m.numbers(&key("scores")).unwrap_or_default().iter().map(|&s| s as f32).collect(),
            kinds: m
                .numbers(&key("token_type"))
                .unwrap_or_default()
                .into_iter()
                .map(TokenKind::of)
                .collect::<Result<_>>()?,
            merges: m.texts(&key("merges")).unwrap_or_default(),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            unknown: id("unknown_token_id"),
            padding: id("padding_token_id"),
            ends: ["eot_token_id", "eom_token_id"].into_iter().filter_map(id).collect(),
            add_bos: m.flag(&key("add_bos_token")),
            add_eos: m.flag(&key("add_eos_token")),
            add_space_prefix: m.flag(&key("add_space_prefix")),
        };
        v.check()?;
        Ok(v)
    }
    /// Lists of equal length, tokens that exist.
    fn check(&self) -> Result<()> {
        let n = self.tokens.len();
        if n == 0 || n > crate::MAX_TOKENS {
            return Err(Error::input(format!("tokenizer.ggml.tokens holds {n} tokens")));
        }
        for (key, len) in [("token_type", self.kinds.len()), ("scores", self.scores.len())] {
            if len != 0 && len != n {
                return Err(Error::input(format!("tokenizer.ggml.{key} has {len} entries for {n} tokens")));
            }
        }
        for (key, id) in [("bos", self.bos), ("eos", self.eos), ("unknown", self.unknown)] {
            if let Some(id) = id.filter(|&id| id as usize >= n) {
                return Err(Error::input(format!(
                    "tokenizer.ggml.{key}_token_id is {id}, there are {n} tokens"
                )));
            }
        }
        Ok(())
    }
    fn content(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(id? as usize).map(String::as_str)
    }
    /// What a token is for.
    fn kind(&self, id: usize) -> TokenKind {
        self.kinds.get(id).copied().unwrap_or(TokenKind::Normal)
    }
    /// Fills in the tokens of a model's description.
    pub fn describe(&self, m: &mut LanguageModel) {
        m.bos = self.bos;
        let exists = |id: &u32| (*id as usize) < self.tokens.len();
        m.eos = self.eos.into_iter().chain(self.ends.iter().copied()).filter(exists).collect();
        m.eos.dedup();
        let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
        for (name, id) in names.into_iter().zip([self.bos, self.eos, self.unknown, self.padding]) {
            if let Some(text) = self.content(id) {
                m.special.insert(name.to_owned(), text.to_owned());
            }
        }
    }
    /// The same vocabulary as a `tokenizer.json`.
    pub fn tokenizer_json(&self) -> Result<Vec<u8>> {
        match self.model.as_str() {
            "llama" => json::write(self, &spm::parts(self)?),
            "gpt2" => json::write(self, &pre::parts(self)?),
            other => Err(Error::unsupported(format!("tokenizer.ggml.model `{other}`"))
                .help("vocabularies of the kinds `llama` and `gpt2` are read; a Hugging Face folder brings its own tokenizer")),
        }
    }
}

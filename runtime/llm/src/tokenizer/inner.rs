//! What encodes: tables of our own where the file is of the usual kind, otherwise the library's model.

use super::bpe::Bpe;
use std::borrow::Cow;
use std::collections::BTreeSet;
use tokenizers::{
    DecoderWrapper, Encoding, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerImpl,
};

/// The library round our tables.
pub(super) type Tables =
    TokenizerImpl<Bpe, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// One of both.
pub(super) enum Inner {
    Tables(Box<Tables>),
    Library(Box<Tokenizer>),
}

impl Inner {
    /// The tokens of a text.
    pub fn encode(&self, text: &str, whole: bool) -> tokenizers::Result<Encoding> {
        match self {
            Self::Tables(t) => t.encode_fast(text, whole),
            Self::Library(t) => t.encode_fast(text, whole),
        }
    }
    /// The token of a text.
    pub fn token(&self, text: &str) -> Option<u32> {
        match self {
            Self::Tables(t) => t.token_to_id(text),
            Self::Library(t) => t.token_to_id(text),
        }
    }
    /// The text of a token.
    pub fn text(&self, id: u32) -> Option<Cow<'_, str>> {
        match self {
            Self::Tables(t) => {
                let added = t.get_added_vocabulary().get_added_tokens_decoder().get(&id);
                added.map(|a| a.content.as_str()).or_else(|| t.get_model().text(id)).map(Cow::Borrowed)
            }
            Self::Library(t) => t.id_to_token(id).map(Cow::Owned),
        }
    }
    /// Added tokens that are marks rather than text.
    pub fn special(&self) -> BTreeSet<u32> {
        let added = match self {
            Self::Tables(t) => t.get_added_vocabulary(),
            Self::Library(t) => t.get_added_vocabulary(),
        };
        added.get_added_tokens_decoder().iter().filter(|(_, a)| a.special).map(|(id, _)| *id).collect()
    }
    /// One more than the largest token.
    pub fn len(&self) -> usize {
        match self {
            Self::Tables(t) => {
                let added = t.get_added_vocabulary().get_added_tokens_decoder().keys().max();
                t.get_model().len().max(added.map_or(0, |id| *id as usize + 1))
            }
            Self::Library(t) => t.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1),
        }
    }
}

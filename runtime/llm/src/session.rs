//! A conversation with a model: what it has read, and what it goes on to say.

mod generate;
mod save;

pub use generate::{Finish, Options, Outcome};

use crate::error::{Error, Result};
use crate::info::LanguageModel;
use crate::model::Model;
use crate::template::{ChatTemplate, Context};
use crate::tokenizer::Tokenizer;
use serde::Serialize;
use std::sync::Arc;

/// What stays the same for all sessions of a model.
#[derive(Debug)]
pub struct Language {
    /// What the bundle says of the model.
    pub info: LanguageModel,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How chats are written down; models that only continue texts have none.
    pub template: Option<ChatTemplate>,
}

/// A model in use.
pub struct Session<M> {
    model: M,
    language: Arc<Language>,
    /// Tokens that the model has read.
    history: Vec<u32>,
    /// A token that was generated and not yet read.
    pending: Option<u32>,
}

impl<M: Model> Session<M> {
    /// The beginning of a session.
    pub fn new(model: M, language: Arc<Language>) -> Result<Self> {
        language.tokenizer.check_fits(model.vocab())?;
        let history = Vec::with_capacity(model.capacity() + 1);
        let mut s = Self { model, language, history, pending: None };
        s.reset()?;
        Ok(s)
    }
    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }
    /// Tokenizer, template and what is known of the model.
    pub fn language(&self) -> &Arc<Language> {
        &self.language
    }
    /// Tokens that the model has read.
    pub fn history(&self) -> &[u32] {
        &self.history
    }
    /// Forgets everything.
    pub fn reset(&mut self) -> Result<()> {
        self.model.rewind(0)?;
        self.history.clear();
        self.pending = None;
        Ok(())
    }
    /// The tokens of a text that stands for itself; never none where the model has a token for the beginning.
    pub fn tokens_of(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.language.tokenizer.encode(text, true)?;
        if tokens.is_empty() {
            tokens.extend(self.language.info.bos);
        }
        Ok(tokens)
    }
    /// The text of a chat and its tokens.
    pub fn tokens_of_chat<C: Serialize>(&self, messages: &[C], context: &Context) -> Result<Vec<u32>> {
        let l = &self.language;
        let template = l.template.as_ref().ok_or_else(|| {
            Error::input("the model has no chat template: it was made to continue texts")
                .help("give it a text as it is")
        })?;
        let mut context = context.clone();
        for (name, text) in &l.info.special {
            context.variables.entry(name.clone()).or_insert_with(|| text.as_str().into());
        }
        l.tokenizer.encode(&template.render(messages, &context)?, false)
    }
    /// Lets the model read tokens behind everything so far. Where there is no room for them, nothing is read.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        let new = tokens.len() + usize::from(self.pending.is_some());
        let (used, room) = (self.history.len(), self.model.capacity());
        if new > room.saturating_sub(used) {
            let before = if used > 0 { format!(" behind {used}") } else { String::new() };
            return Err(Error::limit(format!(
                "{new} tokens{before} do not fit the cache, which holds {room}"
            ))
            .help("shorten the text, or make the cache larger"));
        }
        if let Some(t) = self.pending {
            self.read(&[t])?;
            self.pending = None;
        }
        tokens.chunks(self.model.chunk().max(1)).try_for_each(|c| self.read(c))
    }
    fn read(&mut self, tokens: &[u32]) -> Result<()> {
        if let Some(t) = tokens.iter().find(|t| **t as usize >= self.model.vocab()) {
            return Err(Error::input(format!("token {t}, the model knows {}", self.model.vocab())));
        }
        let read = self.model.forward(tokens);
        if read.is_err() {
            // What a run that failed has left is not known.
            self.history.clear();
            self.pending = None;
            let _ = self.model.rewind(0);
        }
        read?;
        self.history.extend_from_slice(tokens);
        Ok(())
    }
    /// Makes the session one of exactly these tokens: what it has in common with them is kept, the rest is read. Gives
    /// the number of tokens that were kept.
    pub fn become_tokens(&mut self, tokens: &[u32]) -> Result<usize> {
        if tokens.len() > self.model.capacity() {
            self.reset()?;
            return self.feed(tokens).map(|()| 0);
        }
        let same = self.history.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // The logits behind the last token are needed: at least one is read.
        let mut keep = same.min(tokens.len().saturating_sub(1));
        if keep < self.history.len() && !self.model.rewinds() {
            keep = 0;
        }
        if keep < self.history.len() {
            self.model.rewind(keep)?;
            self.history.truncate(keep);
        }
        self.pending = None;
        self.feed(tokens.get(keep..).unwrap_or(&[]))?;
        Ok(keep)
    }
}

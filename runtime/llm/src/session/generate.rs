//! The loop that speaks.

use super::Session;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::sample::{Sampler, Settings};
use crate::stop::Stops;
use crate::tokenizer::Stream;
use std::ops::ControlFlow;

/// How to go on with a text.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Most tokens to generate; `None`: until the model ends or the cache is full.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub settings: Settings,
    /// Texts that end the answer; they are not part of it.
    pub stops: Vec<String>,
    /// Go on behind tokens that end texts.
    pub ignore_eos: bool,
    /// The answer is a text of its own rather than the rest of one: a space that tokenizers put in front is dropped.
    pub own_text: bool,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    End,
    /// A stop sequence came.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The cache is full.
    Full,
    /// The callback wanted no more.
    Cancelled,
}

/// What an answer was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why it ended.
    pub finish: Finish,
    /// Tokens that were generated, with the one that ended it.
    pub tokens: usize,
}

/// From tokens to text that can be shown: whole characters, no special tokens, nothing that may be a stop sequence.
struct Speech {
    stream: Stream,
    stops: Stops,
    /// What is shown: bytes that are no text become U+FFFD.
    shown: String,
}

impl Speech {
    fn say(&mut self, piece: &[u8], show: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let sure = self.stops.push(self.stream.push(piece));
        give(&mut self.shown, sure, show)
    }
    /// What waits has no more to wait for.
    fn end(&mut self, show: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let sure = self.stops.push(self.stream.rest());
        give(&mut self.shown, sure, show)?;
        if self.stops.found() {
            return ControlFlow::Continue(());
        }
        give(&mut self.shown, self.stops.rest(), show)
    }
}

fn give(shown: &mut String, bytes: &[u8], show: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
    if bytes.is_empty() {
        return ControlFlow::Continue(());
    }
    shown.clear();
    for part in bytes.utf8_chunks() {
        shown.push_str(part.valid());
        if !part.invalid().is_empty() {
            shown.push(char::REPLACEMENT_CHARACTER);
        }
    }
    show(shown)
}

impl<M: Model> Session<M> {
    /// Goes on behind everything read so far, piece by piece, until something ends it. Between the first and the last
    /// piece nothing is allocated. The session can go on behind the answer: its tokens count as read.
    pub fn generate(
        &mut self,
        options: &Options,
        mut show: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        self.feed(&[])?;
        if self.history.is_empty() {
            return Err(Error::input("there is nothing to go on with: the model has read no token")
                .help("give a text with at least one token"));
        }
        let language = self.language.clone();
        let t = &language.tokenizer;
        let mut sampler = Sampler::new(options.settings.clone(), self.model.vocab())?;
        sampler.prompt(&self.history);
        let stream = t.stream(!options.own_text);
        let most = stream.longest();
        let stops = Stops::new(&options.stops, most)?;
        // Every byte may become three.
        let shown = String::with_capacity(3 * (most + stops.longest()));
        let mut speech = Speech { stream, stops, shown };
        let mut tokens = 0;
        let finish = loop {
            if options.max_tokens.is_some_and(|n| tokens >= n) {
                break Finish::Length;
            }
            let token = sampler.choose(self.model.logits())?;
            tokens += 1;
            self.pending = Some(token);
            if language.info.eos.contains(&token) && !options.ignore_eos {
                break Finish::End;
            }
            if !t.is_special(token) && speech.say(t.piece(token), &mut show).is_break() {
                return Ok(Outcome { finish: Finish::Cancelled, tokens });
            }
            if speech.stops.found() {
                return Ok(Outcome { finish: Finish::Stop, tokens });
            }
            if options.max_tokens == Some(tokens) {
                break Finish::Length;
            }
            if self.history.len() >= self.model.capacity() {
                break Finish::Full;
            }
            self.read(&[token])?;
            self.pending = None;
        };
        let ended = speech.end(&mut show);
        let finish = if ended.is_break() { Finish::Cancelled } else { finish };
        Ok(Outcome { finish, tokens })
    }
}

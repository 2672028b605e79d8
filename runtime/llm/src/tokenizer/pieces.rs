//! The bytes of every token in one block: nothing is looked up or put together while text is made.

use super::blob::{Part, words};
use super::decoder::{Lead, Rules};
use super::inner::Inner;
use crate::MAX_TOKENS;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Bytes by token.
pub(super) struct Pieces {
    /// Those of all tokens, and where those of each end.
    bytes: Part,
    ends: Part,
    special: BTreeSet<u32>,
    longest: usize,
    lead: Lead,
}

impl Pieces {
    pub fn new(t: &Inner, rules: Rules) -> Result<Self> {
        let last = t.len();
        if last > MAX_TOKENS {
            return Err(Error::limit(format!(
                "tokenizer.json: token {}, at most {MAX_TOKENS} are read",
                last - 1
            )));
        }
        let (mut bytes, mut ends) = (Vec::with_capacity(last * 8), Vec::with_capacity(last));
        let mut longest = 0;
        for id in 0..last as u32 {
            let before = bytes.len();
            if let Some(content) = t.text(id) {
                rules.add(&content, &mut bytes);
            }
            longest = longest.max(bytes.len() - before);
            let end =
                u32::try_from(bytes.len()).map_err(|_| Error::limit("tokenizer.json: 4 GiB of tokens"))?;
            ends.push(end);
        }
        let parts = (Part::of(Arc::new(bytes)), Part::of(Arc::new(words(ends))));
        Ok(Self::of_parts(parts, longest, t, rules))
    }
    /// Of [`Pieces::parts`].
    pub fn of_parts((bytes, ends): (Part, Part), longest: usize, t: &Inner, rules: Rules) -> Self {
        Self { bytes, ends, special: t.special(), longest, lead: rules.lead }
    }
    /// The bytes of all tokens, and words of where those of each end.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        (self.bytes.bytes(), self.ends.bytes())
    }
    pub fn len(&self) -> usize {
        self.ends.words().len()
    }
    pub fn get(&self, token: u32) -> &[u8] {
        self.bytes.item(&self.ends, token as usize).unwrap_or_default()
    }
    pub fn is_special(&self, token: u32) -> bool {
        self.special.contains(&token)
    }
    pub fn longest(&self) -> usize {
        self.longest
    }
    pub fn lead(&self) -> Lead {
        self.lead
    }
}

//! The bytes of every token in one block: nothing is looked up or put together while text is made.

use super::decoder::{Lead, Rules};
use crate::MAX_TOKENS;
use crate::error::{Error, Result};

/// Bytes by token.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// Where the bytes of a token end; they begin where those of the one before end.
    ends: Vec<u32>,
    special: Vec<bool>,
    longest: usize,
    lead: Lead,
}

/// One more than the largest number of a token.
fn numbers(t: &tokenizers::Tokenizer) -> usize {
    // Mostly all numbers are taken; then there are no others, and the vocabulary need not be copied.
    let count = t.get_vocab_size(true);
    if count <= MAX_TOKENS && (0..count as u32).all(|id| t.id_to_token(id).is_some()) {
        return count;
    }
    t.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
}

impl Pieces {
    pub fn new(t: &tokenizers::Tokenizer, rules: Rules) -> Result<Self> {
        let last = numbers(t);
        if last > MAX_TOKENS {
            return Err(Error::limit(format!(
                "tokenizer.json: token {}, at most {MAX_TOKENS} are read",
                last - 1
            )));
        }
        let added = t.get_added_tokens_decoder();
        let mut p = Self {
            bytes: Vec::with_capacity(last * 8),
            ends: Vec::with_capacity(last),
            special: vec![false; last],
            longest: 0,
            lead: rules.lead,
        };
        for id in 0..last as u32 {
            let before = p.bytes.len();
            if let Some(content) = t.id_to_token(id) {
                p.bytes.extend(rules.bytes(&content));
            }
            p.longest = p.longest.max(p.bytes.len() - before);
            let end =
                u32::try_from(p.bytes.len()).map_err(|_| Error::limit("tokenizer.json: 4 GiB of tokens"))?;
            p.ends.push(end);
            p.special[id as usize] = added.get(&id).is_some_and(|a| a.special);
        }
        Ok(p)
    }
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    pub fn get(&self, token: u32) -> &[u8] {
        let i = token as usize;
        let Some(&end) = self.ends.get(i) else { return &[] };
        let begin = i.checked_sub(1).and_then(|j| self.ends.get(j)).copied().unwrap_or(0);
        self.bytes.get(begin as usize..end as usize).unwrap_or(&[])
    }
    pub fn is_special(&self, token: u32) -> bool {
        self.special.get(token as usize).copied().unwrap_or(false)
    }
    pub fn longest(&self) -> usize {
        self.longest
    }
    pub fn lead(&self) -> Lead {
        self.lead
    }
}

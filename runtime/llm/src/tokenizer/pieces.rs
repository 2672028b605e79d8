//! The bytes of every token in one block: nothing is looked up or put together while text is made.

use super::decoder::{Lead, Rules};
use super::inner::Inner;
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

impl Pieces {
    pub fn new(t: &Inner, rules: Rules) -> Result<Self> {
        let last = t.len();
        if last > MAX_TOKENS {
            return Err(Error::limit(format!(
                "tokenizer.json: token {}, at most {MAX_TOKENS} are read",
                last - 1
            )));
        }
        let mut p = Self {
            bytes: Vec::with_capacity(last * 8),
            ends: Vec::with_capacity(last),
            special: vec![false; last],
            longest: 0,
            lead: rules.lead,
        };
        for id in 0..last as u32 {
            let before = p.bytes.len();
            if let Some(content) = t.text(id) {
                rules.add(&content, &mut p.bytes);
            }
            p.longest = p.longest.max(p.bytes.len() - before);
            let end =
                u32::try_from(p.bytes.len()).map_err(|_| Error::limit("tokenizer.json: 4 GiB of tokens"))?;
            p.ends.push(end);
        }
        for id in t.special() {
            p.special[id as usize] = true;
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

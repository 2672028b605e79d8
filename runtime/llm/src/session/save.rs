//! Sessions as bytes: a header, the tokens, the last logits, the model's memory, and a sum over everything.

use super::Session;
use crate::error::{Error, Result};
use crate::model::Model;

const MAGIC: [u8; 8] = *b"SINTERKV";
/// Version of the layout.
const VERSION: u32 = 1;
/// Magic, version, whether the last token was not read yet, model, capacity, tokens, logits, bytes of the memory.
const HEADER: usize = 56;

/// FNV-1a over words, the last one filled with zeros: for files that were cut or changed by accident.
fn sum(bytes: &[u8]) -> u64 {
    let step = |h: u64, word: u64| (h ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let h = words.iter().fold(0xcbf2_9ce4_8422_2325, |h, w| step(h, u64::from_le_bytes(*w)));
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(l, r)| *l = *r);
    step(step(h, u64::from_le_bytes(last)), bytes.len() as u64)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl<M: Model> Session<M> {
    /// Everything that is needed to go on later, with the same bundle and capacity.
    pub fn save(&self) -> Vec<u8> {
        let memory = self.model.memory();
        let tokens: Vec<u32> = self.history.iter().copied().chain(self.pending).collect();
        let logits = self.model.logits();
        let mut out = Vec::with_capacity(HEADER + (tokens.len() + logits.len()) * 4 + memory.len() + 8);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(u32::from(self.pending.is_some()).to_le_bytes());
        let sizes = [self.model.capacity(), tokens.len(), logits.len(), memory.len()].map(|n| n as u64);
        [self.model.identity()].iter().chain(&sizes).for_each(|n| out.extend(n.to_le_bytes()));
        out.extend(tokens.iter().flat_map(|t| t.to_le_bytes()));
        out.extend(logits.iter().flat_map(|l| l.to_le_bytes()));
        out.extend(memory);
        let sum = sum(&out);
        out.extend(sum.to_le_bytes());
        out
    }
    /// Takes back what [`Session::save`] gave. On an error the session stays as it was.
    pub fn load(&mut self, bytes: &[u8]) -> Result<()> {
        let bad = |what: &str| Error::input(format!("the saved session {what}"));
        if bytes.get(..8) != Some(&MAGIC) {
            return Err(Error::input("this is no saved session"));
        }
        let field = |at| word(bytes, at).ok_or_else(|| bad("is cut off"));
        let flags = field(8)?;
        let (version, pending) = (flags as u32, flags >> 32);
        if version != VERSION {
            return Err(bad(&format!("has version {version}, this runtime reads {VERSION}")));
        }
        let (identity, capacity) = (field(16)?, field(24)?);
        let (tokens, logits, memory) = (field(32)?, field(40)?, field(48)?);
        if identity != self.model.identity() {
            return Err(bad("belongs to another model"));
        }
        if capacity != self.model.capacity() as u64 {
            return Err(bad(&format!(
                "has a cache for {capacity} tokens, this one is for {}",
                self.model.capacity()
            ))
            .help("open the model with the same capacity"));
        }
        let body =
            bytes.len().checked_sub(8).filter(|end| *end >= HEADER).ok_or_else(|| bad("is cut off"))?;
        let mut rest = &bytes[HEADER..body];
        let mut part = |n: u64, size: u64| {
            let n = usize::try_from(n.checked_mul(size)?).ok()?;
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let (list, scores, memory) = (part(tokens, 4), part(logits, 4), part(memory, 1));
        let (Some(list), Some(scores), Some(memory)) = (list, scores, memory) else {
            return Err(bad("is cut off"));
        };
        if !rest.is_empty() || word(bytes, body) != Some(sum(&bytes[..body])) {
            return Err(bad("is damaged"));
        }
        let mut tokens: Vec<u32> = list.as_chunks().0.iter().map(|t| u32::from_le_bytes(*t)).collect();
        let logits: Vec<f32> = scores.as_chunks().0.iter().map(|l| f32::from_le_bytes(*l)).collect();
        let next = if pending == 1 { tokens.pop() } else { None };
        if tokens.len() > self.model.capacity()
            || tokens.iter().chain(&next).any(|t| *t as usize >= self.model.vocab())
        {
            return Err(bad("holds tokens that the model does not have"));
        }
        self.model.restore(memory, &logits, tokens.len())?;
        self.history.clear();
        self.history.extend(tokens);
        self.pending = next;
        Ok(())
    }
}

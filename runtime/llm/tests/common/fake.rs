//! A model whose every answer follows from all tokens that it has read, and nothing else.

use sinter_llm::{Error, Model, Result};

/// Remembers its tokens in a block of bytes, like a cache.
pub struct Fake {
    pub vocab: usize,
    pub chunk: usize,
    pub rewinds: bool,
    /// Runs so far.
    pub runs: usize,
    /// A run with this token fails.
    pub poison: Option<u32>,
    memory: Vec<u8>,
    position: usize,
    logits: Vec<f32>,
}

impl Fake {
    pub fn new(vocab: usize, capacity: usize, chunk: usize) -> Self {
        let (memory, logits) = (vec![0; capacity * 4], vec![0.0; vocab]);
        Self { vocab, chunk, rewinds: true, runs: 0, poison: None, memory, position: 0, logits }
    }
    /// The token that it thinks comes next.
    pub fn next(tokens: &[u32], vocab: usize) -> u32 {
        let h = tokens
            .iter()
            .fold(17u64, |h, t| (h ^ u64::from(*t)).wrapping_mul(0x100_0000_01b3).rotate_left(23));
        (h % vocab as u64) as u32
    }
}

impl Model for Fake {
    fn vocab(&self) -> usize {
        self.vocab
    }
    fn capacity(&self) -> usize {
        self.memory.len() / 4
    }
    fn position(&self) -> usize {
        self.position
    }
    fn chunk(&self) -> usize {
        self.chunk
    }
    fn forward(&mut self, tokens: &[u32]) -> Result<()> {
        assert!(
            !tokens.is_empty()
                && tokens.len() <= self.chunk
                && self.position + tokens.len() <= self.capacity()
        );
        self.runs += 1;
        for t in tokens {
            if self.poison == Some(*t) {
                return Err(Error::model("poisoned"));
            }
            self.memory[self.position * 4..][..4].copy_from_slice(&t.to_le_bytes());
            self.position += 1;
        }
        // In an array of its own: nothing is allocated.
        let mut h = 17u64;
        for t in self.memory[..self.position * 4].as_chunks().0 {
            h = (h ^ u64::from(u32::from_le_bytes(*t))).wrapping_mul(0x100_0000_01b3).rotate_left(23);
        }
        self.logits.fill(0.0);
        self.logits[(h % self.vocab as u64) as usize] = 4.0;
        Ok(())
    }
    fn logits(&self) -> &[f32] {
        &self.logits
    }
    fn rewinds(&self) -> bool {
        self.rewinds
    }
    fn rewind(&mut self, position: usize) -> Result<()> {
        assert!(position <= self.position && (self.rewinds || position == 0));
        self.position = position;
        Ok(())
    }
    fn memory(&self) -> &[u8] {
        &self.memory
    }
    fn restore(&mut self, memory: &[u8], logits: &[f32], position: usize) -> Result<()> {
        if memory.len() != self.memory.len() || logits.len() != self.vocab {
            return Err(Error::input("the memory has another size"));
        }
        self.memory.copy_from_slice(memory);
        self.logits.copy_from_slice(logits);
        self.position = position;
        Ok(())
    }
    fn identity(&self) -> u64 {
        self.vocab as u64
    }
}

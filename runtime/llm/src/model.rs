//! What a session needs of a model.

use crate::error::Result;

/// A model that reads tokens, remembers them and gives the logits of the next one.
pub trait Model {
    /// Entries of the logits.
    fn vocab(&self) -> usize;
    /// Tokens that its memory has room for.
    fn capacity(&self) -> usize;
    /// Tokens that it has read.
    fn position(&self) -> usize;
    /// Most tokens that it reads at once.
    fn chunk(&self) -> usize;
    /// Reads tokens: 1 to [`Model::chunk`], as many as there is room for. Allocates nothing.
    fn forward(&mut self, tokens: &[u32]) -> Result<()>;
    /// Logits of the token that follows what was read last.
    fn logits(&self) -> &[f32];
    /// Reads tokens and shows the logits behind each of them, by its index. They count as read like by
    /// [`Model::forward`].
    fn forward_each(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        for (i, t) in tokens.iter().enumerate() {
            self.forward(std::slice::from_ref(t))?;
            each(i, self.logits());
        }
        Ok(())
    }
    /// Whether [`Model::rewind`] can go back to any position, and not to the beginning only.
    fn rewinds(&self) -> bool;
    /// Forgets everything behind the first `position` tokens.
    fn rewind(&mut self, position: usize) -> Result<()>;
    /// What it remembers.
    fn memory(&self) -> &[u8];
    /// Takes back what [`Model::memory`] and [`Model::logits`] gave at a position, with the same capacity.
    fn restore(&mut self, memory: &[u8], logits: &[f32], position: usize) -> Result<()>;
    /// Tells models apart.
    fn identity(&self) -> u64;
}

impl<M: Model + ?Sized> Model for Box<M> {
    fn vocab(&self) -> usize {
        (**self).vocab()
    }
    fn capacity(&self) -> usize {
        (**self).capacity()
    }
    fn position(&self) -> usize {
        (**self).position()
    }
    fn chunk(&self) -> usize {
        (**self).chunk()
    }
    fn forward(&mut self, tokens: &[u32]) -> Result<()> {
        (**self).forward(tokens)
    }
    fn logits(&self) -> &[f32] {
        (**self).logits()
    }
    fn forward_each(&mut self, tokens: &[u32], each: &mut dyn FnMut(usize, &[f32])) -> Result<()> {
        (**self).forward_each(tokens, each)
    }
    fn rewinds(&self) -> bool {
        (**self).rewinds()
    }
    fn rewind(&mut self, position: usize) -> Result<()> {
        (**self).rewind(position)
    }
    fn memory(&self) -> &[u8] {
        (**self).memory()
    }
    fn restore(&mut self, memory: &[u8], logits: &[f32], position: usize) -> Result<()> {
        (**self).restore(memory, logits, position)
    }
    fn identity(&self) -> u64 {
        (**self).identity()
    }
}

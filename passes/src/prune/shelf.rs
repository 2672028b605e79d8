//! Where pruned weights wait until they are lowered.

use crate::plan::weights::Store;
use bytes::Bytes;
use sinter_ir::tensor::Source;
use sinter_ir::{Diag, Result, Tensor};
use std::sync::Arc;

/// Takes tensors out of memory, where there is a store.
pub struct Shelf<'s> {
    store: Option<&'s mut dyn Store>,
    end: u64,
}

/// A tensor's elements in a store.
#[derive(Debug)]
struct Kept(Bytes);

impl Source for Kept {
    fn read(&self) -> Result<Bytes> {
        Ok(self.0.clone())
    }
}

impl<'s> Shelf<'s> {
    /// In a store, or in memory.
    pub fn new(store: Option<&'s mut dyn Store>) -> Self {
        Self { store, end: 0 }
    }
    /// The same tensor; its elements are read when they are needed.
    pub fn keep(&mut self, t: Tensor) -> Result<Tensor> {
        let bytes = match self.store.as_mut() {
            None => t.shared_bytes(),
            Some(store) => {
                let (at, len) = (self.end, t.bytes().len());
                store.append(at, t.bytes())?;
                self.end += len.next_multiple_of(64) as u64;
                let all = store.bytes()?;
                let part = all.get(at as usize..at as usize + len).map(|s| all.slice_ref(s));
                part.ok_or_else(|| Diag::bug("a store that lost what it was given"))?
            }
        };
        Tensor::deferred(t.dtype(), t.shape().to_vec(), Arc::new(Kept(bytes)))
    }
}

//! What a model remembers between runs.

use crate::bundle::Error;
use crate::memory::Aligned;

/// What a model remembers of a sequence: caches and recurrent states. Good for one bundle only.
#[derive(Debug)]
pub struct States {
    block: Aligned,
    capacity: i64,
}

impl States {
    /// Zeros: the beginning of a sequence.
    pub(crate) fn new(bytes: usize, capacity: i64) -> Result<Self, Error> {
        let block = Aligned::zeroed(bytes).map_err(|e| Error::Call(format!("states: {e}")))?;
        Ok(Self { block, capacity })
    }
    /// Positions that there is room for.
    pub fn capacity(&self) -> i64 {
        self.capacity
    }
    /// Everything, for saving.
    pub fn bytes(&self) -> &[u8] {
        self.block.bytes()
    }
    /// Everything, for restoring what [`States::bytes`] gave for the same bundle and capacity; zeros begin anew.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.block.bytes_mut()
    }
}

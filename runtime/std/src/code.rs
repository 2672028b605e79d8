//! Executable memory.

#![allow(unsafe_code)]

use memmap2::{Mmap, MmapMut};
use std::io;

/// Machine code in this process, never writable and executable at once.
#[derive(Debug)]
pub struct Code {
    map: Mmap,
}

impl Code {
    /// Maps position-independent code.
    pub fn map(bytes: &[u8]) -> io::Result<Self> {
        let mut map = MmapMut::map_anon(bytes.len().max(1))?;
        map[..bytes.len()].copy_from_slice(bytes);
        Ok(Self { map: map.make_exec()? })
    }
    /// Address of an offset.
    pub fn at(&self, offset: u64) -> Option<*const u8> {
        self.map.get(usize::try_from(offset).ok()?..).filter(|rest| !rest.is_empty()).map(<[u8]>::as_ptr)
    }
}

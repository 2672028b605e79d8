//! Memory that bundles accept: aligned to 64 bytes.

#![allow(unsafe_code)]

use memmap2::Mmap;
use sinter_abi::ALIGNMENT;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

/// Zeroed heap memory aligned to 64 bytes.
#[derive(Debug)]
pub struct Aligned {
    /// The allocation, and where its first aligned byte is.
    start: NonNull<u8>,
    at: NonNull<u8>,
    layout: Layout,
    len: usize,
}

impl Aligned {
    /// Allocates; sizes that the address space cannot hold are an error.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        // Room to align in: memory that is asked for with an alignment is written over with zeros page by page, other
        // memory comes with zeros from the system when it is used.
        let layout = len.checked_add(ALIGNMENT).and_then(|n| Layout::from_size_align(n, 1).ok());
        let layout = layout.ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, "too large"))?;
        // SAFETY: the layout has a non-zero size.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start)
            .ok_or_else(|| io::Error::new(io::ErrorKind::OutOfMemory, format!("no {len} bytes")))?;
        let skip = start.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        // SAFETY: `skip` is less than the alignment, by which the allocation is longer than `len`.
        Ok(Self { start, at: unsafe { start.add(skip) }, layout, len })
    }
    /// A copy of bytes.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut a = Self::zeroed(bytes.len())?;
        a.bytes_mut().copy_from_slice(bytes);
        Ok(a)
    }
    /// The memory.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `at` points to `len` initialised bytes owned by self.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
    /// The memory.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and self is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: plain memory without interior sharing.
unsafe impl Send for Aligned {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Aligned {}

/// A weights file in memory.
#[derive(Debug)]
pub enum Image {
    /// Mapped, read-only: pages come in when they are used.
    Mapped(Mmap),
    /// Copied.
    Heap(Aligned),
}

impl Image {
    /// Maps a file, which must not change while it is mapped.
    pub fn map(path: &Path) -> io::Result<Self> {
        #[allow(clippy::disallowed_methods)] // The host that links this runtime has no `system.rs`.
        let file = File::open(path)?;
        // SAFETY: read-only mapping; the caller keeps the bundle's files unchanged while it runs, as documented.
        let map = unsafe { Mmap::map(&file)? };
        // Weights are read from end to end, over and over: fewer, larger pages, where the system has them for files.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self::Mapped(map))
    }
    /// Gives the memory of mapped pages back to the system; they are read from the file again when they are used.
    pub fn forget(&self) {
        #[cfg(unix)]
        if let Self::Mapped(m) = self {
            // SAFETY: the mapping is read-only and of a file that does not change: pages come back as they were.
            let _ = unsafe { m.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }
    /// The bytes, page- or 64-byte aligned.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(m) => m,
            Self::Heap(a) => a.bytes(),
        }
    }
}

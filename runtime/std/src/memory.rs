//! Memory that bundles accept: aligned to 64 bytes.

#![allow(unsafe_code)]

use memmap2::{Mmap, MmapMut};
use sinter_abi::ALIGNMENT;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

/// Zeroed memory aligned to 64 bytes.
#[derive(Debug)]
pub struct Aligned {
    /// Holds the memory, of which `at` is the first aligned byte.
    memory: Memory,
    at: NonNull<u8>,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(NonNull<u8>, Layout),
    /// Of so many bytes that large pages pay: fewer of them are looked up while weights are read from end to end.
    Pages(#[allow(dead_code)] MmapMut),
}

/// From so many bytes on memory is asked for in large pages: twice the size of one.
const LARGE: usize = 4 << 20;

impl Aligned {
    /// Allocates for what is used from end to end, in large pages where it is large. Sizes that the address space cannot
    /// hold are an error.
    pub fn dense(len: usize) -> io::Result<Self> {
        if cfg!(not(target_os = "linux")) || len < LARGE {
            return Self::zeroed(len);
        }
        let mut map = MmapMut::map_anon(len)?;
        // A wish: small pages do as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let at = NonNull::new(map.as_mut_ptr()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory: Memory::Pages(map), at, len })
    }
    /// Allocates; pages that are never used cost nothing.
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
        Ok(Self { memory: Memory::Heap(start, layout), at: unsafe { start.add(skip) }, len })
    }
    /// A copy of bytes.
    pub fn copy_of(bytes: &[u8]) -> io::Result<Self> {
        let mut a = Self::dense(bytes.len())?;
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
        if let Memory::Heap(start, layout) = &self.memory {
            // SAFETY: allocated in `zeroed` with this layout, freed once.
            unsafe { dealloc(start.as_ptr(), *layout) }
        }
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

impl AsRef<[u8]> for Image {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_size_are_aligned_and_ones_own() {
        for len in [0, 1, 1000, LARGE - 1, LARGE, LARGE + 4097] {
            let mut all = [Aligned::dense(len).unwrap(), Aligned::zeroed(len).unwrap()];
            assert!(all.iter().all(|a| a.bytes().len() == len && a.bytes().iter().all(|&v| v == 0)), "{len}");
            assert!(all.iter().all(|a| a.bytes().as_ptr().addr().is_multiple_of(ALIGNMENT)), "{len}");
            all[0].bytes_mut().fill(7);
            assert!(all[1].bytes().iter().all(|&v| v == 0), "{len}");
            assert_eq!(Aligned::copy_of(all[0].bytes()).unwrap().bytes(), all[0].bytes());
        }
        for len in [usize::MAX, usize::MAX / 2] {
            assert!(Aligned::zeroed(len).is_err() && Aligned::dense(len).is_err());
        }
    }
}

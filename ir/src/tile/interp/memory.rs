//! Memory that kernels see: named windows on a few spaces, so that two buffers may share one arena.

use crate::tile::Elem;
use std::fmt;

/// A block of memory.
#[derive(Debug)]
pub enum Space<'a> {
    /// Constants and inputs.
    Read(&'a [u8]),
    /// Arena and outputs.
    Write(&'a mut [u8]),
}

impl Space<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Space::Read(b) => b,
            Space::Write(b) => b,
        }
    }
    /// The bytes, unless they are constant.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Space::Read(_) => None,
            Space::Write(b) => Some(b),
        }
    }
}

/// A kernel's buffer: `len` bytes from `offset` of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Index of the space.
    pub space: usize,
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub len: usize,
}

/// An access outside its window.
#[derive(Debug)]
pub(super) struct Outside {
    pub first: i128,
    pub last: i128,
    pub len: usize,
    pub constant: bool,
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.constant {
            return write!(f, "bytes {}..{} are constant memory", self.first, self.last);
        }
        write!(f, "bytes {}..{} of {}", self.first, self.last, self.len)
    }
}

/// Byte range of `n` elements at element address `at`, within a window.
fn range(v: &View, at: i64, n: usize, e: Elem) -> Result<std::ops::Range<usize>, Outside> {
    let size = e.bytes() as usize;
    let first = i128::from(at) * size as i128;
    let last = first + (n * size) as i128;
    if first < 0 || last > v.len as i128 {
        return Err(Outside { first, last, len: v.len, constant: false });
    }
    let start = v.offset + first as usize;
    Ok(start..start + n * size)
}

fn outside(v: &View, at: i64, n: usize, e: Elem, constant: bool) -> Outside {
    let first = i128::from(at) * i128::from(e.bytes());
    Outside { first, last: first + n as i128 * i128::from(e.bytes()), len: v.len, constant }
}

/// Reads `out.len()` consecutive elements.
pub(super) fn load(spaces: &[Space], v: &View, at: i64, e: Elem, out: &mut [u64]) -> Result<(), Outside> {
    let r = range(v, at, out.len(), e)?;
    let bytes = spaces
        .get(v.space)
        .and_then(|s| s.bytes().get(r))
        .ok_or_else(|| outside(v, at, out.len(), e, false))?;
    match e.bytes() {
        1 => out.iter_mut().zip(bytes).for_each(|(o, b)| *o = u64::from(*b)),
        2 => {
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = u64::from(u16::from_le_bytes(*b)))
        }
        4 => {
            out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = u64::from(u32::from_le_bytes(*b)))
        }
        _ => out.iter_mut().zip(bytes.as_chunks().0).for_each(|(o, b)| *o = u64::from_le_bytes(*b)),
    }
    Ok(())
}

/// Bits of the offset in an address: spaces lie this far apart, beginning at one such distance.
const SPACE_BITS: u32 = 40;

/// The address that interpreted kernels see for the first byte of a space.
pub fn base(space: usize) -> u64 {
    (space as u64 + 1) << SPACE_BITS
}

/// Address of a window's first byte.
pub(super) fn address(v: &View) -> u64 {
    base(v.space) + v.offset as u64
}

/// Bytes at an address; `None` where they are not all inside one space. No bytes are everywhere.
pub fn bytes_at<'a>(spaces: &'a [Space], address: u64, size: u64) -> Option<&'a [u8]> {
    if size == 0 {
        return Some(&[]);
    }
    let space = usize::try_from(address >> SPACE_BITS).ok()?.checked_sub(1)?;
    let first = usize::try_from(address & ((1 << SPACE_BITS) - 1)).ok()?;
    let last = first.checked_add(usize::try_from(size).ok()?)?;
    spaces.get(space)?.bytes().get(first..last)
}

/// An element at an address; `None` outside every space.
pub(super) fn load_at(spaces: &[Space], address: u64, e: Elem) -> Option<u64> {
    let bytes = bytes_at(spaces, address, u64::from(e.bytes()))?;
    Some(bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b)))
}

/// Writes consecutive elements.
pub(super) fn store(spaces: &mut [Space], v: &View, at: i64, e: Elem, from: &[u64]) -> Result<(), Outside> {
    let r = range(v, at, from.len(), e)?;
    let n = from.len();
    let space = spaces.get_mut(v.space).ok_or_else(|| outside(v, at, n, e, false))?;
    let bytes = space.bytes_mut().ok_or_else(|| outside(v, at, n, e, true))?;
    let bytes = bytes.get_mut(r).ok_or_else(|| outside(v, at, n, e, false))?;
    let size = e.bytes() as usize;
    for (b, v) in bytes.chunks_exact_mut(size).zip(from) {
        b.copy_from_slice(&v.to_le_bytes()[..size]);
    }
    Ok(())
}

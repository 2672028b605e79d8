//! The weights file while it is made: packed constants go to it one by one, so that memory holds only one.

use crate::system::{Growing, Mapping};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use sinter_abi::{HASH_START, WEIGHTS_HEADER_BYTES, hash_more};
use sinter_ir::Result;
use sinter_passes::plan::weights::Store;
use std::path::Path;

/// A weights file under construction.
#[derive(Debug)]
pub struct Spool {
    file: Growing,
    /// Hash of what follows the header.
    sum: u64,
    /// What was given out to be read.
    read: Vec<Mapping>,
}

impl Spool {
    /// A file with room for the header, in a folder.
    pub fn create(folder: &Path) -> Result<Self> {
        let mut file = Growing::create(folder)?;
        file.append(&[0; WEIGHTS_HEADER_BYTES])?;
        Ok(Self { file, sum: HASH_START, read: vec![] })
    }
    /// Hash of the constants.
    pub fn sum(&self) -> u64 {
        self.sum
    }
    /// Writes the header. Gives the SHA-256 of the whole file.
    pub fn finish(&mut self, header: &[u8]) -> Result<String> {
        self.file.write_at(0, header)?;
        let mut hash = Sha256::new();
        self.file.read_from(0, |piece| {
            hash.update(piece);
            true
        })?;
        Ok(crate::manifest::hex(&hash.finalize()))
    }
    /// The file.
    pub fn file(&self) -> &Growing {
        &self.file
    }
    /// Gives back the memory of constants that were read; whoever reads them again gets them from the file.
    fn release(&self) {
        self.read.iter().for_each(Mapping::release);
    }
    fn add(&mut self, data: &[u8]) -> Result<()> {
        self.sum = hash_more(self.sum, data);
        self.file.append(data)
    }
}

impl Store for Spool {
    fn append(&mut self, at: u64, data: &[u8]) -> Result<()> {
        let gap = (WEIGHTS_HEADER_BYTES as u64 + at).saturating_sub(self.file.len());
        // Sections are aligned to 64 bytes.
        self.add([0; 64].get(..gap as usize).unwrap_or(&[0; 64]))?;
        self.add(data)
    }
    fn holds(&mut self, at: u64, data: &[u8]) -> Result<bool> {
        let mut rest = data;
        let mut same = true;
        self.file.read_from(WEIGHTS_HEADER_BYTES as u64 + at, |piece| {
            let (head, tail) = rest.split_at(piece.len().min(rest.len()));
            same &= piece.starts_with(head);
            rest = tail;
            same && !rest.is_empty()
        })?;
        Ok(same && rest.is_empty())
    }
    fn bytes(&mut self) -> Result<Bytes> {
        let map = self.file.map()?;
        let bytes = map.bytes().slice(WEIGHTS_HEADER_BYTES..);
        self.read.push(map);
        Ok(bytes)
    }
}

/// Packed bytes between two times that memory is given back.
const OFTEN: usize = 8 << 20;

/// Takes what is made of constants in another spool, and keeps little of that in memory.
#[derive(Debug)]
pub struct Packing<'a> {
    to: &'a mut Spool,
    from: Option<&'a Spool>,
    /// Bytes since memory was given back.
    since: usize,
}

impl<'a> Packing<'a> {
    /// To one spool, from another where there is one.
    pub fn new(to: &'a mut Spool, from: Option<&'a Spool>) -> Self {
        Self { to, from, since: 0 }
    }
}

impl Store for Packing<'_> {
    fn append(&mut self, at: u64, data: &[u8]) -> Result<()> {
        self.since += data.len();
        if let (Some(from), OFTEN..) = (self.from, self.since) {
            from.release();
            self.since = 0;
        }
        self.to.append(at, data)
    }
    fn holds(&mut self, at: u64, data: &[u8]) -> Result<bool> {
        self.to.holds(at, data)
    }
    fn bytes(&mut self) -> Result<Bytes> {
        self.to.bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_memory_would_give_and_goes_with_the_value() {
        let folder = std::env::temp_dir().join(format!("sinter-spool-{}", std::process::id()));
        let mut s = Spool::create(&folder).unwrap();
        let (a, b) = (vec![7u8; 70], vec![9u8; 3 << 20]);
        s.append(0, &a).unwrap();
        s.append(128, &b).unwrap();
        assert!(s.holds(0, &a).unwrap() && s.holds(128, &b).unwrap());
        assert!(!s.holds(0, &[7; 71]).unwrap() && !s.holds(128, &[b.clone(), vec![9]].concat()).unwrap());
        let all = [&a[..], &[0; 58], &b].concat();
        assert_eq!(s.bytes().unwrap(), all);
        assert_eq!(s.sum(), sinter_abi::hash(&all));
        let sha = s.finish(&[1; WEIGHTS_HEADER_BYTES]).unwrap();
        assert_eq!(sha, crate::manifest::sha256(&[&[1; WEIGHTS_HEADER_BYTES][..], &all].concat()));
        drop(s);
        assert!(!folder.exists());
    }
}

//! The weights section: packed constants, 64-byte aligned, identical ones stored once.

use super::pack::align;
use bytes::Bytes;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Where packed constants go that are too many for memory: a file.
pub trait Store {
    /// Adds data behind all that was added before; what lies between is zero.
    fn append(&mut self, at: u64, data: &[u8]) -> Result<()>;
    /// Whether this data lies at `at`.
    fn holds(&mut self, at: u64, data: &[u8]) -> Result<bool>;
    /// All of it, read where it is used.
    fn bytes(&mut self) -> Result<Bytes>;
}

/// A constant's place.
#[derive(Debug)]
struct Section {
    at: u64,
    len: usize,
    /// Kept where there is no store.
    data: Option<Bytes>,
}

/// Collects constants and gives them offsets in the order of their first use.
#[derive(Default)]
pub struct Weights<'a> {
    sections: Vec<Section>,
    by_content: BTreeMap<(usize, u64), Vec<usize>>,
    end: u64,
    store: Option<&'a mut dyn Store>,
}

impl<'a> Weights<'a> {
    /// None yet.
    pub fn new(store: Option<&'a mut dyn Store>) -> Self {
        Self { store, ..Self::default() }
    }
    /// Offset of a constant, added when it is new.
    pub fn add(&mut self, data: &Bytes) -> Result<u64> {
        let bucket = self.by_content.entry((data.len(), fingerprint(data))).or_default();
        for s in bucket.iter().filter_map(|&i| self.sections.get(i)) {
            let same = match (&s.data, &mut self.store) {
                (Some(have), _) => have == data,
                (None, Some(store)) => store.holds(s.at, data)?,
                (None, None) => false,
            };
            if same {
                return Ok(s.at);
            }
        }
        let at = self.end;
        bucket.push(self.sections.len());
        let kept = match &mut self.store {
            Some(store) => store.append(at, data).map(|()| None)?,
            None => Some(data.clone()),
        };
        self.sections.push(Section { at, len: data.len(), data: kept });
        // An empty constant still gets an address of its own, so offsets stay strictly sorted.
        self.end += align(data.len().max(1) as u64);
        Ok(at)
    }
    /// The sections, sorted by offset.
    pub fn finish(self) -> Result<Vec<(u64, Bytes)>> {
        let stored = self.store.map(Store::bytes).transpose()?.unwrap_or_default();
        let short = || Diag::bug("a store that lost what it was given");
        let one = |s: Section| {
            let end = s.at as usize + s.len;
            let from_store = || (end <= stored.len()).then(|| stored.slice(s.at as usize..end));
            Ok((s.at, s.data.or_else(from_store).ok_or_else(short)?))
        };
        self.sections.into_iter().map(one).collect()
    }
}

/// FNV-1a over 8-byte words: only narrows the candidates, equality is checked on the bytes.
fn fingerprint(data: &[u8]) -> u64 {
    data.chunks(8).fold(0xcbf2_9ce4_8422_2325, |h, c| {
        let word = c.iter().rev().fold(0u64, |w, b| w << 8 | u64::from(*b));
        (h ^ word).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a file would hold.
    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Store for Memory {
        fn append(&mut self, at: u64, data: &[u8]) -> Result<()> {
            assert!(at as usize >= self.0.len());
            self.0.resize(at as usize, 0);
            self.0.extend_from_slice(data);
            Ok(())
        }
        fn holds(&mut self, at: u64, data: &[u8]) -> Result<bool> {
            Ok(self.0[at as usize..].starts_with(data))
        }
        fn bytes(&mut self) -> Result<Bytes> {
            Ok(self.0.clone().into())
        }
    }

    #[test]
    fn a_store_gets_what_memory_would() {
        let parts = [vec![1u8; 70], vec![2u8; 3], vec![], vec![1u8; 70], vec![2u8; 3]].map(Bytes::from);
        let mut store = Memory::default();
        let (mut kept, mut stored) = (Weights::default(), Weights::new(Some(&mut store)));
        for p in &parts {
            assert_eq!(kept.add(p).unwrap(), stored.add(p).unwrap());
        }
        let sections = stored.finish().unwrap();
        assert_eq!(sections, kept.finish().unwrap());
        assert_eq!(sections.len(), 3);
    }

    #[test]
    fn identical_constants_are_stored_once() {
        let mut w = Weights::default();
        let (a, b) = (Bytes::from(vec![1u8; 70]), Bytes::from(vec![2u8; 70]));
        let again = Bytes::from(a.to_vec());
        assert_eq!([&a, &b, &again].map(|d| w.add(d).unwrap()), [0, 128, 0]);
        assert_eq!(w.finish().unwrap().len(), 2);
    }
}

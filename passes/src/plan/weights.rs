//! The weights section: packed constants, 64-byte aligned, identical ones stored once.

use super::pack::align;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Collects constants and gives them offsets in the order of their first use.
#[derive(Debug, Default)]
pub struct Weights {
    sections: Vec<(u64, Bytes)>,
    by_content: BTreeMap<(usize, u64), Vec<usize>>,
    end: u64,
}

impl Weights {
    /// Offset of a constant, added when it is new.
    pub fn add(&mut self, data: &Bytes) -> u64 {
        let bucket = self.by_content.entry((data.len(), fingerprint(data))).or_default();
        if let Some(&i) = bucket.iter().find(|&&i| self.sections[i].1 == *data) {
            return self.sections[i].0;
        }
        let at = self.end;
        bucket.push(self.sections.len());
        self.sections.push((at, data.clone()));
        // An empty constant still gets an address of its own, so offsets stay strictly sorted.
        self.end += align(data.len().max(1) as u64);
        at
    }
    /// The sections, sorted by offset.
    pub fn finish(self) -> Vec<(u64, Bytes)> {
        self.sections
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
mod tests {
    use super::*;

    #[test]
    fn identical_constants_are_stored_once() {
        let mut w = Weights::default();
        let (a, b) = (Bytes::from(vec![1u8; 70]), Bytes::from(vec![2u8; 70]));
        assert_eq!([w.add(&a), w.add(&b), w.add(&a.slice(..).to_vec().into())], [0, 128, 0]);
        assert_eq!(w.finish().len(), 2);
    }
}

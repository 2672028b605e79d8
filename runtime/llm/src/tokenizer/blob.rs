//! Tables of numbers and texts where they lie: in a mapped file, or in memory. Nothing is copied or built when they are
//! opened, and what is damaged is found when it is looked up.

use std::ops::Range;
use std::sync::Arc;

/// Bytes that are shared by all who read parts of them.
pub type Blob = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A part of a blob.
#[derive(Clone)]
pub(super) struct Part {
    blob: Blob,
    at: Range<usize>,
}

impl Part {
    /// All of these bytes.
    pub fn of(blob: Blob) -> Self {
        let at = 0..(*blob).as_ref().len();
        Self { blob, at }
    }
    pub fn bytes(&self) -> &[u8] {
        (*self.blob).as_ref().get(self.at.clone()).unwrap_or_default()
    }
    /// Takes so many bytes away from the front.
    pub fn take(&mut self, count: usize) -> Option<Self> {
        let middle = self.at.start.checked_add(count).filter(|m| *m <= self.at.end)?;
        let front = Self { blob: self.blob.clone(), at: self.at.start..middle };
        self.at.start = middle;
        Some(front)
    }
    /// The same of words.
    pub fn take_words(&mut self, count: usize) -> Option<Self> {
        self.take(count.checked_mul(4)?)
    }
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
    /// Words, little-endian.
    pub fn words(&self) -> &[[u8; 4]] {
        self.bytes().as_chunks().0
    }
    pub fn word(&self, i: usize) -> Option<u32> {
        self.words().get(i).map(|w| u32::from_le_bytes(*w))
    }
    /// The bytes of item `i` among those of all, which end where the words of `ends` say.
    pub fn item(&self, ends: &Part, i: usize) -> Option<&[u8]> {
        let end = ends.word(i)? as usize;
        let begin = i.checked_sub(1).map_or(Some(0), |j| ends.word(j))? as usize;
        self.bytes().get(begin..end)
    }
}

/// Words as bytes.
pub(super) fn words(all: impl IntoIterator<Item = u32>) -> Vec<u8> {
    all.into_iter().flat_map(u32::to_le_bytes).collect()
}

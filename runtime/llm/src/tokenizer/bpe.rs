//! Byte-pair encoding over tables that are made in one pass over the file: the model of most tokenizers.
//!
//! The library makes three maps of strings of its own for the same, and takes longer for that than a small model for
//! its first token. What is encoded is the same, token for token.

use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Token};

/// Marks tokens that do not exist.
const NONE: u32 = u32::MAX;

/// Entries by hash: open addressing, at most half full.
struct Index(Vec<u32>);

/// Mixes a word into a hash.
fn mix(h: u64, word: u64) -> u64 {
    let p = u128::from(h ^ word) * 0x9e37_79b9_7f4a_7c15;
    p as u64 ^ (p >> 64) as u64
}

/// A hash of bytes, the same on all machines.
pub(super) fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let h = words.iter().fold(text.len() as u64 + 1, |h, w| mix(h, u64::from_le_bytes(*w)));
    mix(h, rest.iter().fold(0, |w, b| w << 8 | u64::from(*b)))
}

impl Index {
    fn new(count: usize) -> Self {
        Self(vec![NONE; (2 * count).next_power_of_two().max(2)])
    }
    /// The place of the entry that is the same, or where it belongs.
    fn place(&self, hash: u64, same: impl Fn(u32) -> bool) -> usize {
        let mask = self.0.len() - 1;
        let mut at = hash as usize & mask;
        while self.0[at] != NONE && !same(self.0[at]) {
            at = (at + 1) & mask;
        }
        at
    }
}

/// The texts of all tokens.
#[derive(Default)]
pub(super) struct Vocab {
    /// All of them, one behind the other.
    pub texts: String,
    /// Where a text ends; it begins where the one before ends.
    pub ends: Vec<u32>,
    /// The numbers of tokens.
    pub ids: Vec<u32>,
}

impl Vocab {
    /// Adds a token; `None`: there are too many bytes.
    pub fn push(&mut self, text: &str, id: u32) -> Option<()> {
        self.texts.push_str(text);
        self.ends.push(u32::try_from(self.texts.len()).ok()?);
        self.ids.push(id);
        Some(())
    }
    fn text(&self, entry: u32) -> &str {
        let i = entry as usize;
        let from = i.checked_sub(1).map_or(0, |j| self.ends[j]);
        &self.texts[from as usize..self.ends[i] as usize]
    }
}

/// What a file says beside tokens and merges.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub(super) struct Options {
    pub unknown: Option<String>,
    pub fuse_unknown: bool,
    pub byte_fallback: bool,
    pub ignore_merges: bool,
}

/// Two tokens that become one; their number in the list is the rank.
#[allow(missing_docs)]
pub(super) struct Merge {
    pub pair: [u32; 2],
    pub made: u32,
}

/// The model.
pub(super) struct Bpe {
    vocab: Vocab,
    by_text: Index,
    /// Entry by token.
    by_id: Vec<u32>,
    merges: Vec<Merge>,
    by_pair: Index,
    unknown: Option<u32>,
    /// Tokens of bytes, where there is one for each.
    bytes: Option<Vec<u32>>,
    fuse_unknown: bool,
    ignore_merges: bool,
}

/// A token in a word that is being put together.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    /// Bytes; 0: it went into its neighbour.
    len: usize,
    before: Option<usize>,
    behind: Option<usize>,
}

impl Bpe {
    /// `None` where something is unusual: two tokens with one number, merges of what is no token.
    pub fn new<'a>(
        vocab: Vocab,
        merges: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        options: &Options,
    ) -> Option<Self> {
        let mut bpe = Self::of_tables(vocab, vec![], options)?;
        let mut all = Vec::with_capacity(merges.len());
        let mut joined = String::new();
        for (a, b) in merges {
            joined.clear();
            joined.extend([a, b]);
            all.push(Merge { pair: [bpe.id(a)?, bpe.id(b)?], made: bpe.id(&joined)? });
        }
        bpe.merge_by(all).then_some(bpe)
    }
    /// The same, of merges whose tokens are known.
    pub fn of_tables(vocab: Vocab, merges: Vec<Merge>, options: &Options) -> Option<Self> {
        let count = vocab.ids.len();
        let last = vocab.ids.iter().max().map_or(0, |m| *m as usize + 1);
        if last > crate::MAX_TOKENS {
            return None;
        }
        let (mut by_text, mut by_id) = (Index::new(count), vec![NONE; last]);
        for (entry, &id) in vocab.ids.iter().enumerate() {
            let text = vocab.text(entry as u32);
            let at = by_text.place(hash(text.as_bytes()), |e| vocab.text(e) == text);
            if by_text.0[at] != NONE || by_id[id as usize] != NONE {
                return None;
            }
            (by_text.0[at], by_id[id as usize]) = (entry as u32, entry as u32);
        }
        let Options { fuse_unknown, ignore_merges, .. } = *options;
        let (by_pair, unknown, bytes) = (Index::new(0), None, None);
        let mut bpe = Self {
            vocab,
            by_text,
            by_id,
            merges: vec![],
            by_pair,
            unknown,
            bytes,
            fuse_unknown,
            ignore_merges,
        };
        if let Some(text) = &options.unknown {
            bpe.unknown = Some(bpe.id(text)?);
        }
        if options.byte_fallback {
            let all: Option<Vec<u32>> = (0..=255u8).map(|b| bpe.id(&format!("<0x{b:02X}>"))).collect();
            bpe.bytes = Some(all?);
        }
        bpe.merge_by(merges).then_some(bpe)
    }
    /// Takes a list of merges; whether all of them are of tokens that there are.
    fn merge_by(&mut self, merges: Vec<Merge>) -> bool {
        self.by_pair = Index::new(merges.len());
        self.merges = merges;
        for (rank, m) in self.merges.iter().enumerate() {
            if [m.pair[0], m.pair[1], m.made].into_iter().any(|id| self.text(id).is_none()) {
                return false;
            }
            let at = self.pair(m.pair);
            // A pair that comes twice has the later rank.
            self.by_pair.0[at] = rank as u32;
        }
        true
    }
    /// Tokens, and merges in the order of their ranks.
    pub fn parts(&self) -> (&Vocab, &[Merge]) {
        (&self.vocab, &self.merges)
    }
    fn id(&self, text: &str) -> Option<u32> {
        let at = self.by_text.place(hash(text.as_bytes()), |e| self.vocab.text(e) == text);
        self.vocab.ids.get(self.by_text.0[at] as usize).copied()
    }
    /// The text of a token.
    pub fn text(&self, id: u32) -> Option<&str> {
        let entry = self.by_id.get(id as usize).filter(|e| **e != NONE)?;
        Some(self.vocab.text(*entry))
    }
    /// One more than the largest token.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
    fn pair(&self, pair: [u32; 2]) -> usize {
        let word = u64::from(pair[0]) << 32 | u64::from(pair[1]);
        self.by_pair.place(mix(1, word), |e| self.merges[e as usize].pair == pair)
    }
    /// Rank of two tokens that become one, and which.
    fn merge(&self, a: u32, b: u32) -> Option<(u32, u32)> {
        let rank = self.by_pair.0[self.pair([a, b])];
        self.merges.get(rank as usize).map(|m| (rank, m.made))
    }

    /// The characters of a word as tokens.
    fn characters(&self, word: &str) -> Vec<Symbol> {
        let mut all: Vec<Symbol> = Vec::with_capacity(word.len());
        let mut utf8 = [0; 4];
        let mut open = false;
        for c in word.chars() {
            let text: &str = c.encode_utf8(&mut utf8);
            let symbol = |id, len| Symbol { id, len, before: None, behind: None };
            let known = self.id(text);
            if let Some(id) = known {
                all.push(symbol(id, text.len()));
            } else if let Some(bytes) = &self.bytes {
                all.extend(text.bytes().map(|b| symbol(bytes[usize::from(b)], 1)));
            } else if let Some(id) = self.unknown {
                match all.last_mut().filter(|_| open && self.fuse_unknown) {
                    Some(last) => last.len += text.len(),
                    None => all.push(symbol(id, text.len())),
                }
            }
            open = known.is_none() && self.bytes.is_none();
        }
        let count = all.len();
        for (i, s) in all.iter_mut().enumerate() {
            (s.before, s.behind) = (i.checked_sub(1), Some(i + 1).filter(|n| *n < count));
        }
        all
    }

    /// Merges neighbours, those of the lowest rank first, the leftmost of several.
    fn merged(&self, mut all: Vec<Symbol>) -> Vec<Symbol> {
        let ahead = |all: &[Symbol], i: usize| {
            let (rank, made) = self.merge(all[i].id, all[all[i].behind?].id)?;
            Some(Reverse((rank, i, made)))
        };
        let mut queue: BinaryHeap<_> = (0..all.len()).filter_map(|i| ahead(&all, i)).collect();
        while let Some(Reverse((_, i, made))) = queue.pop() {
            let Some(next) = all[i].behind.filter(|_| all[i].len > 0) else { continue };
            let right = all[next];
            // Its neighbours have changed since.
            if self.merge(all[i].id, right.id).is_none_or(|(_, m)| m != made) {
                continue;
            }
            all[i] = Symbol { id: made, len: all[i].len + right.len, behind: right.behind, ..all[i] };
            all[next].len = 0;
            if let Some(n) = right.behind {
                all[n].before = Some(i);
            }
            queue.extend(all[i].before.and_then(|b| ahead(&all, b)));
            queue.extend(ahead(&all, i));
        }
        all.retain(|s| s.len > 0);
        all
    }
}

impl Model for Bpe {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        if word.is_empty() {
            return Ok(vec![]);
        }
        let token = |id: u32, at: (usize, usize)| Token::new(id, String::new(), at);
        if let Some(id) = self.id(word).filter(|_| self.ignore_merges) {
            return Ok(vec![token(id, (0, word.len()))]);
        }
        let mut end = 0;
        let place = |s: Symbol| {
            end += s.len;
            token(s.id, (end - s.len, end))
        };
        Ok(self.merged(self.characters(word)).into_iter().map(place).collect())
    }
    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.id(token)
    }
    fn id_to_token(&self, id: u32) -> Option<String> {
        self.text(id).map(str::to_owned)
    }
    #[allow(clippy::disallowed_types)] // What the library asks for; nobody iterates it.
    fn get_vocab(&self) -> std::collections::HashMap<String, u32> {
        self.vocab.ids.iter().enumerate().map(|(i, id)| (self.vocab.text(i as u32).to_owned(), *id)).collect()
    }
    fn get_vocab_size(&self) -> usize {
        self.vocab.ids.len()
    }
    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("this vocabulary is only read".into())
    }
    fn get_trainer(&self) -> TrainerWrapper {
        BpeTrainer::default().into()
    }
}

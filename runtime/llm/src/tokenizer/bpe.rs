//! Byte-pair encoding over ordered tables: the model of most tokenizers.
//!
//! The library makes three maps of strings of its own for the same, and takes longer for that than a small model for
//! its first token. What is encoded is the same, token for token.

use super::blob::{Part, words};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Token};

/// Tokens as a file lists them: texts and numbers.
#[derive(Default)]
pub(super) struct Vocab(pub Vec<(String, u32)>);

/// How many tokens and merges tables hold, and bytes of texts.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub(super) struct Sizes {
    pub texts: usize,
    pub tokens: usize,
    pub merges: usize,
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

/// The model. Tokens are entries in the order of their numbers.
pub(super) struct Bpe {
    /// Texts of all entries, and where each ends.
    texts: Part,
    ends: Part,
    /// Numbers of entries.
    ids: Part,
    /// Entries in the order of their texts.
    by_text: Part,
    /// Four words each, in the order of the first two: two tokens, the rank, and what they become.
    merges: Part,
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

/// The tables of a file: `None` where something is unusual: two tokens with one text or number, or merges of what is no
/// token.
pub(super) fn tables<'a>(
    vocab: Vocab,
    merges: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<(Sizes, Vec<u8>)> {
    let Vocab(mut all) = vocab;
    all.sort_by_key(|(_, id)| *id);
    if all.last().is_some_and(|(_, id)| *id as usize >= crate::MAX_TOKENS) {
        return None;
    }
    let mut by_text: Vec<u32> = (0..all.len() as u32).collect();
    let text = |entry: u32| all[entry as usize].0.as_str();
    by_text.sort_by_key(|&e| text(e));
    let twice = all.windows(2).any(|w| w[0].1 == w[1].1);
    if twice || by_text.windows(2).any(|w| text(w[0]) == text(w[1])) {
        return None;
    }
    let id = |wanted: &str| {
        let place = by_text.binary_search_by_key(&wanted, |&e| text(e)).ok()?;
        Some(all[by_text[place] as usize].1)
    };
    let mut list = vec![];
    let mut joined = String::new();
    for (rank, (a, b)) in (0..).zip(merges) {
        joined.clear();
        joined.extend([a, b]);
        list.push([id(a)?, id(b)?, rank, id(&joined)?]);
    }
    // A pair that comes twice has the later rank.
    list.sort_by_key(|m| (m[0], m[1], Reverse(m[2])));
    list.dedup_by_key(|m| (m[0], m[1]));
    let texts: String = all.iter().map(|(text, _)| text.as_str()).collect();
    u32::try_from(texts.len()).ok()?;
    let ends = all.iter().scan(0, |end, (text, _)| {
        *end += text.len() as u32;
        Some(*end)
    });
    let sizes = Sizes { texts: texts.len(), tokens: all.len(), merges: list.len() };
    let lists = ends.chain(all.iter().map(|(_, id)| *id)).chain(by_text.iter().copied());
    Some((sizes, [texts.as_bytes(), &words(lists), &words(list.into_iter().flatten())].concat()))
}

impl Bpe {
    /// Takes [`tables`] from the front of a part; `None`: they are cut off, or lack what the options name.
    pub fn new(part: &mut Part, sizes: Sizes, options: &Options) -> Option<Self> {
        let Sizes { texts, tokens, merges } = sizes;
        let texts = part.take(texts)?;
        let [ends, ids, by_text, merges] =
            [tokens, tokens, tokens, merges.checked_mul(4)?].map(|n| part.take_words(n));
        let Options { fuse_unknown, ignore_merges, .. } = *options;
        let (unknown, bytes) = (None, None);
        let (ends, ids, by_text, merges) = (ends?, ids?, by_text?, merges?);
        let mut bpe = Self { texts, ends, ids, by_text, merges, unknown, bytes, fuse_unknown, ignore_merges };
        if bpe.len() > crate::MAX_TOKENS {
            return None;
        }
        if let Some(text) = &options.unknown {
            bpe.unknown = Some(bpe.id(text)?);
        }
        if options.byte_fallback {
            let all: Option<Vec<u32>> = (0..=255u8).map(|b| bpe.id(&format!("<0x{b:02X}>"))).collect();
            bpe.bytes = Some(all?);
        }
        Some(bpe)
    }
    fn entry_text(&self, entry: u32) -> Option<&str> {
        std::str::from_utf8(self.texts.item(&self.ends, entry as usize)?).ok()
    }
    fn id(&self, text: &str) -> Option<u32> {
        let bytes = |w: &[u8; 4]| self.texts.item(&self.ends, u32::from_le_bytes(*w) as usize);
        let order = |w: &[u8; 4]| bytes(w).cmp(&Some(text.as_bytes()));
        let place = self.by_text.words().binary_search_by(order).ok()?;
        self.ids.word(self.by_text.word(place)? as usize)
    }
    /// The text of a token.
    pub fn text(&self, id: u32) -> Option<&str> {
        // Numbers are those of the entries as a rule.
        let entry = match self.ids.word(id as usize) == Some(id) {
            true => id,
            false => self.ids.words().binary_search_by_key(&id, |w| u32::from_le_bytes(*w)).ok()? as u32,
        };
        self.entry_text(entry)
    }
    /// One more than the largest token.
    pub fn len(&self) -> usize {
        self.ids.words().last().map_or(0, |w| u32::from_le_bytes(*w) as usize + 1)
    }
    /// Rank of two tokens that become one, and which.
    fn merge(&self, a: u32, b: u32) -> Option<(u32, u32)> {
        let (all, _) = self.merges.words().as_chunks::<4>();
        let place = all.binary_search_by_key(&[a, b], |m| [m[0], m[1]].map(u32::from_le_bytes)).ok()?;
        let [_, _, rank, made] = all[place].map(u32::from_le_bytes);
        ((made as usize) < self.len()).then_some((rank, made))
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
        let token = |i: usize| Some((self.entry_text(i as u32)?.to_owned(), self.ids.word(i)?));
        (0..self.ids.words().len()).filter_map(token).collect()
    }
    fn get_vocab_size(&self) -> usize {
        self.ids.words().len()
    }
    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("this vocabulary is only read".into())
    }
    fn get_trainer(&self) -> TrainerWrapper {
        BpeTrainer::default().into()
    }
}

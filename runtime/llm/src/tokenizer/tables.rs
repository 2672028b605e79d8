//! What reading a `tokenizer.json` finds out, as a file that is used where it lies: texts of tokens, merges by numbers, and
//! the bytes of every token.
//!
//! Compilers write it beside the `tokenizer.json` that it is made of, whose hash it holds: for any other one it counts for
//! nothing. With it nothing is parsed, sorted or put together when a bundle is opened.
//!
//! `SINTOK02`, the hash, then seven lengths, all little-endian: of the JSON text of what is round the model, of all texts
//! together, of the lists of tokens and merges, of the bytes of all tokens together, of the list of their ends, of the
//! longest. Then those, as [`super::bpe::tables`] and [`Pieces`] have them.

use super::blob::{Blob, Part, words};
use super::bpe::Sizes;
use super::decoder::rules;
use super::fast::{self, Frame};
use super::inner::Inner;
use super::pieces::Pieces;
use std::sync::Arc;

/// Begins the file, with its version.
const MAGIC: &[u8; 8] = b"SINTOK02";

/// Mixes a word into a hash.
fn mix(h: u64, word: u64) -> u64 {
    let p = u128::from(h ^ word) * 0x9e37_79b9_7f4a_7c15;
    p as u64 ^ (p >> 64) as u64
}

/// A hash of bytes, the same on all machines.
fn hash(text: &[u8]) -> u64 {
    let (words, rest) = text.as_chunks::<8>();
    let h = words.iter().fold(text.len() as u64 + 1, |h, w| mix(h, u64::from_le_bytes(*w)));
    mix(h, rest.iter().fold(0, |w, b| w << 8 | u64::from(*b)))
}

/// The tables of a file of the usual kind.
pub fn of_json(json: &[u8]) -> Option<Vec<u8>> {
    let (frame, sizes, model) = fast::parse(json)?;
    let around = serde_json::to_vec(&frame).ok()?;
    let decoder = rules(frame.decoder()).ok()?;
    let pieces = Pieces::new(&fast::assemble(frame, sizes, &mut Part::of(model.clone()))?, decoder).ok()?;
    let (bytes, ends) = pieces.parts();
    let lengths =
        [around.len(), sizes.texts, sizes.tokens, sizes.merges, bytes.len(), pieces.len(), pieces.longest()];
    let lengths: Option<Vec<u32>> = lengths.into_iter().map(|n| u32::try_from(n).ok()).collect();
    let head = [&MAGIC[..], &hash(json).to_le_bytes(), &words(lengths?)].concat();
    let out = [&head, &around, (*model).as_ref(), bytes, ends].concat();
    // What cannot be read again is of no use.
    read(json, Arc::new(out.clone())).map(|_| out)
}

/// Reads tables that were made of this `tokenizer.json`; `None`: they were not, or are damaged.
pub(super) fn read(json: &[u8], tables: Blob) -> Option<(Inner, Pieces)> {
    let mut rest = Part::of(tables);
    if rest.take(MAGIC.len())?.bytes() != MAGIC || rest.take(8)?.bytes() != hash(json).to_le_bytes() {
        return None;
    }
    let lengths = rest.take_words(7)?;
    let length = |i| lengths.word(i).map(|n| n as usize);
    let around = rest.take(length(0)?)?;
    let frame: Frame = serde_json::from_slice(around.bytes()).ok()?;
    let decoder = rules(frame.decoder()).ok()?;
    let sizes = Sizes { texts: length(1)?, tokens: length(2)?, merges: length(3)? };
    let inner = fast::assemble(frame, sizes, &mut rest)?;
    let (bytes, ends) = (rest.take(length(4)?)?, rest.take_words(length(5)?)?);
    let longest = length(6)?;
    // Room for the longest is taken when text is made.
    let whole = rest.is_empty() && inner.len() == ends.words().len() && longest <= bytes.bytes().len();
    let pieces = Pieces::of_parts((bytes, ends), longest, &inner, decoder);
    whole.then_some((inner, pieces))
}

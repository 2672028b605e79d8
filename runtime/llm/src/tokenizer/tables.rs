//! What reading a `tokenizer.json` finds out, as a file: texts of tokens, and merges by numbers.
//!
//! Compilers write it beside the `tokenizer.json` that it is made of, whose hash it holds: for any other one it counts for
//! nothing. With it no merge is looked up when a bundle is opened.
//!
//! `SINTOK01`, the hash, then four lengths, all little-endian: of the JSON text of what is round the model, of all texts
//! together, of the list of tokens, of the list of merges. Then those: of tokens the ends of the texts, then the numbers;
//! merges as the two tokens and the one that they become.

use super::bpe::{Bpe, Merge, Vocab, hash};
use super::fast::{self, Frame, Read};

/// Begins the file, with its version.
const MAGIC: &[u8; 8] = b"SINTOK01";

/// The tables of a file of the usual kind.
pub fn of_json(json: &[u8]) -> Option<Vec<u8>> {
    let (frame, bpe) = fast::parse(json)?;
    let around = serde_json::to_vec(&frame).ok()?;
    let mut out = MAGIC.to_vec();
    out.extend(hash(json).to_le_bytes());
    let (vocab, merges) = bpe.parts();
    let tokens = vocab.ids.len();
    for length in [around.len(), vocab.texts.len(), tokens, merges.len()] {
        out.extend(u32::try_from(length).ok()?.to_le_bytes());
    }
    out.extend(around);
    out.extend(vocab.texts.as_bytes());
    let tokens = vocab.ends.iter().chain(&vocab.ids).copied();
    let merges = merges.iter().flat_map(|m| [m.pair[0], m.pair[1], m.made]);
    out.extend(tokens.chain(merges).flat_map(u32::to_le_bytes));
    // What cannot be read again is of no use.
    read(json, &out).map(|_| out)
}

/// Reads tables that were made of this `tokenizer.json`; `None`: they were not, or are damaged.
pub(super) fn read(json: &[u8], tables: &[u8]) -> Option<Read> {
    let rest = tables.strip_prefix(MAGIC)?;
    let (sum, rest) = rest.split_first_chunk()?;
    if u64::from_le_bytes(*sum) != hash(json) {
        return None;
    }
    let (lengths, rest) = list(rest, 4)?;
    let [around, texts, tokens, merges] = lengths.try_into().ok()?;
    let (around, rest) = rest.split_at_checked(around as usize)?;
    let (texts, rest) = rest.split_at_checked(texts as usize)?;
    let (ends, rest) = list(rest, tokens as usize)?;
    let (ids, rest) = list(rest, tokens as usize)?;
    let (merges, []) = list(rest, (merges as usize).checked_mul(3)?)? else { return None };
    let texts = std::str::from_utf8(texts).ok()?.to_owned();
    if !ends.is_sorted() || !ends.iter().all(|&end| texts.is_char_boundary(end as usize)) {
        return None;
    }
    let merges = merges.chunks_exact(3).map(|m| Merge { pair: [m[0], m[1]], made: m[2] }).collect();
    let frame: Frame = serde_json::from_slice(around).ok()?;
    let bpe = Bpe::of_tables(Vocab { texts, ends, ids }, merges, &frame.options)?;
    fast::assemble(frame, bpe)
}

/// So many numbers, and what follows them.
fn list(bytes: &[u8], count: usize) -> Option<(Vec<u32>, &[u8])> {
    let (words, rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
    Some((words.as_chunks().0.iter().map(|w| u32::from_le_bytes(*w)).collect(), rest))
}

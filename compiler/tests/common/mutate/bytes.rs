//! Mutations that do not look at what the bytes mean: damaged downloads, bad disks, cut files.

use super::{Rng, Seed};
use bytes::Bytes;

/// A place to break: mostly where the structure is, sometimes in the weights.
fn place(seed: &Seed, rng: &mut Rng) -> usize {
    let total: usize = seed.structure.iter().map(ExactSizeIterator::len).sum();
    if total == 0 || rng.one_in(8) {
        return rng.below(seed.file.len());
    }
    let mut at = rng.below(total);
    for r in &seed.structure {
        if at < r.len() {
            return r.start + at;
        }
        at -= r.len();
    }
    0
}

/// One to four breaks.
pub fn broken(seed: &Seed, rng: &mut Rng) -> Bytes {
    let mut file = seed.file.to_vec();
    for _ in 0..1 + rng.below(4) {
        if file.is_empty() {
            break;
        }
        let at = place(seed, rng).min(file.len() - 1);
        let span = (1 + rng.below(16)).min(file.len() - at);
        match rng.below(10) {
            0..=3 => file[at] ^= 1 << rng.below(8),
            4 => file[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]),
            5 => file.truncate(at),
            6 => drop(file.drain(at..at + span)),
            7 => {
                let copy = file[at..at + span].to_vec();
                file.splice(at..at, copy);
            }
            // A varint of the largest value: an absurd length, count or dim.
            8 => drop(file.splice(at..at + 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
            _ => {
                let from = place(seed, rng).min(file.len() - span);
                file.copy_within(from..from + span, at);
            }
        }
    }
    file.into()
}

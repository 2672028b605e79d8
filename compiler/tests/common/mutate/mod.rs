//! Broken copies of model files, from a number: the same number always gives the same copy.
//!
//! [`bytes`] breaks the file without understanding it, [`structure`] breaks the model inside a well-formed file.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

pub mod bytes;
pub mod structure;

use ::bytes::Bytes;
use prost::Message;
use sinter::frontend::onnx::proto::ModelProto;
use std::ops::Range;

/// SplitMix64: small, deterministic, good enough to pick places.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own per seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5157_11E5)
    }
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Below `n`; 0 for an empty range.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A file to break, with what the mutations need to know about it.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Shown in failures.
    pub name: String,
    /// The file.
    pub file: Bytes,
    /// Its contents; weights share the file's memory.
    pub model: ModelProto,
    /// Byte ranges that are not bulk weight data: headers, names, attributes, shapes.
    pub structure: Vec<Range<usize>>,
}

impl Seed {
    /// Reads a well-formed file.
    pub fn new(name: &str, file: Vec<u8>) -> Self {
        let file = Bytes::from(file);
        let model = ModelProto::decode(file.clone()).unwrap();
        let mut weights = vec![];
        structure::tensors(&model, &mut |t| {
            if t.raw_data.len() > 64 {
                // Decoding does not copy raw data, so its place in the file is known.
                let start = t.raw_data.as_ptr() as usize - file.as_ptr() as usize;
                weights.push(start..start + t.raw_data.len());
            }
        });
        weights.sort_by_key(|r| r.start);
        let mut structure = vec![];
        let mut at = 0;
        for w in weights {
            structure.push(at..w.start);
            at = w.end;
        }
        structure.push(at..file.len());
        structure.retain(|r| !r.is_empty());
        Self { name: name.to_owned(), file, model, structure }
    }
    /// The broken copy with a number.
    pub fn broken(&self, number: u64) -> Bytes {
        let mut rng = Rng::new(number ^ (self.file.len() as u64) << 32);
        if rng.below(5) < 2 { bytes::broken(self, &mut rng) } else { structure::broken(self, &mut rng) }
    }
}

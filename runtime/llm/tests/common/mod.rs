//! Files of the tests.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

pub mod fake;
pub mod gguf;

use std::path::{Path, PathBuf};

/// Root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_path_buf()
}

/// A file beside the checkout; says loudly that it is missing.
pub fn shared(path: &str) -> Option<PathBuf> {
    let beside = root().parent().unwrap().join("shared");
    let dirs = [Some(beside), std::env::var("SINTER_SHARED").ok().map(PathBuf::from)];
    let found = dirs.into_iter().flatten().map(|d| d.join(path)).find(|p| p.exists());
    if found.is_none() {
        eprintln!("SKIP: {path} not found");
        println!("SKIP: {path} not found");
    }
    found
}

/// A file that must be there.
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One of the expectations that `testdata/scripts/language.py` has made.
pub fn expected(name: &str) -> serde_json::Value {
    serde_json::from_slice(&read(&root().join("testdata/llm").join(name))).unwrap()
}

/// The tokenizer of the small story model.
pub fn stories() -> Option<sinter_llm::Tokenizer> {
    let file = shared("models/stories260k-hf/tokenizer.json")?;
    Some(sinter_llm::Tokenizer::from_json(&read(&file)).unwrap())
}

/// The vocabulary of SmolLM2.
pub fn smollm2() -> Option<gguf::File> {
    let file = shared("models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf")?;
    Some(gguf::File::read(&read(&file)))
}

/// The same numbers on every machine.
pub struct Rng(u64);

impl Rng {
    /// Starts.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

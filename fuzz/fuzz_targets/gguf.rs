//! Bytes as a GGUF file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sinter_fuzz::gguf(data));

//! Bytes as a config.json and a safetensors file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sinter_fuzz::checkpoint_files(data));

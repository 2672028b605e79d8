//! Bytes as the text of a module.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sinter_fuzz::graph_text(data));

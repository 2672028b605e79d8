//! Bytes as an ONNX file. Half of the mutations change the model inside the file, so that what comes out is still
//! a file that the decoder accepts.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

#[path = "../../compiler/tests/common/mutate/mod.rs"]
mod mutate;

fuzz_target!(|data: &[u8]| sinter_fuzz::import(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0
        && let Some(broken) = mutate::structure::broken_file(&data[..size], u64::from(seed))
        && broken.len() <= max_size
    {
        data[..broken.len()].copy_from_slice(&broken);
        return broken.len();
    }
    libfuzzer_sys::fuzzer_mutate(data, size, max_size)
});

//! The weights file: a 64-byte header and the packed constants, used in place.

use sinter_abi::{ABI_VERSION, WEIGHTS_HEADER_BYTES, WEIGHTS_MAGIC, hash, header};
use sinter_ir::program::Program;

/// The whole file.
pub fn file(p: &Program) -> Vec<u8> {
    let mut out = vec![0u8; WEIGHTS_HEADER_BYTES + p.weights_bytes() as usize];
    for (at, bytes) in &p.weights {
        let start = WEIGHTS_HEADER_BYTES + *at as usize;
        out[start..start + bytes.len()].copy_from_slice(bytes);
    }
    let head = head(p, hash(&out[WEIGHTS_HEADER_BYTES..]));
    out[..WEIGHTS_HEADER_BYTES].copy_from_slice(&head);
    out
}

/// The header of a file whose constants have a [`hash`].
pub fn head(p: &Program, sum: u64) -> [u8; WEIGHTS_HEADER_BYTES] {
    let mut out = [0u8; WEIGHTS_HEADER_BYTES];
    let total = WEIGHTS_HEADER_BYTES as u64 + p.weights_bytes();
    out[header::MAGIC..header::MAGIC + 8].copy_from_slice(&WEIGHTS_MAGIC);
    out[header::ABI..header::ABI + 4].copy_from_slice(&ABI_VERSION.to_le_bytes());
    out[header::TOTAL..header::TOTAL + 8].copy_from_slice(&total.to_le_bytes());
    out[header::HASH..header::HASH + 8].copy_from_slice(&sum.to_le_bytes());
    out
}

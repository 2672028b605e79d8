//! What a host needs around a bundle when it has no standard library: checking weights before `init`.
//!
//! No allocation, no threads, no files.

#![no_std]
#![forbid(unsafe_code)]

use sinter_abi::{ABI_VERSION, ALIGNMENT, Code, WEIGHTS_HEADER_BYTES, WEIGHTS_MAGIC, hash, header};

/// What is known of a weights image before it is handed to `init`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsInfo {
    /// Bytes of header and payload.
    pub total: u64,
    /// Hash of the payload that the header states.
    pub hash: u64,
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let b = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
}

/// Reads the header of a weights image: magic, version and length must fit. Constant time in the image's size.
pub fn weights_info(image: &[u8]) -> Result<WeightsInfo, Code> {
    if image.len() < WEIGHTS_HEADER_BYTES || image[..8] != WEIGHTS_MAGIC {
        return Err(Code::BadWeights);
    }
    let abi = word(image, header::ABI).ok_or(Code::BadWeights)? as u32;
    let total = word(image, header::TOTAL).ok_or(Code::BadWeights)?;
    let stated = word(image, header::HASH).ok_or(Code::BadWeights)?;
    if abi != ABI_VERSION || total != image.len() as u64 {
        return Err(Code::BadWeights);
    }
    Ok(WeightsInfo { total, hash: stated })
}

/// [`weights_info`], and that the payload has the stated hash. Reads the whole image: for updates, not for every start.
pub fn verify_weights(image: &[u8]) -> Result<WeightsInfo, Code> {
    let info = weights_info(image)?;
    if hash(&image[WEIGHTS_HEADER_BYTES..]) != info.hash {
        return Err(Code::BadWeights);
    }
    Ok(info)
}

/// Whether memory may be used as arena or weights.
pub fn is_aligned(address: usize) -> bool {
    address.is_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_checked() {
        let mut image = [0u8; 72];
        image[..8].copy_from_slice(&WEIGHTS_MAGIC);
        image[header::ABI] = ABI_VERSION as u8;
        image[header::TOTAL] = 72;
        image[64] = 9;
        let h = hash(&image[64..]);
        image[header::HASH..header::HASH + 8].copy_from_slice(&h.to_le_bytes());
        assert_eq!(verify_weights(&image), Ok(WeightsInfo { total: 72, hash: h }));
        image[70] ^= 1;
        assert_eq!(verify_weights(&image), Err(Code::BadWeights));
        assert_eq!(weights_info(&image[..71]), Err(Code::BadWeights));
        assert_eq!(weights_info(&image[..10]), Err(Code::BadWeights));
    }
}

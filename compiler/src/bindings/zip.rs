//! Zip archives of files as they are: no compression, no times.

use super::File;

/// The checksum of zip archives (CRC-32, reflected).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

/// The oldest date that there is: 1 January 1980, midnight.
const DATE: u32 = (1 << 5 | 1) << 16;
const VERSION: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;

/// What is said about a file twice.
fn about(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let size = bytes.len() as u32;
    for v in [VERSION, FLAGS, 0] {
        out.extend(v.to_le_bytes());
    }
    for v in [DATE, crc(bytes), size, size] {
        out.extend(v.to_le_bytes());
    }
    for v in [name.len() as u16, 0] {
        out.extend(v.to_le_bytes());
    }
}

/// An archive of files below 4 GB in all.
pub fn store(files: &[File]) -> Vec<u8> {
    let (mut out, mut list) = (vec![], vec![]);
    for (name, bytes) in files {
        let at = out.len() as u32;
        out.extend(*b"PK\x03\x04");
        about(&mut out, name, bytes);
        out.extend(name.as_bytes());
        out.extend(bytes.iter());
        list.extend(*b"PK\x01\x02");
        list.extend(VERSION.to_le_bytes());
        about(&mut list, name, bytes);
        // No comment, first disk, no attributes.
        list.extend([0; 10]);
        list.extend(at.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (at, size, count) = (out.len() as u32, list.len() as u32, files.len() as u16);
    out.extend(list);
    out.extend(*b"PK\x05\x06");
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn checksum() {
        assert_eq!(super::crc(b"123456789"), 0xcbf4_3926);
    }
}

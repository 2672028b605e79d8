//! NumPy `.npz` files: zip archives of `.npy` files, stored or deflated.

use super::npy;
use sinter_ir::{Diag, Result, Tensor};
use std::collections::BTreeMap;

/// Bytes that an archive may unpack to.
const MOST: u64 = 4 << 30;

fn bad(what: &str) -> Diag {
    Diag::input(format!("not a usable .npz file: {what}"))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<u64> {
    let part = bytes.get(at..at + N).ok_or_else(|| bad("cut off"))?;
    Ok(part.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// Arrays by name.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    // The directory's end is the last 22 bytes, in front of a comment.
    let end = bytes.len().checked_sub(22).and_then(|last| {
        (last.saturating_sub(1 << 16)..=last).rev().find(|&i| bytes.get(i..i + 4) == Some(b"PK\x05\x06"))
    });
    let end = end.ok_or_else(|| bad("no directory"))?;
    let (entries, mut at) = (number::<2>(bytes, end + 10)?, number::<4>(bytes, end + 16)? as usize);
    let (mut out, mut room) = (BTreeMap::new(), MOST);
    for _ in 0..entries {
        if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err(bad("a damaged directory"));
        }
        let method = number::<2>(bytes, at + 10)?;
        let (mut packed, mut size) = (number::<4>(bytes, at + 20)?, number::<4>(bytes, at + 24)?);
        let name = number::<2>(bytes, at + 28)? as usize;
        let (extra, comment) = (number::<2>(bytes, at + 30)? as usize, number::<2>(bytes, at + 32)? as usize);
        let local = number::<4>(bytes, at + 42)? as usize;
        let text = bytes.get(at + 46..at + 46 + name).ok_or_else(|| bad("cut off"))?;
        let text = std::str::from_utf8(text).map_err(|_| bad("a name that is no text"))?;
        // NumPy asks for 64-bit sizes; they are there only where 32 bits do not do.
        let more = bytes.get(at + 46 + name..at + 46 + name + extra).ok_or_else(|| bad("cut off"))?;
        if (packed == u64::from(u32::MAX) || size == u64::from(u32::MAX)) && number::<2>(more, 0)? == 1 {
            (size, packed) = (number::<8>(more, 4)?, number::<8>(more, 12)?);
        }
        let skip = number::<2>(bytes, local + 26)? + number::<2>(bytes, local + 28)?;
        let from = local + 30 + skip as usize;
        let to = from.checked_add(packed as usize).ok_or_else(|| bad("cut off"))?;
        let data = bytes.get(from..to).ok_or_else(|| bad("cut off"))?;
        room = room.checked_sub(size).ok_or_else(|| Diag::limit(".npz: more than 4 GB of arrays"))?;
        let array = match method {
            0 => npy::read(data)?,
            8 => {
                let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(data, size as usize);
                npy::read(&unpacked.map_err(|_| bad("damaged data"))?)?
            }
            m => return Err(bad(&format!("compression method {m}"))),
        };
        out.insert(text.strip_suffix(".npy").unwrap_or(text).to_owned(), array);
        at += 46 + name + extra + comment;
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A zip archive of stored files.
    fn stored(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut directory) = (vec![], vec![]);
        for (name, data) in files {
            let at = out.len() as u32;
            let (size, length) = ((data.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
            let head =
                [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4], &size, &size, &length, &[0, 0]].concat();
            out.extend([b"PK\x03\x04", &head[..], name.as_bytes(), data].concat());
            let rest = [&[0u8; 10][..], &at.to_le_bytes(), name.as_bytes()].concat();
            directory.extend([b"PK\x01\x02", &[20, 0][..], &head, &rest].concat());
        }
        let (n, from) = ((files.len() as u16).to_le_bytes(), (out.len() as u32).to_le_bytes());
        let length = (directory.len() as u32).to_le_bytes();
        let end = [b"PK\x05\x06", &[0; 4][..], &n, &n, &length, &from, &[0, 0]].concat();
        [out, directory, end].concat()
    }

    #[test]
    fn arrays_by_name_and_no_panic_on_any_cut() {
        let (a, b) = (Tensor::i64s(&[1, 2, 3]), Tensor::f32s(vec![2, 1], &[0.5, -1.0]).unwrap());
        let file = stored(&[("ids.npy", npy::write(&a)), ("x.npy", npy::write(&b))]);
        let all = read(&file).unwrap();
        assert_eq!((&all["ids"], &all["x"], all.len()), (&a, &b, 2));
        for n in 0..file.len() {
            assert!(read(&file[..n]).is_err(), "{n}");
        }
    }
}

//! Numbers, bytes and texts through a pipe: little-endian, lengths of 64 bits in front of what they count.

use std::io::{self, Read, Write};

/// One number.
pub fn put(to: &mut impl Write, v: u64) -> io::Result<()> {
    to.write_all(&v.to_le_bytes())
}

/// A number of bytes.
pub fn put_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    put(to, bytes.len() as u64)?;
    to.write_all(bytes)
}

/// A number of numbers.
pub fn put_all(to: &mut impl Write, values: impl ExactSizeIterator<Item = u64>) -> io::Result<()> {
    put(to, values.len() as u64)?;
    values.into_iter().try_for_each(|v| put(to, v))
}

/// What [`put`] wrote.
pub fn get(from: &mut impl Read) -> io::Result<u64> {
    let mut b = [0; 8];
    from.read_exact(&mut b)?;
    Ok(u64::from_le_bytes(b))
}

/// What [`put_bytes`] wrote.
pub fn get_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let n = get(from)?;
    let mut out = Vec::new();
    from.take(n).read_to_end(&mut out)?;
    if out.len() as u64 == n { Ok(out) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What [`put_all`] wrote.
pub fn get_all(from: &mut impl Read) -> io::Result<Vec<u64>> {
    (0..get(from)?).map(|_| get(from)).collect()
}

/// A number of texts.
pub fn put_texts(to: &mut impl Write, texts: &[String]) -> io::Result<()> {
    put(to, texts.len() as u64)?;
    texts.iter().try_for_each(|t| put_bytes(to, t.as_bytes()))
}

/// What [`put_texts`] wrote.
pub fn get_texts(from: &mut impl Read) -> io::Result<Vec<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(io::Error::other);
    (0..get(from)?).map(|_| get_bytes(from).and_then(text)).collect()
}

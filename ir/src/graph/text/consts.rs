//! Where the data of constants goes when a module is printed, and comes from when it is parsed.

use crate::{DType, Diag, Result, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Constants up to this many bytes are always part of the text.
const INLINE_BYTES: usize = 64;

/// Where data was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Belongs into the text.
    Inline,
    /// At this offset of the side table.
    At(u64),
    /// Nowhere: the text is for reading only.
    Elided,
}

/// Takes the data of large constants.
pub trait ConstSink {
    /// Decides where data goes.
    fn put(&mut self, data: &Bytes) -> Placement;
    /// Whether data is looked at at all: what is not in memory need not be loaded otherwise.
    fn reads(&self) -> bool {
        true
    }
}

/// Gives the data of large constants back.
pub trait ConstSource {
    /// The `len` bytes at an offset of the side table.
    fn get(&self, offset: u64, len: usize) -> Result<Bytes>;
}

/// Everything into the text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl ConstSink for Inline {
    fn put(&mut self, _: &Bytes) -> Placement {
        Placement::Inline
    }
}

/// Large constants are left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Elide;

impl ConstSink for Elide {
    fn reads(&self) -> bool {
        false
    }
    fn put(&mut self, _: &Bytes) -> Placement {
        Placement::Elided
    }
}

/// There is no side table.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoConsts;

impl ConstSource for NoConsts {
    fn get(&self, offset: u64, _: usize) -> Result<Bytes> {
        Err(Diag::input(format!("constant @{offset}: there is no side table")))
    }
}

/// A side table: the data of constants one after the other, each distinct content once, 64-byte aligned. Holds
/// references, not copies; writing [`ConstTable::chunks`] out in order, padded to their offsets, makes a side file.
#[derive(Debug, Clone, Default)]
pub struct ConstTable {
    at: BTreeMap<Bytes, u64>,
    chunks: Vec<(u64, Bytes)>,
    len: u64,
}

impl ConstTable {
    /// Offsets and data, ascending.
    pub fn chunks(&self) -> &[(u64, Bytes)] {
        &self.chunks
    }
    /// The content of the side file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, data) in &self.chunks {
            out.resize(*at as usize, 0);
            out.extend_from_slice(data);
        }
        out
    }
}

impl ConstSink for ConstTable {
    fn put(&mut self, data: &Bytes) -> Placement {
        if let Some(&at) = self.at.get(data) {
            return Placement::At(at);
        }
        let at = self.len.next_multiple_of(64);
        self.len = at + data.len() as u64;
        self.at.insert(data.clone(), at);
        self.chunks.push((at, data.clone()));
        Placement::At(at)
    }
}

impl ConstSource for ConstTable {
    fn get(&self, offset: u64, len: usize) -> Result<Bytes> {
        let hit = self.chunks.binary_search_by_key(&offset, |c| c.0).ok().and_then(|i| self.chunks.get(i));
        hit.map(|c| c.1.clone()).filter(|b| b.len() == len).ok_or_else(|| {
            Diag::input(format!("constant @{offset}: the side table has no {len} bytes there"))
        })
    }
}

/// The content of a side file.
impl ConstSource for Bytes {
    fn get(&self, offset: u64, len: usize) -> Result<Bytes> {
        usize::try_from(offset)
            .ok()
            .and_then(|at| Some((at, at.checked_add(len).filter(|&end| end <= self.len())?)))
            .map(|(at, end)| self.slice(at..end))
            .ok_or_else(|| {
                Diag::input(format!("constant @{offset}: {len} bytes are beyond the end of the side file"))
            })
    }
}

/// Text of the data of a tensor.
pub(super) fn print(t: &Tensor, sink: &mut dyn ConstSink) -> String {
    if t.dtype() == DType::Str {
        return serde_json::to_string(t.strings()).unwrap_or_default();
    }
    if t.is_deferred() && !sink.reads() {
        return "elided".to_owned();
    }
    // What cannot be read any more is told by whoever needs it; the text is for reading then.
    let Ok(t) = t.load() else { return "elided".to_owned() };
    let data = t.shared_bytes();
    if data.len() <= INLINE_BYTES
        && let Some(text) = readable(&t)
    {
        return text;
    }
    print_bytes(&data, sink)
}

/// Text of bytes.
pub(crate) fn print_bytes(data: &Bytes, sink: &mut dyn ConstSink) -> String {
    match if data.len() <= INLINE_BYTES { Placement::Inline } else { sink.put(data) } {
        Placement::At(at) => format!("@{at}"),
        Placement::Elided => "elided".to_owned(),
        Placement::Inline => {
            let mut text = String::with_capacity(3 + 2 * data.len());
            text.push_str("x\"");
            for b in data {
                // Writing to a String cannot fail.
                let _ = write!(text, "{b:02x}");
            }
            text + "\""
        }
    }
}

/// The elements as a list, if reading it gives the same bytes (a NaN may carry more than its name).
fn readable(t: &Tensor) -> Option<String> {
    let show = |v: &[f64]| v.iter().map(f64::to_string).collect::<Vec<_>>();
    let words: Vec<String> = match t.dtype() {
        DType::F32 => t.to_f32().ok()?.iter().map(f32::to_string).collect(),
        DType::U64 => t.to_i64().ok()?.iter().map(|&v| (v as u64).to_string()).collect(),
        d if d.is_float() => show(&t.to_f64().ok()?),
        _ => t.to_i64().ok()?.iter().map(i64::to_string).collect(),
    };
    let text = format!("[{}]", words.join(", "));
    let same = elements(t.dtype(), t.shape(), text.trim_matches(['[', ']'])).is_ok_and(|back| back == *t);
    same.then_some(text)
}

/// A tensor from the comma-separated elements of a list.
pub(super) fn elements(dtype: DType, shape: &[usize], list: &str) -> Result<Tensor> {
    fn all<T: std::str::FromStr>(list: &str) -> Result<Vec<T>> {
        let words = list.split(',').map(str::trim).filter(|w| !w.is_empty());
        words.map(|w| w.parse().map_err(|_| Diag::input(format!("`{w}` is not an element")))).collect()
    }
    let fits = |n: usize| match n == crate::tensor::numel(shape)? {
        true => Ok(()),
        false => Err(Diag::input(format!("{n} elements given for {dtype}{shape:?}"))),
    };
    let shape = shape.to_vec();
    match dtype {
        DType::F32 => {
            let v = all::<f32>(list)?;
            fits(v.len()).and_then(|()| Tensor::f32s(shape.clone(), &v))
        }
        DType::U64 => {
            let v: Vec<i64> = all::<u64>(list)?.into_iter().map(|v| v as i64).collect();
            fits(v.len()).and_then(|()| Tensor::from_i64(dtype, shape.clone(), &v))
        }
        d if d.is_float() => {
            let v = all::<f64>(list)?;
            fits(v.len()).and_then(|()| Tensor::from_f64(dtype, shape.clone(), &v))
        }
        DType::C64 | DType::C128 | DType::Str => {
            Err(Diag::input(format!("{dtype} elements are not numbers")))
        }
        _ => {
            let v = all::<i64>(list)?;
            fits(v.len()).and_then(|()| Tensor::from_i64(dtype, shape.clone(), &v))
        }
    }
}

/// A tensor from hexadecimal bytes.
pub(super) fn hex(dtype: DType, shape: &[usize], digits: &str) -> Result<Tensor> {
    Tensor::from_bytes(dtype, shape.to_vec(), hex_bytes(digits)?)
}

/// Bytes from hexadecimal digits.
pub(crate) fn hex_bytes(digits: &str) -> Result<Vec<u8>> {
    let nibble =
        |b: u8| (b as char).to_digit(16).ok_or_else(|| Diag::input("a constant has a bad hexadecimal digit"));
    if !digits.len().is_multiple_of(2) {
        return Err(Diag::input("a constant has an odd number of hexadecimal digits"));
    }
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|p| Ok((nibble(p[0])? * 16 + nibble(p[1])?) as u8)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn exact_elements_are_readable_and_others_hexadecimal() {
        let show = |t: Tensor| print(&t, &mut Elide);
        assert_eq!(show(Tensor::f32s(vec![3], &[0.1, -0.0, f32::INFINITY]).unwrap()), "[0.1, -0, inf]");
        let odd_nan = f32::from_bits(0x7fc0_0001);
        assert_eq!(show(Tensor::f32s(vec![1], &[odd_nan]).unwrap()), "x\"0100c07f\"");
        assert_eq!(show(Tensor::from_i64(DType::U64, vec![1], &[-1]).unwrap()), "[18446744073709551615]");
        assert_eq!(show(Tensor::from_i64(DType::I4, vec![3], &[-8, 0, 7]).unwrap()), "[-8, 0, 7]");
        assert_eq!(show(Tensor::from_f64(DType::F16, vec![], &[0.5]).unwrap()), "[0.5]");
        assert_eq!(show(Tensor::zeros(DType::F32, vec![0]).unwrap()), "[]");
        assert_eq!(show(Tensor::zeros(DType::F32, vec![17]).unwrap()), "elided");
        // A bool that is not 0 or 1 must come back as it was.
        assert_eq!(show(Tensor::from_bytes(DType::Bool, vec![2], vec![2u8, 1]).unwrap()), "x\"0201\"");
    }

    #[test]
    fn side_table_shares_equal_data_and_reads_back_from_its_file() {
        let (a, b) = (Bytes::from(vec![1u8; 100]), Bytes::from(vec![2u8; 65]));
        let mut t = ConstTable::default();
        assert_eq!(
            [t.put(&a), t.put(&b), t.put(&a)],
            [Placement::At(0), Placement::At(128), Placement::At(0)]
        );
        let file = Bytes::from(t.to_bytes());
        assert_eq!(file.len(), 193);
        assert_eq!(file.get(128, 65).unwrap(), b);
        assert_eq!(t.get(128, 65).unwrap(), b);
        assert!(file.get(128, 66).is_err() && file.get(u64::MAX, 1).is_err());
        assert!(t.get(64, 65).is_err() && t.get(0, 99).is_err());
    }
}

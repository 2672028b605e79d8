//! The container: a header with key and value pairs, descriptions of tensors, and their data.

use super::blocks::BlockType;
use bytes::Bytes;
use serde_json::{Map, Number, Value};
use sinter_ir::tensor::extent;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Lists nest at most this deep.
const MAX_DEPTH: usize = 4;
/// Pairs and tensors of a file at most; the largest models have a few thousand.
const MAX_ENTRIES: u64 = 1 << 20;

/// A file's header and data.
#[derive(Debug, Clone, Default)]
pub struct File {
    /// Key and value pairs.
    pub metadata: Map<String, Value>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// How it is stored.
    pub kind: BlockType,
    /// Dims, outermost first.
    pub dims: Vec<usize>,
    /// The blocks.
    pub bytes: Bytes,
}

struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

fn bad(what: impl std::fmt::Display) -> Diag {
    Diag::input(format!("not a GGUF file: {what}"))
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n);
        let found = end.and_then(|end| self.file.get(self.at..end));
        let found = found.ok_or_else(|| bad(format!("it ends at {}, inside its header", self.file.len())))?;
        self.at += n;
        Ok(found)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| Diag::bug("a slice of another length"))
    }
    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn text(&mut self) -> Result<String> {
        let n = self.u64()?;
        let n = usize::try_from(n).map_err(|_| bad("a text is too long"))?;
        // Pieces of a vocabulary need not be UTF-8 on their own.
        Ok(String::from_utf8_lossy(self.bytes(n)?).into_owned())
    }
    fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        // JSON has no infinite numbers: they are left out.
        let float = |f: f64| Number::from_f64(f).map_or(Value::Null, Value::Number);
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            6 => float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => (u8::from_le_bytes(self.array()?) != 0).into(),
            8 => self.text()?.into(),
            9 => self.list(depth)?,
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            12 => float(f64::from_le_bytes(self.array()?)),
            other => return Err(bad(format!("a value of type {other}"))),
        })
    }
    fn list(&mut self, depth: usize) -> Result<Value> {
        if depth >= MAX_DEPTH {
            return Err(bad("lists nest too deep"));
        }
        let (kind, n) = (self.u32()?, self.u64()?);
        // Every element takes a byte at least: a wrong length ends with the file, not with the memory.
        if n > (self.file.len() - self.at) as u64 {
            return Err(bad(format!("a list of {n} elements")));
        }
        (0..n).map(|_| self.value(kind, depth + 1)).collect::<Result<Vec<_>>>().map(Value::Array)
    }
}

impl File {
    /// Reads the header and checks that every tensor lies inside the file.
    pub fn parse(file: &Bytes) -> Result<Self> {
        let mut r = Reader { file, at: 0 };
        if r.array::<4>()? != *b"GGUF" {
            return Err(bad("it does not begin with GGUF"));
        }
        match r.u32()? {
            2 | 3 => {}
            v if v.swap_bytes() <= 3 => return Err(Diag::unsupported("GGUF files for big-endian machines")),
            v => return Err(Diag::unsupported(format!("GGUF files of version {v}"))),
        }
        let (tensors, pairs) = (r.u64()?, r.u64()?);
        if tensors.max(pairs) > MAX_ENTRIES {
            return Err(bad(format!("{tensors} tensors and {pairs} values")));
        }
        let mut metadata = Map::new();
        for _ in 0..pairs {
            let key = r.text()?;
            let kind = r.u32()?;
            let value = r.value(kind, 0)?;
            metadata.insert(key, value);
        }
        let mut places = Vec::new();
        for _ in 0..tensors {
            places.push(place(&mut r)?);
        }
        let align = metadata.get("general.alignment").and_then(Value::as_u64).unwrap_or(32);
        let begin = (r.at as u64).checked_next_multiple_of(align.max(1)).unwrap_or(u64::MAX);
        let mut all = BTreeMap::new();
        for (name, kind, dims, offset) in places {
            let entry = entry(file, kind, dims, begin.checked_add(offset)).map_err(|d| d.at(name.clone()))?;
            if all.insert(name.clone(), entry).is_some() {
                return Err(bad(format!("tensor {name} is there twice")));
            }
        }
        Ok(Self { metadata, tensors: all })
    }
}

/// Name, type, dims and offset of a tensor.
fn place(r: &mut Reader) -> Result<(String, u32, Vec<usize>, u64)> {
    let name = r.text()?;
    let rank = r.u32()?;
    if rank > 4 {
        return Err(bad(format!("tensor {name} has {rank} dims")));
    }
    let mut dims = Vec::new();
    for _ in 0..rank {
        let d = r.u64()?;
        dims.push(usize::try_from(d).map_err(|_| bad(format!("tensor {name} has a dim of {d}")))?);
    }
    // Files name the fastest dim first.
    dims.reverse();
    Ok((name, r.u32()?, dims, r.u64()?))
}

fn entry(file: &Bytes, kind: u32, dims: Vec<usize>, begin: Option<u64>) -> Result<Entry> {
    let kind = BlockType::numbered(kind)
        .ok_or_else(|| Diag::unsupported(format!("GGUF tensors of type number {kind}")))?;
    let row = dims.last().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.elements()) {
        return Err(bad(format!("rows of {row} elements are no {kind:?} blocks")));
    }
    let blocks = extent(&dims).map(|n| n / kind.elements()).filter(|_| !dims.contains(&0));
    let bytes = blocks.and_then(|n| n.checked_mul(kind.bytes()));
    let range = || {
        let from = usize::try_from(begin?).ok()?;
        let to = from.checked_add(bytes?)?;
        (to <= file.len()).then_some(from..to)
    };
    let range = range().ok_or_else(|| bad(format!("{kind:?}{dims:?} does not lie inside the file")))?;
    Ok(Entry { kind, dims, bytes: file.slice(range) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(s: &str) -> Vec<u8> {
        [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
    }

    /// One pair, one tensor of 2 rows of 32 elements in Q8_0.
    fn file(offset: u64) -> Vec<u8> {
        let mut f =
            [b"GGUF".as_slice(), &3u32.to_le_bytes(), &1u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
        f.extend([text("general.architecture"), 8u32.to_le_bytes().to_vec(), text("llama")].concat());
        f.extend([text("list"), 9u32.to_le_bytes().to_vec(), 5u32.to_le_bytes().to_vec()].concat());
        f.extend([2u64.to_le_bytes().to_vec(), vec![1, 0, 0, 0, 255, 255, 255, 255]].concat());
        f.extend([text("w"), 2u32.to_le_bytes().to_vec(), 32u64.to_le_bytes().to_vec()].concat());
        f.extend([2u64.to_le_bytes().to_vec(), 8u32.to_le_bytes().to_vec()].concat());
        f.extend(offset.to_le_bytes());
        f.resize(f.len().next_multiple_of(32), 0);
        f.extend([0u8; 68]);
        f
    }

    #[test]
    fn reads_pairs_and_tensors() {
        let f = File::parse(&file(0).into()).unwrap();
        assert_eq!(f.metadata["general.architecture"], "llama");
        assert_eq!(f.metadata["list"], serde_json::json!([1, -1]));
        assert_eq!((f.tensors["w"].dims.as_slice(), f.tensors["w"].bytes.len()), (&[2, 32][..], 68));
    }

    #[test]
    fn every_cut_and_every_wrong_byte_is_an_answer() {
        let whole = file(0);
        for n in 0..whole.len() {
            assert!(File::parse(&whole[..n].to_vec().into()).is_err(), "cut at {n}");
        }
        for offset in [1, 64, u64::MAX, u64::MAX - 200] {
            assert!(File::parse(&file(offset).into()).is_err(), "data at {offset}");
        }
        for i in 0..whole.len() {
            for x in [1, 0x80, 0xff] {
                let mut f = whole.clone();
                f[i] ^= x;
                // Whatever it says, it ends.
                let _ = File::parse(&f.into());
            }
        }
    }
}

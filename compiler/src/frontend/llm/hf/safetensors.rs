//! The safetensors format: eight bytes with the length of a JSON header, the header, the data.

use bytes::Bytes;
use serde_json::Value;
use sinter_ir::tensor::storage_bytes;
use sinter_ir::{DType, Diag, Result, Tensor};
use std::collections::BTreeMap;

/// Longest header that is read; real ones have a few megabytes.
const MAX_HEADER: usize = 100 << 20;

/// The tensors of a file.
#[derive(Debug, Clone, Default)]
pub struct SafeTensors {
    tensors: BTreeMap<String, Entry>,
    data: Bytes,
}

#[derive(Debug, Clone)]
struct Entry {
    dtype: DType,
    dims: Vec<usize>,
    from: usize,
    to: usize,
}

impl SafeTensors {
    /// Reads the header and checks that every tensor lies inside the file.
    pub fn parse(file: Bytes) -> Result<Self> {
        let bad = |what: &str| Diag::input(format!("not a safetensors file: {what}"));
        let head = file.first_chunk::<8>().ok_or_else(|| bad("it has less than 8 bytes"))?;
        let length = usize::try_from(u64::from_le_bytes(*head)).ok().filter(|n| *n <= MAX_HEADER);
        let length = length.ok_or_else(|| bad("its header is too long"))?;
        let end = 8 + length;
        let header = file.get(8..end).ok_or_else(|| bad("it ends inside its header"))?;
        let header: BTreeMap<String, Value> =
            serde_json::from_slice(header).map_err(|e| bad(&format!("its header is not JSON: {e}")))?;
        let data = file.slice(end..);
        let mut tensors = BTreeMap::new();
        for (name, value) in header {
            if name == "__metadata__" {
                continue;
            }
            let entry = entry(&value, data.len()).map_err(|d| d.at(name.clone()))?;
            tensors.insert(name, entry);
        }
        Ok(Self { tensors, data })
    }
    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys()
    }
    /// Dims of a tensor.
    pub fn dims(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|e| e.dims.as_slice())
    }
    /// Element type of a tensor.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).map(|e| e.dtype)
    }
    /// A tensor; its data is that of the file, not a copy.
    pub fn load(&self, name: &str) -> Option<Result<Tensor>> {
        let e = self.tensors.get(name)?;
        Some(Tensor::from_bytes(e.dtype, e.dims.clone(), self.data.slice(e.from..e.to)))
    }
}

fn entry(v: &Value, room: usize) -> Result<Entry> {
    let bad = |what: &str| Diag::input(format!("tensor entry: {what}"));
    let dtype = dtype(v.get("dtype").and_then(Value::as_str).ok_or_else(|| bad("no dtype"))?)?;
    let numbers = |key: &str| -> Option<Vec<usize>> {
        let list = v.get(key)?.as_array()?;
        list.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
    };
    let dims = numbers("shape").filter(|d| d.len() <= 8).ok_or_else(|| bad("no shape"))?;
    let offsets = numbers("data_offsets").ok_or_else(|| bad("no data_offsets"))?;
    let &[from, to] = offsets.as_slice() else { return Err(bad("data_offsets are two numbers")) };
    if from > to || to > room {
        return Err(bad(&format!("bytes {from} to {to} of {room}")));
    }
    let want = storage_bytes(dtype, &dims)?;
    if to - from != want {
        return Err(bad(&format!("{dtype}{dims:?} needs {want} bytes, {} are given", to - from)));
    }
    Ok(Entry { dtype, dims, from, to })
}

fn dtype(name: &str) -> Result<DType> {
    Ok(match name {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "F8_E4M3" => DType::F8E4M3FN,
        "F8_E5M2" => DType::F8E5M2,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U64" => DType::U64,
        "U32" => DType::U32,
        "U16" => DType::U16,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        other => return Err(Diag::unsupported(format!("tensors of type {other}"))),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Bytes {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat().into()
    }

    #[test]
    fn reads_what_lies_inside_the_file_only() {
        let ok = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let t = SafeTensors::parse(file(ok, &[0, 0, 128, 63, 0, 0, 0, 64])).unwrap();
        assert_eq!(t.load("a").unwrap().unwrap().to_f32().unwrap(), [1.0, 2.0]);
        assert_eq!(t.names().collect::<Vec<_>>(), ["a"]);
        for (header, data) in [
            (ok, 7),
            (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, 8),
            (r#"{"a":{"dtype":"X","shape":[2],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#, 8),
            (r#"{"a":7}"#, 8),
            ("[]", 0),
        ] {
            assert!(SafeTensors::parse(file(header, &vec![0; data])).is_err(), "{header}");
        }
        for short in [&b""[..], &[1; 7], &[255; 8], &[1, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(SafeTensors::parse(short.to_vec().into()).is_err());
        }
    }
}

//! A file's tensors under the names, dims and conventions of Hugging Face checkpoints.

use super::family::Family;
use super::reader::{Entry, File};
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::gguf::blocks::BlockType;
use crate::frontend::llm::weights::{Weights, transposed};
use crate::system::Mapping;
use bytes::Bytes;
use sinter_ir::{DType, Diag, Result, Tensor};

/// A file's tensors.
#[derive(Debug)]
pub struct Tensors {
    file: File,
    /// The file in memory, where it was mapped.
    mapping: Option<Mapping>,
    family: &'static Family,
    heads: usize,
    kv_heads: usize,
}

/// How the values of a tensor differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fix {
    /// Not at all.
    None,
    /// Rows of this many heads are in the order for pairs of neighbours.
    Heads(usize),
    /// 1 is added.
    PlusOne,
    /// Rows and columns are exchanged.
    Transposed,
}

impl Tensors {
    /// Of an opened file.
    pub fn new(file: File, family: &'static Family, c: &Config) -> Result<Self> {
        let heads = c.size(&["num_attention_heads"])?;
        let kv_heads = c.size_or("num_key_value_heads", heads)?;
        Ok(Self { file, mapping: None, family, heads: heads as usize, kv_heads: kv_heads as usize })
    }
    /// The same with what its data lies in.
    pub fn of(self, mapping: Option<Mapping>) -> Self {
        Self { mapping, ..self }
    }
    fn entry(&self, name: &str) -> Option<&Entry> {
        self.file.tensors.get(&self.family.rename(name)?)
    }
    /// The blocks, rows in the order of Hugging Face checkpoints.
    fn rows(&self, name: &str, e: &Entry) -> Result<Bytes> {
        match self.fix(name) {
            Fix::Heads(heads) => in_halves(e, heads),
            _ => Ok(e.bytes.clone()),
        }
    }
    fn fix(&self, name: &str) -> Fix {
        let conv1d = self.family.name == "gpt2" && name.contains(".c_") && name.ends_with(".weight");
        match name {
            _ if self.family.permuted && name.contains(".q_proj.") => Fix::Heads(self.heads),
            _ if self.family.permuted && name.contains(".k_proj.") => Fix::Heads(self.kv_heads),
            _ if self.family.plus_one && name.contains("norm.") => Fix::PlusOne,
            _ if conv1d => Fix::Transposed,
            _ => Fix::None,
        }
    }
}

impl Weights for Tensors {
    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        let mut dims = self.entry(name)?.dims.clone();
        if self.fix(name) == Fix::Transposed {
            dims.reverse();
        }
        Some(dims)
    }
    fn dtype(&self, name: &str) -> Option<DType> {
        let e = self.entry(name)?;
        Some(match (e.kind, self.fix(name)) {
            (_, Fix::PlusOne) => DType::F32,
            (BlockType::F16, _) => DType::F16,
            (BlockType::BF16, _) => DType::BF16,
            _ => DType::F32,
        })
    }
    fn release(&self) {
        self.mapping.iter().for_each(Mapping::release);
    }
    fn load(&self, name: &str) -> Result<Tensor> {
        let e = self.entry(name).ok_or_else(|| Diag::bug(format!("tensor {name} is not there")))?;
        let bytes = self.rows(name, e)?;
        if let Some(dtype @ (DType::F16 | DType::BF16)) = self.dtype(name) {
            let t = Tensor::from_bytes(dtype, e.dims.clone(), bytes)?;
            return if self.fix(name) == Fix::Transposed { transposed(&t) } else { Ok(t) };
        }
        sinter_ir::tensor::storage_bytes(DType::F32, &e.dims)?;
        let mut values = e.kind.values(&bytes);
        if self.fix(name) == Fix::PlusOne {
            values.iter_mut().for_each(|v| *v -= 1.0);
        }
        let t = Tensor::f32s(e.dims.clone(), &values)?;
        if self.fix(name) == Fix::Transposed { transposed(&t) } else { Ok(t) }
    }
    fn rows(&self, name: &str, from: usize, to: usize) -> Option<Result<Bytes>> {
        let e = self.entry(name)?;
        let &[n, k] = e.dims.as_slice() else { return None };
        let size = e.bytes.len() / n.max(1);
        // Floats are not copied anyway.
        if self.fix(name) != Fix::None || !k.is_multiple_of(e.kind.elements()) || e.kind.elements() == 1 {
            return None;
        }
        let bytes = e.bytes.get(from * size..to * size)?;
        Some(Ok(e.kind.values(bytes).into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>().into()))
    }
    fn format(&self, name: &str) -> Option<Format> {
        let e = self.entry(name)?;
        // Other values than the file's are floats.
        if self.fix(name) == Fix::PlusOne || e.dims.len() < 2 {
            return None;
        }
        e.kind.format(&e.dims)
    }
    fn part(&self, name: &str, part: Part) -> Result<Tensor> {
        let missing = || Diag::bug(format!("tensor {name} is not there"));
        let e = self.entry(name).ok_or_else(missing)?;
        let (dtype, dims) = self.format(name).ok_or_else(missing)?.part(part);
        Tensor::from_bytes(dtype, dims, e.kind.part(&self.rows(name, e)?, part))
    }
    fn names(&self) -> Vec<String> {
        self.file.tensors.keys().cloned().collect()
    }
}

/// Rows `[heads, half, 2]` as `[heads, 2, half]`; rows are whole blocks, or single values of a bias.
fn in_halves(e: &Entry, heads: usize) -> Result<Bytes> {
    let rows = e.dims.first().copied().unwrap_or(0);
    if heads == 0 || !rows.is_multiple_of(2 * heads) || rows == 0 {
        return Err(Diag::input(format!("{rows} rows are not those of {heads} heads")));
    }
    let (size, half) = (e.bytes.len() / rows, rows / heads / 2);
    if e.dims.len() == 1 && e.kind.elements() != 1 {
        return Err(Diag::unsupported("a quantised bias of queries or keys"));
    }
    let mut out = Vec::with_capacity(e.bytes.len());
    for row in 0..rows {
        let (head, side, j) = (row / (2 * half), row / half % 2, row % half);
        let from = (head * half * 2 + j * 2 + side) * size;
        let row = e.bytes.get(from..from + size);
        out.extend_from_slice(row.ok_or_else(|| Diag::bug("a row outside its tensor"))?);
    }
    Ok(out.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_halves() {
        let values: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let e = Entry { kind: BlockType::F32, dims: vec![8], bytes: values.into() };
        let got = BlockType::F32.values(&in_halves(&e, 2).unwrap());
        assert_eq!(got, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert!(in_halves(&e, 3).is_err() && in_halves(&e, 0).is_err());
    }
}

//! Tensor data outside the model file.
//!
//! A model names files relative to its own folder. They are mapped once and tensors are slices of them, so
//! weights are never copied. Names that lead elsewhere are refused, see [`system::beside`].

use super::proto::TensorProto;
use super::tensor;
use crate::system;
use bytes::Bytes;
use sinter_ir::{DType, Diag, Result, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files beside a model.
#[derive(Debug, Default)]
pub struct Store {
    model: Option<PathBuf>,
    files: BTreeMap<String, (PathBuf, Bytes)>,
}

/// Where a tensor's bytes are, as the model says.
struct Slot<'t> {
    location: &'t str,
    offset: u64,
    length: u64,
}

impl Slot<'_> {
    /// Reads and checks a tensor's entry; the length must be what type and dims need.
    fn of(t: &TensorProto) -> Result<Slot<'_>> {
        let field = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| match field(key) {
            None => Ok(None),
            Some(v) => {
                v.parse::<u64>().map(Some).map_err(|_| Diag::input(format!("external data: bad {key} `{v}`")))
            }
        };
        let (dtype, shape) = tensor::header(t)?;
        if dtype == DType::Str {
            return Err(Diag::input("strings cannot be external"));
        }
        let location = field("location").ok_or_else(|| Diag::input("external data without a location"))?;
        let want = sinter_ir::tensor::storage_bytes(dtype, &shape)? as u64;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(want));
        if length != want {
            return Err(Diag::input(format!(
                "external data has {length} bytes, {dtype}{shape:?} needs {want}"
            )));
        }
        Ok(Slot { location, offset, length })
    }
    /// End of the bytes, which must lie inside a file of `size` bytes.
    fn end(&self, path: &Path, size: u64) -> Result<u64> {
        self.offset.checked_add(self.length).filter(|&end| end <= size).ok_or_else(|| {
            let (name, length, offset) = (path.display(), self.length, self.offset);
            Diag::input(format!("{name} has {size} bytes: no {length} bytes at {offset}"))
        })
    }
}

impl Store {
    /// Files beside `model`; without it external data is refused.
    pub fn new(model: Option<&Path>) -> Self {
        Self { model: model.map(Path::to_path_buf), files: BTreeMap::new() }
    }
    /// Files that were read, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.values().map(|(path, _)| path.as_path())
    }
    /// A tensor in a file beside the model.
    pub fn read(&mut self, t: &TensorProto) -> Result<Tensor> {
        let slot = Slot::of(t)?;
        let (path, file) = self.open(slot.location)?;
        let end = slot.end(&path, file.len() as u64)?;
        let (dtype, shape) = tensor::header(t)?;
        // Both ends lie inside the mapped file, so they fit usize.
        Tensor::from_bytes(dtype, shape, file.slice(slot.offset as usize..end as usize))
    }
    /// Checks that a tensor's bytes are there without opening the file.
    pub fn measure(&self, t: &TensorProto) -> Result<()> {
        let slot = Slot::of(t)?;
        let path = self.find(slot.location)?;
        slot.end(&path, system::file_size(&path)?).map(|_| ())
    }
    fn find(&self, name: &str) -> Result<PathBuf> {
        let model = self.model.as_deref();
        let model = model.ok_or_else(|| Diag::input("external data, but the model is not a file"))?;
        system::beside(model, name)
    }
    fn open(&mut self, name: &str) -> Result<(PathBuf, Bytes)> {
        if let Some(known) = self.files.get(name) {
            return Ok(known.clone());
        }
        let path = self.find(name)?;
        let file = (path.clone(), system::map(&path)?);
        self.files.insert(name.to_owned(), file.clone());
        Ok(file)
    }
}

//! Tensor data outside the model file.
//!
//! A model names files relative to its own folder. They are mapped once and tensors are slices of them, so
//! weights are never copied. Names that lead elsewhere are refused, see [`system::beside`].

use super::proto::TensorProto;
use crate::system;
use bytes::Bytes;
use sinter_ir::{DType, Diag, Result, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tensors up to this many elements may decide shapes: they are read even where weights are not wanted.
const ALWAYS_READ: usize = 256;

/// The files beside a model.
#[derive(Debug, Default)]
pub struct Store {
    model: Option<PathBuf>,
    skip_weights: bool,
    files: BTreeMap<String, (PathBuf, Bytes)>,
}

impl Store {
    /// Files beside `model`; without it external data is refused. `skip_weights` takes large tensors as zeros
    /// without touching their files.
    pub fn new(model: Option<&Path>, skip_weights: bool) -> Self {
        Self { model: model.map(Path::to_path_buf), skip_weights, files: BTreeMap::new() }
    }
    /// Files that were read, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.values().map(|(path, _)| path.as_path())
    }
    /// Reads a tensor that is marked as external.
    pub fn tensor(&mut self, t: &TensorProto, dtype: DType, shape: Vec<usize>) -> Result<Tensor> {
        let field = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| match field(key) {
            None => Ok(None),
            Some(v) => {
                v.parse::<u64>().map(Some).map_err(|_| Diag::input(format!("external data: bad {key} `{v}`")))
            }
        };
        let location = field("location").ok_or_else(|| Diag::input("external data without a location"))?;
        let want = sinter_ir::tensor::storage_bytes(dtype, &shape)? as u64;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(want);
        if length != want {
            return Err(Diag::input(format!(
                "external data has {length} bytes, {dtype}{shape:?} needs {want}"
            )));
        }
        if dtype == DType::Str {
            return Err(Diag::input("strings cannot be external"));
        }
        if self.skip_weights && sinter_ir::tensor::numel(&shape)? > ALWAYS_READ {
            return Tensor::zeros(dtype, shape);
        }
        let (path, file) = self.open(location)?;
        let end = offset.checked_add(length).filter(|&end| end <= file.len() as u64).ok_or_else(|| {
            Diag::input(format!("{} has {} bytes: no {length} bytes at {offset}", path.display(), file.len()))
        })?;
        // Both ends lie inside the mapped file, so they fit usize.
        Tensor::from_bytes(dtype, shape, file.slice(offset as usize..end as usize))
    }
    fn open(&mut self, name: &str) -> Result<(PathBuf, Bytes)> {
        if let Some(known) = self.files.get(name) {
            return Ok(known.clone());
        }
        let model =
            self.model.as_deref().ok_or_else(|| Diag::input("external data, but the model is not a file"))?;
        let path = system::beside(model, name)?;
        let file = (path.clone(), system::map(&path)?);
        self.files.insert(name.to_owned(), file.clone());
        Ok(file)
    }
}

//! Concrete tensors: dtype, shape and bytes. Used for constants and by the evaluators.

use crate::{DType, Diag, Result};
use bytes::Bytes;
use std::sync::Arc;

/// Largest tensor (bytes) that the compiler itself will create: bounds what hostile shapes can allocate.
pub const MAX_TENSOR_BYTES: usize = 1 << 32;

/// The elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Little-endian elements, sub-byte types packed with the first element in the low bits.
    Bytes(Bytes),
    /// Strings.
    Str(Arc<[String]>),
    /// Not in memory: read when they are needed, see [`Tensor::load`].
    Deferred(Deferred),
}

/// Where the elements of a large tensor come from: a file, or a conversion of what is in a file.
pub trait Source: std::fmt::Debug + Send + Sync {
    /// The elements, made anew: nothing of them is kept.
    fn read(&self) -> Result<Bytes>;
    /// The elements of `from..to` along the first axis, where they can be made without the others.
    fn rows(&self, _from: usize, _to: usize) -> Option<Result<Bytes>> {
        None
    }
    /// For a matrix that is another one transposed: that other one.
    fn turned(&self) -> Option<Tensor> {
        None
    }
    /// Sources with equal keys give the same elements; without one a source is only equal to itself.
    fn key(&self) -> Option<String> {
        None
    }
}

/// A [`Source`]. Two are equal when they are known to give the same elements.
#[derive(Debug, Clone)]
pub struct Deferred(Arc<dyn Source>);

impl PartialEq for Deferred {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.key().is_some_and(|k| other.0.key() == Some(k))
    }
}

impl Eq for Deferred {}

/// A dense row-major tensor. Cloning shares the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// Product of dims, or a limit error when it overflows. A dim of zero excuses nothing: strides are products of the
/// other dims.
pub fn numel(shape: &[usize]) -> Result<usize> {
    let extent =
        extent(shape).ok_or_else(|| Diag::limit(format!("shape {shape:?} has too many elements")))?;
    Ok(if shape.contains(&0) { 0 } else { extent })
}

/// Product of the dims that are not zero: bounds loops over leading dims also where a tensor is empty.
pub fn extent(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |p, &d| p.checked_mul(d.max(1))).filter(|&n| isize::try_from(n).is_ok())
}

/// Storage bytes of a shape, refused beyond [`MAX_TENSOR_BYTES`].
pub fn storage_bytes(dtype: DType, shape: &[usize]) -> Result<usize> {
    let bytes = dtype.bytes_for(numel(shape)?).filter(|&b| b <= MAX_TENSOR_BYTES);
    bytes.ok_or_else(|| {
        Diag::limit(format!("tensor {dtype}{shape:?} is larger than {MAX_TENSOR_BYTES} bytes"))
    })
}

impl Tensor {
    /// From raw little-endian bytes; the length must fit exactly.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, data: impl Into<Bytes>) -> Result<Self> {
        let data = data.into();
        let want = storage_bytes(dtype, &shape)?;
        if dtype == DType::Str || data.len() != want {
            return Err(Diag::input(format!(
                "{dtype}{shape:?} needs {want} bytes, the data has {}",
                data.len()
            )));
        }
        Ok(Self { dtype, shape, data: Data::Bytes(data) })
    }
    /// Of elements that are read when they are needed.
    pub fn deferred(dtype: DType, shape: Vec<usize>, source: Arc<dyn Source>) -> Result<Self> {
        storage_bytes(dtype, &shape)?;
        Ok(Self { dtype, shape, data: Data::Deferred(Deferred(source)) })
    }
    /// Whether the elements are not in memory; what gives elements gives none then.
    pub fn is_deferred(&self) -> bool {
        matches!(self.data, Data::Deferred(_))
    }
    /// The tensor with its elements in memory.
    pub fn load(&self) -> Result<Self> {
        match &self.data {
            Data::Deferred(d) => Self::from_bytes(self.dtype, self.shape.clone(), d.0.read()?),
            _ => Ok(self.clone()),
        }
    }
    /// What lies at `from..to` along the first axis, where it can be had without the rest.
    pub fn rows(&self, from: usize, to: usize) -> Result<Option<Self>> {
        let Some((n, inner)) = self.shape.split_first().filter(|(n, _)| from <= to && to <= **n) else {
            return Err(Diag::bug(format!("rows {from} to {to} of {:?}", self.shape)));
        };
        let bytes = match &self.data {
            Data::Deferred(d) => d.0.rows(from, to).transpose()?,
            Data::Bytes(all) => {
                let size = Some(all.len() / n.max(&1)).filter(|size| size * n == all.len());
                size.map(|size| all.slice(from * size..to * size))
            }
            Data::Str(_) => None,
        };
        let shape = [&[to - from], inner].concat();
        bytes.map(|b| Self::from_bytes(self.dtype, shape, b)).transpose()
    }
    /// For a matrix whose elements are read when they are needed: the transposed matrix, where its elements are nearer.
    pub fn turned(&self) -> Option<Self> {
        match &self.data {
            Data::Deferred(d) => d.0.turned(),
            _ => None,
        }
    }
    /// Bytes of the elements, wherever they are.
    pub fn stored_bytes(&self) -> usize {
        self.dtype.bytes_for(self.len()).unwrap_or(0)
    }
    /// From strings.
    pub fn from_strings(shape: Vec<usize>, data: Vec<String>) -> Result<Self> {
        if numel(&shape)? != data.len() {
            return Err(Diag::input(format!("str{shape:?} got {} strings", data.len())));
        }
        Ok(Self { dtype: DType::Str, shape, data: Data::Str(data.into()) })
    }
    /// All bytes zero (for `Str`: empty strings).
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Self> {
        if dtype == DType::Str {
            let n = numel(&shape)?;
            if n > MAX_TENSOR_BYTES / 32 {
                return Err(Diag::limit(format!("str{shape:?} is too large")));
            }
            return Self::from_strings(shape, vec![String::new(); n]);
        }
        let n = storage_bytes(dtype, &shape)?;
        Ok(Self { dtype, shape, data: Data::Bytes(vec![0u8; n].into()) })
    }
    /// i64 tensor of rank 1.
    pub fn i64s(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: DType::I64, shape: vec![values.len()], data: Data::Bytes(bytes.into()) }
    }
    /// i64 scalar (rank 0).
    pub fn i64(value: i64) -> Self {
        Self { shape: vec![], ..Self::i64s(&[value]) }
    }
    /// f32 tensor; the number of values must match the shape.
    pub fn f32s(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_bytes(DType::F32, shape, bytes)
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Dims.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Number of dims.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }
    /// Raw storage; empty for strings and where the elements are not in memory.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            Data::Bytes(b) => b,
            Data::Str(_) | Data::Deferred(_) => &[],
        }
    }
    /// Raw storage, shared; see [`Tensor::bytes`].
    pub fn shared_bytes(&self) -> Bytes {
        match &self.data {
            Data::Bytes(b) => b.clone(),
            Data::Str(_) | Data::Deferred(_) => Bytes::new(),
        }
    }
    /// Strings; empty for other types.
    pub fn strings(&self) -> &[String] {
        match &self.data {
            Data::Bytes(_) | Data::Deferred(_) => &[],
            Data::Str(s) => s,
        }
    }
    /// Same data under another shape with the same number of elements.
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        if numel(&shape)? != self.len() {
            return Err(Diag::input(format!(
                "cannot reshape {:?} to {shape:?}: element counts differ",
                self.shape
            )));
        }
        Ok(Self { shape, ..self.clone() })
    }
}

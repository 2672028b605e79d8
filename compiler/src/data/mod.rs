//! Tensors from and to files, for `run`: .npy, .pb, .json, raw bytes, pictures, sound, random.

pub mod json;
pub mod npy;
pub mod npz;
pub mod picture;
pub mod wav;

use crate::frontend::onnx;
use picture::Normalise;
use sinter_ir::{DType, Diag, Result, Tensor};

/// What a model input accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Smallest and largest value per dim.
    pub dims: Vec<(usize, usize)>,
}

impl InputSpec {
    /// For messages: `f32[1..8, 3, 224, 224]`.
    pub fn show(&self) -> String {
        let dim = |d: &(usize, usize)| if d.0 == d.1 { d.0.to_string() } else { format!("{}..{}", d.0, d.1) };
        format!("{}[{}]", self.dtype, self.dims.iter().map(dim).collect::<Vec<_>>().join(", "))
    }
    /// The one axis that can hold many elements when all others allow 1.
    fn sole_wide_axis(&self) -> Option<usize> {
        let mut wide = (0..self.dims.len()).filter(|&i| !(self.dims[i].0 <= 1 && self.dims[i].1 <= 8));
        let axis = wide.next().or(self.dims.len().checked_sub(1))?;
        wide.next().is_none().then_some(axis)
    }
    /// Shape with every open dim at its smallest value, at least 1.
    pub fn smallest_shape(&self) -> Vec<usize> {
        self.dims.iter().map(|d| d.0.max(1).min(d.1)).collect()
    }
}

/// Reads what `--shape` says: `INPUT=1x3x640x640`.
pub fn shape(text: &str) -> Result<(String, Vec<usize>)> {
    let bad = || Diag::input(format!("--shape {text}: expected INPUT=1x2x3"));
    let (name, dims) = text.split_once('=').ok_or_else(bad)?;
    let dims = dims.split('x').map(|d| d.parse().map_err(|_| bad())).collect::<Result<_>>()?;
    Ok((name.to_owned(), dims))
}

/// Reads a file into an input; the kind is told by the extension, anything unknown is raw little-endian data.
pub fn read(file: &str, bytes: &[u8], spec: &InputSpec, norm: &Normalise) -> Result<Tensor> {
    let extension = file.rsplit('.').next().unwrap_or("").to_ascii_lowercase();
    let tensor = match extension.as_str() {
        "npy" => npy::read(bytes),
        "pb" => onnx::tensor_from_pb(bytes),
        "json" => json::read(bytes, spec.dtype),
        "wav" => wav::read(bytes, spec),
        "png" | "jpg" | "jpeg" => picture::read(bytes, spec, norm),
        _ => raw(bytes, spec),
    };
    tensor.map_err(|d| Diag { message: format!("{file}: {}", d.message), ..d })
}

/// Raw bytes. One open dim is found from the length, others must be fixed.
fn raw(bytes: &[u8], spec: &InputSpec) -> Result<Tensor> {
    if spec.dtype == DType::Str {
        return Err(
            Diag::input("strings cannot be read from raw data").help("give a .json, .npy or .pb file")
        );
    }
    let mut shape: Vec<usize> = spec.dims.iter().map(|d| d.0).collect();
    let open: Vec<usize> = (0..shape.len()).filter(|&i| spec.dims[i].0 != spec.dims[i].1).collect();
    let bits = spec.dtype.bits().max(1);
    if let [axis] = open[..] {
        shape[axis] = 1;
        let rest = sinter_ir::tensor::numel(&shape)?.max(1);
        shape[axis] = bytes.len() * 8 / bits / rest;
    } else if !open.is_empty() {
        return Err(Diag::input(format!("raw data for {}: several dims are open", spec.show()))
            .help(format!("fix them with --shape {}=1x2x3", spec.name)));
    }
    Tensor::from_bytes(spec.dtype, shape, bytes.to_vec())
}

/// Seeded random data: floats in [-1, 1), integers 0 or 1, which are valid tokens, masks and flags alike, strings of
/// up to 8 small letters. The same
/// seed gives the same bytes everywhere (SplitMix64).
pub fn random(spec: &InputSpec, shape: Vec<usize>, seed: u64) -> Result<Tensor> {
    let mut state = spec.name.bytes().fold(seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let n = sinter_ir::tensor::numel(&shape)?;
    sinter_ir::tensor::storage_bytes(spec.dtype, &shape)?;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    if spec.dtype == DType::Str {
        let mut letter = || char::from(b'a' + (next() % 26) as u8);
        let texts = (0..n).map(|i| (0..=i % 8).map(|_| letter()).collect()).collect();
        Tensor::from_strings(shape, texts)
    } else if spec.dtype.is_int() || spec.dtype == DType::Bool {
        let ints: Vec<i64> = (0..n).map(|_| (next() % 2) as i64).collect();
        Tensor::from_i64(spec.dtype, shape, &ints)
    } else {
        let floats: Vec<f64> = (0..n).map(|_| (next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect();
        Tensor::from_f64(spec.dtype, shape, &floats)
    }
}

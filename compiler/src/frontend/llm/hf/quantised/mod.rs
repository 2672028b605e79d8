//! Checkpoints that are quantised already: `quantization_config` says by what method. Tensors beside each other
//! (`qweight`, `scales`, ...) become one matrix under the name that it has in other checkpoints (`weight`), in codes as
//! they are stored.

mod awq;
mod bits;
mod compressed;
mod float8;
mod gptq;

use super::Shards;
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::weights::{Weights, transposed};
use sinter_ir::{DType, Diag, Result, Tensor};
use std::collections::BTreeMap;

/// Matrices of one method.
trait Method: std::fmt::Debug + Send + Sync {
    /// What the matrix called `stem` consists of; `None`: it is stored as other matrices are.
    fn format(&self, t: &Shards, stem: &str) -> Result<Option<Format>>;
    /// A part of it.
    fn part(&self, t: &Shards, stem: &str, f: &Format, part: Part) -> Result<Tensor>;
}

/// Methods that are known, for messages.
const KNOWN: &str = "known are gptq (formats gptq and gptq_v2; 2, 3, 4, 8 bits), awq (version gemm, 4 bits), \
                     compressed-tensors (pack-quantized, int-quantized, naive-quantized, float-quantized, \
                     mxfp4-pack-quantized, nvfp4-pack-quantized) and fp8";

fn unknown(what: impl std::fmt::Display) -> Diag {
    Diag::unsupported(format!("quantization_config: {what}")).help(KNOWN)
}

/// Tensors of a quantised checkpoint.
#[derive(Debug)]
pub struct Quantised {
    inner: Shards,
    method: Box<dyn Method>,
    /// Matrices in codes, by name without `.weight`.
    matrices: BTreeMap<String, Format>,
    /// Whether matrices are transposed in checkpoints that are not quantised.
    conv1d: bool,
}

impl Quantised {
    /// What is in the files, by the method that the configuration names.
    pub fn new(inner: Shards, config: &Config, how: &Config) -> Result<Self> {
        let method: Box<dyn Method> = match how.text("quant_method", "")?.as_str() {
            "gptq" => Box::new(gptq::Gptq::new(how)?),
            "awq" => Box::new(awq::Awq::new(how)?),
            "compressed-tensors" => Box::new(compressed::Compressed::new(how)?),
            "fp8" => Box::new(float8::Float8),
            other => return Err(unknown(format!("method `{other}`"))),
        };
        let mut matrices = BTreeMap::new();
        for name in inner.names() {
            let Some((stem, kind)) = name.rsplit_once('.') else { continue };
            if !matches!(kind, "qweight" | "weight_packed" | "weight") {
                continue;
            }
            if let Some(f) = method.format(&inner, stem).map_err(|d| d.at(stem.to_owned()))? {
                matrices.insert(stem.to_owned(), f);
            }
        }
        inner.release();
        let conv1d = config.text("model_type", "")? == "gpt2";
        Ok(Self { inner, method, matrices, conv1d })
    }
    fn matrix<'a, 'n>(&'a self, name: &'n str) -> Option<(&'n str, &'a Format)> {
        let stem = name.strip_suffix(".weight")?;
        self.matrices.get(stem).map(|f| (stem, f))
    }
    fn turned(&self, stem: &str) -> bool {
        self.conv1d && stem.contains(".c_")
    }
}

impl Weights for Quantised {
    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        let Some((stem, f)) = self.matrix(name) else { return self.inner.dims(name) };
        let mut dims = f.dims.clone();
        if self.turned(stem) {
            dims.reverse();
        }
        Some(dims)
    }
    fn dtype(&self, name: &str) -> Option<DType> {
        if self.matrix(name).is_some() { Some(DType::F32) } else { self.inner.dtype(name) }
    }
    fn release(&self) {
        self.inner.release();
    }
    fn load(&self, name: &str) -> Result<Tensor> {
        match self.matrix(name) {
            Some((stem, f)) => {
                let t = f.floats(|part| self.method.part(&self.inner, stem, f, part))?;
                if self.turned(stem) { transposed(&t) } else { Ok(t) }
            }
            None => match float8::scaled(&self.inner, name)? {
                Some(t) => Ok(t),
                None => self.inner.load(name),
            },
        }
    }
    fn format(&self, name: &str) -> Option<Format> {
        self.matrix(name).map(|m| m.1.clone())
    }
    fn part(&self, name: &str, part: Part) -> Result<Tensor> {
        let missing = || Diag::bug(format!("tensor {name} has no parts"));
        let (stem, f) = self.matrix(name).ok_or_else(missing)?;
        self.method.part(&self.inner, stem, f, part)
    }
    fn names(&self) -> Vec<String> {
        self.inner.names()
    }
}

/// A tensor that belongs to a matrix, as stored.
fn stored(t: &Shards, stem: &str, kind: &str) -> Result<Tensor> {
    let name = format!("{stem}.{kind}");
    let found = t.stored(&name).ok_or_else(|| Diag::input(format!("tensor {name} is missing")))?;
    found.map_err(|d| d.at(name))
}

/// The same, of a type and dims.
fn expect(t: &Shards, stem: &str, kind: &str, dtypes: &[DType], dims: &[usize]) -> Result<Tensor> {
    let found = stored(t, stem, kind)?;
    if !dtypes.contains(&found.dtype()) || found.shape() != dims {
        let types: Vec<String> = dtypes.iter().map(ToString::to_string).collect();
        return Err(Diag::input(format!(
            "tensor {stem}.{kind} is {}{:?}, {}{dims:?} is needed",
            found.dtype(),
            found.shape(),
            types.join(" or "),
        )));
    }
    Ok(found)
}

/// Types of scales.
const SCALES: &[DType] = &[DType::F16, DType::BF16, DType::F32];

/// Dims of a matrix that is there.
fn matrix_dims(t: &Shards, stem: &str, kind: &str, dtype: DType) -> Result<[usize; 2]> {
    let found = stored(t, stem, kind)?;
    match found.shape() {
        &[a, b] if found.dtype() == dtype && a > 0 && b > 0 => Ok([a, b]),
        other => Err(Diag::input(format!(
            "tensor {stem}.{kind} is {}{other:?}, a matrix of {dtype} is needed",
            found.dtype()
        ))),
    }
}

/// Weights that share a scale, of `k` in so many groups; `said` is what the configuration says (-1: all).
fn block(k: usize, groups: usize, said: Option<i64>) -> Result<usize> {
    if groups > 0 && k.is_multiple_of(groups) {
        return Ok(k / groups);
    }
    let said = said.and_then(|g| usize::try_from(g).ok()).filter(|&g| g > 0 && k.div_ceil(g) == groups);
    said.ok_or_else(|| Diag::input(format!("{groups} groups of scales for rows of {k} weights")))
}

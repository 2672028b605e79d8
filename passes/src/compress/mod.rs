//! Compression: weights of large products and embeddings become small codes.
//!
//! [`Recipe`] says what is wanted. Every method has a file of its own and makes codes of one matrix, a pure function from
//! weights, and [`stats`] of what they are multiplied with where it wants them, to [`Codes`]: [`rtn`], [`hqq`], [`gptq`],
//! [`awq`]; [`mxfp4`] are numbers that any of them can choose. [`apply`] finds the matrices in a module and puts the codes in their place.

pub mod apply;
pub mod awq;
pub(crate) mod cholesky;
pub mod gptq;
pub mod grid;
pub mod hadamard;
pub mod hqq;
pub mod inputs;
pub mod mixed;
pub mod mxfp4;
pub mod products;
pub mod recipe;
pub mod rotation;
pub mod rtn;
#[cfg(test)]
pub(crate) mod samples;
pub mod segments;
pub mod smooth;
pub mod spin;
pub mod stats;
pub mod steps;
pub mod wanted;

pub use apply::run;
pub use recipe::{Recipe, Scheme};
pub use wanted::Wanted;

use serde::{Deserialize, Serialize};
use sinter_ir::{Diag, Result, Tensor};
use std::collections::BTreeMap;

/// A matrix `[n, k]` in codes: weight `scale * (code - zero) + minimum`, all but the code per row and block of `k`.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// The codes.
    pub codes: Tensor,
    /// What symmetric codes have as their zero; 0 where zero points are given.
    pub middle: i64,
    /// Codes stand for what [`mxfp4::TABLE`] says, instead of themselves.
    pub float: bool,
    /// Scales `[n, blocks]`, f16.
    pub scale: Tensor,
    /// Zero points `[n, blocks]`, where blocks have their own.
    pub zero: Option<Tensor>,
    /// What is added `[n, blocks]`, f16, where blocks have that instead.
    pub minimum: Option<Tensor>,
    /// Weights of a row that share a scale.
    pub block: usize,
    /// What it cost.
    pub error: Error,
}

impl Codes {
    /// Bytes of all parts, with codes of so many bits.
    pub fn bytes(&self, bits: u32) -> u64 {
        let parts = [Some(&self.scale), self.zero.as_ref(), self.minimum.as_ref()];
        let parts: u64 = parts.into_iter().flatten().map(|t| t.stored_bytes() as u64).sum();
        (self.codes.len() as u64 * u64::from(bits)).div_ceil(8) + parts
    }
    /// What the codes stand for.
    pub fn values(&self) -> Result<Vec<f32>> {
        let (codes, scale) = (self.codes.to_f32()?, self.scale.to_f32()?);
        let numbers = |t: &Option<Tensor>| t.as_ref().map(Tensor::to_f32).transpose();
        let (zero, minimum) = (numbers(&self.zero)?, numbers(&self.minimum)?);
        let k = self.codes.shape().last().copied().unwrap_or(0).max(1);
        let blocks = k.div_ceil(self.block.max(1));
        let mut out = codes;
        for v in out.iter_mut().filter(|_| self.float) {
            *v = mxfp4::TABLE.get(*v as usize).copied().unwrap_or(0.0);
        }
        for (i, row) in out.chunks_mut(k).enumerate() {
            for (b, part) in row.chunks_mut(self.block.max(1)).enumerate() {
                let at = i * blocks + b;
                let of = |t: &Option<Vec<f32>>| t.as_ref().and_then(|t| t.get(at)).copied();
                let scale = scale.get(at).copied().unwrap_or(0.0);
                let (zero, minimum) = (of(&zero).unwrap_or(self.middle as f32), of(&minimum).unwrap_or(0.0));
                part.iter_mut().for_each(|c| *c = scale * (*c - zero) + minimum);
            }
        }
        Ok(out)
    }
    /// Rows of codes one behind the other. Rows of all parts but the last take whole bytes.
    pub fn stacked(parts: Vec<Self>) -> Result<Self> {
        fn join(parts: &[Option<&Tensor>]) -> Result<Option<Tensor>> {
            let all: Vec<&Tensor> = parts.iter().copied().flatten().collect();
            let Some(&first) = all.first() else { return Ok(None) };
            let rows: usize = all.iter().filter_map(|t| t.shape().first()).sum();
            let columns = first.shape().last().copied().unwrap_or(0);
            let bytes: Vec<u8> = all.iter().flat_map(|t| t.bytes()).copied().collect();
            Tensor::from_bytes(first.dtype(), vec![rows, columns], bytes).map(Some)
        }
        let empty = || Diag::bug("codes of no rows");
        let error = parts.iter().fold(Error::default(), |a, p| Error {
            signal: a.signal + p.error.signal,
            noise: a.noise + p.error.noise,
        });
        let all = |of: fn(&Self) -> Option<&Tensor>| join(&parts.iter().map(of).collect::<Vec<_>>());
        let first = parts.first().ok_or_else(empty)?;
        Ok(Self {
            codes: all(|p| Some(&p.codes))?.ok_or_else(empty)?,
            middle: first.middle,
            float: first.float,
            scale: all(|p| Some(&p.scale))?.ok_or_else(empty)?,
            zero: all(|p| p.zero.as_ref())?,
            minimum: all(|p| p.minimum.as_ref())?,
            block: first.block,
            error,
        })
    }
}

/// Sums of squares that tell how far codes are from weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Of the weights.
    pub signal: f64,
    /// Of the differences.
    pub noise: f64,
}

impl Error {
    /// Counts a weight and what stands for it.
    pub fn count(&mut self, weight: f32, instead: f32) {
        self.signal += f64::from(weight) * f64::from(weight);
        let off = f64::from(weight) - f64::from(instead);
        self.noise += off * off;
    }
    /// Signal to noise in decibels; large and finite where nothing is lost.
    pub fn decibels(&self) -> f64 {
        if self.noise == 0.0 { 999.0 } else { 10.0 * (self.signal / self.noise).log10() }
    }
}

/// What calibration made of a model's products, by the names of their weights.
#[derive(Debug, Clone, Default)]
pub struct Calibrated {
    /// Codes.
    pub layers: BTreeMap<String, Layer>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A product's weights in codes.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The codes.
    pub codes: Codes,
    /// What its inputs are multiplied by, where they are.
    pub inverse: Option<Tensor>,
    /// For the report.
    pub stat: LayerStat,
}

/// What became of one matrix, for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerStat {
    /// The user's name of the weights.
    pub name: String,
    /// What was done, in the words of `--quantize`.
    pub scheme: String,
    /// Rows and columns of the matrix.
    pub dims: [u64; 2],
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after: codes, scales, zero points.
    pub bytes: u64,
    /// Signal to noise of the weights in decibels.
    pub sqnr_db: f64,
    /// Signal to noise of the product on the calibration's text, from a sample of its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_db: Option<f64>,
    /// Cosine between the product and what it was, on the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Signal to noise of the result in the model whose other layers are rounded too; in language models of the stream
    /// behind the block that the product belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulated_db: Option<f64>,
    /// Cosine between the result there and what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulated_cosine: Option<f64>,
}

impl LayerStat {
    /// Of weights and their codes.
    pub fn new(name: &str, scheme: &Scheme, w: &Tensor, c: &Codes) -> Self {
        let dim = |i: usize| w.shape().get(i).copied().unwrap_or(0) as u64;
        Self {
            name: name.to_owned(),
            scheme: scheme.to_string(),
            dims: [dim(0), dim(1)],
            bytes_before: w.stored_bytes() as u64,
            bytes: c.bytes(scheme.bits),
            sqnr_db: c.error.decibels(),
            ..Self::default()
        }
    }
}

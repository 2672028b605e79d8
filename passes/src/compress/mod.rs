//! Compression: weights of large products and embeddings become small codes.
//!
//! [`Recipe`] says what is wanted, [`rtn`] (and every other method, each in a file of its own) makes codes of one matrix:
//! a pure function from weights to [`Codes`]. [`apply`] finds the matrices in a module and puts the codes in their place.

pub mod apply;
pub mod recipe;
pub mod rtn;

pub use apply::run;
pub use recipe::{Recipe, Scheme};

use serde::{Deserialize, Serialize};
use sinter_ir::Tensor;

/// A matrix `[n, k]` in codes: weight `scale * (code - zero)`, scales and zero points per row and block of `k`.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// The codes.
    pub codes: Tensor,
    /// What symmetric codes have as their zero; 0 where zero points are given.
    pub middle: i64,
    /// Scales `[n, blocks]`, f16.
    pub scale: Tensor,
    /// Zero points `[n, blocks]`, where blocks have their own.
    pub zero: Option<Tensor>,
    /// Weights of a row that share a scale.
    pub block: usize,
    /// What it cost.
    pub error: Error,
}

impl Codes {
    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        let parts = [Some(&self.codes), Some(&self.scale), self.zero.as_ref()];
        parts.into_iter().flatten().map(|t| t.stored_bytes() as u64).sum()
    }
}

/// Sums of squares that tell how far codes are from weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
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
}

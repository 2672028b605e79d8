//! Weights of a rotated model, made of those of a file when they are read.

use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::weights::{Weights, transposed, wide};
use sinter_ir::{DType, Diag, Result, Tensor};
use sinter_passes::compress::rotation::Change;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What becomes of a bias, or is one where the file has none.
#[derive(Debug)]
pub struct Bias {
    /// The change.
    pub change: Change,
    /// A norm's bias that comes through this matrix, and whether that is stored as `[in, out]`.
    pub beta: Option<(String, bool, Vec<f32>)>,
}

/// A tensor that changes.
#[derive(Debug)]
pub enum Entry {
    /// A matrix.
    Matrix {
        /// The change.
        change: Change,
        /// Stored as `[in, out]`.
        conv1d: bool,
    },
    /// A bias.
    Bias(Bias),
}

/// Weights with changes, by name.
#[derive(Debug)]
pub struct Rotated {
    /// As they were.
    pub inner: Arc<dyn Weights>,
    entries: BTreeMap<String, Entry>,
}

/// A matrix as `[out, in]` in f32.
fn matrix(inner: &Arc<dyn Weights>, name: &str, conv1d: bool) -> Result<Tensor> {
    let t = wide(inner.load(name)?)?;
    if conv1d { transposed(&t) } else { Ok(t) }
}

impl Rotated {
    /// Without changes.
    pub fn new(inner: Arc<dyn Weights>) -> Self {
        Self { inner, entries: BTreeMap::new() }
    }
    /// Adds a change.
    pub fn put(&mut self, name: String, entry: Entry) {
        self.entries.insert(name, entry);
    }
    fn bias(&self, name: &str, b: &Bias) -> Result<Tensor> {
        let own = self.inner.dims(name).map(|_| self.inner.load(name).and_then(wide)).transpose()?;
        let mut v = own.map(|t| t.to_f32()).transpose()?;
        if let Some((from, conv1d, beta)) = &b.beta {
            let w = matrix(&self.inner, from, *conv1d)?;
            let dot = |row: &[f32]| row.iter().zip(beta).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
            let sums: Vec<f64> = w.to_f32()?.chunks(beta.len().max(1)).map(dot).collect();
            let v = v.get_or_insert_with(|| vec![0.0; sums.len()]);
            v.iter_mut().zip(sums).for_each(|(v, s)| *v = (f64::from(*v) + s) as f32);
        }
        let mut v = v.ok_or_else(|| Diag::bug(format!("{name}: a bias of nothing")))?;
        let n = v.len();
        b.change.outputs(&mut v, n);
        Tensor::f32s(vec![n], &v)
    }
    fn changed(&self, name: &str, change: &Change, conv1d: bool) -> Result<Tensor> {
        let mut t = matrix(&self.inner, name, conv1d)?;
        let &[n, k] = t.shape() else { return Err(Diag::bug(format!("{name}: not a matrix"))) };
        let mut w = t.to_f32()?;
        change.rows(&mut w, k);
        t = Tensor::f32s(vec![n, k], &w)?;
        if change.writes() {
            let mut w = transposed(&t)?.to_f32()?;
            change.outputs(&mut w, n);
            t = Tensor::f32s(vec![k, n], &w)?;
            return if conv1d { Ok(t) } else { transposed(&t) };
        }
        if conv1d { transposed(&t) } else { Ok(t) }
    }
}

impl Weights for Rotated {
    fn dims(&self, name: &str) -> Option<Vec<usize>> {
        match (self.inner.dims(name), self.entries.get(name)) {
            (None, Some(Entry::Bias(Bias { beta: Some((from, conv1d, _)), .. }))) => {
                let dims = self.inner.dims(from)?;
                dims.get(usize::from(*conv1d)).map(|n| vec![*n])
            }
            (dims, _) => dims,
        }
    }
    fn dtype(&self, name: &str) -> Option<DType> {
        match self.entries.contains_key(name) {
            true => self.dims(name).map(|_| DType::F32),
            false => self.inner.dtype(name),
        }
    }
    fn release(&self) {
        self.inner.release();
    }
    fn load(&self, name: &str) -> Result<Tensor> {
        match self.entries.get(name) {
            None => self.inner.load(name),
            Some(Entry::Bias(b)) => self.bias(name, b),
            Some(Entry::Matrix { change, conv1d }) => self.changed(name, change, *conv1d),
        }
    }
    fn format(&self, name: &str) -> Option<Format> {
        if self.entries.contains_key(name) { None } else { self.inner.format(name) }
    }
    fn part(&self, name: &str, part: Part) -> Result<Tensor> {
        self.inner.part(name, part)
    }
    fn names(&self) -> Vec<String> {
        self.inner.names()
    }
}

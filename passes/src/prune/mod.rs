//! Pruning: weights become zero, or channels, heads and layers go and the graph becomes smaller.
//!
//! [`Recipe`] says what is wanted. What a step makes of a model is [`Pruned`]: it holds for every import of the same file,
//! whatever its dims, and [`apply`] does it to one. Every method of choosing weights is a pure function in a file of its
//! own: [`magnitude`], [`wanda`], [`sparsegpt`]. [`units`] finds channels and heads that can go, [`layers`] takes out layers.

pub mod apply;
pub mod layers;
pub mod magnitude;
pub mod mask;
pub mod recipe;
pub mod shelf;
pub mod sparsegpt;
pub mod units;
pub mod wanda;

pub use apply::apply;
pub use recipe::{Recipe, Step};

use crate::compress::gptq::Factor;
use crate::compress::products::products;
use crate::compress::stats::{Difference, Statistics};
use crate::compress::{Error, grid::Rows};
use mask::Pattern;
use recipe::{Method, Unit};
use serde::{Deserialize, Serialize};
use shelf::Shelf;
use sinter_ir::{Diag, Module, Result, Tensor};
use std::collections::BTreeMap;
use units::shrink::Removed;
use units::{Family, Labels, choose, families};

/// What a step makes of a model.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Weights of products in the place of the model's, `[k, n]` of f32, by name.
    pub weights: BTreeMap<String, Tensor>,
    /// Channels and heads that go, with all that depends on them.
    pub units: Vec<Removed>,
    /// Layers that go, by the numbers in the names of their weights.
    pub layers: Vec<u32>,
    /// For the report.
    pub stats: Vec<PruneStat>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Pruned {
    /// Adds what the same step makes of another part of the model.
    pub fn add(&mut self, other: Self) {
        self.weights.extend(other.weights);
        self.units.extend(other.units);
        self.layers.extend(other.layers);
        self.stats.extend(other.stats);
        self.warnings.extend(other.warnings);
    }
}

/// What became of one matrix, for the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PruneStat {
    /// The user's name of the weights.
    pub name: String,
    /// What was done, in the words of `--prune`.
    pub step: String,
    /// Dims before.
    pub before: Vec<u64>,
    /// Dims after.
    pub after: Vec<u64>,
    /// Percent of the weights that are gone or zero.
    pub zeros: f64,
    /// Signal to noise of the weights in decibels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqnr_db: Option<f64>,
    /// Signal to noise of the product on the calibration's text, from a sample of its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_db: Option<f64>,
    /// Cosine between the product and what it was, on the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
}

/// Rows by which the error of a product's outputs is judged.
const SAMPLE: usize = 64;

impl PruneStat {
    /// Of weights `[n, k]` and what stands for them.
    pub fn new(
        name: &str,
        step: &Step,
        k: usize,
        old: &[f32],
        new: &[f32],
        stats: Option<&Statistics>,
    ) -> Self {
        let mut error = Error::default();
        old.iter().zip(new).for_each(|(w, p)| error.count(*w, *p));
        let n = old.len() / k.max(1);
        let zeros = new.iter().filter(|w| **w == 0.0).count() as f64 * 100.0 / new.len().max(1) as f64;
        let difference = stats.map(|s| difference(s, old, new));
        let dims = vec![n as u64, k as u64];
        Self {
            name: name.to_owned(),
            step: step.to_string(),
            before: dims.clone(),
            after: dims,
            zeros: (zeros * 100.0).round() / 100.0,
            sqnr_db: Some(error.decibels()),
            output_db: difference.map(|d| d.decibels()),
            cosine: difference.map(|d| d.cosine),
        }
    }
}

/// What becomes of outputs, from a sample of the rows of weights.
fn difference(s: &Statistics, old: &[f32], new: &[f32]) -> Difference {
    let (k, n) = (s.k.max(1), old.len() / s.k.max(1));
    let step = n.div_ceil(SAMPLE).max(1);
    let sample = |w: &[f32]| -> Vec<f32> { w.chunks_exact(k).step_by(step).flatten().copied().collect() };
    s.difference(&sample(old), &sample(new))
}

/// Weights of some products that read the same inputs, `[n, k]`, with zeros. The moments of the inputs are there where the
/// method wants them; so is a factor for SparseGPT, unless the moments cannot be inverted: then it is Wanda.
pub fn weights(
    method: Method,
    pattern: Pattern,
    w: &[f32],
    k: usize,
    seen: Option<(&Statistics, Option<&Factor>)>,
    each: sparsegpt::Each<'_>,
) -> Result<Vec<f32>> {
    match (method, seen) {
        (Method::Magnitude, _) => Ok(magnitude::prune(w, k, pattern)),
        (Method::SparseGpt, Some((_, Some(f)))) => sparsegpt::prune(w, f, pattern, each),
        (_, Some((stats, _))) if stats.k == k => Ok(wanda::prune(w, stats, pattern)),
        _ => Err(Diag::bug("pruning without the statistics that it wants")),
    }
}

/// A matrix of floats, and the same transposed.
pub fn numbers(t: &Tensor) -> Result<Vec<f32>> {
    let rows = Rows::new(t)?;
    let mut out = vec![0f32; rows.n * rows.k];
    out.chunks_mut(rows.k.max(1)).enumerate().for_each(|(i, row)| rows.read(i, row));
    Ok(out)
}

/// A matrix `[rows, columns]` transposed.
pub fn turned(m: &[f32], columns: usize) -> Vec<f32> {
    let rows = m.len() / columns.max(1);
    let mut out = vec![0f32; m.len()];
    for (r, row) in m.chunks(columns.max(1)).enumerate() {
        for (o, v) in out.iter_mut().skip(r).step_by(rows.max(1)).zip(row) {
            *o = *v;
        }
    }
    out
}

/// A step that looks at nothing but weights.
pub fn without_data(module: &Module, step: &Step, shelf: &mut Shelf<'_>) -> Result<Pruned> {
    match *step {
        Step::Weights(Method::Magnitude, pattern) => smallest(module, step, pattern, shelf),
        Step::Units(Unit::Channels, percent) => channels(module, step, percent),
        _ => {
            let d = Diag::input(format!("--prune {step}: the method needs to see activations"));
            Err(d.help("give a text to run the model on with --calibrate FILE"))
        }
    }
}

/// The smallest weights of all products become zero.
fn smallest(module: &Module, step: &Step, pattern: Pattern, shelf: &mut Shelf<'_>) -> Result<Pruned> {
    let mut out = Pruned::default();
    for p in products(&module.graph) {
        let at = |d: Diag| d.at(p.name.clone());
        let n = p.weights.len() / p.k.max(1);
        let w = turned(&numbers(&p.weights.load().map_err(at)?).map_err(at)?, n);
        let new = magnitude::prune(&w, p.k, pattern);
        out.stats.push(PruneStat::new(&p.name, step, p.k, &w, &new, None));
        let new = Tensor::f32s(vec![p.k, n], &turned(&new, p.k))?;
        out.weights.insert(p.name.clone(), shelf.keep(new)?);
    }
    if out.weights.is_empty() {
        let why = format!("--prune {step}: the model has no large products with constant weights");
        return Err(Diag::unsupported(why));
    }
    Ok(out)
}

/// The channels of convolutions with the smallest weights go.
fn channels(module: &Module, step: &Step, percent: u32) -> Result<Pruned> {
    let mut out = Pruned::default();
    for f in open(module, step, Unit::Channels)? {
        let gone = f.len - choose::keep(f.len, percent, f.unit);
        if gone > 0 {
            let gone = choose::weakest(&choose::strengths(&module.graph, &f)?, gone);
            f.remove(&module.graph, step, &gone, &mut out);
        }
    }
    Ok(out)
}

/// Families of units of which some may go; if there are none, that is an error with the reasons.
pub fn open(module: &Module, step: &Step, unit: Unit) -> Result<Vec<Family>> {
    let all: Vec<Family> =
        families(module, &Labels::of(module)).into_iter().filter(|f| f.unit == unit).collect();
    if all.iter().all(|f| f.pinned.is_some()) {
        let mut why = format!("--prune {step}: there is nothing of the kind that can go");
        for f in all.iter().take(8) {
            let name = f.sides.first().map(|s| s.name.as_str()).unwrap_or_default();
            why += &format!("\n  {name}: {}", f.pinned.as_deref().unwrap_or_default());
        }
        return Err(Diag::unsupported(why));
    }
    Ok(all.into_iter().filter(|f| f.pinned.is_none()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

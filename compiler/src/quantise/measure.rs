//! How far layers and outputs are from those of the float model.

use super::Work;
use super::machine::{Shown, groups};
use sinter_ir::{Diag, NodeId, Result, Tensor, ValueId};
use sinter_passes::compress::{Error, LayerStat};
use sinter_passes::quantise::insert::{self, Found, Quantised};
use sinter_passes::quantise::plan::{Layer, Plan};
use sinter_passes::quantise::ranges::NARROW;
use sinter_passes::report::PassReport;
use std::collections::BTreeMap;

/// What a layer lost.
#[derive(Debug, Clone, Default)]
pub struct LayerError {
    /// Its name.
    pub name: String,
    /// Output channels and terms of a sum.
    pub dims: [u64; 2],
    /// Of its weights.
    pub weights: Error,
    /// Of its result when only it is rounded, its input with it.
    pub own: Agreement,
    /// Of its result in the quantised model.
    pub accumulated: Agreement,
    /// It stayed as it was.
    pub float: bool,
    /// Its data has 7 bits, so that sums of products fit 16.
    pub narrow: bool,
}

/// Sums that tell how close numbers are to others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Agreement {
    /// Squares of the float model's.
    pub signal: f64,
    /// Squares of the others.
    pub other: f64,
    /// Products of the two.
    pub product: f64,
    /// Squares of the differences.
    pub noise: f64,
}

impl Agreement {
    /// Counts numbers and what stands for them.
    pub fn count(&mut self, a: &[f32], b: &[f32]) {
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            self.signal += a * a;
            self.other += b * b;
            self.product += a * b;
            self.noise += (a - b) * (a - b);
        }
    }
    /// Signal to noise in decibels; large and finite where nothing is lost.
    pub fn decibels(&self) -> f64 {
        Error { signal: self.signal, noise: self.noise }.decibels()
    }
    /// Cosine of the angle between the two.
    pub fn cosine(&self) -> f64 {
        let norm = (self.signal * self.other).sqrt();
        if norm > 0.0 { self.product / norm } else { f64::from(self.noise == 0.0) }
    }
}

/// What an output of the model lost.
#[derive(Debug, Clone, Default)]
pub struct OutputError {
    /// Its name.
    pub name: String,
    /// Over all samples.
    pub all: Agreement,
    /// Smallest cosine of a sample.
    pub worst: f64,
    /// Rows of scores, where it has them, and in how many of them the largest is the same.
    pub rows: Option<(u64, u64)>,
}

impl OutputError {
    /// Cosine over all samples.
    pub fn cosine(&self) -> f64 {
        self.all.cosine()
    }
    /// Counts a sample.
    pub fn count(&mut self, a: &Tensor, b: &Tensor) -> Result<()> {
        if a.shape() != b.shape() {
            return Err(Diag::bug(format!("output {} has another shape when quantised", self.name)));
        }
        let (a32, b32) = (a.to_f32()?, b.to_f32()?);
        let mut one = Agreement::default();
        one.count(&a32, &b32);
        self.worst = self.worst.min(one.cosine());
        self.all.count(&a32, &b32);
        // Scores of classes: one row of several.
        let classes = a.shape().last().copied().unwrap_or(0);
        if a.dtype().is_float() && a.rank() == 2 && classes > 1 {
            let best = |row: &[f32]| {
                let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
                (0..row.len()).fold(0, better)
            };
            let (mut rows, mut same) = self.rows.unwrap_or_default();
            for (a, b) in a32.chunks(classes).zip(b32.chunks(classes)) {
                rows += 1;
                same += u64::from(best(a) == best(b));
            }
            self.rows = Some((rows, same));
        }
        Ok(())
    }
}

impl LayerError {
    fn new(layer: &Layer, plan: &Plan, weights: &Tensor) -> Self {
        let n = weights.shape().get(layer.axis).copied().unwrap_or(1).max(1);
        let dims = [n as u64, (weights.len() / n) as u64];
        let float = !plan.layers.iter().any(|l| l.node == layer.node);
        let narrow = plan.top(layer.x) == NARROW;
        Self { name: layer.name.clone(), dims, float, narrow, ..Self::default() }
    }
    /// For the report.
    pub fn stat(&self) -> LayerStat {
        let weights = self.dims[0] * self.dims[1];
        LayerStat {
            name: self.name.clone(),
            scheme: match (self.float, self.narrow) {
                (true, _) => "float".into(),
                (false, true) => "int8-narrow".into(),
                (false, false) => "int8".into(),
            },
            dims: self.dims,
            bytes_before: 4 * weights,
            bytes: if self.float { 4 * weights } else { weights + 4 * self.dims[0] },
            sqnr_db: if self.float { 999.0 } else { self.weights.decibels() },
            output_db: (!self.float).then(|| self.own.decibels()),
            cosine: (!self.float).then(|| self.own.cosine()),
            accumulated_db: (!self.float).then(|| self.accumulated.decibels()),
            accumulated_cosine: (!self.float).then(|| self.accumulated.cosine()),
        }
    }
}

/// Mean over the elements of every channel.
struct Means {
    sums: Vec<f64>,
    count: u64,
}

impl Means {
    fn add(&mut self, a: &[f32], b: &[f32], shape: &[usize], axis: usize) {
        let inner: usize = shape.iter().skip(axis + 1).product::<usize>().max(1);
        let n = self.sums.len().max(1);
        for (i, (a, b)) in a.chunks(inner).zip(b.chunks(inner)).enumerate() {
            if let Some(s) = self.sums.get_mut(i % n) {
                *s += a.iter().zip(b).map(|(a, b)| f64::from(a - b)).sum::<f64>();
            }
        }
        self.count += (a.len() / n) as u64;
    }
}

/// Results of a measurement of layers: errors, and what their channels are to be moved by.
type Alone = (BTreeMap<NodeId, LayerError>, BTreeMap<NodeId, Vec<f32>>);

/// Every layer alone: on what the float model gives it, rounded and not.
pub(super) fn alone(work: &Work, plan: &Plan, found: &Found) -> Result<Alone, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let mut report = PassReport::default();
    let twins = insert::twins(work.module, plan, found, &mut report).map_err(one)?;
    let sets: Vec<Vec<ValueId>> = twins.pairs.iter().map(|p| vec![p.float, p.rounded]).collect();
    let (mut errors, mut shifts) = (BTreeMap::new(), BTreeMap::new());
    for part in groups(&twins.module, &sets) {
        let pairs = twins.pairs.get(part.clone()).unwrap_or(&[]);
        let shown: Vec<ValueId> = sets.get(part).unwrap_or(&[]).concat();
        let mut shown = Shown::new(&twins.module, &shown, work.job.threads)?;
        let mut means: Vec<Means> =
            pairs.iter().map(|p| Means { sums: vec![0.0; p.channels], count: 0 }).collect();
        let mut own = vec![Agreement::default(); pairs.len()];
        for i in 0..work.samples.len() {
            (work.step)(&format!("measuring layers: sample {} of {}", i + 1, work.samples.len()));
            let values = shown.run(work.samples, i).map_err(one)?;
            for (((p, v), m), own) in pairs.iter().zip(values.chunks(2)).zip(&mut means).zip(&mut own) {
                if let [a, b] = v {
                    let (a32, b32) = (a.to_f32().map_err(one)?, b.to_f32().map_err(one)?);
                    own.count(&a32, &b32);
                    m.add(&a32, &b32, a.shape(), p.layer.channel);
                }
            }
        }
        for ((p, m), own) in pairs.iter().zip(means).zip(own) {
            let count = m.count.max(1) as f64;
            shifts.insert(p.layer.node, m.sums.iter().map(|s| (s / count) as f32).collect());
            let weights = work.module.graph.constant(p.layer.w).ok_or_else(|| one(Diag::bug("weights")))?;
            let e = LayerError { weights: p.weights, own, ..LayerError::new(&p.layer, plan, weights) };
            errors.insert(p.layer.node, e);
        }
    }
    Ok((errors, shifts))
}

/// All layers together, and the outputs.
pub(super) fn together(
    work: &Work,
    made: &Quantised,
    plan: &Plan,
    errors: &mut BTreeMap<NodeId, LayerError>,
) -> Result<Vec<OutputError>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let g = &work.module.graph;
    let y = |n: NodeId| g.node(n).outputs.first().copied();
    let mut pairs: Vec<(Option<NodeId>, ValueId, ValueId)> = vec![];
    for l in &plan.layers {
        if let Some((y, new)) = y(l.node).and_then(|y| Some((y, *made.values.get(&y)?))) {
            pairs.push((Some(l.node), y, new));
        }
    }
    pairs.extend(g.outputs.iter().zip(&made.module.graph.outputs).map(|(a, b)| (None, *a, *b)));
    let name = |v: &ValueId| g.value(*v).name.as_deref().unwrap_or_default().to_owned();
    let mut outputs: Vec<OutputError> = g
        .outputs
        .iter()
        .map(|v| OutputError { name: name(v), worst: 1.0, ..OutputError::default() })
        .collect();
    for e in errors.values_mut() {
        e.accumulated = Agreement::default();
    }
    let sets: Vec<Vec<ValueId>> = pairs.iter().map(|p| vec![p.1, p.1]).collect();
    let first_output = pairs.len() - outputs.len();
    for part in groups(work.module, &sets) {
        let pairs = pairs.get(part.clone()).unwrap_or(&[]);
        let (a, b): (Vec<ValueId>, Vec<ValueId>) = pairs.iter().map(|p| (p.1, p.2)).unzip();
        let mut float = Shown::new(work.module, &a, work.job.threads)?;
        let mut bytes = Shown::new(&made.module, &b, work.job.threads)?;
        for i in 0..work.samples.len() {
            (work.step)(&format!("comparing: sample {} of {}", i + 1, work.samples.len()));
            let (a, b) = (float.run(work.samples, i).map_err(one)?, bytes.run(work.samples, i).map_err(one)?);
            for (at, ((p, a), b)) in part.clone().zip(pairs.iter().zip(&a).zip(&b)) {
                match (p.0, at.checked_sub(first_output).and_then(|o| outputs.get_mut(o))) {
                    (Some(n), _) => {
                        let (a, b) = (a.to_f32().map_err(one)?, b.to_f32().map_err(one)?);
                        errors.entry(n).and_modify(|e| e.accumulated.count(&a, &b));
                    }
                    (None, Some(o)) => o.count(a, b).map_err(one)?,
                    _ => {}
                }
            }
        }
    }
    Ok(outputs)
}

//! Static quantisation: a float model sees samples on this machine and becomes one of bytes.
//!
//! The model is compiled as usual, with the values that shall be bytes as outputs ([`machine`]); samples are read one at a
//! time ([`samples`]), and of every value no more than a histogram is kept. [`measure`] compares layers: each alone, rounded
//! and as it was on what the float model gives it, and all together. Where the outputs are not as close as asked for, layers
//! that lose most stay floats.

pub mod machine;
pub mod measure;
pub mod samples;

use machine::{Shown, groups};
use measure::{LayerError, OutputError};
use samples::{Data, Samples};
use sinter_ir::{Diag, Module, NodeId, Result, Tensor, ValueId};
use sinter_passes::compress::LayerStat;
use sinter_passes::quantise::equalise;
use sinter_passes::quantise::histogram::Histogram;
use sinter_passes::quantise::insert::{self, Found};
use sinter_passes::quantise::plan::{self, Plan, Widths};
use sinter_passes::quantise::ranges::{NARROW, Params};
use sinter_passes::quantise::{self, StaticRecipe};
use sinter_passes::report::PassReport;
use std::collections::BTreeMap;

/// Samples below which ranges are a guess.
const FEW: usize = 8;
/// Times that layers are given up before the rest is accepted.
const ROUNDS: usize = 6;

/// What to do.
#[derive(Debug, Clone)]
pub struct Job {
    /// How.
    pub recipe: StaticRecipe,
    /// The samples.
    pub data: Data,
    /// Cosine between outputs and those of the float model below which layers stay floats.
    pub least: f64,
    /// Threads.
    pub threads: usize,
}

/// A model of bytes.
#[derive(Debug, Clone)]
pub struct Done {
    /// It.
    pub module: Module,
    /// Its layers, in order; those that stayed floats too.
    pub layers: Vec<LayerError>,
    /// Its outputs on the samples.
    pub outputs: Vec<OutputError>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Samples that were seen.
    pub samples: usize,
    /// SHA-256 of their files.
    pub sum: String,
}

impl Done {
    /// For the report.
    pub fn stats(&self) -> Vec<LayerStat> {
        self.layers.iter().map(LayerError::stat).collect()
    }
}

/// Quantises a model as its importer gave it.
pub fn run(module: &Module, job: &Job, step: &dyn Fn(&str)) -> Result<Done, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    if quantise::is_quantised(module) {
        let d = Diag::input("the model is quantised already: there are no float layers to calibrate");
        return Err(one(d.help("compile it without --quantize: its integers are computed as such")));
    }
    if !module.states.is_empty() {
        return Err(one(Diag::unsupported("static quantisation of a model with states")));
    }
    let mut module = module.clone();
    quantise::prepare(&mut module).map_err(one)?;
    let samples = Samples::new(&module, &job.data).map_err(one)?;
    if samples.is_empty() {
        let d = Diag::input("static quantisation needs samples of the inputs, and there are none");
        return Err(
            one(d.help("give pictures, .npy or .npz files, or folders of them: --calibrate FILE...")),
        );
    }
    let all = plan::layers(&module.graph);
    if all.is_empty() {
        let d = Diag::input("the model has no convolution or product with constant weights in f32");
        return Err(one(d.help("there is nothing to quantise: compile it without --quantize")));
    }
    let mut work = Work { module: &module, samples: &samples, job, step, warnings: vec![] };
    if samples.len() < FEW {
        work.warnings.push(format!(
            "{} samples of calibration are few: ranges may be too narrow for other data",
            samples.len()
        ));
    }
    work.quantise(&all)
}

struct Work<'a> {
    module: &'a Module,
    samples: &'a Samples<'a>,
    job: &'a Job,
    step: &'a dyn Fn(&str),
    warnings: Vec<String>,
}

impl Work<'_> {
    fn quantise(mut self, all: &[plan::Layer]) -> Result<Done, Vec<Diag>> {
        let one = |d: Diag| vec![d];
        let mut widths = Widths { narrow: self.job.recipe.narrow == Some(true), ..Widths::default() };
        let mut plan = plan::plan(&self.module.graph, &widths);
        let mut found = Found { scales: self.scales(&plan)?, ..Found::default() };
        found.params = self.ranges(&plan, &found.scales)?;
        let mut own = self.own(&plan, &mut found)?;
        let mut rounds = 0;
        loop {
            let mut report = PassReport::default();
            let made = insert::insert(self.module, &plan, &found, &mut report).map_err(one)?;
            (self.step)("comparing with the float model");
            let outputs = measure::together(&self, &made, &plan, &mut own)?;
            let worst = outputs.iter().map(|o| o.cosine()).fold(1.0, f64::min);
            if worst >= self.job.least || plan.layers.is_empty() || rounds == ROUNDS {
                if worst < self.job.least {
                    self.warnings.push(format!(
                        "outputs have a cosine of {worst:.4} to those of the float model, below {}, with {} of {} layers \
                         in floats",
                        self.job.least,
                        widths.float.len(),
                        all.len()
                    ));
                } else if !widths.float.is_empty() {
                    let stays = |l: &&plan::Layer| widths.float.contains(&l.node);
                    let names: Vec<&str> = all.iter().filter(stays).map(|l| l.name.as_str()).collect();
                    self.warnings.push(format!(
                        "{} of {} layers stay floats, or outputs would be too far off: {}",
                        names.len(),
                        all.len(),
                        names.join(", ")
                    ));
                }
                let layers = all.iter().filter_map(|l| own.remove(&l.node)).collect();
                let (module, warnings, samples) = (made.module, self.warnings, self.samples.len());
                let sum = self.samples.sum().map_err(one)?;
                return Ok(Done { module, layers, outputs, warnings, samples, sum });
            }
            rounds += usize::from(self.widen(&plan, &mut own, &mut widths, all.len().div_ceil(8)));
            plan = plan::plan(&self.module.graph, &widths);
            let alone = equalise::candidates(&self.module.graph, &plan);
            let before = found.scales.len();
            found.scales.retain(|v, _| alone.iter().any(|c| c.0 == *v));
            // Values that were inside kernels before may be bytes now, and others have more of them.
            let top = |v: &ValueId| found.params.get(v).map(|p| p.top);
            let wider = plan.ranged().iter().any(|v| top(v).is_some_and(|top| top != plan.top(*v)));
            let missing = plan.ranged().iter().any(|v| top(v).is_none());
            if wider || missing || found.scales.len() < before {
                found.params = self.ranges(&plan, &found.scales)?;
            }
            if wider {
                own.retain(|_, l| l.float);
                own.extend(self.own(&plan, &mut found)?);
            }
        }
    }
    /// Gives more bits to the layers that lose most: all 8 to half of those that have 7, then to all of them, then floats to
    /// `some`. Whether it was floats.
    fn widen(
        &self,
        plan: &Plan,
        own: &mut BTreeMap<NodeId, LayerError>,
        widths: &mut Widths,
        some: usize,
    ) -> bool {
        let mut order: Vec<(f64, &plan::Layer)> =
            plan.layers.iter().filter_map(|l| Some((own.get(&l.node)?.own.decibels(), l))).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.node.cmp(&b.1.node)));
        let small: Vec<NodeId> =
            order.iter().filter(|(_, l)| plan.top(l.x) == NARROW).map(|(_, l)| l.node).collect();
        if small.is_empty() {
            for (_, l) in order.into_iter().take(some) {
                widths.float.insert(l.node);
                own.entry(l.node).and_modify(|l| l.float = true);
            }
            return true;
        }
        let part = if widths.whole.is_empty() { small.len().div_ceil(2) } else { small.len() };
        widths.whole.extend(&small[..part]);
        false
    }
    /// What channels are divided by where only depthwise layers read them.
    fn scales(&self, plan: &Plan) -> Result<BTreeMap<ValueId, Vec<f32>>, Vec<Diag>> {
        let candidates = match self.job.recipe.equalise {
            true => equalise::candidates(&self.module.graph, plan),
            false => vec![],
        };
        let sets: Vec<Vec<ValueId>> = candidates.iter().map(|c| vec![c.0]).collect();
        let mut largest: Vec<Vec<f32>> = candidates.iter().map(|c| vec![0.0; c.1]).collect();
        self.each(&sets, &mut largest, &mut |largest, _, t| {
            let inner: usize = t.shape().iter().skip(2).product::<usize>().max(1);
            let n = largest.len().max(1);
            for (i, part) in t.to_f32()?.chunks(inner).enumerate() {
                let most = part.iter().fold(0f32, |m, v| m.max(v.abs()));
                largest.get_mut(i % n).into_iter().for_each(|l| *l = l.max(most));
            }
            Ok(())
        })?;
        Ok(candidates.iter().zip(&largest).map(|(c, l)| (c.0, equalise::scales(l))).collect())
    }
    /// Shows values for all samples, one sample at a time, to what is kept of each.
    fn each<T>(
        &self,
        sets: &[Vec<ValueId>],
        kept: &mut [T],
        f: &mut dyn FnMut(&mut T, ValueId, &Tensor) -> Result<()>,
    ) -> Result<(), Vec<Diag>> {
        for part in groups(self.module, sets) {
            let (sets, kept) = (sets.get(part.clone()), kept.get_mut(part));
            let (Some(sets), Some(kept)) = (sets, kept) else { continue };
            (self.step)("compiling the float model");
            let values = sets.concat();
            let mut shown = Shown::new(self.module, &values, self.job.threads)?;
            for i in 0..self.samples.len() {
                (self.step)(&format!("calibrating: sample {} of {}", i + 1, self.samples.len()));
                let found = shown.run(self.samples, i).map_err(|d| vec![d])?;
                for ((t, k), v) in found.iter().zip(kept.iter_mut()).zip(&values) {
                    f(k, *v, t).map_err(|d| vec![self.not_finite(d, *v, i)])?;
                }
            }
        }
        Ok(())
    }
    /// Parameters of all values that become bytes.
    fn ranges(
        &self,
        plan: &Plan,
        scales: &BTreeMap<ValueId, Vec<f32>>,
    ) -> Result<BTreeMap<ValueId, Params>, Vec<Diag>> {
        let values = plan.ranged();
        let mut seen: Vec<Histogram> = vec![Histogram::default(); values.len()];
        let sets: Vec<Vec<ValueId>> = values.iter().map(|v| vec![*v]).collect();
        self.each(&sets, &mut seen, &mut |h, v, t| {
            let mut values = t.to_f32()?;
            if let Some(by) = scales.get(&v) {
                let inner: usize = t.shape().iter().skip(2).product::<usize>().max(1);
                for (i, part) in values.chunks_mut(inner).enumerate() {
                    let s = by.get(i % by.len().max(1)).copied().unwrap_or(1.0);
                    part.iter_mut().for_each(|v| *v /= s);
                }
            }
            h.add(&values)
        })?;
        let of = |(v, h): (&ValueId, &Histogram)| {
            let top = plan.top(*v);
            (*v, Params::of(self.job.recipe.ranges.range(h, top), top))
        };
        Ok(values.iter().zip(&seen).map(of).collect())
    }
    fn not_finite(&self, d: Diag, v: ValueId, sample: usize) -> Diag {
        let value = self.module.graph.value(v);
        let origin = self.module.graph.def(v).and_then(|n| n.origin.last().cloned());
        let name = value.name.clone().or(origin).unwrap_or_else(|| "a value".into());
        let message = format!("{}: {name}: {}", self.samples.name(sample), d.message);
        Diag { message, ..d }.help("the float model overflows on this sample: it cannot be calibrated")
    }
    /// Errors of single layers; what they shift is taken out of the biases.
    fn own(&self, plan: &Plan, found: &mut Found) -> Result<BTreeMap<NodeId, LayerError>, Vec<Diag>> {
        (self.step)("measuring layers");
        let (errors, shifts) = measure::alone(self, plan, found)?;
        if self.job.recipe.correct {
            found.corrections = shifts;
        }
        Ok(errors)
    }
}

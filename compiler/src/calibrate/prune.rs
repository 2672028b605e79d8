//! What a step of pruning makes of the products of a piece, from the moments of what they read.

use super::parallel;
use super::runner::Instead;
use sinter_ir::{Diag, Module, Result, Tensor};
use sinter_passes::compress::gptq::Factor;
use sinter_passes::compress::products::Product;
use sinter_passes::compress::segments::{Segment, Tap};
use sinter_passes::compress::stats::Statistics;
use sinter_passes::prune::layers::{self, Block};
use sinter_passes::prune::recipe::{Method, Unit};
use sinter_passes::prune::shelf::Shelf;
use sinter_passes::prune::units::{Family, choose};
use sinter_passes::prune::{PruneStat, Pruned, Step, mask::Pattern, numbers, open, turned, weights};

/// Rows of weights that are one piece of work.
const ROWS: usize = 32;

/// What is known of a model as a whole.
pub struct Whole {
    module: Module,
    families: Vec<Family>,
}

impl Whole {
    /// For a step.
    pub fn new(module: Module, step: &Step) -> Result<Self> {
        let families = match step {
            Step::Units(unit, _) => open(&module, step, *unit)?,
            _ => vec![],
        };
        Ok(Self { module, families })
    }
}

/// Prunes the weights of a piece. Gives what stands for them, for the pieces behind.
pub fn prune(
    s: &Segment,
    stats: &[Statistics],
    (step, whole): (&Step, &Whole),
    threads: usize,
    out: &mut Pruned,
    shelf: &mut Shelf<'_>,
) -> Result<Instead> {
    let mut instead = Instead::new();
    let taps: Vec<(&Tap, &Statistics)> = s.taps.iter().zip(stats).collect();
    match *step {
        Step::Weights(method, pattern) => {
            let factors = factors(&taps, method, threads)?;
            for ((tap, stats), f) in taps.iter().zip(&factors) {
                for p in &tap.products {
                    if let (Method::SparseGpt, None) = (method, f) {
                        out.warnings.push(format!(
                            "{}: the moments of its inputs cannot be inverted: weights that stay are not adapted",
                            p.name
                        ));
                    }
                    let made = zeros(p, (method, pattern), (stats, f.as_ref()), threads);
                    let (old, new) = made.map_err(|d| d.at(p.name.clone()))?;
                    out.stats.push(PruneStat::new(&p.name, step, p.k, &old, &new, Some(stats)));
                    instead.insert(p.name.clone(), keep(p, &new, out, shelf)?);
                }
            }
        }
        Step::Units(unit, percent) => {
            for (tap, stats) in &taps {
                for p in &tap.products {
                    let reads = |f: &&Family| f.readers().any(|s| s.name == p.name && s.axis == 0);
                    let Some(f) = whole.families.iter().find(reads) else { continue };
                    let (old, new) = match units((whole, f), p, stats, (step, unit, percent), threads, out) {
                        Ok(Some(done)) => done,
                        Ok(None) => continue,
                        Err(d) => return Err(d.at(p.name.clone())),
                    };
                    let seen = PruneStat::new(&p.name, step, p.k, &old, &new, Some(stats));
                    if let Some(s) = out.stats.iter_mut().find(|s| s.name == p.name) {
                        (s.output_db, s.cosine) = (seen.output_db, seen.cosine);
                    }
                    instead.insert(p.name.clone(), keep(p, &new, out, shelf)?);
                }
            }
        }
        Step::Layers(_) => return Err(Diag::bug("layers are looked at as a whole")),
    }
    Ok(instead)
}

/// Notes weights `[n, k]` of a product, and gives them as a piece wants them.
fn keep(p: &Product, new: &[f32], out: &mut Pruned, shelf: &mut Shelf<'_>) -> Result<Tensor> {
    let t = Tensor::f32s(vec![p.k, new.len() / p.k.max(1)], &turned(new, p.k))?;
    out.weights.insert(p.name.clone(), shelf.keep(t.clone())?);
    Ok(t)
}

/// Weights `[n, k]` of a product.
fn matrix(p: &Product) -> Result<Vec<f32>> {
    match p.weights.turned() {
        Some(t) => numbers(&t.load()?),
        None => Ok(turned(&numbers(&p.weights.load()?)?, p.weights.len() / p.k.max(1))),
    }
}

/// Chooses units that go by what they add to the outputs of the product that reads them, and lets the others make up for
/// them. Gives the product's weights before and after, or nothing where all stay.
#[allow(clippy::type_complexity)]
fn units(
    (whole, f): (&Whole, &Family),
    p: &Product,
    stats: &Statistics,
    (step, unit, percent): (&Step, Unit, u32),
    threads: usize,
    out: &mut Pruned,
) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let mut readers = f.readers();
    let (Some(side), None) = (readers.next(), readers.next()) else {
        out.warnings.push(format!("{}: all of its {} inputs stay: others read them too", p.name, f.len));
        return Ok(None);
    };
    let count = f.len - choose::keep(f.len, percent, unit);
    if count == 0 {
        out.warnings.push(format!("{}: all of its {} inputs stay: they are few", p.name, f.len));
        return Ok(None);
    }
    let old = matrix(p)?;
    let gone = choose::weakest(&choose::energies(&old, stats, &side.indices), count);
    let inputs: Vec<usize> = gone.iter().filter_map(|u| side.indices.get(*u)).flatten().copied().collect();
    let refit = choose::Refit::new(stats, &inputs)?;
    let part = ROWS * p.k.max(1);
    let parts = parallel::map(old.len().div_ceil(part), threads, |i| {
        Ok(refit.rows(old.get(i * part..old.len().min((i + 1) * part)).unwrap_or(&[])))
    })?;
    f.remove(&whole.module.graph, step, &gone, out);
    Ok(Some((old, parts.concat())))
}

/// What SparseGPT wants to know of the inputs; `None` where they do not tell.
fn factors(taps: &[(&Tap, &Statistics)], method: Method, threads: usize) -> Result<Vec<Option<Factor>>> {
    if method != Method::SparseGpt {
        return Ok(taps.iter().map(|_| None).collect());
    }
    parallel::map(taps.len(), threads, |i| Ok(taps.get(i).and_then(|(_, s)| Factor::new(s, false).ok())))
}

/// Weights `[n, k]` of a product, and the same with zeros.
fn zeros(
    p: &Product,
    (method, pattern): (Method, Pattern),
    (stats, f): (&Statistics, Option<&Factor>),
    threads: usize,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let old = matrix(p)?;
    let each = |n: usize, f: &(dyn Fn(usize) + Sync)| -> Result<()> {
        parallel::map(n, threads, |i| {
            f(i);
            Ok(())
        })
        .map(|_| ())
    };
    let new = weights(method, pattern, &old, p.k, Some((stats, f)), &each)?;
    Ok((old, new))
}

/// Chooses the layers that change least of what goes through them.
pub struct Layers {
    blocks: Vec<Block>,
    /// What came into the block that runs.
    before: Vec<Vec<f32>>,
    /// Influence of blocks that may go.
    found: Vec<(u32, f64)>,
}

impl Layers {
    /// Of a model.
    pub fn new(module: &Module) -> Self {
        Self { blocks: layers::blocks(module), before: vec![], found: vec![] }
    }
    /// Looks at what comes out of a piece.
    pub fn piece(&mut self, s: &Segment, next: Option<&Segment>, carried: &[Tensor]) -> Result<()> {
        let number =
            |s: &Segment| s.taps.iter().flat_map(|t| &t.products).find_map(|p| layers::number(&p.name));
        let (own, behind) = (number(s), next.and_then(number));
        if own == behind {
            return Ok(());
        }
        let values: Vec<Vec<f32>> = carried.iter().map(Tensor::to_f32).collect::<Result<_>>()?;
        let open = self.blocks.iter().find(|b| Some(b.number) == own);
        if let Some(b) = open.filter(|b| b.before.is_some() && b.behind.is_some()) {
            let width = carried.first().and_then(|t| t.shape().last()).copied().unwrap_or(1);
            self.found.push((b.number, layers::influence(&self.before.concat(), &values.concat(), width)));
        }
        self.before = values;
        Ok(())
    }
    /// The layers that go.
    pub fn choose(self, step: &Step, count: usize) -> Result<Pruned> {
        if self.found.len() <= count {
            let why =
                format!("--prune {step}: of {} layers {} could go", self.blocks.len(), self.found.len());
            return Err(Diag::input(why));
        }
        let scores: Vec<f64> = self.found.iter().map(|f| f.1).collect();
        let mut out = Pruned::default();
        for (number, influence) in
            choose::weakest(&scores, count).into_iter().filter_map(|i| self.found.get(i))
        {
            out.layers.push(*number);
            out.stats.push(PruneStat {
                name: format!("layer {number}"),
                step: step.to_string(),
                zeros: 100.0,
                cosine: Some(1.0 - influence),
                ..PruneStat::default()
            });
        }
        Ok(out)
    }
}

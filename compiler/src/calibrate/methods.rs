//! Codes of the products of a piece, from the moments of what they read.

use super::parallel;
use super::runner::Instead;
use crate::frontend::llm::weights::transposed;
use sinter_ir::{Diag, Result, Tensor};
use sinter_passes::compress::grid::Rows;
use sinter_passes::compress::inputs::Inputs;
use sinter_passes::compress::products::Product;
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::segments::{Segment, Tap};
use sinter_passes::compress::stats::Statistics;
use sinter_passes::compress::steps::Goal;
use sinter_passes::compress::{
    Calibrated, Codes, Error, Layer, LayerStat, Recipe, Scheme, awq, gptq, hqq, rtn, smooth,
};
use std::collections::BTreeMap;

/// Rows of weights that are one piece of work: results do not depend on the number of threads.
const PART: usize = 64;
/// Rows by which the error of a product's outputs is judged.
const SAMPLE: usize = 64;

/// Rounds the weights of a piece, those of every tap by a scheme. Gives what stands for them, for the pieces behind.
pub fn quantise(
    s: &Segment,
    stats: &[Statistics],
    recipe: &Recipe,
    (schemes, sparse): (&[Scheme], bool),
    threads: usize,
    out: &mut Calibrated,
) -> Result<Instead> {
    let (weights, instead) = (BTreeMap::new(), Instead::new());
    let mut work = Work { segment: s, schemes, sparse, threads, weights, instead, out };
    for p in s.taps.iter().flat_map(|t| &t.products) {
        work.weights.insert(p.name.clone(), matrix(p).map_err(|d| d.at(p.name.clone()))?);
    }
    for (tap, stats) in s.taps.iter().zip(stats) {
        if recipe.calibrates() && stats.rows < stats.k as u64 {
            let first = tap.products.first().map(|p| p.name.as_str()).unwrap_or_default();
            let text =
                format!("{first}: {} tokens of calibration for {} channels are few", stats.rows, stats.k);
            work.out.warnings.push(text);
        }
    }
    match recipe.weights.method {
        _ if recipe.smooth => work.smooth(stats, Inputs::of(recipe))?,
        m if m.scales() => work.awq(stats)?,
        _ => work.gptq(stats)?,
    }
    Ok(work.instead)
}

/// The weights of a product, a row per column of the result.
pub fn matrix(p: &Product) -> Result<Tensor> {
    match p.weights.turned() {
        Some(t) => t.load(),
        None => p.weights.load().and_then(|t| transposed(&t)),
    }
}

struct Work<'a> {
    segment: &'a Segment,
    /// Of every tap, all with the same method.
    schemes: &'a [Scheme],
    /// Weights that are zero were pruned.
    sparse: bool,
    threads: usize,
    /// `[n, k]`, as the model has them.
    weights: BTreeMap<String, Tensor>,
    instead: Instead,
    out: &'a mut Calibrated,
}

impl<'a> Work<'a> {
    fn taps(&self) -> impl Iterator<Item = (&'a Tap, &'a Scheme)> + use<'a> {
        self.segment.taps.iter().zip(self.schemes)
    }
    fn weights(&self, p: &Product) -> Result<&Tensor> {
        self.weights.get(&p.name).ok_or_else(|| Diag::bug("weights that were not read"))
    }
    fn gptq(&mut self, stats: &[Statistics]) -> Result<()> {
        let wanted = self.schemes.first().is_some_and(|s| s.method == Method::Gptq);
        let factors = parallel::map(stats.len(), self.threads, |i| {
            let stats = stats.get(i).filter(|_| wanted);
            Ok(stats.map(|s| gptq::Factor::new(s, true).map(|f| f.keeping_zeros(self.sparse))))
        })?;
        for (((tap, scheme), stats), factor) in self.taps().zip(stats).zip(factors) {
            let factor = factor.and_then(Result::ok);
            for p in &tap.products {
                let w = self.weights(p)?.clone();
                let (codes, scheme) = self.nearest(p, scheme, &w, factor.as_ref())?;
                self.keep(p, codes, &scheme, stats, None, None)?;
            }
        }
        Ok(())
    }
    /// Codes with least error of outputs where the method is GPTQ and there is a factor, else the nearest ones; and what
    /// was done.
    fn nearest(
        &mut self,
        p: &Product,
        scheme: &Scheme,
        w: &Tensor,
        factor: Option<&gptq::Factor>,
    ) -> Result<(Codes, Scheme)> {
        let mut scheme = *scheme;
        let codes = match factor {
            Some(f) => in_parts(w, self.threads, |part| f.quantise(w, part, &scheme, gptq::LAZY)),
            None if scheme.method == Method::Hqq => hqq::quantise(w, &scheme),
            None => rtn::quantise(w, &Scheme { method: Method::Rtn, ..scheme }),
        };
        if scheme.method.goes_on() && factor.is_none() {
            scheme.method = Method::Rtn;
            let why = format!("{}: the moments of its inputs cannot be inverted: rounded to nearest", p.name);
            self.out.warnings.push(why);
        }
        Ok((codes.map_err(|d| d.at(p.name.clone()))?, scheme))
    }
    fn smooth(&mut self, stats: &[Statistics], inputs: Inputs) -> Result<()> {
        let scales = parallel::map(stats.len(), self.threads, |i| {
            let (Some((tap, scheme)), Some(stats)) = (self.taps().nth(i), stats.get(i)) else {
                return Err(Diag::bug("statistics without a tap"));
            };
            let weights: Vec<&Tensor> =
                tap.products.iter().map(|p| self.weights(p)).collect::<Result<_>>()?;
            smooth::factors(&weights, &stats.sample, stats.k, &Goal { inputs, weights: *scheme })
        })?;
        self.scaled(stats, &scales, |work, (p, scheme), w, factor, _| work.nearest(p, scheme, w, factor))
    }
    fn awq(&mut self, stats: &[Statistics]) -> Result<()> {
        let mut scales: Vec<Option<Vec<f32>>> = vec![];
        for ((tap, scheme), stats) in self.taps().zip(stats) {
            scales.push(self.scales(tap, scheme, stats)?);
        }
        self.scaled(stats, &scales, |work, (p, scheme), w, factor, stats| {
            if scheme.method.goes_on() {
                return work.nearest(p, scheme, w, factor);
            }
            // Scores of attention suffer from clipped queries and keys.
            let clip = !["q_proj", "k_proj", "query", "key", "qkv"].iter().any(|n| p.name.contains(n));
            let codes = match clip {
                true => in_parts(w, work.threads, |part| awq::clipped(w, part, scheme, stats)),
                false => rtn::quantise(w, scheme),
            };
            Ok((codes.map_err(|d| d.at(p.name.clone()))?, *scheme))
        })
    }
    /// Codes of weights whose columns take the scales of their taps, and whose rows those of the product behind.
    fn scaled(
        &mut self,
        stats: &[Statistics],
        scales: &[Option<Vec<f32>>],
        codes: impl Fn(
            &mut Self,
            (&Product, &Scheme),
            &Tensor,
            Option<&gptq::Factor>,
            &Statistics,
        ) -> Result<(Codes, Scheme)>,
    ) -> Result<()> {
        let segment = self.segment;
        // Factors that the rows of a product take for those behind it.
        let mut rows: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (tap, s) in segment.taps.iter().zip(scales) {
            if let (Some(name), Some(s)) = (self.before(tap), s) {
                rows.insert(name, s.clone());
            }
        }
        for (((tap, scheme), stats), s) in self.taps().zip(stats).zip(scales) {
            let inner = s.as_ref().map(|s| stats.divided(s));
            let inner = inner.as_ref().unwrap_or(stats);
            let factor = scheme.method.goes_on().then(|| gptq::Factor::new(inner, true).ok()).flatten();
            for p in &tap.products {
                let by = rows.get(&p.name);
                let w = self.weights(p)?;
                let w = match by {
                    Some(by) => divided_rows(w, by)?,
                    None => w.clone(),
                };
                let w = match s {
                    Some(s) => awq::scaled(&w, s)?,
                    None => w,
                };
                let (codes, scheme) = codes(self, (p, scheme), &w, factor.as_ref(), inner)?;
                // Where the inputs come divided already, nothing has to be done to them.
                let folded = self.before(tap).is_some();
                let columns = s.as_deref().map(|s| (s, folded));
                self.keep(p, codes, &scheme, stats, columns, by.map(Vec::as_slice))?;
            }
        }
        Ok(())
    }
    /// The product of this piece whose rows can take the factors of a tap.
    fn before(&self, tap: &Tap) -> Option<String> {
        let [only] = tap.products.as_slice() else { return None };
        only.before.clone().filter(|b| self.weights.contains_key(b))
    }
    fn scales(&self, tap: &Tap, scheme: &Scheme, stats: &Statistics) -> Result<Option<Vec<f32>>> {
        let weights: Vec<&Tensor> = tap.products.iter().map(|p| self.weights(p)).collect::<Result<_>>()?;
        let losses = parallel::map(awq::POWERS, self.threads, |power| {
            awq::loss(&weights, scheme, stats, &awq::scales(stats, power))
        })?;
        Ok(awq::choose(&losses).map(|p| awq::scales(stats, p)))
    }
    /// Notes the codes of a product, made of weights whose columns were multiplied by the one and whose rows divided by
    /// the other.
    fn keep(
        &mut self,
        p: &Product,
        codes: Codes,
        scheme: &Scheme,
        stats: &Statistics,
        columns: Option<(&[f32], bool)>,
        rows: Option<&[f32]>,
    ) -> Result<()> {
        let k = p.k.max(1);
        let mut values = codes.values()?;
        for (i, row) in values.chunks_mut(k).enumerate() {
            let by = rows.and_then(|r| r.get(i)).copied().unwrap_or(1.0);
            match columns {
                Some((s, _)) => row.iter_mut().zip(s).for_each(|(v, s)| *v = *v / s * by),
                None => row.iter_mut().for_each(|v| *v *= by),
            }
        }
        let w = self.weights(p)?;
        let all = Rows::new(w)?;
        let (mut old, mut new) = (vec![], vec![]);
        let mut row = vec![0f32; k];
        let mut error = Error::default();
        let step = all.n.div_ceil(SAMPLE).max(1);
        for (i, value) in values.chunks(k).enumerate() {
            all.read(i, &mut row);
            row.iter().zip(value).for_each(|(w, q)| error.count(*w, *q));
            if i.is_multiple_of(step) {
                old.extend_from_slice(&row);
                new.extend_from_slice(value);
            }
        }
        let d = stats.difference(&old, &new);
        let stat = LayerStat {
            // Of the weights as the model has them, whatever was rounded in their place.
            sqnr_db: error.decibels(),
            output_db: Some(d.decibels()),
            cosine: Some(d.cosine),
            ..LayerStat::new(&p.name, scheme, w, &codes)
        };
        let inverse = columns.filter(|c| !c.1).map(|(s, _)| s.iter().map(|s| 1.0 / s).collect::<Vec<f32>>());
        let inverse = inverse.map(|v| Tensor::f32s(vec![v.len()], &v)).transpose()?;
        let shape = vec![all.n, k];
        self.instead.insert(p.name.clone(), transposed(&Tensor::f32s(shape, &values)?)?);
        self.out.layers.insert(p.name.clone(), Layer { codes, inverse, stat });
        Ok(())
    }
}

/// Codes of all rows of a matrix, some rows at a time.
fn in_parts(
    w: &Tensor,
    threads: usize,
    f: impl Fn(std::ops::Range<usize>) -> Result<Codes> + Sync,
) -> Result<Codes> {
    let n = w.shape().first().copied().unwrap_or(0);
    let parts = parallel::map(n.div_ceil(PART), threads, |i| f(i * PART..((i + 1) * PART).min(n)))?;
    Codes::stacked(parts)
}

/// A matrix with every row divided by a number.
fn divided_rows(w: &Tensor, by: &[f32]) -> Result<Tensor> {
    let rows = Rows::new(w)?;
    let mut out = vec![0f32; rows.n * rows.k];
    for ((i, row), by) in out.chunks_mut(rows.k.max(1)).enumerate().zip(by) {
        rows.read(i, row);
        row.iter_mut().for_each(|w| *w /= by);
    }
    Tensor::f32s(vec![rows.n, rows.k], &out)
}

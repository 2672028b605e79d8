//! What a model's answers lose by rounding each group of products that read the same value, measured one at a time.

use super::answers::{Answers, Lost};
use super::methods::matrix;
use super::runner::{Instead, Runner, Stream};
use crate::frontend::llm::weights::transposed;
use sinter_ir::{Diag, Result, Tensor};
use sinter_passes::compress::gptq::{Factor, LAZY};
use sinter_passes::compress::grid::Rows;
use sinter_passes::compress::mixed::Candidate;
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::segments::{Segment, Tap};
use sinter_passes::compress::stats::Statistics;
use sinter_passes::compress::{Codes, Scheme, rtn};

/// Rows of weights by which the error of a candidate is judged.
const SAMPLE: usize = 32;
/// Bits of weights while their group is probed: few enough to be seen.
const PROBE: u32 = 3;

/// What a group's weights become by a scheme.
struct Judged {
    bytes: u64,
    /// Part of its outputs' energy that is error.
    error: f64,
    /// See [`Candidate`].
    deviation: f32,
}

/// The candidates of every group, by piece and tap: the divergence from the float model that the group rounded to
/// [`PROBE`] bits causes, times the errors of its outputs compared with those. Errors are those of the method that will
/// round in the end, where it takes them to later columns; that takes more text than a probe does (`seen`).
///
/// The runners are at the beginning; `pieces` give logits of all tokens. Every piece is run once for all probes that were
/// made before it, so that its weights are read once; what is kept of a probe is one value per window.
pub fn candidates(
    pieces: &[Segment],
    (seen, runner): (&mut Runner, &mut Runner),
    schemes: &[Scheme],
    threads: usize,
    step: &dyn Fn(&str),
) -> Result<Vec<Vec<Candidate>>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let first = schemes.first().ok_or_else(|| one(Diag::bug("no candidates")))?;
    let probe = Scheme { bits: PROBE, method: Method::Rtn, ..*first };
    let plain = Instead::new();
    let mut float: Stream = vec![];
    let mut probed: Vec<Stream> = vec![];
    let mut groups: Vec<Vec<Judged>> = vec![];
    let mut lost = vec![];
    for (i, piece) in pieces.iter().enumerate() {
        step(&format!("probing: piece {} of {}", i + 1, pieces.len()));
        let stats = seen.measure(piece, true, &|_| {})?;
        let mut rounded = vec![];
        for (tap, stats) in piece.taps.iter().zip(&stats) {
            let weights = weights(tap).map_err(one)?;
            let all = schemes.iter().chain([&probe]).collect::<Vec<_>>();
            groups.push(judged(&weights, stats, &all, threads).map_err(one)?);
            rounded.push(nearest(&weights, &probe, 1.0).map_err(one)?);
        }
        let keep = &mut |_: usize, _: usize, _: &[Tensor]| Ok(());
        if i + 1 < pieces.len() {
            runner.many(piece, &plain, &mut probed, true, keep)?;
            for instead in &rounded {
                let mut new = [float.clone()];
                runner.many(piece, instead, &mut new, true, keep)?;
                probed.extend(new);
            }
            runner.many(piece, &plain, std::slice::from_mut(&mut float), true, keep)?;
            continue;
        }
        // Answers are large: they are compared one by one, and not kept.
        let answers = Answers::new(runner, piece, &mut [float.clone()], threads)?;
        lost = answers.lost(runner, piece, &plain, &mut probed)?;
        for instead in &rounded {
            lost.extend(answers.lost(runner, piece, instead, &mut [float.clone()])?);
        }
    }
    let of_group = |(mut judged, lost): (Vec<Judged>, Lost)| {
        let (at_probe, lost) = (judged.pop().map_or(0.0, |p| p.error), lost.divergence());
        // A group that is exact at the probe's bits is so at more.
        let loss = |error| if at_probe > 0.0 { lost * error / at_probe } else { lost };
        let candidate = |(s, j): (&Scheme, Judged)| Candidate {
            scheme: *s,
            bytes: j.bytes,
            loss: loss(j.error),
            deviation: j.deviation,
        };
        schemes.iter().zip(judged).map(candidate).collect()
    };
    Ok(groups.into_iter().zip(lost).map(of_group).collect())
}

/// What a model loses by a choice, by piece and tap: weights are rounded to nearest, and of their deviation as much is left
/// as errs like the scheme's method, which would take far longer.
pub fn together(
    pieces: &[Segment],
    runner: &mut Runner,
    chosen: &[Vec<Candidate>],
    threads: usize,
    step: &dyn Fn(&str),
) -> Result<Lost, Vec<Diag>> {
    let mut streams: [Stream; 2] = Default::default();
    for (i, (piece, chosen)) in pieces.iter().zip(chosen).enumerate() {
        step(&format!("checking a choice of bits: piece {} of {}", i + 1, pieces.len()));
        let mut instead = Instead::new();
        for (tap, c) in piece.taps.iter().zip(chosen) {
            let scheme = Scheme { method: Method::Rtn, ..c.scheme };
            let made = weights(tap).and_then(|w| nearest(&w, &scheme, c.deviation));
            instead.extend(made.map_err(|d| vec![d])?);
        }
        let [float, other] = &mut streams;
        let (float, other) = (std::slice::from_mut(float), std::slice::from_mut(other));
        if i + 1 < pieces.len() {
            let keep = &mut |_: usize, _: usize, _: &[Tensor]| Ok(());
            runner.many(piece, &Instead::new(), float, true, keep)?;
            runner.many(piece, &instead, other, true, keep)?;
            continue;
        }
        let answers = Answers::new(runner, piece, float, threads)?;
        let lost = answers.lost(runner, piece, &instead, other)?;
        return lost.into_iter().next().ok_or_else(|| vec![Diag::bug("a model without answers")]);
    }
    Ok(Lost::default())
}

/// What a group's weights become by every scheme.
fn judged(
    weights: &[(&str, Tensor)],
    stats: &Statistics,
    schemes: &[&Scheme],
    threads: usize,
) -> Result<Vec<Judged>> {
    let samples: Vec<Sample> = weights.iter().map(|(_, w)| Sample::new(w, stats)).collect::<Result<_>>()?;
    let goes_on = schemes.iter().any(|s| s.method.goes_on());
    let factor = goes_on.then(|| Factor::new(stats, true).ok()).flatten();
    super::parallel::map(schemes.len(), threads, |i| match schemes.get(i) {
        Some(s) => judge(&samples, (stats, factor.as_ref()), s),
        None => Err(Diag::bug("no such scheme")),
    })
}

/// Some rows of a product's weights.
struct Sample {
    rows: Tensor,
    old: Vec<f32>,
    /// Energy of their outputs.
    signal: f64,
    /// Rows of the matrix for each of them.
    each: f64,
}

impl Sample {
    fn new(w: &Tensor, stats: &Statistics) -> Result<Self> {
        let all = Rows::new(w)?;
        let step = all.n.div_ceil(SAMPLE).max(1);
        let mut old = vec![];
        for i in (0..all.n).step_by(step) {
            let at = old.len();
            old.resize(at + all.k, 0f32);
            all.read(i, old.get_mut(at..).unwrap_or(&mut []));
        }
        let sampled = old.len() / all.k.max(1);
        let rows = Tensor::f32s(vec![sampled, all.k], &old)?;
        let (signal, each) = (stats.energy(&old), all.n as f64 / sampled.max(1) as f64);
        Ok(Self { rows, old, signal, each })
    }
}

/// What sampled rows become by a scheme: where its method takes errors on and there is a factor for that, so; else rounded to
/// nearest.
fn judge(
    samples: &[Sample],
    (stats, factor): (&Statistics, Option<&Factor>),
    scheme: &Scheme,
) -> Result<Judged> {
    let (mut bytes, mut signal) = (0u64, 0f64);
    // Of the method, and of rounding to nearest.
    let mut noise = [0f64; 2];
    for s in samples {
        let off = |codes: &Codes| -> Result<f64> {
            let off: Vec<f32> = s.old.iter().zip(codes.values()?).map(|(w, q)| w - q).collect();
            Ok(stats.energy(&off) * s.each)
        };
        let codes = rtn::quantise(&s.rows, &Scheme { method: Method::Rtn, ..*scheme })?;
        let nearest = off(&codes)?;
        let by_method = match factor.filter(|_| scheme.method.goes_on()) {
            Some(f) => off(&f.quantise(&s.rows, 0..s.old.len() / stats.k.max(1), scheme, LAZY)?)?,
            None => nearest,
        };
        bytes += (codes.bytes(scheme.bits) as f64 * s.each).ceil() as u64;
        signal += s.signal * s.each;
        noise = [noise[0] + by_method, noise[1] + nearest];
    }
    let [by_method, nearest] = noise;
    let error = if signal > 0.0 { by_method / signal } else { 0.0 };
    let deviation = if nearest > 0.0 { (by_method / nearest).sqrt() as f32 } else { 1.0 };
    Ok(Judged { bytes, error, deviation })
}

/// The weights of a group, `[n, k]`, with their names.
fn weights(tap: &Tap) -> Result<Vec<(&str, Tensor)>> {
    tap.products.iter().map(|p| Ok((p.name.as_str(), matrix(p)?))).collect()
}

/// The weights of a group rounded to nearest, as a piece wants them, but for a part of the deviation.
fn nearest(weights: &[(&str, Tensor)], scheme: &Scheme, deviation: f32) -> Result<Instead> {
    let one = |(name, w): &(&str, Tensor)| {
        let mut values = rtn::quantise(w, scheme)?.values()?;
        if deviation != 1.0 {
            let all = Rows::new(w)?;
            let mut old = vec![0f32; all.k];
            for (i, row) in values.chunks_mut(all.k.max(1)).enumerate() {
                all.read(i, &mut old);
                row.iter_mut().zip(&old).for_each(|(q, w)| *q = w + (*q - w) * deviation);
            }
        }
        let values = Tensor::f32s(w.shape().to_vec(), &values)?;
        Ok(((*name).to_owned(), transposed(&values)?))
    };
    weights.iter().map(one).collect()
}

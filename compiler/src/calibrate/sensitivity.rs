//! What a model's answers lose by rounding each group of products that read the same value, measured one at a time.

use super::methods::matrix;
use super::runner::{Instead, Runner};
use crate::frontend::llm::weights::transposed;
use sinter_ir::{Diag, Result, Tensor};
use sinter_llm::eval::Distance;
use sinter_passes::compress::grid::Rows;
use sinter_passes::compress::mixed::Candidate;
use sinter_passes::compress::products::Product;
use sinter_passes::compress::recipe::Method;
use sinter_passes::compress::segments::{Segment, Tap};
use sinter_passes::compress::stats::Statistics;
use sinter_passes::compress::{Scheme, rtn};

/// Rows of weights by which the error of a candidate is judged.
const SAMPLE: usize = 64;
/// Bits of weights while their group is probed: few enough to be seen.
const PROBE: u32 = 3;

/// The candidates of every group, by piece and tap: the divergence from the float model that the group rounded to
/// [`PROBE`] bits causes, times the errors of its outputs compared with those.
///
/// The runner is at the beginning; `pieces` give logits of all tokens.
pub fn candidates(
    pieces: &[Segment],
    runner: &mut Runner,
    schemes: &[Scheme],
    threads: usize,
    step: &dyn Fn(&str),
) -> Result<Vec<Vec<Candidate>>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let first = schemes.first().ok_or_else(|| one(Diag::bug("no candidates")))?;
    let probe = Scheme { bits: PROBE, method: Method::Rtn, ..*first };
    let mut starts = vec![];
    let mut groups: Vec<Vec<(Scheme, u64, f64)>> = vec![];
    let mut probes = vec![];
    for (i, piece) in pieces.iter().enumerate() {
        step(&format!("measuring piece {} of {}", i + 1, pieces.len()));
        starts.push(runner.carried().to_vec());
        let stats = runner.measure(piece, true, &|_| {})?;
        for (tap, stats) in piece.taps.iter().zip(&stats) {
            let samples: Result<Vec<Sample>> = tap.products.iter().map(|p| Sample::new(p, stats)).collect();
            let samples = samples.map_err(one)?;
            let all: Vec<Scheme> = schemes.iter().copied().chain([probe]).collect();
            let errors = super::parallel::map(all.len(), threads, |i| match all.get(i) {
                Some(s) => error(&samples, stats, s),
                None => Err(Diag::bug("no such scheme")),
            });
            let mut errors = errors.map_err(one)?;
            probes.push(errors.pop().map_or(0.0, |e| e.1));
            groups.push(schemes.iter().zip(errors).map(|(s, (bytes, e))| (*s, bytes, e)).collect());
        }
    }
    let reference = logits(pieces, pieces.len() - 1, runner, &starts, &Instead::new())?;
    let taps: Vec<(usize, &Tap)> =
        pieces.iter().enumerate().flat_map(|(i, p)| p.taps.iter().map(move |t| (i, t))).collect();
    let mut out = vec![];
    for (n, ((&(i, tap), group), probed)) in taps.iter().zip(groups).zip(probes).enumerate() {
        step(&format!("probing group {} of {}", n + 1, taps.len()));
        let instead = rounded(tap, &probe).map_err(one)?;
        let after = logits(pieces, i, runner, &starts, &instead)?;
        let lost = divergence(&reference, &after).map_err(one)?;
        let candidate = |(scheme, bytes, error): (Scheme, u64, f64)| {
            // A group that is exact at the probe's bits is so at more.
            let loss = if probed > 0.0 { lost * error / probed } else { lost };
            Candidate { scheme, bytes, loss }
        };
        out.push(group.into_iter().map(candidate).collect());
    }
    Ok(out)
}

/// Logits of all windows with other weights in one piece.
fn logits(
    pieces: &[Segment],
    from: usize,
    runner: &mut Runner,
    starts: &[Vec<Tensor>],
    instead: &Instead,
) -> Result<Vec<Tensor>, Vec<Diag>> {
    runner.resume(starts.get(from).cloned().unwrap_or_default());
    for (i, piece) in pieces.iter().enumerate().skip(from) {
        runner.run(piece, if i == from { instead } else { const { &Instead::new() } })?;
    }
    Ok(runner.carried().to_vec())
}

/// Mean divergence of the distributions of tokens.
fn divergence(reference: &[Tensor], other: &[Tensor]) -> Result<f64> {
    let mut d = Distance::default();
    for (r, o) in reference.iter().zip(other) {
        let vocabulary = r.shape().last().copied().unwrap_or(0).max(1);
        let (r, o) = (r.to_f32()?, o.to_f32()?);
        r.chunks(vocabulary).zip(o.chunks(vocabulary)).for_each(|(r, o)| d.add(r, o));
    }
    match d.mean() {
        mean if mean.is_finite() => Ok(mean.max(0.0)),
        _ => Err(Diag::input("the model's logits are not finite: it cannot be calibrated")),
    }
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
    fn new(p: &Product, stats: &Statistics) -> Result<Self> {
        let w = matrix(p)?;
        let all = Rows::new(&w)?;
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

/// Bytes of a group's weights rounded to nearest, and the part of its outputs' energy that is error.
fn error(samples: &[Sample], stats: &Statistics, scheme: &Scheme) -> Result<(u64, f64)> {
    let scheme = Scheme { method: Method::Rtn, ..*scheme };
    let (mut bytes, mut signal, mut noise) = (0u64, 0f64, 0f64);
    for s in samples {
        let codes = rtn::quantise(&s.rows, &scheme)?;
        let off: Vec<f32> = s.old.iter().zip(codes.values()?).map(|(w, q)| w - q).collect();
        (signal, noise) = (signal + s.signal * s.each, noise + stats.energy(&off) * s.each);
        bytes += (codes.bytes(scheme.bits) as f64 * s.each).ceil() as u64;
    }
    Ok((bytes, if signal > 0.0 { noise / signal } else { 0.0 }))
}

/// The weights of a group rounded to nearest.
fn rounded(tap: &Tap, scheme: &Scheme) -> Result<Instead> {
    let one = |p: &Product| {
        let w = matrix(p)?;
        let codes = rtn::quantise(&w, scheme)?;
        let values = Tensor::f32s(w.shape().to_vec(), &codes.values()?)?;
        Ok((p.name.clone(), transposed(&values)?))
    };
    tap.products.iter().map(one).collect()
}

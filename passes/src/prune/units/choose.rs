//! Which units go, and how what reads the others makes up for them.

use super::family::Family;
use crate::compress::cholesky::inverse_factor;
use crate::compress::stats::Statistics;
use crate::prune::mask::lowest;
use crate::prune::recipe::Unit;
use sinter_ir::{Diag, Graph, Result};

/// Part of the mean moment that is added to all channels when others make up for those that go.
const DAMPING: f64 = 0.01;

/// How many of some units stay when at least so many percent go: channels in numbers that kernels like.
pub fn keep(len: usize, percent: u32, unit: Unit) -> usize {
    let most = len * (100 - percent.min(100) as usize) / 100;
    let round = match (unit, most) {
        (Unit::Heads, _) => 1,
        (Unit::Ffn, 256..) => 64,
        (_, 64..) => 16,
        (_, 16..) => 8,
        _ => 1,
    };
    (most / round * round).max(1)
}

/// The units with the lowest scores, in order.
pub fn weakest(scores: &[f64], count: usize) -> Vec<usize> {
    // Of very different sizes in different layers: only their order within a family counts.
    let largest = scores.iter().fold(0f64, |m, s| m.max(*s)).max(f64::MIN_POSITIVE);
    let relative: Vec<f32> = scores.iter().map(|s| (s / largest) as f32).collect();
    let mut out = lowest(&relative, count);
    out.sort_unstable();
    out
}

/// What units add to the outputs of a product with weights `[n, k]`: the mean square of it.
pub fn energies(w: &[f32], stats: &Statistics, units: &[Vec<usize>]) -> Vec<f64> {
    let k = stats.k.max(1);
    let energy = |unit: &Vec<usize>| -> f64 {
        let moments: Vec<f32> =
            unit.iter().flat_map(|i| unit.iter().map(move |j| stats.gram[i * k + j])).collect();
        let part = Statistics { k: unit.len(), rows: stats.rows, gram: moments, ..Statistics::default() };
        let rows: Vec<f32> = w.chunks_exact(k).flat_map(|row| unit.iter().map(|i| row[*i])).collect();
        part.energy(&rows)
    };
    units.iter().map(energy).collect()
}

/// How strong units are by their weights alone: sums of squares, every matrix counted alike.
pub fn strengths(g: &Graph, f: &Family) -> Result<Vec<f64>> {
    let mut out = vec![0f64; f.len];
    for s in &f.sides {
        let t = g.constant(s.value).ok_or_else(|| Diag::bug("weights that are no constant"))?.load()?;
        let inner: usize = t.shape().iter().skip(s.axis + 1).product();
        let all = t.shape().get(s.axis).copied().unwrap_or(1);
        let values = t.to_f32()?;
        let mut sums = vec![0f64; all];
        for (i, part) in values.chunks(inner.max(1)).enumerate() {
            sums[i % all.max(1)] += part.iter().map(|w| f64::from(*w) * f64::from(*w)).sum::<f64>();
        }
        let mean = (sums.iter().sum::<f64>() / f.len.max(1) as f64).max(f64::MIN_POSITIVE);
        for (o, unit) in out.iter_mut().zip(&s.indices) {
            *o += unit.iter().map(|i| sums[*i]).sum::<f64>() / mean;
        }
    }
    Ok(out)
}

/// How to make up for inputs that are gone, by those that stay: the same for all rows of weights.
#[derive(Debug)]
pub struct Refit {
    k: usize,
    gone: Vec<usize>,
    kept: Vec<usize>,
    /// Moments of gone inputs with kept ones.
    cross: Vec<f32>,
    /// `U` with the inverse of the moments of kept inputs `U^T U`.
    u: Vec<f32>,
}

impl Refit {
    /// For inputs that go.
    pub fn new(stats: &Statistics, gone: &[usize]) -> Result<Self> {
        let k = stats.k;
        let kept: Vec<usize> = (0..k).filter(|i| !gone.contains(i)).collect();
        let diagonal: f64 = (0..k).map(|i| f64::from(stats.gram[i * k + i])).sum();
        let damping = (DAMPING * diagonal / k.max(1) as f64).max(1e-30);
        let at = |i: usize, j: usize| f64::from(stats.gram[i * k + j]) + if i == j { damping } else { 0.0 };
        let moments: Vec<f64> = kept.iter().flat_map(|&i| kept.iter().map(move |&j| at(i, j))).collect();
        let u = inverse_factor(moments, kept.len())?.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        if u.iter().any(|v| !v.is_finite()) {
            return Err(Diag::input("moments of inputs that cannot be inverted"));
        }
        let cross = gone.iter().flat_map(|&i| kept.iter().map(move |&j| stats.gram[i * k + j])).collect();
        Ok(Self { k, gone: gone.to_vec(), kept, cross, u })
    }
    /// Some rows of weights: zero where inputs are gone, the others moved by what makes the outputs nearest to what they
    /// were, and they themselves no more than that takes.
    pub fn rows(&self, w: &[f32]) -> Vec<f32> {
        let n = self.kept.len();
        let mut out = w.to_vec();
        for row in out.chunks_mut(self.k.max(1)) {
            let mut lost = vec![0f32; n];
            for (i, cross) in self.gone.iter().zip(self.cross.chunks(n.max(1))) {
                let w = std::mem::take(&mut row[*i]);
                lost.iter_mut().zip(cross).for_each(|(l, c)| *l += w * c);
            }
            let mut moved = vec![0f32; n];
            for (i, u) in self.u.chunks(n.max(1)).enumerate() {
                let t: f32 = crate::compress::stats::dot(&lost[i..], &u[i..]);
                moved[i..].iter_mut().zip(&u[i..]).for_each(|(m, u)| *m += t * u);
            }
            self.kept.iter().zip(moved).for_each(|(i, m)| row[*i] += m);
        }
        out
    }
}

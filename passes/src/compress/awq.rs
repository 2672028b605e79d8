//! AWQ: weights of strong input channels are scaled up before they are rounded, their inputs down.
//!
//! The scale of a channel is a power of the mean size of its inputs. The power is the best of a grid for all products that
//! read the same inputs, by the error of their outputs; 0, which changes nothing, is among those tried. Then every
//! block's range is shrunk as far as that lowers the error of what the block adds to outputs. Errors of outputs follow from
//! the moments of inputs, so that the text is not needed any more; those of a product are estimated from [`SAMPLE`] rows.

use super::grid::{Grid, Rows, Sheet};
use super::stats::Statistics;
use super::{Codes, Scheme};
use sinter_ir::{Diag, Result, Tensor};
use std::ops::Range;

/// Powers tried: 0, 1/20, ... 19/20.
pub const POWERS: usize = 20;
/// Rows of a matrix by which a power is judged.
const SAMPLE: usize = 64;
/// Shrunk ranges that are tried: 1, 19/20, ... 11/20.
const SHRINKS: usize = 10;

/// The factors of channels for a power: normalised so that the largest and the smallest multiply to 1.
pub fn scales(stats: &Statistics, power: usize) -> Vec<f32> {
    let power = power as f32 / POWERS as f32;
    let raw: Vec<f32> = stats.magnitude.iter().map(|m| m.powf(power).max(1e-4)).collect();
    let (lo, hi) = raw.iter().fold((f32::MAX, 0f32), |(lo, hi), s| (lo.min(*s), hi.max(*s)));
    let middle = (lo * hi).sqrt();
    let one = |s: &f32| if middle > 0.0 && (s / middle).is_finite() { s / middle } else { 1.0 };
    raw.iter().map(one).collect()
}

/// Error of the outputs of some matrices when their weights are rounded after scaling.
pub fn loss(weights: &[&Tensor], s: &Scheme, stats: &Statistics, scales: &[f32]) -> Result<f64> {
    let mut sum = 0.0;
    for w in weights {
        let rows = Rows::new(w)?;
        if rows.k != stats.k || scales.len() != rows.k {
            return Err(Diag::bug(format!("statistics of {} channels for {} weights", stats.k, rows.k)));
        }
        let step = rows.n.div_ceil(SAMPLE).max(1);
        let mut off = vec![];
        let mut row = vec![0f32; rows.k];
        for i in (0..rows.n).step_by(step) {
            rows.read(i, &mut row);
            let scaled: Vec<f32> = row.iter().zip(scales).map(|(w, s)| w * s).collect();
            for ((part, w), by) in scaled
                .chunks(s.block(rows.k))
                .zip(row.chunks(s.block(rows.k)))
                .zip(scales.chunks(s.block(rows.k)))
            {
                let g = Grid::of(part, s, 1.0);
                let one = |((v, w), by): ((&f32, &f32), &f32)| w - g.value(g.code(*v)) / by;
                off.extend(part.iter().zip(w).zip(by).map(one));
            }
        }
        sum += stats.energy(&off) * step as f64;
    }
    Ok(sum)
}

/// Weights with their columns scaled: `[n, k]` of f32.
pub fn scaled(w: &Tensor, scales: &[f32]) -> Result<Tensor> {
    let rows = Rows::new(w)?;
    let mut out = vec![0f32; rows.n * rows.k];
    for (i, row) in out.chunks_mut(rows.k.max(1)).enumerate() {
        rows.read(i, row);
        row.iter_mut().zip(scales).for_each(|(w, s)| *w *= s);
    }
    Tensor::f32s(vec![rows.n, rows.k], &out)
}

/// Rounds some rows of scaled weights, every block's range shrunk to what serves `stats`, those of the scaled inputs, best.
pub fn clipped(w: &Tensor, part: Range<usize>, s: &Scheme, stats: &Statistics) -> Result<Codes> {
    let rows = Rows::new(w)?;
    let k = rows.k;
    if k != stats.k || part.end > rows.n {
        return Err(Diag::bug(format!("statistics of {} channels for {k} weights", stats.k)));
    }
    let mut sheet = Sheet::new(k, s);
    let (mut row, mut codes) = (vec![0f32; k], vec![0f32; k]);
    for i in part {
        rows.read(i, &mut row);
        let mut grids = vec![];
        for (b, (part, codes)) in row.chunks(sheet.block).zip(codes.chunks_mut(sheet.block)).enumerate() {
            let g = shrunk(part, s, stats, b * sheet.block);
            codes.iter_mut().zip(part).for_each(|(c, w)| *c = g.code(*w));
            grids.push(g);
        }
        sheet.row(&grids, &codes, &row);
    }
    sheet.finish()
}

/// The grid of a block, whose first channel is `at`, with the least error of what it adds to outputs.
fn shrunk(block: &[f32], s: &Scheme, stats: &Statistics, at: usize) -> Grid {
    let mut off = vec![0f32; block.len()];
    let mut error = |g: &Grid| {
        off.iter_mut().zip(block).for_each(|(o, w)| *o = w - g.value(g.code(*w)));
        let mut sum = 0f64;
        for (i, o) in off.iter().enumerate() {
            let from = (at + i) * stats.k + at;
            let g = &stats.gram[from..=from + i];
            sum += f64::from(o * (2.0 * super::stats::dot(&g[..i], &off[..i]) + o * g[i]));
        }
        sum
    };
    let first = Grid::of(block, s, 1.0);
    let start = (error(&first), first);
    let tried = (1..SHRINKS).map(|i| Grid::of(block, s, 1.0 - i as f32 / 20.0));
    tried
        .fold(start, |best, g| {
            let e = error(&g);
            if e < best.0 { (e, g) } else { best }
        })
        .1
}

/// The best scales for matrices that read the same inputs, one power after the other; `None` where scaling gains nothing.
pub fn search(weights: &[&Tensor], s: &Scheme, stats: &Statistics) -> Result<Option<Vec<f32>>> {
    let losses: Result<Vec<f64>> = (0..POWERS).map(|p| loss(weights, s, stats, &scales(stats, p))).collect();
    Ok(choose(&losses?).map(|p| scales(stats, p)))
}

/// The power with the least loss, where it is less than that of 0.
pub fn choose(losses: &[f64]) -> Option<usize> {
    let mut best = 0;
    for (i, l) in losses.iter().enumerate() {
        if losses.get(best).is_some_and(|b| l < b) {
            best = i;
        }
    }
    (best > 0).then_some(best)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{rtn, samples};
    use super::*;

    fn scheme(bits: u32) -> Scheme {
        Scheme { bits, group: 128, asymmetric: true, ..Scheme::default() }
    }
    /// Error of outputs with codes of scaled weights.
    fn noise(w: &Tensor, c: &Codes, by: &[f32], stats: &Statistics) -> f64 {
        let k = by.len();
        let back: Vec<f32> = c.values().unwrap().iter().enumerate().map(|(i, v)| v / by[i % k]).collect();
        stats.difference(&w.to_f32().unwrap(), &back).noise
    }

    #[test]
    fn a_strong_channel_is_spared() {
        let (k, n) = (256, 48);
        let mut x = samples::inputs(3, 300, k);
        x.iter_mut().skip(7).step_by(k).for_each(|v| *v *= 100.0);
        let (w, s) = (samples::weights(n, k), scheme(3));
        let stats = Statistics::of_rows(k, &x).unwrap();
        let by = search(&[&w], &s, &stats).unwrap().unwrap();
        assert!(by[7] > 1.0);
        let nearest =
            stats.difference(&w.to_f32().unwrap(), &rtn::quantise(&w, &s).unwrap().values().unwrap());
        let big = scaled(&w, &by).unwrap();
        let plain = rtn::quantise(&big, &s).unwrap();
        assert!(noise(&w, &plain, &by, &stats) < 0.5 * nearest.noise);
        // The loss of a search is that of the stored codes: every row counts here.
        let told = loss(&[&w], &s, &stats, &by).unwrap();
        assert!((told - noise(&w, &plain, &by, &stats)).abs() < 1e-3 * told);
        let clipped = clipped(&big, 0..n, &s, &stats.divided(&by)).unwrap();
        assert!(noise(&w, &clipped, &by, &stats) <= 1.02 * noise(&w, &plain, &by, &stats));
    }

    #[test]
    fn equal_channels_are_left_alone_and_power_zero_is_rounding() {
        let w = samples::weights(8, 128);
        let mut gram = vec![0f32; 128 * 128];
        (0..128).for_each(|i| gram[i * 129] = 2.0);
        let stats = Statistics::new(9, gram, vec![1.25; 128]).unwrap();
        assert_eq!(search(&[&w], &scheme(4), &stats).unwrap(), None);
        let stats = Statistics::of_rows(128, &samples::inputs(5, 200, 128)).unwrap();
        assert_eq!(scales(&stats, 0), vec![1.0; 128]);
        let all: Vec<f64> =
            (0..POWERS).map(|p| loss(&[&w], &scheme(4), &stats, &scales(&stats, p)).unwrap()).collect();
        let best = search(&[&w], &scheme(4), &stats).unwrap().unwrap_or(vec![1.0; 128]);
        assert!(all.iter().all(|l| loss(&[&w], &scheme(4), &stats, &best).unwrap() <= *l));
    }

    #[test]
    fn shrinking_lowers_what_blocks_add() {
        let (k, w) = (96, samples::weights(16, 96));
        let s = Scheme { bits: 3, group: 32, ..Scheme::default() };
        // Blocks that know nothing of each other: the sum of their errors is the error.
        let mut stats = Statistics::of_rows(k, &samples::inputs(8, 200, k)).unwrap();
        (0..k * k).filter(|i| i / k / 32 != i % k / 32).for_each(|i| stats.gram[i] = 0.0);
        let c = clipped(&w, 0..16, &s, &stats).unwrap();
        let one = vec![1.0; k];
        assert!(
            noise(&w, &c, &one, &stats) < 0.95 * noise(&w, &rtn::quantise(&w, &s).unwrap(), &one, &stats)
        );
        let parts = vec![clipped(&w, 0..6, &s, &stats).unwrap(), clipped(&w, 6..16, &s, &stats).unwrap()];
        assert_eq!(Codes::stacked(parts).unwrap().values(), c.values());
    }
}

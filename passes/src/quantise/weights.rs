//! Weights of layers as signed bytes, a scale for every output channel.

use crate::compress::Error;
use sinter_ir::{DType, Result, Tensor};

/// Weights in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Bytes between -127 and 127.
    pub codes: Tensor,
    /// Per output channel.
    pub scale: Vec<f32>,
    /// What rounding changed.
    pub error: Error,
}

/// What two neighbouring weights of one sign add up to at most, where products are summed in 16 bits: two of them by
/// bytes, or four by bytes that end at [`NARROW`](super::ranges::NARROW).
pub const NEIGHBOURS: i64 = 128;
/// What the weights of a window of one channel, those of one sign, add up to at most: 16 bits hold their products with bytes
/// that end at [`NARROW`](super::ranges::NARROW).
const SUM: i64 = i16::MAX as i64 / super::ranges::NARROW as i64;
/// Weights of the largest window that is worth it: with more, steps are too wide.
const WINDOW: usize = 25;
/// Steps that are tried for such weights, up to those with which no pair is too large.
const CANDIDATES: usize = 16;

/// Whether products with such weights are summed in 16 bits: not those of wide windows of one channel.
pub fn narrows(w: &Tensor, axis: usize) -> bool {
    let taps = w.shape().iter().skip(2).product::<usize>();
    axis != 0 || w.shape().get(1) != Some(&1) || taps <= WINDOW
}

/// Rounds weights whose output channels are along `axis`, and the terms of their sums along the other of the first two.
/// The largest of every channel becomes 127; with `narrow`, what gives the least squared error with pairs of neighbouring
/// terms within [`NEIGHBOURS`], or, in windows of one channel, keeps whole sums within 16 bits.
pub fn quantise(w: &Tensor, axis: usize, narrow: bool) -> Result<Weights> {
    let values = w.to_f32()?;
    let channels = w.shape().get(axis).copied().unwrap_or(1).max(1);
    let inner: usize = w.shape().iter().skip(axis + 1).product::<usize>().max(1);
    let mut rows: Vec<Vec<usize>> = vec![vec![]; channels];
    (0..values.len()).for_each(|i| rows[i / inner % channels].push(i));
    // Terms that are neighbours lie this far apart in a channel's weights.
    let behind = |i: usize| w.shape().iter().skip(i).product::<usize>().max(1);
    let limit = match (axis, w.shape()) {
        _ if !narrow => Limit::None,
        _ if !narrows(w, axis) => Limit::None,
        (0, [_, 1, ..]) => Limit::Sum,
        // Neighbours lie this far apart in a channel's weights.
        (0, [_, terms, ..]) => Limit::Pairs { terms: *terms, apart: behind(2) },
        (_, [terms, ..]) => Limit::Pairs { terms: *terms, apart: 1 },
        _ => Limit::None,
    };
    let mut codes = vec![0i64; values.len()];
    let (mut scale, mut error) = (vec![], Error::default());
    for row in rows {
        let of: Vec<f32> = row.iter().map(|&i| values[i]).collect();
        let (s, own) = channel(&of, limit);
        scale.push(s);
        for ((i, v), q) in row.into_iter().zip(of).zip(own) {
            error.count(v, q as f32 * s);
            codes[i] = q;
        }
    }
    Ok(Weights { codes: Tensor::from_i64(DType::I8, w.shape().to_vec(), &codes)?, scale, error })
}

/// What holds for the weights of a channel.
#[derive(Debug, Clone, Copy)]
enum Limit {
    None,
    /// Those of one sign add up to at most [`SUM`].
    Sum,
    /// Neighbours do to at most [`NEIGHBOURS`]: of so many terms those that are `apart` numbers apart.
    Pairs {
        terms: usize,
        apart: usize,
    },
}

/// Step and codes of a channel.
fn channel(values: &[f32], limit: Limit) -> (f32, Vec<i64>) {
    let most = values.iter().fold(0f32, |m, v| m.max(v.abs()));
    let mut step = if (most / 127.0).is_normal() { most / 127.0 } else { 1.0 };
    let codes = |s: f32| -> Vec<i64> {
        values.iter().map(|v| (v / s).round_ties_even().clamp(-127.0, 127.0) as i64).collect()
    };
    let mut first = codes(step);
    let (terms, apart) = match limit {
        Limit::None => return (step, first),
        Limit::Sum => {
            let sum = |c: &[i64], sign: i64| c.iter().map(|v| (v * sign).max(0)).sum::<i64>();
            loop {
                let worst = sum(&first, 1).max(sum(&first, -1));
                if worst <= SUM {
                    return (step, first);
                }
                step *= worst as f32 / SUM as f32;
                first = codes(step);
            }
        }
        Limit::Pairs { terms, apart } => (terms, apart),
    };
    let pairs: Vec<(usize, usize)> = (0..values.len())
        .filter(|i| i / apart % terms % 2 == 0 && i / apart % terms + 1 < terms)
        .map(|i| (i, i + apart))
        .collect();
    // Beyond its largest sum of one sign.
    let over = |c: &[i64], (i, j): (usize, usize)| {
        let same = c[i].signum() * c[j].signum() > 0;
        if same { (c[i] + c[j]).abs() - NEIGHBOURS } else { 0 }
    };
    let worst = pairs.iter().map(|&p| over(&first, p)).max().unwrap_or(0);
    if worst <= 0 {
        return (step, first);
    }
    let mut best: Option<(f64, f32, Vec<i64>)> = None;
    for i in 0..=CANDIDATES {
        let wider = worst as f32 / NEIGHBOURS as f32 * i as f32 / CANDIDATES as f32;
        let s = step * (1.0 + wider);
        let mut c = codes(s);
        for &(i, j) in &pairs {
            let over = over(&c, (i, j));
            if over > 0 {
                let sign = c[i].signum();
                c[i] -= sign * (over - over / 2);
                c[j] -= sign * (over / 2);
            }
        }
        let error: f64 = values.iter().zip(&c).map(|(v, q)| f64::from(v - *q as f32 * s).powi(2)).sum();
        if best.as_ref().is_none_or(|b| error < b.0) {
            best = Some((error, s, c));
        }
    }
    best.map_or((step, first), |(_, s, c)| (s, c))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_its_own_scale() {
        let t = Tensor::f32s(vec![2, 3], &[1.27, -0.635, 0.004, 0.0, 0.0, 0.0]).unwrap();
        let rows = quantise(&t, 0, false).unwrap();
        assert_eq!(rows.codes.to_i64().unwrap(), [127, -64, 0, 0, 0, 0]);
        assert_eq!(rows.scale[1], 1.0);
        assert!((rows.scale[0] - 0.01).abs() < 1e-8);
        let columns = quantise(&t, 1, false).unwrap();
        assert_eq!(columns.codes.to_i64().unwrap(), [127, -127, 127, 0, 0, 0]);
        assert!(columns.error.noise < 1e-12 && rows.error.noise > 1e-6);
    }

    #[test]
    fn neighbours_of_one_sign_stay_small_together() {
        // Terms along the second axis, taps behind them: neighbours are three numbers apart.
        let mut t = vec![0.1f32; 24];
        (t[0], t[3], t[6], t[9]) = (1.27, 1.0, 1.27, -1.27);
        (t[13], t[16]) = (-0.9, -0.9);
        let t = Tensor::f32s(vec![2, 4, 3], &t).unwrap();
        let narrow = quantise(&t, 0, true).unwrap();
        let c = narrow.codes.to_i64().unwrap();
        for (i, j) in (0..24).filter(|i| i / 3 % 2 == 0).map(|i| (i, i + 3)) {
            assert!(c[i] * c[j] <= 0 || (c[i] + c[j]).abs() <= NEIGHBOURS, "{i}: {c:?}");
        }
        // Pairs of other signs are not bounded, and cutting off costs more here than wider steps.
        let wide = quantise(&t, 0, false).unwrap();
        assert!(narrow.error.noise > wide.error.noise && narrow.error.noise < 1e-3, "{:?}", narrow.error);
        assert!(c[0] + c[3] == NEIGHBOURS && c[6] - c[9] > NEIGHBOURS, "{c:?}");
        // A window of one channel: all of one sign together.
        let t = Tensor::f32s(vec![1, 1, 3, 3], &[1.0, 0.9, 1.0, 0.8, 1.0, 0.7, -1.0, -0.1, 1.0]).unwrap();
        let c = quantise(&t, 0, true).unwrap().codes.to_i64().unwrap();
        let sum: i64 = c.iter().filter(|v| **v > 0).sum();
        assert!((SUM - 4..=SUM).contains(&sum) && c[6] == -c[0], "{c:?}");
        // Products: terms along the first axis.
        let t = Tensor::f32s(vec![4, 2], &[1.0, 0.5, 1.0, -1.0, 0.3, 1.0, 0.3, 1.0]).unwrap();
        let c = quantise(&t, 1, true).unwrap().codes.to_i64().unwrap();
        assert!(c[0] + c[2] <= NEIGHBOURS && c[5] + c[7] <= NEIGHBOURS && c[1] - c[3] > 90, "{c:?}");
    }
}

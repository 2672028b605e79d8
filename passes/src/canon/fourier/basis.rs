//! Recognising rows of weights that are a window times cosines and sines.

use std::f64::consts::TAU;

/// Largest difference from an exact basis, as part of the largest weight: some roundings to f32.
const TOLERANCE: f64 = 1e-6;
/// Where a window is this small a part of its largest value, dividing by it says little.
const FAINT: f64 = 0.25;

/// Real or imaginary part of a bin of `X[k] = Σ x[n] exp(-2πi k n / length)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Sums of cosines.
    Re,
    /// Sums of sines, with a minus.
    Im,
}

/// What one row of weights computes: a multiple of a part of a bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// At most half the length.
    pub bin: usize,
    /// Which part of it.
    pub part: Part,
    /// The multiple.
    pub factor: f64,
}

/// Rows of weights as parts of the bins of one windowed Fourier transform.
#[derive(Debug, Clone, PartialEq)]
pub struct Basis {
    /// The transform's length: the window's, or the next power of two.
    pub length: usize,
    /// One factor for each sample.
    pub window: Vec<f64>,
    /// What the rows are.
    pub rows: Vec<Row>,
}

impl Basis {
    /// The basis that all rows of weights belong to, if they do. The window is the row of frequency zero: of all rows
    /// the one whose sum is largest.
    pub fn of(rows: &[&[f64]]) -> Option<Self> {
        let sum = |r: &&&[f64]| r.iter().sum::<f64>().abs();
        let window = rows.iter().max_by(|a, b| sum(a).total_cmp(&sum(b)))?.to_vec();
        let taps = window.len();
        [taps, taps.next_power_of_two()].into_iter().find_map(|length| {
            let table = Table::new(&window, length)?;
            let rows: Option<Vec<Row>> = rows.iter().map(|r| table.row(r)).collect();
            Some(Self { length, window: window.clone(), rows: rows? })
        })
    }
}

/// A window and the angles of a length.
struct Table<'a> {
    window: &'a [f64],
    largest: f64,
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl<'a> Table<'a> {
    fn new(window: &'a [f64], length: usize) -> Option<Self> {
        let largest = window.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return None;
        }
        let angle = |j: usize| TAU * j as f64 / length as f64;
        let of = |f: fn(f64) -> f64| (0..length).map(|j| f(angle(j))).collect();
        Some(Self { window, largest, cos: of(f64::cos), sin: of(f64::sin) })
    }
    /// What a row of weights is.
    fn row(&self, w: &[f64]) -> Option<Row> {
        let limit = TOLERANCE * self.largest;
        if w.iter().all(|w| w.abs() <= limit) {
            // The sine of frequency zero.
            return Some(Row { bin: 0, part: Part::Im, factor: 0.0 });
        }
        let length = self.cos.len();
        let turn = self.angle(w)? / TAU * length as f64;
        let bin = turn.round() as usize;
        let at = |n: usize| n * bin % length;
        let fit = |table: &[f64], sign: f64| {
            let terms =
                || w.iter().zip(self.window).enumerate().map(|(n, (w, v))| (w, sign * v * table[at(n)]));
            let energy = terms().map(|(_, b)| b * b).sum::<f64>();
            let factor = terms().map(|(w, b)| w * b).sum::<f64>() / energy;
            // A multiple that is as good as a whole number is one.
            let whole = factor.round();
            let factor = if (factor - whole).abs() <= TOLERANCE { whole } else { factor };
            let limit = limit * factor.abs().max(1.0);
            (energy > 0.0 && terms().all(|(w, b)| (w - factor * b).abs() <= limit)).then_some(factor)
        };
        let row = |part, factor| Row { bin, part, factor };
        let re = fit(&self.cos, 1.0).map(|f| row(Part::Re, f));
        re.or_else(|| fit(&self.sin, -1.0).map(|f| row(Part::Im, f))).filter(|r| r.bin <= length / 2)
    }
    /// The angle per sample, by `r[n - 1] + r[n + 1] = 2 cos(angle) r[n]` for what remains without the window.
    fn angle(&self, w: &[f64]) -> Option<f64> {
        let strong: Vec<Option<f64>> =
            w.iter().zip(self.window).map(|(w, v)| (v.abs() > FAINT * self.largest).then(|| w / v)).collect();
        let (mut sides, mut middle) = (0.0, 0.0);
        for three in strong.windows(3) {
            if let &[Some(a), Some(b), Some(c)] = three {
                sides += (a + c) * b;
                middle += 2.0 * b * b;
            }
        }
        (middle > 0.0).then(|| (sides / middle).clamp(-1.0, 1.0).acos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(window: &[f64], length: usize, bins: usize) -> Vec<Vec<f64>> {
        let row = |k: usize, f: fn(f64) -> f64| -> Vec<f64> {
            let angle = |n: usize| TAU * (n * k % length) as f64 / length as f64;
            window.iter().enumerate().map(|(n, w)| f64::from((w * f(angle(n))) as f32)).collect()
        };
        let sines = (0..bins).map(|k| row(k, |a| -a.sin()));
        (0..bins).map(|k| row(k, f64::cos)).chain(sines).collect()
    }
    fn of(rows: &[Vec<f64>]) -> Option<Basis> {
        Basis::of(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn windowed_bases_are_found() {
        for (taps, length) in [(512, 512), (400, 512), (400, 400), (21, 21), (2048, 2048)] {
            let window: Vec<f64> = (0..taps)
                .map(|n| 0.5 - 0.5 * (TAU * n as f64 / taps as f64).cos())
                .map(|w| w * 0.125)
                .collect();
            let bins = length / 2 + 1;
            let basis = of(&rows(&window, length, bins)).unwrap();
            assert_eq!((basis.length, basis.rows.len()), (length, 2 * bins));
            for (i, row) in basis.rows.iter().enumerate() {
                let zero = i == bins || length % 2 == 0 && i == 2 * bins - 1;
                let want = match zero {
                    true => Row { bin: 0, part: Part::Im, factor: 0.0 },
                    false if i < bins => Row { bin: i, part: Part::Re, factor: 1.0 },
                    false => Row { bin: i - bins, part: Part::Im, factor: 1.0 },
                };
                assert_eq!(*row, want, "row {i} of {taps} in {length}");
            }
        }
    }

    #[test]
    fn other_weights_are_not() {
        let window = vec![1.0; 64];
        let mut all = rows(&window, 64, 33);
        all[7][20] += 1e-4;
        assert_eq!(of(&all), None);
        // A frequency between two bins.
        let mut all = rows(&window, 64, 33);
        all[7] = (0..64).map(|n| (TAU * 7.5 * f64::from(n) / 64.0).cos()).collect();
        assert_eq!(of(&all), None);
        assert_eq!(of(&[vec![0.0; 8], vec![0.0; 8]]), None);
    }
}

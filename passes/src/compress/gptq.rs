//! GPTQ: columns are rounded one after the other, and what is lost goes to the columns that are still to come.
//!
//! With `H` the moments of the inputs, the error of a column `i` is taken back as well as possible by
//! `w_j -= e U_ij / U_ii` for all later `j`, where `H^-1 = U^T U`. Later columns outside a block of [`LAZY`] get the
//! errors of the whole block at once. Columns go from the strongest input to the weakest (act-order); groups stay those of
//! neighbouring columns, and their grids follow from the weights as they were, so that kernels see nothing of the order.

use super::cholesky::inverse_factor;
use super::grid::{Grid, Rows, Sheet};
use super::stats::Statistics;
use super::{Codes, Scheme};
use sinter_ir::{Diag, Result, Tensor};
use std::ops::Range;

/// Columns after which errors are taken to all later columns.
pub const LAZY: usize = 128;
/// Rows of weights that are worked on together.
const TILE: usize = 16;
/// Later columns that are updated at once, with all rows of a tile: they stay in the first cache.
const SPAN: usize = 256;
/// Parts of the mean moment that are added to all channels until the matrix can be factored.
const DAMPING: [f64; 8] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0];

/// What the inputs of a product say about how to round its weights.
#[derive(Debug, Clone)]
pub struct Factor {
    k: usize,
    /// Columns in the order in which they are rounded.
    order: Vec<usize>,
    /// Whether that is another order than theirs.
    sorted: bool,
    /// Upper triangular, in that order.
    u: Vec<f32>,
    /// Columns whose inputs were always zero.
    dead: Vec<bool>,
    /// Weights that are zero stay so.
    sparse: bool,
    /// The part of the mean moment that was added.
    pub damping: f64,
}

impl Factor {
    /// From moments; columns go from the strongest input on where `sorted`.
    pub fn new(stats: &Statistics, sorted: bool) -> Result<Self> {
        let k = stats.k;
        let diagonal: Vec<f64> = (0..k).map(|i| f64::from(stats.gram[i * k + i])).collect();
        let mut order: Vec<usize> = (0..k).collect();
        if sorted {
            // Stable: equal columns keep their order.
            order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        }
        let mean = diagonal.iter().sum::<f64>() / k.max(1) as f64;
        for damping in DAMPING {
            let at = |i: usize, j: usize| {
                let plain = f64::from(stats.gram[i * k + j]);
                match (i == j, diagonal[i] == 0.0) {
                    (false, _) => plain,
                    // A channel that no text reached: its weights are rounded by themselves.
                    (true, true) => mean.max(1e-30),
                    (true, false) => plain + damping * mean,
                }
            };
            let h: Vec<f64> = order.iter().flat_map(|&i| order.iter().map(move |&j| at(i, j))).collect();
            if let Ok(u) = inverse_factor(h, k) {
                let u: Vec<f32> = u.into_iter().map(|v| v as f32).collect();
                if u.iter().all(|v| v.is_finite()) {
                    let dead = diagonal.iter().map(|d| *d == 0.0).collect();
                    return Ok(Self { k, order, sorted, u, dead, sparse: false, damping });
                }
            }
        }
        Err(Diag::input("the inputs of a product have moments that cannot be inverted"))
    }
    /// For weights that were pruned: what is zero stays zero, whatever errors come to it.
    pub fn keeping_zeros(self, sparse: bool) -> Self {
        Self { sparse, ..self }
    }
    /// Columns.
    pub(crate) fn k(&self) -> usize {
        self.k
    }
    /// Whether columns are in another order than their own.
    pub(crate) fn is_sorted(&self) -> bool {
        self.sorted
    }
    /// Columns whose inputs were always zero, in their own order.
    pub(crate) fn dead(&self) -> &[bool] {
        &self.dead
    }
    /// A row of `U`.
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.u[i * self.k..(i + 1) * self.k]
    }
    /// Rounds some rows of a matrix `[n, k]`; errors go to later columns after every `lazy`.
    pub fn quantise(&self, w: &Tensor, part: Range<usize>, s: &Scheme, lazy: usize) -> Result<Codes> {
        let rows = Rows::new(w)?;
        if rows.k != self.k || part.end > rows.n {
            return Err(Diag::bug(format!("statistics of {} channels for {} weights", self.k, rows.k)));
        }
        let mut sheet = Sheet::new(self.k, s);
        for from in part.clone().step_by(TILE) {
            let mut tile = Tile::new(self, s, &rows, from..(from + TILE).min(part.end))?;
            tile.run(lazy.max(1));
            tile.write(&mut sheet);
        }
        sheet.finish()
    }
}

/// Some rows while they are rounded, columns in the factor's order.
struct Tile<'a> {
    f: &'a Factor,
    s: &'a Scheme,
    block: usize,
    n: usize,
    /// Weights as they were, in their own order.
    plain: Vec<f32>,
    w: Vec<f32>,
    codes: Vec<f32>,
    /// Per row and block.
    grids: Vec<Grid>,
}

impl<'a> Tile<'a> {
    fn new(f: &'a Factor, s: &'a Scheme, rows: &Rows, part: Range<usize>) -> Result<Self> {
        let (k, n, block) = (f.k, part.len(), s.block(f.k));
        let mut plain = vec![0f32; n * k];
        for (i, row) in part.zip(plain.chunks_mut(k.max(1))) {
            rows.read(i, row);
        }
        if plain.iter().any(|w| !w.is_finite()) {
            return Err(Diag::input("weights that are not finite"));
        }
        let w = plain.chunks(k.max(1)).flat_map(|r| f.order.iter().map(|&i| r[i])).collect();
        let grids = plain.chunks(k.max(1)).flat_map(|r| r.chunks(block).map(|b| Grid::best(b, s))).collect();
        Ok(Self { f, s, block, n, plain, w, codes: vec![0.0; n * k], grids })
    }

    fn run(&mut self, lazy: usize) {
        let k = self.f.k;
        let mut errors = vec![0f32; self.n * lazy];
        for from in (0..k).step_by(lazy) {
            let to = (from + lazy).min(k);
            for i in from..to {
                self.column(i, to, &mut errors[i - from..], lazy);
            }
            spread(self.f, &mut self.w, from..to, &errors, lazy);
        }
    }
    /// Rounds a column and takes its errors to those up to `to`.
    fn column(&mut self, i: usize, to: usize, errors: &mut [f32], lazy: usize) {
        let (k, blocks) = (self.f.k, self.f.k.div_ceil(self.block));
        let u = &self.f.u[i * k..(i + 1) * k];
        let block = self.f.order[i] / self.block;
        for (r, row) in self.w.chunks_mut(k).enumerate() {
            let grid = &mut self.grids[r * blocks + block];
            if !self.f.sorted && i.is_multiple_of(self.block) && self.block < k {
                // In the order of the columns, errors have moved this block's weights: its grid follows them.
                *grid = Grid::best(&row[i..(i + self.block).min(k)], self.s);
            }
            let gone = self.f.sparse && self.plain[r * k + self.f.order[i]] == 0.0;
            let code = if gone { grid.code(0.0) } else { grid.code(row[i]) };
            self.codes[r * k + i] = code;
            let e = (row[i] - grid.value(code)) / u[i];
            errors[r * lazy] = e;
            row[i + 1..to].iter_mut().zip(&u[i + 1..to]).for_each(|(w, u)| *w -= e * u);
        }
    }
    /// Adds the rows to a sheet, columns in their own order.
    fn write(&self, sheet: &mut Sheet) {
        let (k, blocks) = (self.f.k, self.f.k.div_ceil(self.block));
        let mut codes = vec![0f32; k];
        for (r, plain) in self.plain.chunks(k.max(1)).enumerate() {
            for (i, at) in self.f.order.iter().enumerate() {
                codes[*at] = self.codes[r * k + i];
            }
            sheet.row(&self.grids[r * blocks..(r + 1) * blocks], &codes, plain);
        }
    }
}

/// Takes the errors of a block of columns to later ones, in rows of weights in the factor's order.
pub(crate) fn spread(f: &Factor, w: &mut [f32], block: Range<usize>, errors: &[f32], lazy: usize) {
    let k = f.k;
    for at in (block.end..k).step_by(SPAN) {
        let later = at..(at + SPAN).min(k);
        for i in block.clone().step_by(4) {
            let few = i..(i + 4).min(block.end);
            let u = |i: usize| &f.u[i * k + later.start..i * k + later.end];
            for (r, row) in w.chunks_mut(k).enumerate() {
                let e = &errors[r * lazy + i - block.start..][..few.len()];
                let row = &mut row[later.clone()];
                if let &[a, b, c, d] = e {
                    let all = u(i).iter().zip(u(i + 1)).zip(u(i + 2)).zip(u(i + 3));
                    for (w, (((p, q), r), s)) in row.iter_mut().zip(all) {
                        *w -= a * p + b * q + c * r + d * s;
                    }
                } else {
                    for (e, i) in e.iter().zip(few.clone()) {
                        row.iter_mut().zip(u(i)).for_each(|(w, u)| *w -= e * u);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{rtn, samples};
    use super::*;

    fn two_bits() -> Scheme {
        Scheme { bits: 2, group: 0, asymmetric: true, ..Scheme::default() }
    }
    /// Weights by rows; inputs by rows of channels, as the reference writes them.
    fn case() -> (Tensor, Vec<f32>) {
        let w =
            [0.9, -0.4, 0.3, 0.75, -0.2, 0.65, -0.8, 0.1, 0.33, 0.12, 0.58, -0.47, -0.95, 0.27, 0.41, 0.22];
        let x = [
            [1.0, 2.0, -1.0, 0.5, 3.0, -2.0, 1.0, 0.0],
            [0.9, 1.8, -1.2, 0.4, 2.5, -2.2, 1.1, 0.2],
            [-0.3, 0.1, 0.4, -0.2, 0.6, 0.5, -0.1, 0.3],
            [2.0, -1.0, 1.0, 3.0, -2.0, 1.0, 0.5, -1.5],
        ];
        let rows = (0..8).flat_map(|t| x.map(|c| c[t])).collect();
        (Tensor::f32s(vec![4, 4], &w).unwrap(), rows)
    }
    fn loss(stats: &Statistics, w: &Tensor, c: &Codes) -> f64 {
        stats.difference(&w.to_f32().unwrap(), &c.values().unwrap()).noise * stats.rows as f64
    }

    #[test]
    fn codes_by_hand() {
        let (w, x) = case();
        let stats = Statistics::of_rows(4, &x).unwrap();
        let codes = |c: &Codes| c.codes.to_i64().unwrap();
        let c = rtn::quantise(&w, &two_bits()).unwrap();
        assert_eq!(codes(&c), [3, 0, 2, 3, 2, 3, 0, 2, 2, 1, 3, 0, 0, 3, 3, 2]);
        assert_eq!(c.zero.as_ref().unwrap().to_i64().unwrap(), [1, 2, 1, 2]);
        assert!((loss(&stats, &w, &c) - 4.105231).abs() < 2e-3);
        let plain = Factor::new(&stats, false).unwrap();
        for lazy in [1, 4, 128] {
            let c = plain.quantise(&w, 0..4, &two_bits(), lazy).unwrap();
            assert_eq!(codes(&c), [3, 0, 2, 3, 2, 3, 0, 2, 2, 1, 2, 0, 0, 2, 2, 2], "{lazy}");
            assert!((loss(&stats, &w, &c) - 2.555292).abs() < 2e-3);
        }
        let sorted = Factor::new(&stats, true).unwrap();
        assert_eq!(sorted.order, [3, 0, 1, 2]);
        let c = sorted.quantise(&w, 0..4, &two_bits(), LAZY).unwrap();
        assert_eq!(codes(&c), [3, 0, 2, 3, 2, 3, 0, 2, 1, 2, 3, 0, 1, 1, 2, 2]);
        assert!((loss(&stats, &w, &c) - 2.230624).abs() < 2e-3);
        let twice: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
        let twice = Factor::new(&Statistics::of_rows(4, &twice).unwrap(), true).unwrap();
        assert_eq!(twice.quantise(&w, 0..4, &two_bits(), LAZY).unwrap(), c);
    }

    #[test]
    fn inputs_that_know_nothing_of_each_other_leave_nearest_codes() {
        let w = samples::weights(9, 96);
        let mut gram = vec![0f32; 96 * 96];
        (0..96).for_each(|i| gram[i * 97] = 3.0);
        let stats = Statistics::new(1, gram, vec![1.0; 96]).unwrap();
        for (sorted, group) in [(false, 32), (true, 32), (true, 0)] {
            let s = Scheme { bits: 4, group, ..Scheme::default() };
            let c = Factor::new(&stats, sorted).unwrap().quantise(&w, 0..9, &s, LAZY).unwrap();
            assert_eq!(c, rtn::quantise(&w, &s).unwrap());
        }
    }

    #[test]
    fn beats_rounding_on_inputs_that_are_correlated() {
        let (w, k) = (samples::weights(24, 160), 160);
        for (bits, sorted, asymmetric) in
            [(4, true, false), (3, true, true), (4, false, true), (2, false, true)]
        {
            let s = Scheme { bits, group: 32, asymmetric, ..Scheme::default() };
            let mut sums = (0.0, 0.0);
            for seed in 0..5 {
                let stats = Statistics::of_rows(k, &samples::inputs(seed, 400, k)).unwrap();
                let f = Factor::new(&stats, sorted).unwrap();
                let c = f.quantise(&w, 0..24, &s, LAZY).unwrap();
                // In parts and with blocks of other sizes: the same.
                let parts = [f.quantise(&w, 0..8, &s, LAZY), f.quantise(&w, 8..24, &s, LAZY)];
                let parts = parts.into_iter().collect::<Result<Vec<_>>>().unwrap();
                assert_eq!(Codes::stacked(parts).unwrap().values(), c.values());
                sums.0 += loss(&stats, &w, &c);
                sums.1 += loss(&stats, &w, &rtn::quantise(&w, &s).unwrap());
            }
            assert!(sums.0 < 0.8 * sums.1, "{s}: {sums:?}");
        }
    }

    #[test]
    fn what_was_pruned_stays_zero_and_others_make_up_for_it() {
        let (k, s) = (64, Scheme { bits: 4, group: 32, asymmetric: true, ..Scheme::default() });
        let mut w = samples::weights(8, k).to_f32().unwrap();
        w.iter_mut().step_by(3).for_each(|w| *w = 0.0);
        let w = Tensor::f32s(vec![8, k], &w).unwrap();
        let stats = Statistics::of_rows(k, &samples::inputs(3, 300, k)).unwrap();
        let made = |sparse| {
            let f = Factor::new(&stats, true).unwrap().keeping_zeros(sparse);
            f.quantise(&w, 0..8, &s, LAZY).unwrap()
        };
        let zeros = |c: &Codes| c.values().unwrap().iter().step_by(3).filter(|w| **w == 0.0).count();
        assert_eq!(zeros(&made(true)), (8 * k).div_ceil(3));
        assert!(zeros(&made(false)) < 8 * k / 4);
        assert!(loss(&stats, &w, &made(true)) < loss(&stats, &w, &rtn::quantise(&w, &s).unwrap()));
    }

    #[test]
    fn channels_without_input_and_too_little_data() {
        let w = samples::weights(4, 32);
        let mut x = samples::inputs(1, 40, 32);
        x.iter_mut().skip(5).step_by(32).for_each(|v| *v = 0.0);
        let s = Scheme { bits: 4, group: 32, ..Scheme::default() };
        let f = Factor::new(&Statistics::of_rows(32, &x).unwrap(), true).unwrap();
        let c = f.quantise(&w, 0..4, &s, LAZY).unwrap();
        let nearest = rtn::quantise(&w, &s).unwrap();
        for r in 0..4 {
            assert_eq!(c.codes.to_i64().unwrap()[r * 32 + 5], nearest.codes.to_i64().unwrap()[r * 32 + 5]);
        }
        // Fewer rows than channels: damping makes it solvable.
        let few = Statistics::of_rows(32, &samples::inputs(2, 3, 32)).unwrap();
        let f = Factor::new(&few, true).unwrap();
        assert!(loss(&few, &w, &f.quantise(&w, 0..4, &s, LAZY).unwrap()) <= loss(&few, &w, &nearest));
        let nothing = Statistics::new(1, vec![0.0; 32 * 32], vec![0.0; 32]).unwrap();
        let c = Factor::new(&nothing, true).unwrap().quantise(&w, 0..4, &s, LAZY).unwrap();
        assert_eq!(c, nearest);
        let bad = Tensor::f32s(vec![1, 32], &[f32::NAN; 32]).unwrap();
        assert!(f.quantise(&bad, 0..1, &s, LAZY).is_err());
    }
}

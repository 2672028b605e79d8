//! The transforms of Winograd's method, made from the points at which polynomials are multiplied.
//!
//! `m` results of one axis under `r` taps come from `m + r - 1` products: `y = A ((G w) * (B x))`. The points are 0,
//! pairs `±p`, and infinity; the rows of a pair differ in signs only, so that the sums of its even and odd terms serve
//! both.

use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Inst, Reg};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// More results than these gain little more and magnify rounding errors.
const MOST_RESULTS: usize = 4;

/// The transforms of one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Points {
    /// Taps of a window.
    taps: usize,
    /// Results of a tile.
    results: usize,
}

impl Points {
    /// The ways to transform an axis with windows of so many taps; one tap stays as it is.
    pub fn of(taps: usize) -> Vec<Self> {
        let fits = |p: &Self| p.is_plain() || p.taps > 1 && p.results > 1 && !p.pairs().is_empty();
        (1..=MOST_RESULTS).map(|results| Self { taps, results }).filter(fits).collect()
    }
    /// Whether data, weights and results are what they were.
    pub fn is_plain(self) -> bool {
        self.products() == 1
    }
    /// Results of a tile.
    pub fn results(self) -> usize {
        self.results
    }
    /// Taps of a window.
    pub fn taps(self) -> usize {
        self.taps
    }
    /// Products, and elements read.
    pub fn products(self) -> usize {
        self.results + self.taps - 1
    }
    /// Bits after the point of [`Points::weights`] of integers, where only factors of ±1 and halves occur.
    pub fn fraction_bits(self) -> u32 {
        u32::from(!self.is_plain())
    }
    /// The pairs: `p` and `-p` are points 1 and 2, 3 and 4, ...; none for numbers of products that have no transform.
    ///
    /// With four products all factors are ±1, and the error is that of plain sums. Around the other points the
    /// transforms magnify rounding errors least: for one axis of three taps to 1.3 times those of plain sums with six
    /// products, for five taps to 1.5 times with eight.
    fn pairs(self) -> &'static [f64] {
        match self.products() {
            4 => &[1.0],
            6 => &[FRAC_1_SQRT_2, SQRT_2],
            8 => &[0.5, 1.0, 2.0],
            _ => &[],
        }
    }
    /// All finite points in order.
    fn finite(self) -> Vec<f64> {
        let all = [0.0].into_iter().chain(self.pairs().iter().flat_map(|&p| [p, -p]));
        all.take(self.products() - 1).collect()
    }
    /// Row `k` of B: the coefficients of the polynomial that is zero at all finite points but the `k`-th; for infinity
    /// at all of them.
    fn data_row(self, k: usize) -> Vec<f64> {
        let mut row = vec![1.0];
        for (_, p) in self.finite().into_iter().enumerate().filter(|(i, _)| *i != k) {
            let shifted = [0.0].iter().chain(&row);
            let scaled = row.iter().chain(&[0.0]);
            row = shifted.zip(scaled).map(|(s, c)| s - p * c).collect();
        }
        row.resize(self.products(), 0.0);
        row
    }
    /// G: what the products are multiplied with, from the weights of a window's taps.
    pub fn weights(self, w: &[f64]) -> Vec<f64> {
        let finite = self.finite();
        let at = |(k, &p): (usize, &f64)| {
            let others = finite.iter().enumerate().filter(|(i, _)| *i != k);
            let scale: f64 = others.map(|(_, q)| p - q).product();
            w.iter().rev().fold(0.0, |sum, w| w + p * sum) / scale
        };
        finite.iter().enumerate().map(at).chain(w.last().copied()).collect()
    }
    /// B: the factors of the products from the elements under a tile.
    pub fn data(self, b: &mut KernelBuilder, x: &[Reg]) -> Vec<Reg> {
        if self.is_plain() {
            return x.to_vec();
        }
        let terms = |row: &[f64], parity: usize| -> Vec<(f64, Reg)> {
            let of_parity = row.iter().zip(x).enumerate().filter(|(i, (c, _))| i % 2 == parity && **c != 0.0);
            of_parity.map(|(_, (&c, &x))| (c, x)).collect()
        };
        let first = self.data_row(0);
        let mut out = vec![sum(b, &[terms(&first, 0), terms(&first, 1)].concat())];
        for (i, &p) in self.pairs().iter().enumerate() {
            let row = self.data_row(1 + 2 * i);
            let even = sum(b, &terms(&row, 0));
            // The odd terms are those of p times the others'.
            let odd: Vec<_> = terms(&row, 1).into_iter().map(|(c, x)| (c / p, x)).collect();
            let odd = sum(b, &odd);
            for p in [p, -p] {
                out.push(sum(b, &[(1.0, even), (p, odd)]));
            }
        }
        let last = self.data_row(self.products() - 1);
        out.push(sum(b, &[terms(&last, 0), terms(&last, 1)].concat()));
        out
    }
    /// A: the results of a tile from its products.
    pub fn result(self, b: &mut KernelBuilder, z: &[Reg]) -> Vec<Reg> {
        if self.is_plain() {
            return z.to_vec();
        }
        let sides = |b: &mut KernelBuilder, pair: &[Reg]| match *pair {
            [plus, minus] => (b.add(plus, minus), b.sub(plus, minus)),
            _ => (z[0], z[0]),
        };
        let finite = z.len() - 1;
        let sides: Vec<(Reg, Reg)> = z[1..finite].chunks(2).map(|pair| sides(b, pair)).collect();
        let power = |i: usize| {
            let terms = self.pairs().iter().zip(&sides);
            terms.map(move |(p, s)| (p.powi(i as i32), if i.is_multiple_of(2) { s.0 } else { s.1 }))
        };
        (0..self.results())
            .map(|i| {
                let zero = (i == 0).then_some((1.0, z[0]));
                let infinity = (i + 1 == self.results()).then_some((1.0, z[finite]));
                let terms: Vec<_> = zero.into_iter().chain(infinity).chain(power(i)).collect();
                sum(b, &terms)
            })
            .collect()
    }
}

/// `Σ c * x`. Sums and products of square roots are as good as the whole numbers that they stand for.
fn sum(b: &mut KernelBuilder, terms: &[(f64, Reg)]) -> Reg {
    let is = |c: f64, n: f64| (c - n).abs() < 1e-12;
    // The first is one that needs no multiplication.
    let first = terms.iter().position(|t| is(t.0, 1.0)).unwrap_or(0);
    let constant = |b: &mut KernelBuilder, c: f64, like: Reg| {
        let ty = b.ty(like);
        b.float(ty.elem, ty.lanes, c)
    };
    let (c, x) = terms[first];
    let mut sum = x;
    if !is(c, 1.0) {
        let c = constant(b, c, x);
        sum = b.mul(c, x);
    }
    for (_, &(c, x)) in terms.iter().enumerate().filter(|(i, _)| *i != first) {
        sum = if is(c, 1.0) {
            b.add(sum, x)
        } else if is(c, -1.0) {
            b.sub(sum, x)
        } else {
            let c = constant(b, c, x);
            let ty = b.ty(sum);
            let next = b.reg(ty.elem, ty.lanes);
            b.set(next, Inst::MulAdd(c, x, sum));
            next
        };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::tile::{Access, Addr, Elem, interp};

    /// A kernel that sends the elements of one buffer through a transform into another.
    fn transformed(x: &[f64], n: usize, f: impl Fn(&mut KernelBuilder, &[Reg]) -> Vec<Reg>) -> Vec<f64> {
        let mut b = KernelBuilder::new("transform");
        let from = b.buf("from", Access::Read, (8 * x.len()).into());
        let to = b.buf("to", Access::Write, (8 * n).into());
        let regs: Vec<Reg> =
            (0..x.len()).map(|i| b.load(Elem::F64, 1, from, Addr::at(i as i64), None)).collect();
        for (i, r) in f(&mut b, &regs).into_iter().enumerate() {
            b.store(to, Addr::at(i as i64), r, None);
        }
        let bytes = |v: &[f64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (mut x, mut y) = (bytes(x), vec![0; 8 * n]);
        assert_eq!(interp::run(&b.finish(), &mut [&mut x, &mut y], &mut [], 0, 1).unwrap(), 0);
        y.chunks(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect()
    }

    const EXPECTED: [(usize, usize); 9] =
        [(1, 1), (2, 3), (3, 2), (3, 4), (4, 3), (5, 2), (5, 4), (6, 3), (7, 2)];

    #[test]
    fn products_at_points_are_convolutions() {
        let all: Vec<Points> = (1..=9).flat_map(Points::of).collect();
        assert_eq!(all.iter().map(|p| (p.taps, p.results)).collect::<Vec<_>>(), EXPECTED);
        for points in all {
            let n = points.products();
            let x: Vec<f64> = (0..n).map(|i| ((i * 7 + 3) % 11) as f64 - 4.5).collect();
            let w = &[0.75, -2.0, 1.25, 0.5, -0.375, 3.0, -1.5][..points.taps];
            let data = transformed(&x, n, |b, x| points.data(b, x));
            let z: Vec<f64> = data.iter().zip(points.weights(w)).map(|(d, w)| d * w).collect();
            let y = transformed(&z, points.results(), |b, z| points.result(b, z));
            for (i, y) in y.iter().enumerate() {
                let want: f64 = (0..points.taps).map(|k| w[k] * x[i + k]).sum();
                assert!((y - want).abs() < 1e-12, "{points:?}: {y} for {want}");
            }
        }
    }
}

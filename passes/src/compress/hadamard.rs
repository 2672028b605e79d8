//! Hadamard matrices: orthogonal, all elements of one size, so that what is strong in one channel becomes weak in all.
//!
//! Sizes are a power of two times an order for which a construction is known: Paley's two over a prime field, products of
//! smaller ones. Where there is none, an odd part gets a random orthogonal matrix. A [`Transform`] is the Kronecker
//! product of small matrices, applied one axis after the other: n log n steps.

/// Largest order of a factor that is a power of two.
const RADIX: u32 = 5;

/// A sequence of numbers that is the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(0x9e37_79b9_7f4a_7c15))
    }
    /// The next 64 bits (SplitMix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Evenly in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Nearly normal: a sum of twelve.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// A small orthogonal matrix `[n, n]`, by rows; without elements the one that does nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Small {
    /// Rows.
    pub n: usize,
    /// Elements.
    pub values: Vec<f32>,
}

impl Small {
    fn new(n: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        Self { n, values: (0..n * n).map(|i| f(i / n, i % n) as f32).collect() }
    }
    /// The matrix that does nothing.
    pub fn unit(n: usize) -> Self {
        Self { n, values: vec![] }
    }
    /// The inverse.
    pub fn turned(&self) -> Self {
        if self.values.is_empty() {
            return self.clone();
        }
        let at = |i: usize, j: usize| f64::from(self.values.get(j * self.n + i).copied().unwrap_or(0.0));
        Self::new(self.n, at)
    }
}

fn prime(n: usize) -> bool {
    n > 1 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

/// Legendre's symbol of `a` for a prime.
fn residue(a: usize, q: usize) -> i8 {
    match a % q {
        0 => 0,
        a if (1..q).any(|x| x * x % q == a) => 1,
        _ => -1,
    }
}

/// Elements of a Hadamard matrix of an order by rows, where a construction is known.
pub fn signs(n: usize) -> Option<Vec<i8>> {
    let make = |f: &dyn Fn(usize, usize) -> i8| (0..n * n).map(|i| f(i / n, i % n)).collect();
    if n == 1 {
        return Some(vec![1]);
    }
    if n == 2 {
        return Some(vec![1, 1, 1, -1]);
    }
    if n == 0 || !n.is_multiple_of(4) {
        return None;
    }
    if n.is_power_of_two() {
        return Some(make(&|i, j| if (i & j).count_ones().is_multiple_of(2) { 1 } else { -1 }));
    }
    let q = n - 1;
    if q % 4 == 3 && prime(q) {
        return Some(make(&|i, j| match (i, j) {
            (0, _) => 1,
            (_, 0) => -1,
            _ if i == j => 1,
            _ => residue(i + q - j, q),
        }));
    }
    let q = n / 2 - 1;
    if q % 4 == 1 && prime(q) {
        // A symmetric conference matrix, each element a square of four signs.
        return Some(make(&|i, j| match (i / 2, j / 2) {
            (a, b) if a == b => [[1, -1], [-1, -1]][i % 2][j % 2],
            (a, b) => {
                let c = if a == 0 || b == 0 { 1 } else { residue(a + q - b, q) };
                c * [[1, 1], [1, -1]][i % 2][j % 2]
            }
        }));
    }
    (2..n).filter(|a| n.is_multiple_of(*a)).find_map(|a| {
        let b = n / a;
        let (outer, inner) = (signs(a)?, signs(b)?);
        Some(make(&|i, j| outer[i / b * a + j / b] * inner[i % b * b + j % b]))
    })
}

/// A random orthogonal matrix: normal numbers, rows made orthogonal one after the other.
pub fn orthogonal(n: usize, random: &mut Random) -> Small {
    let mut rows: Vec<Vec<f64>> = vec![];
    while rows.len() < n {
        let mut row: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        // Twice: what rounding leaves of the first time.
        for _ in 0..2 {
            for r in &rows {
                let along: f64 = r.iter().zip(&row).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(r).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 1e-3 {
            rows.push(row.into_iter().map(|v| v / norm).collect());
        }
    }
    Small { n, values: rows.into_iter().flatten().map(|v| v as f32).collect() }
}

/// `x -> (x * signs) (F1 (x) F2 (x) ...)` for rows of `n`.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    /// Elements of a row.
    pub n: usize,
    /// The small matrices, from the outermost axis on.
    pub factors: Vec<Small>,
    /// 1 or -1 for every channel; empty: all 1.
    pub signs: Vec<f32>,
}

impl Transform {
    /// For rows of `n`, with a factor of at most `most` beside powers of two: where none is known, or it is larger, a
    /// random matrix takes the place of the odd part, or nothing where the power of two is large.
    pub fn new(n: usize, most: usize) -> Self {
        let twos = n.trailing_zeros();
        let odd = n >> twos;
        let known = |m: u32| {
            let k = odd << m;
            signs(k).filter(|_| k <= most && odd > 1).map(|s| (m, k, s))
        };
        let mut factors = vec![];
        let left = match (0..=twos.min(4)).find_map(known) {
            Some((m, k, s)) => {
                let scale = 1.0 / (k as f64).sqrt();
                factors.push(Small::new(k, |i, j| scale * f64::from(s[i * k + j])));
                twos - m
            }
            None => {
                if odd > 1 {
                    factors.push(match odd > most || twos >= 6 {
                        true => Small::unit(odd),
                        false => orthogonal(odd, &mut Random::new(odd as u64)),
                    });
                }
                twos
            }
        };
        let parts = left.div_ceil(RADIX).max(1);
        for i in 0..parts {
            let k = 1usize << (left / parts + u32::from(i < left % parts));
            let scale = 1.0 / (k as f64).sqrt();
            if k > 1 {
                let sign =
                    |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { scale } else { -scale };
                factors.push(Small::new(k, sign));
            }
        }
        Self { n, factors, signs: vec![] }
    }
    /// The same within groups of so many neighbours, where rows are whole groups: what is strong in one group does not
    /// reach others, which have scales of their own. 0: there are no groups.
    pub fn grouped(n: usize, group: usize, most: usize) -> Self {
        if group == 0 || group >= n || !n.is_multiple_of(group) {
            return Self::new(n, most);
        }
        let inner = Self::new(group, most);
        let factors = std::iter::once(Small::unit(n / group)).chain(inner.factors).collect();
        Self { n, factors, signs: vec![] }
    }
    /// The same behind random signs.
    pub fn randomised(self, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let signs = (0..self.n).map(|_| if random.bits() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        Self { signs, ..self }
    }
    /// Transforms a row.
    pub fn apply(&self, x: &mut [f32]) {
        x.iter_mut().zip(&self.signs).for_each(|(x, s)| *x *= s);
        self.factors(x, |f| f.clone());
    }
    /// The inverse of [`Transform::apply`].
    pub fn undo(&self, x: &mut [f32]) {
        self.factors(x, Small::turned);
        x.iter_mut().zip(&self.signs).for_each(|(x, s)| *x *= s);
    }
    /// Multiplies along every axis.
    fn factors(&self, x: &mut [f32], form: impl Fn(&Small) -> Small) {
        let mut inner = self.n;
        for f in self.factors.iter().map(form) {
            inner /= f.n.max(1);
            if f.values.is_empty() {
                continue;
            }
            for part in x.chunks_mut((f.n * inner).max(1)) {
                let mut out = vec![0f64; part.len()];
                for (x, row) in part.chunks(inner.max(1)).zip(f.values.chunks(f.n.max(1))) {
                    for (out, by) in out.chunks_mut(inner.max(1)).zip(row) {
                        out.iter_mut().zip(x).for_each(|(o, x)| *o += f64::from(x * by));
                    }
                }
                part.iter_mut().zip(out).for_each(|(x, o)| *x = o as f32);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn orthogonal_rows(n: usize, v: &[f32]) -> bool {
        (0..n).all(|i| {
            (0..n).all(|j| {
                let dot: f64 = (0..n).map(|k| f64::from(v[i * n + k]) * f64::from(v[j * n + k])).sum();
                (dot - f64::from(u8::from(i == j))).abs() < 1e-6
            })
        })
    }

    #[test]
    fn known_orders_are_hadamard_matrices() {
        for n in [1, 2, 4, 8, 12, 20, 24, 28, 36, 40, 44, 48, 60, 68, 76, 84, 108, 140, 148, 240] {
            let s = signs(n).unwrap_or_else(|| panic!("order {n}"));
            assert!(s.iter().all(|v| v.abs() == 1), "{n}");
            for i in 0..n {
                for j in 0..n {
                    let dot: i32 = (0..n).map(|k| i32::from(s[i * n + k]) * i32::from(s[j * n + k])).sum();
                    assert_eq!(dot, if i == j { n as i32 } else { 0 }, "{n}: {i}, {j}");
                }
            }
        }
        assert!([0, 3, 6, 18, 52].into_iter().all(|n| signs(n).is_none()));
        // Paley's first: the top row and the diagonal are 1, the first column is -1 below.
        let s = signs(12).unwrap();
        assert!((0..12).all(|i| s[i] == 1 && s[i * 13] == 1 && (i == 0 || s[i * 12] == -1)));
    }

    #[test]
    fn transforms_of_any_size_keep_lengths_and_spread_peaks() {
        for n in [1, 2, 64, 80, 96, 576, 640, 896, 960, 1536, 4864, 52, 172, 7, 11008] {
            let t = Transform::new(n, 60).randomised(3);
            assert_eq!(t.factors.iter().map(|f| f.n).product::<usize>(), n);
            let fine = |f: &Small| f.values.is_empty() || orthogonal_rows(f.n, &f.values);
            assert!(t.factors.iter().all(fine), "{n}");
            let mut random = Random::new(1);
            let x: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
            let mut y = x.clone();
            t.apply(&mut y);
            let square = |v: &[f32]| v.iter().map(|v| f64::from(v * v)).sum::<f64>();
            assert!((square(&x) / square(&y) - 1.0).abs() < 1e-6, "{n}");
            t.undo(&mut y);
            assert!(x.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-5), "{n}");
            let mut peak = vec![0f32; n];
            peak[n / 3] = 1.0;
            t.apply(&mut peak);
            let most = peak.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(n < 64 || n == 172 || most < 0.13, "{n}: {most}");
        }
    }

    #[test]
    fn groups_do_not_mix() {
        let t = Transform::grouped(96, 32, 60).randomised(1);
        let mut x = vec![0f32; 96];
        x[40] = 8.0;
        t.apply(&mut x);
        assert!(x[..32].iter().chain(&x[64..]).all(|v| *v == 0.0));
        assert!(x[32..64].iter().all(|v| (v.abs() - 2f32.sqrt()).abs() < 1e-5));
        t.undo(&mut x);
        assert!((x[40] - 8.0).abs() < 1e-5);
        assert_eq!(Transform::grouped(100, 32, 60), Transform::new(100, 60));
    }

    #[test]
    fn a_transform_is_the_product_of_its_factors() {
        // Of rows 0 and 1 of order 12 by the Walsh-Hadamard matrix of order 4.
        let t = Transform::new(48, 60);
        let (outer, inner) = (signs(12).unwrap(), signs(4).unwrap());
        let mut x = vec![0f32; 48];
        x[4 + 2] = 1.0;
        t.apply(&mut x);
        for (j, v) in x.iter().enumerate() {
            let want = f32::from(outer[12 + j / 4] * inner[2 * 4 + j % 4]) / 48f32.sqrt();
            assert!((v - want).abs() < 1e-6);
        }
    }
}

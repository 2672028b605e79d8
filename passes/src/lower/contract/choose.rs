//! The register tile for a product: a small model of the inner loop.
//!
//! One step along k of a tile of `mr` rows and `nv` vectors is `mr * nv` multiply-adds, `mr + nv` loads, and cannot
//! be faster than the latency of one multiply-add; machines do two of either at a time. Loads that are hidden behind
//! the arithmetic still cost a little, those of B more: they come from farther away. The model adds up all steps of a
//! product, with the smaller tiles that rest rows and a last narrow panel get, and lets code size count.
//!
//! Rows of A whose distance is a multiple of the page lie in the same lines of the first cache: more of them than it
//! has ways push each other out, and every broadcast comes from the second cache.

use super::micro::Tile;
use sinter_ir::Expr;
use sinter_ir::target::TargetDesc;

/// Multiply-adds that a tile must hold to hide their latency.
const LATENCY: i64 = 8;
/// Instructions that cost as much as doubling the time.
const INSTRUCTIONS: i64 = 2500;
/// Ways of the first cache that B and the rest of the kernel need, and the price of a row that finds none, in 32nds of
/// a cycle.
const OTHER_WAYS: i64 = 1;
const MISS: i64 = 64;
/// Bytes of a cache line.
const LINE: i64 = 64;
/// Stand-ins for open dims: rests occur.
const OPEN_ROWS: i64 = 61;
const OPEN_COLUMNS: i64 = 509;

/// The rows of A: how far apart they are, and the cache that they pass through.
#[derive(Debug, Clone, Copy)]
pub struct RowCache {
    /// Bytes between rows; 0 where rows do not lie apart.
    pitch: i64,
    /// Bytes of a way: a page, where caches are indexed while addresses are translated.
    way: i64,
    ways: i64,
}

impl RowCache {
    /// Of rows `pitch` bytes apart.
    pub fn new(target: &TargetDesc, pitch: i64) -> Self {
        let way = i64::try_from(target.page_bytes).unwrap_or(4096).max(LINE);
        let first = target.cache_bytes.first().map_or(0, |&b| i64::try_from(b).unwrap_or(0));
        Self { pitch, way, ways: (first / way).max(2) }
    }
    /// How many of `rows` neighbours share their lines with more rows than there are ways.
    fn crowded(&self, rows: i64) -> i64 {
        if self.pitch == 0 {
            return 0;
        }
        let line = |i: i64| i.wrapping_mul(self.pitch).rem_euclid(self.way) / LINE;
        let sharing = |i: i64| (0..rows).filter(|&j| line(j) == line(i)).count() as i64;
        (0..rows).filter(|&i| sharing(i) > self.ways - OTHER_WAYS).count() as i64
    }
}

/// The cheapest tile of a product of `m` rows and `n` columns, for vectors of `lanes` in a file of `registers`.
pub fn tile(registers: u32, lanes: u16, m: &Expr, n: &Expr, rows: RowCache) -> Tile {
    let registers = i64::from(registers.max(4));
    let width = i64::from(lanes.max(1));
    let mut best: Option<(i128, Tile)> = None;
    let most_nv = vectors(n, width).min(registers);
    for nv in 1..=most_nv {
        // Accumulators, one row of B and a broadcast of A.
        let most_mr = ((registers - nv - 1) / nv).min(m.as_const().unwrap_or(i64::MAX).max(1));
        for mr in 1..=most_mr {
            if m.as_const().is_none() && !(mr as u64).is_power_of_two() {
                continue;
            }
            let tile = Tile { mr: mr as usize, nv: nv as usize, lanes };
            let score = score(tile, m, n, rows);
            if best.is_none_or(|(b, _)| score < b) {
                best = Some((score, tile));
            }
        }
    }
    best.map_or(Tile { mr: 1, nv: 1, lanes }, |(_, t)| t)
}

/// Vectors that hold all columns.
fn vectors(n: &Expr, width: i64) -> i64 {
    let n = n.as_const().unwrap_or(i64::MAX / 2).max(1);
    n.saturating_add(width - 1) / width
}

/// Heights of the tiles that together reach every number of rows: `mr`, then those of the rest. With an open number
/// all are powers of two, but few: each is code.
pub fn heights(mr: usize, m: &Expr) -> Vec<usize> {
    let Some(m) = m.as_const() else {
        let mut all = vec![mr, mr / 2, 1];
        all.retain(|&h| h > 0);
        all.dedup();
        return all;
    };
    let rest = (m.max(0) as usize) % mr;
    let whole = (m >= mr as i64).then_some(mr);
    whole.into_iter().chain((rest > 0).then_some(rest)).collect()
}

/// Time of one step along k, in 32nds of a cycle.
pub fn step(mr: i64, nv: i64) -> i64 {
    16 * (mr * nv).max(mr + nv).max(LATENCY) + mr + 6 * nv
}

/// Time per step along k of the whole product, weighed with the code it takes; smaller is better.
fn score(tile: Tile, rows: &Expr, columns: &Expr, cache: RowCache) -> i128 {
    let (nv, width) = (tile.nv as i64, i64::from(tile.lanes));
    let m = rows.as_const().unwrap_or(OPEN_ROWS).max(1);
    let n = columns.as_const().unwrap_or(OPEN_COLUMNS).max(1);
    // Whole panels, and the vectors of a last one.
    let last = (n % (nv * width) + width - 1) / width;
    let (mut time, mut code) = (0i128, 0i64);
    for (count, nv) in [(n / (nv * width), nv), (i64::from(last > 0), last)].into_iter().filter(|p| p.0 > 0) {
        let mut left = m;
        for h in heights(tile.mr, rows) {
            let h = h as i64;
            time += i128::from(count * (left / h) * (step(h, nv) + MISS * cache.crowded(h)));
            left %= h;
            // Loads, multiply-adds and what becomes of the results.
            code += h + nv + 3 * h * nv;
        }
    }
    time * i128::from(INSTRUCTIONS + code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a cache with 8 ways.
    fn rows(pitch: i64) -> RowCache {
        RowCache { pitch, way: 4096, ways: 8 }
    }

    fn pick(registers: u32, lanes: u16, m: i64, n: i64) -> (usize, usize) {
        let t = tile(registers, lanes, &m.into(), &n.into(), rows(0));
        (t.mr, t.nv)
    }

    #[test]
    fn rows_a_page_apart_are_few_enough_for_the_ways() {
        for pitch in [4096, 12288, 4096 * 16] {
            let t = tile(32, 16, &1024.into(), &1024.into(), rows(pitch));
            assert!(t.mr <= 7, "{pitch}: {t:?}");
        }
        assert_eq!(rows(4096).crowded(14), 14);
        assert_eq!(rows(4096).crowded(7), 0);
        assert_eq!(rows(6144).crowded(14), 0);
        assert_eq!(rows(4160).crowded(14), 0);
        // Open numbers of rows have tiles of few heights; those that fit the ways remain.
        let open = tile(32, 16, &sinter_ir::Sym(0).into(), &1024.into(), rows(4096));
        assert_eq!(open.mr, 4);
    }

    #[test]
    fn tiles_fill_the_registers_without_waste() {
        for (m, n) in [(384, 1536), (1024, 1024), (64, 576), (3136, 64), (49, 512), (196, 256), (784, 128)] {
            for (registers, lanes) in [(32, 16), (16, 8)] {
                let (mr, nv) = pick(registers, lanes, m, n);
                let (mr, nv, width) = (mr as i64, nv as i64, i64::from(lanes));
                assert!(mr * nv + nv < i64::from(registers), "{mr}x{nv}");
                // Multiply-adds spent against those needed.
                let mut spent = 0;
                let mut left = n;
                while left > 0 {
                    let v = ((left + width - 1) / width).min(nv);
                    spent += (m / mr) * step(mr, v) + if m % mr > 0 { step(m % mr, v) } else { 0 };
                    left -= v * width;
                }
                let waste = spent as f64 / 16.0 / (m * n) as f64 * width as f64;
                assert!(waste < 1.11, "{m}x{n}: {mr}x{nv} on {registers} registers wastes {waste}");
            }
        }
    }

    #[test]
    fn one_row_has_enough_sums_to_hide_latency() {
        let (mr, nv) = pick(32, 16, 1, 1000);
        assert_eq!(mr, 1);
        assert!(nv >= LATENCY as usize);
    }

    #[test]
    fn heights_reach_every_number_of_rows() {
        assert_eq!(heights(14, &64.into()), [14, 8]);
        assert_eq!(heights(8, &64.into()), [8]);
        assert_eq!(heights(8, &5.into()), [5]);
        assert_eq!(heights(2, &sinter_ir::Sym(0).into()), [2, 1]);
        assert_eq!(heights(8, &sinter_ir::Sym(0).into()), [8, 4, 1]);
        assert!(heights(8, &0.into()).is_empty());
    }
}

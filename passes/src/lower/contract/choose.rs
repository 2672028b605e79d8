//! The register tile for a product: a small model of the inner loop.
//!
//! One step along k of a tile of `mr` rows and `nv` vectors is `mr * nv` multiply-adds, `mr + nv` loads, and cannot
//! be faster than the latency of one multiply-add; machines do two of either at a time. Loads that are hidden behind
//! the arithmetic still cost a little, those of B more: they come from farther away. The model adds up all steps of a
//! product, with the smaller tiles that rest rows and a last narrow panel get, and lets code size count among those
//! that are fast enough.
//!
//! Rows of A whose distance is a multiple of the page lie in the same lines of the first cache: more of them than it
//! has ways push each other out, and every broadcast comes from the second cache.

use super::micro::Tile;
use super::num::{Num, PAIR};
use sinter_ir::Expr;
use sinter_ir::target::{CostModel, TargetDesc};

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
    /// Those that B and the rest of the kernel need.
    others: i64,
}

impl RowCache {
    /// Of rows `pitch` bytes apart.
    pub fn new(target: &TargetDesc, pitch: i64) -> Self {
        let way = i64::try_from(target.page_bytes).unwrap_or(4096).max(LINE);
        let first = target.cache_bytes.first().map_or(0, |&b| i64::try_from(b).unwrap_or(0));
        Self { pitch, way, ways: (first / way).max(2), others: target.cost.other_ways }
    }
    /// How many of `rows` neighbours share their lines with more rows than there are ways.
    fn crowded(&self, rows: i64) -> i64 {
        if self.pitch == 0 {
            return 0;
        }
        let line = |i: i64| i.wrapping_mul(self.pitch).rem_euclid(self.way) / LINE;
        let sharing = |i: i64| (0..rows).filter(|&j| line(j) == line(i)).count() as i64;
        (0..rows).filter(|&i| sharing(i) > self.ways - self.others).count() as i64
    }
}

/// Sums that hide latency, at least, in a tile that serves many shapes.
const UNIFORM_SUMS: i64 = 8;

/// Tiles kept for measuring.
const CANDIDATES: usize = 8;

/// However dear code is, tiles that take longer than the fastest by more than this part are for want of others.
const SLOWER: (i128, i128) = (1, 8);

/// The cheapest tiles of a product of `m` rows and `n` columns, for vectors of `lanes`: best first.
pub fn tiles(target: &TargetDesc, (lanes, num): (u16, Num), m: &Expr, n: &Expr, rows: RowCache) -> Vec<Tile> {
    let registers = i64::from(target.vector_registers.max(4));
    let width = i64::from(lanes.max(1));
    let mut all: Vec<((i128, i128), Tile)> = vec![];
    let cost = num.cost(&target.cost);
    let tile = |mr: i64, nv: i64| Tile::new(&cost, mr as usize, nv as usize, lanes);
    // Accumulators, one row of B and a broadcast of A.
    let fits = |nv: i64| match num.group() {
        // Halves of a word, a product, and one to spare: B stays in memory.
        _ if num.rows() > 1 => (registers - 4) / nv,
        // B and data of the words of a sum, a product, and ones to add its halves.
        _ if let Some(words) = num.narrow() => (registers - words * (nv + 1) - 2) / nv,
        // A product on its way to its sum.
        1 => (registers - nv - 1 - i64::from(num.sums_apart())) / nv,
        // Rows pass, two steps of B stay: nothing else is in the loop.
        group if group == usize::from(PAIR) => (registers + 1 - 2 * nv) / nv,
        _ => (registers - nv) / (nv + 1),
    };
    if cost.uniform && m.as_const().is_none_or(|m| m >= UNIFORM_SUMS) {
        // As wide as all panels can be alike: fewer loads, where sums are enough to hide latency. Where nothing but code
        // counts, one vector.
        let even = |nv: &i64| n.as_const().is_some() && vectors(n, width) % nv == 0;
        let suits = |nv: &i64| cost.code > 1 && even(nv) && fits(*nv) >= UNIFORM_SUMS / 2;
        let wide = [2, 3].into_iter().find(suits);
        return vec![match wide {
            Some(nv) => tile(UNIFORM_SUMS / 2, nv),
            None => tile(UNIFORM_SUMS, 1),
        }];
    }
    let most_nv = vectors(n, width).min(registers);
    for nv in 1..=most_nv {
        let most_mr = fits(nv).min(m.as_const().unwrap_or(i64::MAX).max(1));
        for mr in 1..=most_mr {
            if m.as_const().is_none() && !(mr as u64).is_power_of_two() {
                continue;
            }
            let tile = tile(mr, nv);
            all.push((time_and_code(&cost, tile, m, n, rows), tile));
        }
    }
    let fastest = all.iter().map(|((time, _), _)| *time).min().unwrap_or(0);
    let slow = |time: i128| (time - fastest) * SLOWER.1 > fastest * SLOWER.0;
    // Equal scores stay in the order of their size.
    all.sort_by_key(|&((time, code), _)| (slow(time), time * (i128::from(cost.code.max(1)) + code)));
    all.truncate(CANDIDATES);
    if all.is_empty() {
        return vec![tile(1, 1)];
    }
    all.into_iter().map(|(_, t)| t).collect()
}

/// Vectors that hold all columns.
fn vectors(n: &Expr, width: i64) -> i64 {
    let n = n.as_const().unwrap_or(i64::MAX / 2).max(1);
    n.saturating_add(width - 1) / width
}

/// Heights of the tiles that together reach every number of rows: `mr`, then those of the rest. With an open number
/// all are powers of two, but few: each is code. Where code is to be uniform, rest rows come one by one.
pub fn heights(mr: usize, m: &Expr, uniform: bool) -> Vec<usize> {
    let Some(m) = m.as_const().filter(|_| !uniform) else {
        let mut all = vec![mr, mr / 2, 1];
        all.retain(|&h| h > 0 && (!uniform || h == mr || h == 1));
        all.dedup();
        return all;
    };
    let rest = (m.max(0) as usize) % mr;
    let whole = (m >= mr as i64).then_some(mr);
    whole.into_iter().chain((rest > 0).then_some(rest)).collect()
}

/// Time of one step along k, in 32nds of a cycle.
pub fn step(cost: &CostModel, mr: i64, nv: i64) -> i64 {
    cost.operation * (mr * nv).max(mr + nv).max(cost.latency) + cost.broadcast * mr + cost.load * nv
}

/// Time per step along k of the whole product, and the instructions it takes.
fn time_and_code(cost: &CostModel, tile: Tile, rows: &Expr, columns: &Expr, cache: RowCache) -> (i128, i128) {
    let (nv, width) = (tile.nv as i64, i64::from(tile.lanes));
    let m = rows.as_const().unwrap_or(OPEN_ROWS).max(1);
    let n = columns.as_const().unwrap_or(OPEN_COLUMNS).max(1);
    // Whole panels, and the vectors of a last one.
    let last = (n % (nv * width) + width - 1) / width;
    let (mut time, mut code) = (0i128, 0i128);
    for (count, nv) in [(n / (nv * width), nv), (i64::from(last > 0), last)].into_iter().filter(|p| p.0 > 0) {
        let mut left = m;
        for h in heights(tile.mr, rows, tile.uniform) {
            let h = h as i64;
            time += i128::from(count * (left / h) * (step(cost, h, nv) + cost.miss * cache.crowded(h)));
            left %= h;
            // Loads, multiply-adds and what becomes of the results.
            code += i128::from(h + nv + 3 * h * nv);
        }
    }
    (time, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a cache with 8 ways.
    fn rows(pitch: i64) -> RowCache {
        RowCache { pitch, way: 4096, ways: 8, others: 1 }
    }

    fn machine(registers: u32) -> TargetDesc {
        let text = format!(
            "name = 'm'\nsummary = ''\ntriple = ''\nvector-bits = 512\nvector-registers = {registers}\ncores = 1\n\
             cache-bytes = [32768]\npage-bytes = 4096\nverified = ''"
        );
        TargetDesc::from_toml(&text).unwrap()
    }

    fn tile(registers: u32, lanes: u16, m: &Expr, n: &Expr, rows: RowCache) -> Tile {
        tiles(&machine(registers), (lanes, Num::f32()), m, n, rows)[0]
    }

    fn pick(registers: u32, lanes: u16, m: i64, n: i64) -> (usize, usize) {
        let t = tile(registers, lanes, &m.into(), &n.into(), rows(0));
        (t.mr, t.nv)
    }

    #[test]
    fn dear_code_is_unrolled_less() {
        let size = |steps| {
            let mut target = machine(32);
            target.cost = target.cost.dearer_code(steps);
            let t = tiles(&target, (16, Num::f32()), &196.into(), &112.into(), rows(0))[0];
            t.mr * t.nv
        };
        assert!(size(6) < size(0), "{} {}", size(6), size(0));
        assert!((1..=8).all(|s| size(s) <= size(s - 1)));
    }

    #[test]
    fn uniform_code_has_one_tile_for_all_sizes() {
        let mut target = machine(32);
        target.cost.uniform = true;
        let pick = |m: i64, n: i64| tiles(&target, (16, Num::f32()), &m.into(), &n.into(), rows(0));
        assert_eq!(pick(196, 96), pick(49, 512));
        // Panels are alike: of two vectors, of three, or of one.
        let nv = |n| pick(49, n)[0].nv;
        assert_eq!([32, 48, 16, 80].map(nv), [2, 3, 1, 1]);
        assert_eq!(heights(8, &49.into(), true), heights(8, &sinter_ir::Sym(0).into(), true));
        // A single row has sums of its own.
        assert!(pick(1, 512)[0].nv > 1);
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
        let cost = CostModel::default();
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
                    spent +=
                        (m / mr) * step(&cost, mr, v) + if m % mr > 0 { step(&cost, m % mr, v) } else { 0 };
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
        assert!(nv as i64 >= CostModel::default().latency);
    }

    #[test]
    fn heights_reach_every_number_of_rows() {
        assert_eq!(heights(14, &64.into(), false), [14, 8]);
        assert_eq!(heights(8, &64.into(), false), [8]);
        assert_eq!(heights(8, &5.into(), false), [5]);
        assert_eq!(heights(2, &sinter_ir::Sym(0).into(), false), [2, 1]);
        assert_eq!(heights(8, &sinter_ir::Sym(0).into(), false), [8, 4, 1]);
        assert!(heights(8, &0.into(), false).is_empty());
    }
}

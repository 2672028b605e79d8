//! Pages: spans of positions of a cache of keys or values as codes of few bits.

use crate::{Diag, Expr, Result};
use half::f16;
use serde::{Deserialize, Serialize};

/// Positions of a page. Pages begin at multiples of it.
pub const SPAN: i64 = 64;
/// Columns whose codes lie together.
pub const TILE: usize = 32;
/// Words whose lowest bits are neighbouring columns.
pub const WORDS: usize = 16;

/// Which positions of a sequence are in codes, and how.
///
/// The first `sinks` positions and the newest ones stay floats, in a cache with a slot for each of the former and a
/// ring of the others behind them ([`super::Append::sinks`]). A query at position `p` sees codes of the positions from `sinks`
/// to [`Pages::end`] and floats of all others, however a sequence is cut into runs.
///
/// A page holds [`SPAN`] positions of one head as a matrix ([`Page`]): of keys, whose channels differ more than
/// positions do, a row is a channel; of values a row is a position. Up to `group` neighbours in a row share a scale and
/// a minimum. [`super::AppendPages`] makes pages, [`super::CachedAttention`] reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Bits of a code: 2, 3, 4 or 8.
    pub bits: u32,
    /// Neighbours that share a scale: 32 or 64.
    pub group: i64,
    /// Positions at the beginning that stay floats, a multiple of [`SPAN`].
    pub sinks: i64,
    /// Newest positions that stay floats besides those of the span under way, a multiple of [`SPAN`].
    pub recent: i64,
}

impl Pages {
    /// Whether the attributes make sense.
    pub fn check(&self) -> Result<()> {
        let spans = |n: i64| n >= 0 && n % SPAN == 0 && n <= 1 << 20;
        let good = matches!(self.bits, 2 | 3 | 4 | 8) && matches!(self.group, 32 | 64);
        match good && spans(self.sinks) && spans(self.recent) {
            true => Ok(()),
            false => Err(Diag::input(format!("pages of a cache cannot be as {self:?} says"))),
        }
    }
    /// The matrix of a head's keys of `size` channels.
    pub fn keys(&self, size: usize) -> Page {
        Page { bits: self.bits, group: self.group as usize, rows: size, columns: SPAN as usize }
    }
    /// The matrix of a head's values of `width` channels.
    pub fn values(&self, width: usize) -> Page {
        Page { bits: self.bits, group: self.group as usize, rows: SPAN as usize, columns: width }
    }
    /// First position that a query at `p` sees as a float, sinks aside.
    pub fn end(&self, p: i64) -> i64 {
        (p.div_euclid(SPAN) * SPAN - self.recent).max(self.sinks)
    }
    /// Pages that are there, sinks counted, once `n` positions have been seen.
    pub fn made(&self, n: &Expr) -> Expr {
        // The last query was at n - 1.
        let spans = n.ceil_div(&SPAN.into()) - (1 + self.recent / SPAN).into();
        spans.max_of(&(self.sinks / SPAN).into())
    }
    /// Slot of a position in a cache of `slots` slots.
    pub fn slot(&self, position: usize, slots: usize) -> usize {
        slot(position, self.sinks as usize, slots)
    }
}

/// Slot of a position where the first `sinks` have slots of their own and the others share a ring.
pub fn slot(position: usize, sinks: usize, slots: usize) -> usize {
    match position.checked_sub(sinks) {
        Some(behind) => sinks + behind % slots.saturating_sub(sinks).max(1),
        None => position,
    }
}

/// The codes of a matrix, and how they lie in memory.
///
/// In front is a block per group of columns: f16 scales of all rows, then f16 minima. An element stands for
/// `minimum + scale * code`. Then come tiles of [`TILE`] columns. A tile has its codes in planes of 1, 2, 4 or 8 bits
/// (3 bits: the lower two, then the highest): plane by plane [`WORDS`] little-endian words of 32 bits for every `16 /
/// width` rows. Word `w` holds columns `w` and `w + 16` of these rows, the first row in the lowest bits.
/// Rows are counted up to a multiple of 16 and columns up to a multiple of [`TILE`]; missing columns are zeros that
/// take part in finding scales, missing rows are left as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Bits of a code.
    pub bits: u32,
    /// Columns that share a scale.
    pub group: usize,
    /// Rows that count.
    pub rows: usize,
    /// Columns that count.
    pub columns: usize,
}

/// Some bits of all codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    /// Lowest of the bits.
    pub low: u32,
    /// Their number.
    pub bits: u32,
}

impl Plane {
    /// Rows in a word.
    pub fn rows(self) -> usize {
        (16 / self.bits.max(1)) as usize
    }
    /// Where in a word a code is: row within the word, and whether it is of the later columns.
    pub fn shift(self, row: usize, half: usize) -> u32 {
        self.bits * (2 * row + half) as u32
    }
}

impl Page {
    /// Planes of a tile.
    pub fn planes(&self) -> Vec<Plane> {
        match self.bits {
            3 => vec![Plane { low: 0, bits: 2 }, Plane { low: 2, bits: 1 }],
            bits => vec![Plane { low: 0, bits }],
        }
    }
    /// Rows after which words of all planes begin.
    pub fn step(&self) -> usize {
        self.planes().into_iter().map(Plane::rows).max().unwrap_or(1)
    }
    /// Rows that there is room for.
    pub fn depth(&self) -> usize {
        self.rows.div_ceil(16) * 16
    }
    /// Columns that there is room for.
    pub fn width(&self) -> usize {
        self.columns.div_ceil(TILE) * TILE
    }
    /// Groups of columns.
    pub fn groups(&self) -> usize {
        self.width().div_ceil(self.group.max(1))
    }
    /// Bytes of the scales and minima.
    pub fn header(&self) -> usize {
        self.groups() * self.depth() * 4
    }
    /// Bytes of a tile.
    pub fn tile(&self) -> usize {
        self.depth() * TILE * self.bits as usize / 8
    }
    /// Bytes of a page, a multiple of 64.
    pub fn bytes(&self) -> usize {
        self.header() + self.width() / TILE * self.tile()
    }
    /// Byte of a row's scale; the minimum lies `2 * depth` bytes behind it.
    fn scale(&self, row: usize, column: usize) -> usize {
        (column / self.group.max(1) * 2 * self.depth() + row) * 2
    }
    /// Word, as a byte offset, and shift of a code's bits in a plane; `front`: bits of the planes before it.
    fn place(&self, plane: Plane, row: usize, column: usize) -> (usize, u32) {
        let front = plane.low as usize * self.depth() * TILE / 8;
        let word = row / plane.rows() * WORDS + column % WORDS;
        let at = self.header() + column / TILE * self.tile() + front + word * 4;
        (at, plane.shift(row % plane.rows(), column % TILE / WORDS))
    }
    /// Writes a matrix into a page. `at(row, column)` is asked for what counts.
    pub fn encode(&self, page: &mut [u8], at: &dyn Fn(usize, usize) -> f32) {
        let element = |r: usize, c: usize| if r < self.rows && c < self.columns { at(r, c) } else { 0.0 };
        let most = ((1u32 << self.bits) - 1) as f32;
        let mut put = |i: usize, bytes: &[u8]| {
            if let Some(to) = page.get_mut(i..i + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        let mut codes = vec![0u32; self.depth() * self.width()];
        for row in 0..self.rows {
            for first in (0..self.width()).step_by(self.group.max(1)) {
                let columns = first..(first + self.group).min(self.width());
                let values: Vec<f32> = columns.clone().map(|c| element(row, c)).collect();
                let lo = values.iter().copied().fold(f32::INFINITY, least);
                let hi = values.iter().copied().fold(f32::NEG_INFINITY, |a, v| -least(-a, -v));
                let (lo, scale) = (f16::from_f32(lo), f16::from_f32((hi - lo) * (1.0 / most)));
                put(self.scale(row, first), &scale.to_le_bytes());
                put(self.scale(row, first) + 2 * self.depth(), &lo.to_le_bytes());
                let scale = scale.to_f32();
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                for (c, v) in columns.zip(values) {
                    let code = ((v - lo.to_f32()) * inverse).round_ties_even() as u32;
                    codes[row * self.width() + c] = code.min(most as u32);
                }
            }
        }
        let rows = self.rows.div_ceil(self.step()) * self.step();
        for plane in self.planes() {
            for row in (0..rows).step_by(plane.rows()) {
                for tile in (0..self.width()).step_by(TILE) {
                    for w in 0..WORDS {
                        let bits = |(i, h): (usize, usize)| {
                            let code = codes[(row + i) * self.width() + tile + w + h * WORDS];
                            (code >> plane.low & ((1 << plane.bits) - 1)) << plane.shift(i, h)
                        };
                        let all = (0..plane.rows()).flat_map(|i| [(i, 0), (i, 1)]);
                        let word = all.map(bits).fold(0, |a, b| a | b);
                        put(self.place(plane, row, tile + w).0, &word.to_le_bytes());
                    }
                }
            }
        }
    }
    /// What an element stands for.
    pub fn decode(&self, page: &[u8], row: usize, column: usize) -> Option<f64> {
        let half = |at: usize| Some(f16::from_le_bytes(page.get(at..at + 2)?.try_into().ok()?).to_f64());
        let at = self.scale(row, column);
        let mut code = 0;
        for plane in self.planes() {
            let (word, shift) = self.place(plane, row, column);
            let word = u32::from_le_bytes(page.get(word..word + 4)?.try_into().ok()?);
            code |= (word >> shift & ((1 << plane.bits) - 1)) << plane.low;
        }
        Some(half(at + 2 * self.depth())? + half(at)? * f64::from(code))
    }
}

/// The lesser, NaN if one is; -0 is less than 0.
fn least(a: f32, b: f32) -> f32 {
    if a.is_nan() || a < b || a == b && a.is_sign_negative() { a } else { b }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn noise(i: usize) -> f32 {
        ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0
    }

    #[test]
    fn no_element_is_off_by_more_than_half_a_step() {
        for bits in [2, 3, 4, 8] {
            for (rows, columns) in [(64, 64), (5, 64), (64, 40), (80, 64)] {
                for group in [32, 64] {
                    let page = Page { bits, group, rows, columns };
                    let mut bytes = vec![0xa5; page.bytes()];
                    assert_eq!(bytes.len() % 64, 0);
                    let at = |r: usize, c: usize| noise(r * columns + c) * (1.0 + r as f32);
                    page.encode(&mut bytes, &at);
                    for r in 0..rows {
                        let step = 2.01 * f64::from(1.0 + r as f32) / f64::from((1 << bits) - 1);
                        for c in 0..columns {
                            let off = page.decode(&bytes, r, c).unwrap() - f64::from(at(r, c));
                            assert!(
                                off.abs() <= step / 2.0 + 0.002 * f64::from(1.0 + r as f32),
                                "{page:?} {r} {c}: {off}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_one_value_are_exact() {
        let page = Page { bits: 2, group: 64, rows: 3, columns: 64 };
        let mut bytes = vec![0; page.bytes()];
        page.encode(&mut bytes, &|r, _| r as f32 - 0.5);
        assert!((0..3).all(|r| page.decode(&bytes, r, 63) == Some(r as f64 - 0.5)));
    }

    #[test]
    fn codes_end_at_whole_spans_and_never_among_the_sinks() {
        let pages = Pages { bits: 4, group: 32, sinks: 64, recent: 64 };
        let end = |p| pages.end(p);
        assert_eq!([0, 63, 64, 191, 192, 255, 256].map(end), [64, 64, 64, 64, 128, 128, 192]);
        // What was made up to a query is what the query may see.
        for n in 1..400_i64 {
            assert_eq!(pages.made(&n.into()).as_const(), Some(end(n - 1) / SPAN), "{n}");
        }
        assert_eq!(pages.made(&0.into()).as_const(), Some(1));
        assert_eq!([0, 63, 64, 191, 192].map(|p| pages.slot(p, 192)), [0, 63, 64, 191, 64]);
        assert!(
            Pages { group: 16, ..pages }.check().is_err() && Pages { recent: 10, ..pages }.check().is_err()
        );
    }
}

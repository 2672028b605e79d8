//! Products with constant weights of which whole blocks are zero.
//!
//! A panel of columns holds only those rows of weights that are not zero in all of its columns, and a list of where they
//! belong. What is not held is neither read nor multiplied: the tile goes through the list and takes the elements of the
//! data from the places in it. The panel is as wide as it can be without holding many more zeros than narrower ones.

use super::gemm::{Cols, Gemm};
use super::kernel::{self, Kernel, Shape, Source};
use super::micro::Tile;
use super::slots;
use crate::lower::body::Body;
use crate::lower::{LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::tile::Buf;
use sinter_ir::{DType, Expr, Result, Tensor, ValueId};

/// Most vectors of a panel.
const WIDEST: usize = 4;
/// Percent of the weights that may be held, at most: below that the lists pay.
const MOST: usize = 80;

/// Weights `[k, n]` in panels without rows of zeros.
pub struct Sparse {
    /// The tile that goes with the panels.
    pub tile: Tile,
    /// Weights `[rows held][nr]`.
    values: Bytes,
    /// Rows held in front of every panel, and in all.
    starts: Bytes,
    /// Where every row belongs.
    places: Bytes,
}

impl Sparse {
    /// Of f32 weights, for a product with `m` rows; `None` where too few blocks are zero.
    pub fn of(cx: &LowerCx, t: &Tensor, m: &Expr) -> Option<Self> {
        let [.., k, n] = *t.shape() else { return None };
        if t.dtype() != DType::F32 || t.len() != k * n || k * n == 0 || k > i32::MAX as usize / WIDEST {
            return None;
        }
        let lanes = cx.target.lanes(32);
        let width = |nv: usize| nv * usize::from(lanes);
        let words = t.bytes().as_chunks::<4>().0;
        let least = held(words, (k, n), width(1));
        if least * 100 > MOST * k * n.div_ceil(width(1)) {
            return None;
        }
        // Twice as wide with all the same blocks: half as many rows.
        let nv = (1..=WIDEST).rev().filter(|nv| nv.is_power_of_two());
        let mut nv = nv.filter(|nv| *nv == 1 || n >= width(*nv));
        let nv = nv.find(|nv| *nv == 1 || held(words, (k, n), width(*nv)) * nv * 20 <= least * 21)?;
        let registers = usize::try_from(cx.target.vector_registers).unwrap_or(16).max(4);
        let most = ((registers - nv - 1) / nv).max(1);
        let mr = match m.as_const() {
            Some(m) => most.min(usize::try_from(m).unwrap_or(1).max(1)),
            None => 1 << most.ilog2(),
        };
        let tile = Tile::fixed(mr, nv, lanes);
        let (mut values, mut starts, mut places) = (vec![], vec![], vec![]);
        for from in (0..n).step_by(tile.nr()) {
            starts.extend((places.len() as i32 / 4).to_le_bytes());
            let to = (from + tile.nr()).min(n);
            for (i, row) in words.chunks_exact(n).enumerate() {
                let row = row.get(from..to).unwrap_or(&[]);
                if row.iter().any(|w| !zero(w)) {
                    values.extend(row.iter().flatten());
                    values.resize(values.len() + 4 * (from + tile.nr() - to), 0);
                    places.extend((i as i32).to_le_bytes());
                }
            }
        }
        starts.extend((places.len() as i32 / 4).to_le_bytes());
        Some(Self { tile, values: values.into(), starts: starts.into(), places: places.into() })
    }
    /// Lowers the product of `x` with the weights and its epilogue.
    pub fn lower(
        &self,
        cx: &LowerCx,
        body: &Body,
        (name, x): (&str, ValueId),
        gemm: &Gemm,
        shape: &Shape,
    ) -> Result<Lowered> {
        kernel::build(cx, body, name, |k| {
            let mut gemm = Gemm { tile: self.tile, ..gemm.clone() };
            gemm.a.2 = k.source(Source::Value(x))?;
            let mut packed = |data: &Bytes, dtype| -> Result<Buf> {
                // A buffer is never empty, not even where all weights are zero.
                let data = if data.is_empty() { vec![0; 4 * self.tile.nr()].into() } else { data.clone() };
                k.source(Source::Packed(data, dtype))
            };
            gemm.b.2 = packed(&self.values, DType::F32)?;
            let starts = packed(&self.starts, DType::I32)?;
            gemm.b.0 = Cols::Listed { starts, places: packed(&self.places, DType::I32)? };
            gemm.finish = k.out.finish();
            let work = gemm.vector_ops();
            gemm.split(slots::wanted(cx.target, work.as_ref()));
            let slots = slots::for_work(cx.target, &gemm.trips(), work.as_ref());
            let spill = k.spill(&gemm, slots, false);
            let Kernel { b, out, .. } = k;
            gemm.emit(b, slots, spill, &mut |b, at, v| shape.put(b, at, v, out))
        })
    }
}

/// Zero of either sign.
fn zero(w: &[u8; 4]) -> bool {
    f32::from_le_bytes(*w) == 0.0
}

/// Rows of panels of so many columns that are not all zero.
fn held(words: &[[u8; 4]], (_, n): (usize, usize), width: usize) -> usize {
    let row = |row: &[[u8; 4]]| row.chunks(width.max(1)).filter(|p| p.iter().any(|w| !zero(w))).count();
    words.chunks_exact(n.max(1)).map(row).sum()
}

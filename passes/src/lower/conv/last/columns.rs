//! Depthwise convolutions of bytes by dot products. A word holds one column of a window: up to four rows of one
//! channel, one below the other. Rows are joined to words once for all windows that hold them, and one dot product
//! takes the place of up to four multiply-adds.
//!
//! Sums start with what the zero point takes away, so that padding takes part in them: as the zero point.

use super::super::Layer;
use crate::lower::access;
use crate::lower::contract::micro::copy;
use crate::lower::contract::num::{FLIP, Num, Words};
use crate::lower::window::Axis;
use bytes::Bytes;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Reg};
use sinter_ir::{DType, Result, Tensor};

/// Rows per word.
const ROWS: usize = 4;
/// Rows of windows: more than one, or there is nothing to join.
const TALLEST: i64 = 8;

/// The packed operands of such a convolution.
pub struct Columns {
    /// `[vector of channels][tap of a row][word][lane]`.
    pub weights: Bytes,
    /// What sums start with, per channel; none: 0.
    pub start: Option<Bytes>,
    /// Rows and taps of a row.
    rows: usize,
    taps: usize,
    /// What data is counted from in products.
    zero: i64,
    /// Its bytes there.
    data: Words,
}

impl Columns {
    /// Of constant weights, for vectors of `width` channels; none where dot products do not pay.
    pub fn of(layer: &Layer, w: &Tensor, axes: &[Axis], width: usize) -> Result<Option<Self>> {
        let (Some(zero), [rows, row]) = (layer.op.zero, axes) else { return Ok(None) };
        let (Some(kh), Some(kw)) = (rows.taps.as_const(), row.taps.as_const()) else { return Ok(None) };
        let dots = layer.cx.target.byte_dots();
        if !dots || w.dtype() != DType::I8 || !(2..=TALLEST).contains(&kh) || width < 2 {
            return Ok(None);
        }
        let (channels, kh, kw) = (w.shape()[0], kh as usize, kw as usize);
        let padded = channels.next_multiple_of(width);
        let at = |c: usize, r: usize, k: usize| {
            let inside = c < channels && r < kh;
            inside.then(|| w.bytes().get((c * kh + r) * kw + k).copied()).flatten().unwrap_or(0)
        };
        let mut weights = Vec::with_capacity(padded * kw * kh.next_multiple_of(ROWS));
        for first in (0..padded).step_by(width) {
            for (k, word) in (0..kw).flat_map(|k| (0..kh).step_by(ROWS).map(move |r| (k, r))) {
                for c in first..first + width {
                    weights.extend((word..word + ROWS).map(|r| at(c, r, k)));
                }
            }
        }
        let data = Words::of(layer.cx.target, layer.xt.dtype);
        let zero = data.byte(zero);
        let sum = |c: usize| -> i32 {
            (0..kh * kw).map(|t| i32::from(at(c, t / kw, t % kw) as i8)).sum::<i32>() * -(zero as i32)
        };
        let start = (zero != 0).then(|| (0..padded).flat_map(|c| sum(c).to_le_bytes()).collect());
        Ok(Some(Self { weights: weights.into(), start, rows: kh, taps: kw, zero, data }))
    }
    /// Words per column.
    pub fn words(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }
}

/// The rows under the windows of one row of points.
pub struct Rows<'a> {
    columns: &'a Columns,
    x: Buf,
    weights: Buf,
    start: Option<Buf>,
    lanes: u16,
    /// Offset of every row; of those outside the image, of one inside.
    bases: Vec<Reg>,
    /// Per word the bits of rows inside, and zero points for those outside; none: all are inside.
    edges: Option<Vec<(Reg, Reg)>>,
}

impl<'a> Rows<'a> {
    /// The rows under point `y` of an axis, in an image at `image` whose rows lie `pitch` apart.
    pub fn under(
        b: &mut KernelBuilder,
        columns: &'a Columns,
        (x, weights, start): (Buf, Buf, Option<Buf>),
        lanes: u16,
        axis: &Axis,
        y: Reg,
        (image, pitch): (Reg, Reg),
    ) -> Self {
        let word = |b: &mut KernelBuilder, v: i64| access::whole(b, Elem::I32, 1, v);
        let (size, before) = (b.dim(&axis.size), b.dim(&axis.before));
        let stride = b.i64(axis.stride);
        let first = b.mul(y, stride);
        let first = b.sub(first, before);
        let none = word(b, 0);
        let mut edges = vec![(none, none); columns.words()];
        let mut bases = vec![];
        for r in 0..columns.rows {
            let ahead = b.i64(r as i64 * axis.dilation);
            let mut row = b.add(first, ahead);
            if !axis.unpadded() {
                let inside = b.cmp(CmpOp::LtU, row, size);
                let shift = 8 * (r % ROWS) as u32;
                let (all, fill) =
                    (word(b, i64::from((0xff_u32 << shift) as i32)), word(b, fill(columns, shift)));
                let (keep, instead) = (b.select(inside, all, none), b.select(inside, none, fill));
                let edge = &mut edges[r / ROWS];
                *edge = (b.bin(BinOp::Or, edge.0, keep), b.bin(BinOp::Or, edge.1, instead));
                let (zero, one) = (b.i64(0), b.i64(1));
                let last = b.sub(size, one);
                row = b.bin(BinOp::MinS, row, last);
                row = b.bin(BinOp::MaxS, row, zero);
            }
            let at = b.mul(row, pitch);
            bases.push(b.add(image, at));
        }
        let edges = (!axis.unpadded()).then(|| {
            edges.into_iter().map(|(keep, fill)| (b.splat(keep, lanes), b.splat(fill, lanes))).collect()
        });
        Self { columns, x, weights, start, lanes, bases, edges }
    }
    /// Sums in front of all products, for channels from `channel` on.
    pub fn sums(&self, b: &mut KernelBuilder, channel: Reg, n: i64) -> Vec<Reg> {
        let from = match self.start {
            Some(buf) => b.load(Elem::I32, self.lanes, buf, Addr::reg(channel), None),
            None => access::whole(b, Elem::I32, self.lanes, 0),
        };
        (0..n).map(|_| copy(b, from)).collect()
    }
    /// The weights of tap `k` of a row.
    pub fn weights(&self, b: &mut KernelBuilder, channel: Reg, k: i64) -> Vec<Reg> {
        let (lanes, words) = (i64::from(self.lanes), self.columns.words() as i64);
        let per = self.columns.taps as i64 * words;
        (0..words)
            .map(|w| {
                let at = Addr { terms: vec![(channel, per)], offset: (k * words + w) * lanes };
                b.load(Elem::I32, self.lanes, self.weights, at, None)
            })
            .collect()
    }
    /// The words of the column `ahead` elements into the rows; none: beyond their ends.
    pub fn column(&self, b: &mut KernelBuilder, ahead: Option<Addr>, tail: Option<Reg>) -> Vec<Reg> {
        let Some(ahead) = ahead else {
            let word = i64::from(i32::from_le_bytes([self.columns.zero as u8; 4]));
            return vec![access::whole(b, Elem::I32, self.lanes, word); self.columns.words()];
        };
        self.bases
            .chunks(ROWS)
            .enumerate()
            .map(|(w, bases)| {
                let word = self.join(b, bases, &ahead, tail);
                match &self.edges {
                    Some(edges) => {
                        let word = b.bin(BinOp::And, word, edges[w].0);
                        b.bin(BinOp::Or, word, edges[w].1)
                    }
                    None => word,
                }
            })
            .collect()
    }
    /// Up to four rows as the bytes of words.
    fn join(&self, b: &mut KernelBuilder, bases: &[Reg], ahead: &Addr, tail: Option<Reg>) -> Reg {
        let mut word: Option<Reg> = None;
        for (&base, shift) in bases.iter().zip((0..).step_by(8)) {
            let v = b.load(Elem::I8, self.lanes, self.x, ahead.clone().plus(base, 1), tail);
            let mut v = b.cvt(CvtOp::ZExt, Elem::I32, v);
            if shift > 0 {
                let by = access::whole(b, Elem::I32, self.lanes, shift);
                v = b.bin(BinOp::Shl, v, by);
            }
            word = Some(word.map_or(v, |w| b.bin(BinOp::Or, w, v)));
        }
        let word = word.unwrap_or_else(|| access::whole(b, Elem::I32, self.lanes, 0));
        if !self.columns.data.flip {
            return word;
        }
        let flip = access::whole(b, Elem::I32, self.lanes, FLIP);
        b.bin(BinOp::Xor, word, flip)
    }
    /// Adds the products of a column and the weights of a tap.
    pub fn add(&self, b: &mut KernelBuilder, sum: Reg, column: &[Reg], weights: &[Reg]) {
        for (&x, &w) in column.iter().zip(weights) {
            Num::words(self.columns.data).mul_add(b, x, w, sum);
        }
    }
}

/// The zero point in place of a row.
fn fill(columns: &Columns, shift: u32) -> i64 {
    i64::from((u32::from(columns.zero as u8) << shift) as i32)
}

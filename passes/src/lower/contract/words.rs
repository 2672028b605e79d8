//! Bytes in words of four: contractions by dot products.
//!
//! A word of data holds four neighbours along k; the word of weights beside it the same four of one column. Data is
//! counted from a zero point z: instead of `Σ (x - z) w`, sums start with `-z Σ w`, which is known beforehand. Where
//! dot products take no data with a sign, it loses it by counting from 128 below, and the other way round. Where there
//! are products of 16 bits only, weights are such pairs already: two rows for every word of data.

use super::num::{self, Form, Num};
use crate::lower::LowerCx;
use bytes::Bytes;
use sinter_ir::{DType, Expr, Result, Tensor};

/// A contraction of bytes by words.
#[derive(Debug, Clone)]
pub struct Words {
    /// Weights: i32, with a quarter of the rows along k, or half of them ([`num::Words::rows`]).
    pub weights: Tensor,
    /// Words of data.
    pub data: Num,
    /// What data is counted from in products.
    pub zero: i64,
    /// Bytes along k, where the last word is not whole: its other weights are 0.
    pub ragged: Option<i64>,
    /// Sum of the weights of every column.
    columns: Vec<i64>,
}

/// Data of a contraction.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// Its type.
    pub dtype: DType,
    /// What it is counted from, where that is a contraction of bytes.
    pub zero: Option<i64>,
    /// What no element exceeds.
    pub largest: Option<i64>,
    /// Its rows.
    pub rows: &'a Expr,
}

impl Words {
    /// Of signed weights with k along `axis` and columns along `column`; none where dot products do not pay, and where
    /// k is no whole number of words unless `pads`.
    pub fn of(
        cx: &LowerCx,
        data: Data,
        w: &Tensor,
        (axis, column): (usize, usize),
        pads: bool,
    ) -> Result<Option<Self>> {
        let (Some(zero), true) = (data.zero, cx.target.dots() && w.dtype() == DType::I8) else {
            return Ok(None);
        };
        let k = w.shape()[axis];
        let whole = k.is_multiple_of(4);
        if !whole && !pads || k == 0 {
            return Ok(None);
        }
        let inner: usize = w.shape()[axis + 1..].iter().product();
        let outer: usize = w.shape()[..axis].iter().product();
        let at = |o: usize, i: usize, j: usize| w.bytes().get((o * k + i) * inner + j).copied();
        let byte = |o, b, j| if b < k { at(o, b, j).unwrap_or(0) } else { 0 };
        let mut form = num::Words::of(cx.target, data.dtype);
        if cx.target.halves() {
            // Bytes have no sign in such products; what stands for padding is data too.
            let largest = data.largest.map_or(255, |v| form.byte(v.max(zero)));
            form = form.without_dots(data.rows, largest * neighbours(w.bytes(), (outer, k, inner)));
            if !whole && form.narrow().is_none() {
                return Ok(None);
            }
        }
        let rows = form.rows();
        let mut words = Vec::with_capacity(rows * w.bytes().len());
        for (o, i) in (0..outer).flat_map(|o| (0..rows * k.div_ceil(4)).map(move |i| (o, i))) {
            for j in 0..inner {
                if form.form == Form::Halves {
                    let first = i / 2 * 4 + i % 2;
                    let pair = [first, first + 2].map(|b| i16::from(byte(o, b, j) as i8));
                    words.extend(pair.into_iter().flat_map(i16::to_le_bytes));
                } else {
                    words.extend((4 * i..4 * i + 4).map(|b| byte(o, b, j)));
                }
            }
        }
        let mut shape = w.shape().to_vec();
        shape[axis] = rows * k.div_ceil(4);
        Ok(Some(Self {
            weights: Tensor::from_bytes(DType::I32, shape, words)?,
            data: Num::words(form),
            zero: form.byte(zero),
            ragged: (!whole).then_some(k as i64),
            columns: column_sums(w, column),
        }))
    }
    /// What sums start with, where that is not 0: for every group of columns all those of its panels.
    pub fn start(&self, groups: usize, nr: usize) -> Option<Bytes> {
        let per = (self.columns.len() / groups.max(1)).max(1);
        let mut out = vec![];
        for group in self.columns.chunks(per) {
            let padding = std::iter::repeat_n(&0, group.len().next_multiple_of(nr) - group.len());
            let start = group.iter().chain(padding).map(|sum| (-self.zero * sum) as i32);
            out.extend(start.flat_map(i32::to_le_bytes));
        }
        (self.zero != 0).then(|| out.into())
    }
}

/// The largest magnitude of sums of weights of one sign among the first two of a word, or the last two.
fn neighbours(bytes: &[u8], (outer, k, inner): (usize, usize, usize)) -> i64 {
    let at = |o: usize, i: usize, j: usize| match bytes.get((o * k + i) * inner + j) {
        Some(&v) if i < k => i64::from(v as i8),
        _ => 0,
    };
    let pairs = (0..outer).flat_map(|o| (0..k).step_by(2).map(move |i| (o, i)));
    let most = |(o, i): (usize, usize)| {
        let sums = (0..inner).flat_map(move |j| {
            let pair = [at(o, i, j), at(o, i + 1, j)];
            [pair.map(|v| v.max(0)), pair.map(|v| (-v).max(0))].map(|p| p[0] + p[1])
        });
        sums.max().unwrap_or(0)
    };
    pairs.map(most).max().unwrap_or(0)
}

/// Sums per index of an axis.
fn column_sums(w: &Tensor, axis: usize) -> Vec<i64> {
    let inner: usize = w.shape()[axis + 1..].iter().product();
    let n = w.shape()[axis].max(1);
    let mut sums = vec![0; w.shape()[axis]];
    for (i, &v) in w.bytes().iter().enumerate() {
        if let Some(s) = sums.get_mut(i / inner.max(1) % n) {
            *s += i64::from(v as i8);
        }
    }
    sums
}

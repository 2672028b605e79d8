//! Convolution with channels last: output points are the rows of a product, output channels its columns.
//!
//! - pointwise of stride 1: a plain product over all points of all images;
//! - depthwise: lanes along the channels, see [`depthwise`];
//! - windows of several taps and stride 1 where that is faster: [`winograd`];
//! - all others: [`direct`], with the image in place or rows of it copied to a padded [`slab`]; with few
//!   output channels neighbouring points are columns, see [`fold`].

mod columns;
mod depthwise;
mod direct;
mod fold;
pub(crate) mod odd;
mod plan;
mod slab;
mod winograd;

use super::Layer;
use crate::lower::Lowered;
use crate::lower::contract::gemm::{Cols, Finish, Gemm, Rows, block_bytes};
use crate::lower::contract::kernel::{self, Shape, Source};
use crate::lower::contract::micro::Tile;
use crate::lower::contract::num::Num;
use crate::lower::contract::words::{Data, Words};
use crate::lower::contract::{pack, pairs, squares};
use crate::lower::window::Axis;
use sinter_ir::expr::product;
use sinter_ir::tile::{Buf, Elem};
use sinter_ir::{DType, Diag, Result, Tensor, TensorType};

/// Channels that may be filled up to whole words: those of one vector.
const MOST_PADDED: usize = 16;

/// Lowers a convolution of channels-last data with constant weights.
pub fn lower(layer: &Layer) -> Result<Lowered> {
    let w = layer.body.const_of(layer.w).ok_or_else(|| {
        Diag::unsupported("a convolution with channels last and weights computed at run time")
    })?;
    if layer.op.group == 1 && pairs::wanted(layer.cx, layer.body, layer.x, w, &layer.wt.dims[1]) {
        return match winograd::lower(layer, w, &layer.axes())? {
            Some(lowered) => Ok(lowered),
            None => paired(layer, &pairs::words(w, 1)?),
        };
    }
    if layer.cx.target.pairs() && odd_pairs(layer, w) {
        let words = odd::Words::of(layer, w)?;
        let wt = TensorType::of(&words.weights);
        let num = Num::bf16_pairs();
        let as_words = Layer { op: &words.op, xt: &words.x, wt: &wt, num, weights: num, ..*layer };
        return lower_as(&as_words, &words.weights);
    }
    lower_as(layer, w)
}

/// Whether words of a convolution hold neighbours of different points.
fn odd_pairs(layer: &Layer, w: &Tensor) -> bool {
    let types = [layer.xt.dtype, w.dtype()] == [DType::BF16; 2];
    types && layer.body.input_index(layer.x).is_some() && odd::fits(layer.op, layer.xt, w.shape())
}

/// A convolution of half as many channels, each two bf16.
fn paired(layer: &Layer, words: &Tensor) -> Result<Lowered> {
    let (mut xt, mut wt) = (layer.xt.clone(), layer.wt.clone());
    wt.dtype = words.dtype();
    for channels in [xt.dims.last_mut(), wt.dims.get_mut(1)].into_iter().flatten() {
        *channels = channels.div(&2.into());
    }
    let num = Num::bf16_pairs();
    lower_as(&Layer { xt: &xt, wt: &wt, num, weights: num, ..*layer }, words)
}

fn lower_as(layer: &Layer, w: &Tensor) -> Result<Lowered> {
    let (group, axes) = (layer.op.group, layer.axes());
    if group > 1 && w.shape()[1] == 1 && w.shape()[0] == group {
        return depthwise::lower(layer, w, &axes);
    }
    if let Some(lowered) = winograd::lower(layer, w, &axes)? {
        return Ok(lowered);
    }
    // Rows of the zero point stand for the padding of one outer axis.
    let clipped = axes.iter().rev().skip(2).any(|a| !a.unpadded());
    // Few channels are made whole words on the way to a slab.
    let target = layer.cx.target;
    let pads = target.lanes(32) > 1 && group == 1 && w.shape()[1] <= MOST_PADDED;
    let points = product(&layer.yt.dims[..layer.yt.rank() - 1]);
    let (zero, largest) = (layer.op.zero, layer.op.largest);
    let data = Data { dtype: layer.xt.dtype, zero, largest, rows: &points };
    let words = if clipped { None } else { Words::of(layer.cx, data, w, (1, 0), pads)? };
    let Some(words) = words else { return dense(layer, w, axes, None) };
    let (mut xt, mut wt) = (layer.xt.clone(), layer.wt.clone());
    (xt.dtype, wt.dtype) = (DType::I32, DType::I32);
    let channels = [xt.dims.last_mut(), wt.dims.get_mut(1)];
    channels.into_iter().flatten().for_each(|d| *d = d.ceil_div(&4.into()));
    let weights = Num::plain(DType::I32, Elem::I32);
    let layer = Layer { xt: &xt, wt: &wt, num: words.data, weights, ..*layer };
    dense(&layer, &words.weights, axes, Some(&words))
}

/// One that is not depthwise; `w` are the weights, those of `words` where there are any.
fn dense(layer: &Layer, w: &Tensor, axes: Vec<Axis>, words: Option<&Words>) -> Result<Lowered> {
    let plain = |a: &Axis| a.stride == 1 && a.taps.is(1) && a.unpadded();
    let ragged = words.is_some_and(|w| w.ragged.is_some());
    if layer.op.group == 1 && axes.iter().all(plain) && !ragged {
        return pointwise(layer, w, words);
    }
    direct::lower(layer, w, axes, words)
}

fn pointwise(layer: &Layer, w: &Tensor, words: Option<&Words>) -> Result<Lowered> {
    let rank = layer.xt.rank();
    let (m, n) = (product(&layer.yt.dims[..rank - 1]), layer.wt.dims[0].clone());
    let (o, rows) = (w.shape()[0], w.shape()[1]);
    let c = rows / layer.num.rows();
    let tile = Tile::pick_strided(layer.cx, layer.num, &m, &n, &c.into());
    let gemm = Gemm {
        batch: vec![],
        a_batch: vec![],
        b_batch: vec![],
        a: (Rows::Strided { row: c.into(), step: 1.into() }, layer.num, Buf(0)),
        b: (Cols::Panels, layer.weights, Buf(0)),
        m,
        n,
        k: c.into(),
        tile,
        block: block_bytes(layer.cx.target),
        start: None,
        finish: Finish::Registers,
    };
    let shape = Shape { grouped: None, rows: rank - 1, cols: 1 };
    if let Some(words) = words.filter(|_| squares::wanted(layer.cx, &gemm)) {
        let from = (&*layer.name("conv1_mat8"), layer.x);
        let weights = (&words.weights, words.start(1, squares::COLUMNS));
        return squares::lower(layer.cx, layer.body, from, gemm, weights, |k, j| j * c + k, &shape);
    }
    if let Some(gemm) = squares::narrowed(layer.cx, &gemm, layer.xt.dtype, w) {
        let from = (&*layer.name("conv1_mat4"), layer.x);
        let words = pairs::words(w, 1)?;
        return squares::lower(
            layer.cx,
            layer.body,
            from,
            gemm,
            (&words, None),
            |k, j| j * (c / 2) + k,
            &shape,
        );
    }
    let packed = pack::panels(w, (1, rows, o), tile.nr(), |_, k, j| Some(j * rows + k))?;
    let from = [Source::Value(layer.x), Source::Packed(packed, layer.wt.dtype)];
    let (family, start) = match words {
        Some(words) => ("conv1_dot", words.start(1, gemm.tile.nr())),
        None => ("conv1_last", None),
    };
    kernel::lower(layer.cx, layer.body, &layer.name(family), &gemm, &from, start, &shape)
}

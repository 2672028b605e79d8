//! Where Winograd's method is worth it, and how a convolution is cut up for it.

use super::super::super::Layer;
use super::points::Points;
use crate::layout::Sizes;
use crate::lower::contract::gemm::block_bytes;
use crate::lower::contract::micro::Tile;
use crate::lower::contract::num::Num;
use crate::lower::contract::{pack, pairs, slots};
use crate::lower::window::Axis;
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::tile::Elem;
use sinter_ir::{DType, Expr, Result, Tensor};

/// Distances of rows that are a multiple of this many bytes meet in a few sets of the first-level cache.
const ALIASED: i64 = 2048;
/// Bytes of a cache line.
const LINE: i64 = 64;
/// Cycles to send an element's vector through one pass of a transform.
const TRANSFORM: f64 = 2.0;
/// Bytes of weights per cycle, from beyond the second-level cache.
const STREAM: f64 = 24.0;
/// Times that products take which split words of bytes on the way.
const SPLIT: f64 = 1.5;
/// Instructions of a kernel, about, and of a plain convolution's: the longer one must be faster by what that is worth.
const CODE: i64 = 600;
const PLAIN_CODE: i64 = 300;
/// Vectors of a panel at most, or somewhat more.
const PANEL: i64 = 4;
/// Times what weights were stored in that they may become.
const MOST_GROWTH: usize = 4;
/// The same on machines without vectors, which have little memory as a rule.
const MOST_GROWTH_OF_SMALL: usize = 2;
/// Products of a tile along an axis at most where both axes are transformed.
const MOST_SQUARED: usize = 6;
/// Taps of an axis at most.
const MOST_TAPS: i64 = 7;
/// Terms of a sum of products of bytes at most: four times that fits 32 bits.
const MOST_TERMS: usize = 1 << 14;
/// Tiles that a block should have at least for the weights to be worth another pass.
const ROWS: i64 = 12;

/// How a convolution is cut up: items are blocks of tiles of all images by panels of output channels.
pub struct Plan<'a> {
    pub layer: &'a Layer<'a>,
    /// Elements of the data as it is transformed.
    pub data: Num,
    /// Elements of the products: f32, or words of two channels in bf16 or 16 bits.
    pub num: Num,
    /// Transforms of rows and columns.
    pub points: [Points; 2],
    /// Rows and columns of the image; images of one axis are one row.
    pub axes: [Axis; 2],
    /// Channels of the data and of the result.
    pub channels: i64,
    pub columns: i64,
    /// Register tile of the products.
    pub tile: Tile,
    /// Tiles per block.
    pub block: i64,
    /// Elements between the tiles of a block: transformed data, and products.
    pub pitch: i64,
}

impl<'a> Plan<'a> {
    /// The plan of a convolution that is faster so.
    pub fn new(layer: &'a Layer<'a>, w: &Tensor, axes: &[Axis]) -> Option<Self> {
        let (data, num) = numbers(layer, w)?;
        let axes = match axes {
            [cols] => [Axis::single(), cols.clone()],
            [rows, cols] => [rows.clone(), cols.clone()],
            _ => return None,
        };
        let [of_rows, of_cols] = axes.each_ref().map(|a| transforms(a, num.pairs));
        let square = |&rows: &Points| of_cols.iter().map(move |&cols| [rows, cols]);
        // Two transforms magnify errors, and their tiles need room, as the product of each.
        let fits = |p: &[Points; 2]| match p.iter().filter(|p| !p.is_plain()).count() {
            0 => false,
            1 => true,
            _ => p.iter().all(|p| p.products() <= MOST_SQUARED),
        };
        // Weights that were stored in 16 bits are f32 when they are transformed for f32 data.
        let bits = if num.pairs { 16 } else { 32 };
        let most = if layer.cx.target.lanes(32) > 1 { MOST_GROWTH } else { MOST_GROWTH_OF_SMALL };
        let grows = |p: &[Points; 2]| {
            let of = |n: fn(Points) -> usize| p.iter().map(|&p| n(p)).product::<usize>();
            of(Points::products) * bits > most * of(Points::taps) * w.dtype().bits()
        };
        let all = of_rows.iter().flat_map(square).filter(|p| fits(p) && !grows(p));
        let plans: Vec<Self> =
            all.map(|points| Self::shape(layer, w, (data, num), axes.clone(), points)).collect();
        let code = layer.cx.target.cost.code;
        let limit = direct(plans.first()?) * (code + PLAIN_CODE) as f64 / (code + CODE) as f64;
        let timed = plans.into_iter().map(|p| (p.time(), p)).filter(|(t, _)| *t < limit);
        timed.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, p)| p)
    }
    fn shape(
        layer: &'a Layer<'a>,
        w: &Tensor,
        (data, num): (Num, Num),
        axes: [Axis; 2],
        points: [Points; 2],
    ) -> Self {
        let (columns, channels) = (w.shape()[0] as i64, w.shape()[1] as i64);
        let lanes = i64::from(layer.cx.target.lanes(layer.num.acc.bits()));
        let bytes = num.bytes();
        let mut pitch = round_up(if num.pairs { channels / 2 } else { channels }, lanes);
        if (pitch * bytes) % ALIASED == 0 {
            pitch += LINE / bytes;
        }
        let tile = Tile::fixed(1, 1, lanes as u16);
        let mut plan = Self { layer, data, num, points, axes, channels, columns, tile, block: 1, pitch };
        // What is transformed and multiplied stays in the second-level cache.
        let area = plan.area();
        let per_tile = area * (pitch + round_up(columns, lanes).min(PANEL * lanes)) * bytes;
        let fit = (block_bytes(layer.cx.target) / per_tile.max(1)).max(1);
        plan.block = match plan.tiles().as_const() {
            Some(tiles) => {
                // Weights that come from beyond the second-level cache for every block had better come once, where
                // threads can share panels.
                let weights = area * plan.depth() * columns * bytes;
                let near = weights <= block_bytes(layer.cx.target) || shares(columns) == 1;
                let blocks = blocks(tiles, fit, near && layer.cx.target.cores > 1);
                ((tiles + blocks - 1) / blocks).max(1)
            }
            None => fit,
        };
        let rows = plan.rows();
        plan.tile = Tile::pick_strided(layer.cx, num, &rows, &columns.into(), &pitch.into());
        plan
    }
    /// Channels that are one term of a product.
    pub fn per_word(&self) -> i64 {
        if self.num.pairs { 2 } else { 1 }
    }
    /// Lanes of data as it is transformed.
    pub fn data_lanes(&self) -> u16 {
        self.layer.cx.target.lanes(self.data.acc.bits())
    }
    /// Elements of such data in the room of an element of the sums.
    pub fn data_per_sum(&self) -> i64 {
        i64::from(self.layer.num.acc.bits() / self.data.acc.bits())
    }
    /// Bits that the results are too large by: integers are multiplied with weights that are whole numbers.
    pub fn excess_bits(&self) -> u32 {
        if self.data.acc.is_float() { 0 } else { self.points.iter().map(|p| p.fraction_bits()).sum() }
    }
    /// Terms of a product.
    pub fn depth(&self) -> i64 {
        self.channels / self.per_word()
    }
    /// Products of a tile along rows and columns.
    pub fn products(&self) -> [i64; 2] {
        self.points.map(|p| p.products() as i64)
    }
    /// Products per tile.
    pub fn area(&self) -> i64 {
        self.products().iter().product()
    }
    /// Tiles per image along an axis.
    pub fn along(&self, axis: usize) -> Expr {
        self.axes[axis].points.ceil_div(&(self.points[axis].results() as i64).into())
    }
    /// All tiles: of all images, rows, columns.
    pub fn tile_dims(&self) -> [Expr; 3] {
        [self.layer.xt.dims[0].clone(), self.along(0), self.along(1)]
    }
    pub fn tiles(&self) -> Expr {
        product(&self.tile_dims())
    }
    /// Rows of the products of a block: all blocks are alike where the number of tiles is known.
    pub fn rows(&self) -> Expr {
        if self.tiles().as_const().is_some() { self.block.into() } else { self.tiles() }
    }
    pub fn panels(&self) -> i64 {
        let nr = self.tile.nr() as i64;
        (self.columns + nr - 1) / nr
    }
    /// Blocks by panels.
    pub fn work(&self) -> [Expr; 2] {
        [self.tiles().ceil_div(&self.block.into()), self.panels().into()]
    }
    /// Elements between the factors of neighbouring products in a block with rows of `pitch`: an odd number of cache
    /// lines, as a tile's factors are written and its products read at these distances.
    pub fn plane(&self, pitch: i64) -> i64 {
        let line = LINE / self.num.bytes();
        (((self.block * pitch + line - 1) / line) | 1) * line
    }
    /// Elements between the products of neighbouring tiles.
    pub fn column_pitch(&self) -> i64 {
        self.tile.nr() as i64
    }
    pub fn slots(&self) -> i64 {
        let trips = product(&self.work());
        let blocks = trips.clone().div(&self.panels().into());
        let vectors = round_up(self.columns, self.tile.lanes.into()) / i64::from(self.tile.lanes);
        let ops = self.tiles().as_const().map(|t| t * self.area() * self.depth() * vectors);
        let slots = slots::for_work(self.layer.cx.target, &trips, ops.as_ref());
        blocks.as_const().map_or(slots, |b| slots.min(b * shares(self.columns)))
    }
    /// `[panel][product][term][nr]`, in the order in which they are read; transformed in f64, which is exact for integers.
    pub fn pack(&self, w: &Tensor) -> Result<Bytes> {
        let (o, c) = (w.shape()[0], w.shape()[1]);
        let (values, [of_rows, of_cols]) = (w.to_f64()?, self.points);
        let (n, area) = (of_cols.products(), self.area() as usize);
        let scale = f64::from(1u32 << self.excess_bits());
        let mut all = vec![0.0f32; area * c * o];
        for (at, window) in values.chunks_exact(of_rows.taps() * of_cols.taps()).enumerate() {
            let (j, k) = (at / c, at % c);
            let rows: Vec<Vec<f64>> =
                window.chunks_exact(of_cols.taps()).map(|row| of_cols.weights(row)).collect();
            for x in 0..n {
                let column: Vec<f64> = rows.iter().map(|row| row[x]).collect();
                for (y, v) in of_rows.weights(&column).into_iter().enumerate() {
                    all[((y * n + x) * c + k) * o + j] = (v * scale) as f32;
                }
            }
        }
        let mut all = Tensor::f32s(vec![area, c, o], &all)?;
        let c = self.depth() as usize;
        if self.num.pairs {
            let dtype = if self.data.acc.is_float() { DType::BF16 } else { DType::I16 };
            all = pairs::words(&Tensor::from_f32(dtype, all.shape().to_vec(), &all.to_f32()?)?, 1)?;
        }
        let (panels, nr) = (self.panels() as usize, self.tile.nr());
        pack::panels(&all, (panels, area * c, nr), nr, |q, k, j| {
            let column = q * nr + j;
            (column < o).then(|| k * o + column)
        })
    }
    /// A size to count with.
    fn typical(&self, e: &Expr) -> f64 {
        Sizes::new(self.layer.cx.symbols).of(e)
    }
    fn vectors(&self, n: i64, lanes: u16) -> f64 {
        (round_up(n, lanes.into()) / i64::from(lanes)) as f64
    }
    /// Cycles: products, transforms, weights.
    fn time(&self) -> f64 {
        let (tiles, area) = (self.typical(&self.tiles()), self.area() as f64);
        let from = self.vectors(self.channels, self.data_lanes());
        let to = self.vectors(self.columns, self.tile.lanes);
        let products = tiles * area * self.depth() as f64 * to / 2.0;
        let passes = self.points.iter().filter(|p| !p.is_plain()).count() as f64;
        let transforms = tiles * area * passes * TRANSFORM * (from + to);
        let weights = area * (self.depth() * self.columns * self.num.bytes()) as f64;
        let blocks = (tiles / self.block as f64).ceil();
        let passes = if weights > block_bytes(self.layer.cx.target) as f64 { blocks } else { 1.0 };
        products + transforms + weights * passes / STREAM
    }
}

/// Elements of the data as it is transformed and of the products, for types that this takes.
fn numbers(layer: &Layer, w: &Tensor) -> Option<(Num, Num)> {
    let (target, data) = (layer.cx.target, layer.num);
    let types = [data.dtype, w.dtype()];
    if layer.op.group != 1 || layer.cx.exact_convolutions {
        return None;
    }
    let even = w.shape().get(1)? % 2 == 0;
    if layer.op.zero.is_some() {
        // Sums of four bytes and of nine times a byte fit 16 bits; their products are exact in 32, as is four times a
        // result.
        let fits = w.shape()[1..].iter().product::<usize>() <= MOST_TERMS;
        let bytes = types[0].bits() == 8 && types[1] == DType::I8;
        let takes = target.halves() && bytes && even && fits;
        return takes.then(|| (Num { acc: Elem::I16, ..data }, Num::integer_pairs()));
    }
    if target.pairs() && types == [DType::BF16; 2] && even {
        return Some((data, Num::bf16_pairs()));
    }
    (types[0] == DType::F32 && types[1].is_float()).then_some((data, data))
}

/// The ways to transform an axis. In bf16 and integers only those whose factors are ±1: others magnify the rounding too much.
fn transforms(axis: &Axis, pairs: bool) -> Vec<Points> {
    let plain = axis.stride == 1 && axis.dilation == 1;
    let taps = axis.taps.as_const().filter(|&taps| plain && (1..=MOST_TAPS).contains(&taps));
    let all = taps.map_or(vec![], |taps| Points::of(taps as usize));
    all.into_iter().filter(|p| !pairs || p.products() <= 4).collect()
}

/// Cycles of the plain convolution.
fn direct(plan: &Plan) -> f64 {
    let yt = plan.layer.yt;
    let points = product(&yt.dims[..yt.rank() - 1]);
    let taps = plan.points.iter().map(|p| p.taps() as f64).product::<f64>();
    let products =
        plan.typical(&points) * taps * plan.depth() as f64 * plan.vectors(plan.columns, plan.tile.lanes)
            / 2.0;
    let weights = taps * (plan.depth() * plan.columns * plan.num.bytes()) as f64;
    let splits = if plan.num.sums_apart() { SPLIT } else { 1.0 };
    products * splits + weights / STREAM
}

/// Blocks of equal size for a number of tiles of which `fit` stay in the cache, or somewhat more if that makes fewer;
/// an even number where two threads could take them.
fn blocks(tiles: i64, fit: i64, threads: bool) -> i64 {
    let blocks = ((tiles + fit / 2) / fit).max(1);
    let odd = threads && blocks % 2 == 1 && tiles >= (blocks + 1) * ROWS;
    if odd { blocks + 1 } else { blocks }
}

/// How many threads may share a block: each transforms all of its data, which is little next to the products of 64
/// output channels, but not nothing.
fn shares(columns: i64) -> i64 {
    (columns / 64).min(2).max(columns / 128).max(1)
}

fn round_up(n: i64, to: i64) -> i64 {
    (n + to - 1) / to * to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_find_work_and_blocks_stay_high() {
        assert_eq!(blocks(260, 75, true), 4);
        assert_eq!(blocks(260, 75, false), 3);
        assert_eq!(blocks(70, 56, true), 2);
        // Half of it would be too few rows: panels are shared instead.
        assert_eq!(blocks(16, 14, true), 1);
        assert_eq!(blocks(25, 40, true), 2);
        assert_eq!([32, 64, 128, 256, 512].map(shares), [1, 1, 2, 2, 4]);
    }
}

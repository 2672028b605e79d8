//! How a convolution of channels-last data is cut into work items, and where its operands lie.

use super::super::Layer;
use crate::lower::contract::gemm::block_bytes;
use crate::lower::contract::micro::Tile;
use crate::lower::contract::pack;
use crate::lower::contract::words::Words;
use crate::lower::window::Axis;
use sinter_ir::expr::product;
use sinter_ir::{Expr, Result, Tensor};

/// Distances of points that are a multiple of this many bytes meet in a few sets of the first-level cache.
const ALIASED: i64 = 2048;

/// How a convolution is cut up.
pub struct Plan<'a> {
    pub layer: &'a Layer<'a>,
    /// Outer axes that matter; the last is cut into blocks.
    pub outer: Vec<Axis>,
    /// Innermost axis.
    pub inner: Axis,
    /// Which spatial axes these are.
    pub places: Vec<usize>,
    /// Channels of the data, and of one group.
    pub channels: i64,
    pub per_group: i64,
    /// Output channels of one group.
    pub columns: i64,
    pub tile: Tile,
    /// Rows and points per work item.
    pub rows: i64,
    pub points: Option<i64>,
    /// Elements between points, in a padded copy; none: the image is read in place.
    pub slab: Option<i64>,
    /// Bytes of words that padding stands for: then it takes part in the sums.
    pub zero: i64,
    /// Bytes per point of the data, where they become whole words on the way to the slab.
    pub bytes: Option<i64>,
}

impl<'a> Plan<'a> {
    pub fn new(layer: &'a Layer<'a>, w: &Tensor, axes: Vec<Axis>, words: Option<&Words>) -> Self {
        let (zero, bytes) = (words.map_or(0, |w| w.zero), words.and_then(|w| w.ragged));
        // Axes of one position do nothing.
        let trivial = |a: &Axis| a.size.is(1) && a.points.is(1) && a.taps.is(1) && a.unpadded();
        let mut kept: Vec<(usize, Axis)> =
            axes.iter().cloned().enumerate().filter(|(_, a)| !trivial(a)).collect();
        let (last, inner) = kept.pop().unwrap_or_else(|| (axes.len() - 1, axes[axes.len() - 1].clone()));
        let (mut places, outer): (Vec<usize>, Vec<Axis>) = kept.into_iter().unzip();
        places.push(last);
        let per_group = (w.shape()[1] / layer.num.rows()) as i64;
        let channels = per_group * layer.op.group as i64;
        let columns = (w.shape()[0] / layer.op.group.max(1)) as i64;
        let aliased = |pitch: i64| (pitch * layer.num.bytes()) % ALIASED == 0;
        let many = columns > 4 * i64::from(layer.cx.target.lanes(layer.num.acc.bits()));
        let slab = if aliased(inner.stride * channels) && many {
            Some(channels + 64 / layer.num.ready().bytes())
        } else {
            (!inner.unpadded()).then_some(channels)
        };
        let tile = Tile::pick(layer.cx, layer.num, &inner.points, &columns.into());
        let mut plan = Self {
            layer,
            outer,
            inner,
            places,
            channels,
            per_group,
            columns,
            tile,
            rows: 1,
            points: None,
            slab,
            zero,
            bytes,
        };
        // Rows of zero points are rows of a slab, and bytes are brought into the form of the arithmetic once.
        let converts = layer.xt.dtype.is_int() && layer.num != layer.num.ready() || bytes.is_some();
        if plan.slab.is_none() && (plan.fills_rows() || converts) {
            plan.slab = Some(channels);
        }
        plan.block();
        plan
    }

    /// Whether rows beyond the image are read, instead of clipping the taps of the outer axes.
    pub fn fills_rows(&self) -> bool {
        self.zero != 0 && self.outer.last().is_some_and(|a| !a.unpadded())
    }

    /// Chooses the work items by the size of what they read.
    fn block(&mut self) {
        // Input rows are read once per panel.
        let bytes = block_bytes(self.layer.cx.target);
        let element = self.layer.num.ready().bytes();
        let most = |e: &Expr| e.as_const().unwrap_or_else(|| self.layer.cx.symbols.range(e).1).max(1);
        let fixed = |e: &Expr| e.as_const().unwrap_or(1).max(1);
        let window: i64 = self.outer.iter().map(|a| fixed(&a.taps)).product();
        let point = self.inner.stride * self.slab.unwrap_or(self.channels) * element;
        let width = most(&self.inner.points);
        let fit = (bytes / (point * window).max(1)).max(1);
        if width > fit {
            let mr = self.tile.mr as i64;
            self.points = Some((fit / mr).max(1) * mr);
        }
        if let Some(rows) = self.outer.last() {
            let row = point * width.min(self.points.unwrap_or(i64::MAX));
            let others = window / fixed(&rows.taps);
            let fit = bytes / (row * others).max(1);
            let room = fit - (fixed(&rows.taps) - 1) * rows.dilation;
            self.rows = (room / rows.stride).clamp(1, most(&rows.points));
        }
    }
    /// Makes smaller items when there are fewer than threads could take.
    pub fn split(&mut self, slots: i64) {
        if let Some(points) = self.outer.last().and_then(|a| a.points.as_const()).filter(|_| slots > 1) {
            self.rows = self.rows.min((points + slots - 1) / slots).max(1);
        }
    }
    pub fn panels(&self) -> i64 {
        let nr = self.tile.nr() as i64;
        (self.columns + nr - 1) / nr
    }
    /// Outermost first; the innermost are panels of all groups.
    pub fn work(&self) -> Vec<Expr> {
        let mut work = vec![self.layer.xt.dims[0].clone()];
        if let Some((rows, outer)) = self.outer.split_last() {
            work.extend(outer.iter().map(|a| a.points.clone()));
            work.push(rows.points.ceil_div(&self.rows.into()));
        }
        work.push(self.points.map_or(1.into(), |n| self.inner.points.ceil_div(&n.into())));
        work.push((self.panels() * self.layer.op.group as i64).into());
        work
    }
    pub fn trips(&self) -> Expr {
        product(&self.work())
    }
    /// Vector multiply-adds of the whole convolution, where known.
    pub fn vector_ops(&self) -> Option<i64> {
        let images = self.layer.xt.dims[0].clone() * self.inner.points.clone();
        let points = (images * product(self.outer.iter().map(|a| &a.points))).as_const()?;
        let vectors = (self.columns + i64::from(self.tile.lanes) - 1) / i64::from(self.tile.lanes);
        points.checked_mul(self.depth())?.checked_mul(vectors * self.layer.op.group as i64)
    }
    /// Terms per sum.
    pub fn depth(&self) -> i64 {
        self.taps() * self.per_group
    }
    fn taps(&self) -> i64 {
        product(&self.layer.wt.dims[2..]).as_const().unwrap_or(0)
    }
    /// Weights of a panel per element of data.
    pub fn panel_row(&self) -> i64 {
        (self.layer.num.rows() * self.tile.nr()) as i64
    }
    /// `[group][panel][tap][channel][nr]`.
    pub fn pack(&self, w: &Tensor) -> Result<bytes::Bytes> {
        let (taps, per) = (self.taps() as usize, self.per_group as usize * self.layer.num.rows());
        let columns = self.columns as usize;
        let groups = self.layer.op.group;
        pack::panels(w, (groups, taps * per, columns), self.tile.nr(), |g, k, j| {
            Some(((g * columns + j) * per + k % per) * taps + k / per)
        })
    }
    /// Points of a row that an item reads.
    pub fn width(&self) -> Expr {
        let points = self.points.map_or(self.inner.points.clone(), |n| n.into());
        (points.max_of(&1.into()) - 1.into()) * self.inner.stride.into() + self.inner.window()
    }
    /// Rows of the last outer axis that an item reads.
    pub fn slab_rows(&self) -> Expr {
        self.outer.last().map_or(1.into(), |a| Expr::from((self.rows - 1) * a.stride) + a.window())
    }
    /// Elements of a slab: `[taps of all outer axes but the last][rows][width][pitch]`.
    pub fn slab_size(&self, pitch: i64) -> Expr {
        let outer = self.outer.len().saturating_sub(1);
        let planes = product(self.outer[..outer].iter().map(|a| &a.taps));
        planes * self.slab_rows() * self.width() * pitch.into()
    }
    /// Elements of the image between positions of an outer axis.
    pub fn pitch(&self, axis: usize) -> Expr {
        let inner: Vec<&Expr> =
            self.outer[axis + 1..].iter().map(|a| &a.size).chain([&self.inner.size]).collect();
        product(inner) * self.source().into()
    }
    /// Elements of one image.
    pub fn image(&self) -> Expr {
        product(&self.layer.xt.dims[1..self.layer.xt.rank() - 1]) * self.source().into()
    }
    /// Elements of the image per point.
    pub fn source(&self) -> i64 {
        self.bytes.unwrap_or(self.channels)
    }
}

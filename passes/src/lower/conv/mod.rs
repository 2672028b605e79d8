//! Convolutions. With channels last: [`last`]. With channels first:
//!
//! - pointwise (1x1, stride 1, no padding): a matrix product of packed weights with the image in place;
//! - one point per image: a matrix product of the channels with transposed weights;
//! - depthwise (one input channel per group): windows of one channel;
//! - to a few channels, stride 1 along rows: vectors of points, see [`narrow`];
//! - all others: the inputs of a few neighbouring points are gathered into a panel that all output channels use.

mod depthwise;
mod last;
mod narrow;
pub mod panel;
mod patches;
mod run;
pub mod transpose;

pub(crate) use last::odd;

use super::body::Body;
use super::contract::gemm::{Cols, Finish, Gemm, Rows, block_bytes};
use super::contract::micro::Tile;
use super::contract::num::Num;
use super::contract::{kernel, pack};
use super::window::Axis;
use super::{LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::op::Conv;
use sinter_ir::tile::Buf;
use sinter_ir::{Expr, Result, Tensor, TensorType, ValueId};

/// A convolution to lower.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub cx: &'a LowerCx<'a>,
    pub body: &'a Body,
    pub op: &'a Conv,
    pub x: ValueId,
    pub w: ValueId,
    pub xt: &'a TensorType,
    pub wt: &'a TensorType,
    pub yt: &'a TensorType,
    /// Elements of the data.
    pub num: Num,
    /// Elements of the weights.
    pub weights: Num,
}

/// Lowers a convolution with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &Conv) -> Result<Lowered> {
    let root = body.root_node()?;
    let (x, w, y) = (root.inputs[0], root.inputs[1], root.outputs[0]);
    let (xt, wt, yt) = (body.ty(x), body.ty(w), body.ty(y));
    let num = Num::of(xt.dtype)?.counted_from(op.zero);
    let weights = Num::of_weights(wt.dtype, num)?;
    let layer = Layer { cx, body, op, x, w, xt, wt, yt, num, weights };
    if op.channels_last {
        return last::lower(&layer);
    }
    let ones = |d: &[Expr]| d.iter().all(|e| e.is(1));
    let unpadded = op.pads_before.iter().chain(&op.pads_after).all(|p| p.is(0));
    let pointwise = ones(&layer.wt.dims[2..]) && unpadded && op.strides.iter().all(|&s| s == 1);
    if pointwise && ones(&layer.xt.dims[2..]) && op.group == 1 {
        return layer.dense();
    }
    if layer.wt.dims[1].is(1) && op.group > 1 {
        return depthwise::lower(&layer);
    }
    if pointwise {
        return layer.pointwise();
    }
    if narrow::fits(&layer) { narrow::lower(&layer) } else { patches::lower(&layer) }
}

impl Layer<'_> {
    /// Output channels per group.
    pub fn per_group(&self) -> Expr {
        self.wt.dims[0].div(&self.op.group.into())
    }
    /// Terms per sum.
    pub fn depth(&self) -> Expr {
        product(&self.wt.dims[1..])
    }
    /// Elements per channel of the input.
    pub fn plane(&self) -> Expr {
        product(&self.xt.dims[2..])
    }
    /// The nest over `[batch, group]` with output channels as rows and points as columns; B is a placeholder.
    pub fn gemm(&self, points: Expr) -> Result<(Gemm, Option<Bytes>)> {
        let (m, k) = (self.per_group(), self.depth());
        let tile = Tile::pick(self.cx, self.num, &m, &points);
        let mut gemm = Gemm {
            batch: vec![self.xt.dims[0].clone(), self.op.group.into()],
            a_batch: vec![0.into(), m.clone() * k.clone()],
            b_batch: vec![],
            a: (Rows::Strided { row: k.clone(), step: 1.into() }, self.weights, Buf(0)),
            b: (Cols::Panels, self.num.ready(), Buf(0)),
            m,
            n: points,
            k,
            tile,
            block: block_bytes(self.cx.target),
            start: None,
            finish: Finish::Registers,
        };
        let packed = self.body.const_of(self.w).map(|t| self.pack(&mut gemm, t)).transpose()?;
        Ok((gemm, packed))
    }
    /// Weights as `[group][m / mr][k][mr]`.
    fn pack(&self, gemm: &mut Gemm, t: &Tensor) -> Result<Bytes> {
        let (o, k) = (t.shape()[0], t.shape()[1..].iter().product::<usize>());
        let (m, mr) = (o / self.op.group, gemm.tile.mr);
        gemm.a.0 = Rows::Panels;
        gemm.a_batch[1] = Expr::from(m.div_ceil(mr) * mr * k);
        pack::panels(t, (self.op.group, k, m), mr, |g, i, j| Some((g * m + j) * k + i))
    }
    /// The spatial axes.
    fn axes(&self) -> Vec<Axis> {
        let first = if self.op.channels_last { 1 } else { 2 };
        let axis = |i: usize| Axis {
            size: self.xt.dims[first + i].clone(),
            points: self.yt.dims[first + i].clone(),
            taps: self.wt.dims[2 + i].clone(),
            stride: self.op.strides[i] as i64,
            dilation: self.op.dilations[i] as i64,
            before: self.op.pads_before[i].clone(),
        };
        (0..self.xt.rank() - 2).map(axis).collect()
    }
    fn name(&self, kind: &str) -> String {
        kernel::name(kind, self.xt.dtype, [self.xt.dims.as_slice(), &self.wt.dims].concat().as_slice())
    }
    fn pointwise(&self) -> Result<Lowered> {
        let plane = self.plane();
        let (mut gemm, packed) = self.gemm(plane.clone())?;
        let group = self.wt.dims[1].clone() * plane.clone();
        gemm.b_batch = vec![self.xt.dims[1].clone() * plane.clone(), group];
        gemm.b = (Cols::InPlace { step: plane, len: self.xt.numel() }, self.num, Buf(0));
        let w = packed.map_or(kernel::Source::Value(self.w), |p| kernel::Source::Packed(p, self.wt.dtype));
        let shape = kernel::Shape { grouped: Some(self.per_group()), rows: 1, cols: self.xt.rank() - 2 };
        kernel::lower(
            self.cx,
            self.body,
            &self.name("conv1"),
            &gemm,
            &[w, kernel::Source::Value(self.x)],
            None,
            &shape,
        )
    }
    /// One point per image: rows are images, columns are output channels.
    fn dense(&self) -> Result<Lowered> {
        let (n, k, o) = (self.xt.dims[0].clone(), self.xt.dims[1].clone(), self.wt.dims[0].clone());
        let Some(t) = self.body.const_of(self.w) else { return self.pointwise() };
        let tile = Tile::pick(self.cx, self.num, &n, &o);
        let (oc, ic) = (t.shape()[0], t.shape()[1]);
        let packed = pack::panels(t, (1, ic, oc), tile.nr(), |_, i, j| Some(j * ic + i))?;
        let gemm = Gemm {
            batch: vec![],
            a_batch: vec![],
            b_batch: vec![],
            a: (Rows::Strided { row: k.clone(), step: 1.into() }, self.num, Buf(0)),
            b: (Cols::Panels, self.weights, Buf(0)),
            m: n,
            n: o,
            k,
            tile,
            block: block_bytes(self.cx.target),
            start: None,
            finish: Finish::Registers,
        };
        let shape = kernel::Shape { grouped: None, rows: 1, cols: self.xt.rank() - 1 };
        let sources = [kernel::Source::Value(self.x), kernel::Source::Packed(packed, self.wt.dtype)];
        kernel::lower(self.cx, self.body, &self.name("conv0"), &gemm, &sources, None, &shape)
    }
}

//! Convolution with channels last: lanes run along the output channels, a few neighbouring points share the weights
//! of a tap.

use super::super::Layer;
use crate::lower::Lowered;
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::contract::pack;
use crate::lower::index::Idx;
use crate::lower::points::{Block, Nest, offset};
use crate::lower::window::Axis;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Bound, Buf, Inst, LoopKind, Reg, Ty};
use sinter_ir::{Diag, Expr, Result};

/// Lowers a convolution of channels-last data with constant weights.
pub fn lower(layer: &Layer) -> Result<Lowered> {
    let rank = layer.xt.rank();
    let axis = |i: usize| Axis {
        size: layer.xt.dims[1 + i].clone(),
        points: layer.yt.dims[1 + i].clone(),
        taps: layer.wt.dims[2 + i].clone(),
        stride: layer.op.strides[i] as i64,
        dilation: layer.op.dilations[i] as i64,
        before: layer.op.pads_before[i].clone(),
    };
    let axes: Vec<Axis> = (0..rank - 2).map(axis).collect();
    let t = layer.body.const_of(layer.w).ok_or_else(|| {
        Diag::unsupported("a convolution with channels last and weights computed at run time")
    })?;
    // One operand channel per result channel: lanes run along both, over all groups at once.
    let depthwise = t.shape()[1] == 1 && t.shape()[0] == layer.op.group;
    let groups = if depthwise { 1 } else { layer.op.group };
    let (per, depth) = (t.shape()[0] / groups.max(1), if depthwise { 1 } else { t.shape()[1] });
    let taps: usize = t.shape()[2..].iter().product();
    let outer = [layer.xt.dims[0].clone(), groups.into()];
    let (c, channels) = (layer.xt.dims[rank - 1].clone(), Expr::from(per));
    let plane = product(&layer.xt.dims[1..rank - 1]);
    build(layer.cx, layer.body, &layer.name("conv_last"), |k| {
        let lanes = if k.out.is_scalar() { 1 } else { layer.cx.target.lanes(layer.num.acc.bits()) };
        let width = usize::from(lanes);
        let rows = taps * depth;
        // [group][vector of channels][tap][operand channel][lane]
        let packed = pack::panels(t, (groups, rows, per), width, |g, row, o| {
            Some(((g * per + o) * depth + row % depth) * taps + row / depth)
        })?;
        let panel = (rows * width) as i64;
        let w = k.source(Source::Packed(packed, layer.wt.dtype))?;
        let x = k.source(Source::Value(layer.x))?;
        let Kernel { b, out, .. } = k;
        let nest = Nest { outer: &outer, axes: &axes, channels: &channels, lanes };
        nest.emit(b, &mut |b, block| {
            let (image, group) = (block.outer[0], block.outer[1]);
            let ty = Ty { elem: layer.num.acc, lanes };
            let acc: Vec<Reg> = (0..block.points.vectors).map(|_| b.zero(ty)).collect();
            // Channels come in whole vectors, so this is the vector's panel times the panel's size.
            let weights = Idx::reg(group)
                .times(per.div_ceil(width) as i64 * panel)
                .plus(&Idx::reg(block.channel).times(panel / i64::from(lanes)));
            let weights = Idx::reg(weights.materialise(b));
            let first = Idx::reg(group).times(depth as i64).materialise(b);
            block.for_each_tap(b, &axes, &mut |b, tap, points| {
                let from = if depthwise { block.channel } else { first };
                let at: Vec<Idx> = points.iter().map(|p| offset(b, (image, &plane), p, &c, from)).collect();
                let tap = weights.plus(&tap.times((depth * width) as i64));
                let sums = Sums { layer, acc: &acc, x, w, at: &at, tap: &tap };
                if depthwise { sums.lanes(b, block) } else { sums.channels(b, block, depth) }
            });
            let channel = Idx::reg(group).times(per as i64).plus(&Idx::reg(block.channel)).materialise(b);
            block.put(b, out, (image, channel), &acc)
        })
    })
}

/// What one tap adds to the sums of a block.
struct Sums<'a> {
    layer: &'a Layer<'a>,
    acc: &'a [Reg],
    x: Buf,
    w: Buf,
    /// Operand element per point.
    at: &'a [Idx],
    /// First weight.
    tap: &'a Idx,
}

impl Sums<'_> {
    /// Every channel by itself.
    fn lanes(&self, b: &mut KernelBuilder, block: &Block) {
        let weight = self.layer.weights.load(b, block.lanes, self.w, self.tap.addr(), None);
        for (&a, at) in self.acc.iter().zip(self.at) {
            let value = self.layer.num.load(b, block.lanes, self.x, at.addr(), block.tail);
            b.set(a, Inst::MulAdd(weight, value, a));
        }
    }
    /// All operand channels of the group.
    fn channels(&self, b: &mut KernelBuilder, block: &Block, depth: usize) {
        let at: Vec<Idx> = self.at.iter().map(|i| Idx::reg(i.materialise(b))).collect();
        let tap = Idx::reg(self.tap.materialise(b));
        b.for_(Bound::Const(0), Bound::Const(depth as i64), 1, LoopKind::Serial, |b, c| {
            let weight = tap.plus(&Idx::reg(c).times(block.lanes.into())).addr();
            let weight = self.layer.weights.load(b, block.lanes, self.w, weight, None);
            for (&a, at) in self.acc.iter().zip(&at) {
                let value = self.layer.num.load(b, 1, self.x, at.plus(&Idx::reg(c)).addr(), None);
                let value = b.splat(value, block.lanes);
                b.set(a, Inst::MulAdd(weight, value, a));
            }
        });
    }
}

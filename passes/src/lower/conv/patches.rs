//! Convolution through gathered panels.

use super::Layer;
use super::panel::{Axis, Gather};
use crate::lower::Lowered;
use crate::lower::contract::finish::Strip;
use crate::lower::contract::gemm::{dot, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Shape, Source, build};
use crate::lower::contract::micro::{Depth, Operand, Step};
use crate::lower::contract::nest::Region;
use crate::lower::contract::slots;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{Expr, Result};

/// Lowers any convolution.
pub fn lower(layer: &Layer) -> Result<Lowered> {
    let (plan, packed) = layer.gemm(product(&layer.yt.dims[2..]))?;
    let w = packed.map_or(Source::Value(layer.w), |p| Source::Packed(p, layer.wt.dtype));
    let shape = Shape { grouped: Some(layer.per_group()), rows: 1, cols: layer.xt.rank() - 2 };
    let nr = plan.tile.nr() as i64;
    let tiles = [plan.batch[0].clone(), plan.batch[1].clone(), plan.n.ceil_div(&nr.into())];
    let trips = product(&tiles);
    build(layer.cx, layer.body, &layer.name("conv"), |k| {
        let mut gemm = plan.clone();
        gemm.finish = k.out.finish();
        gemm.a.2 = k.source(w.clone())?;
        let x = k.source(Source::Value(layer.x))?;
        let slots = k.slots(&trips);
        let size = gemm.k.clone() * nr.into();
        let panel = k.scratch(&(size.clone() * slots.into()), gemm.a.1.acc);
        let spill = k.spill(&gemm, slots, !gemm.exact_cols());
        let Kernel { b, out, .. } = k;
        let start = |b: &mut KernelBuilder, slot| {
            let size = b.dim(&size);
            (b.mul(slot, size), spill.map(|s| (s, scaled(b, slot, gemm.spill_elems()))))
        };
        let mut done = Ok(());
        slots::for_each(b, slots, &trips, start, |b, &(home, spill), t| {
            let at = unravel(b, t, &tiles);
            let first = scaled(b, at[2], nr);
            let (axes, count) = (axes(layer, b), b.dim(&gemm.n));
            let plane = layer.plane();
            let image = layer.xt.dims[1].clone() * plane.clone();
            let group = layer.wt.dims[1].clone() * plane.clone();
            let gather = Gather {
                axes: &axes,
                x: (x, layer.num),
                origin: dot(b, &at[..2], &[image, group]),
                channels: b.dim(&layer.wt.dims[1]),
                channel_pitch: b.dim(&plane),
                panel,
                at: home,
                tile: gemm.tile,
            };
            gather.emit(b, first, count);
            let step = Step::Const(nr);
            let y =
                Operand { buf: panel, num: layer.num.ready(), starts: vec![home], parts: vec![(0, 0)], step };
            let depth = Depth::whole(b, &gemm.k);
            let region = Region {
                batch: &at[..2],
                lo: b.i64(0),
                hi: b.dim(&gemm.m),
                col: first,
                strip: if gemm.exact_cols() { Strip::Whole } else { Strip::Open(b.sub(count, first)) },
            };
            done = gemm.rows_loop(b, region, &y, &depth, spill, &mut |b, at, v| shape.put(b, at, v, out));
        });
        done
    })
}

/// The spatial axes of a convolution.
fn axes(layer: &Layer, b: &mut KernelBuilder) -> Vec<Axis> {
    let (x, w, y) = (&layer.xt.dims[2..], &layer.wt.dims[2..], &layer.yt.dims[2..]);
    let mut axis = |i: usize| Axis {
        points: b.dim(&y[i]),
        stride: layer.op.strides[i] as i64,
        base: b.dim(&(Expr::from(0) - layer.op.pads_before[i].clone())),
        dilation: layer.op.dilations[i] as i64,
        taps: b.dim(&w[i]),
        size: b.dim(&x[i]),
        pitch: b.dim(&product(&x[i + 1..])),
    };
    (0..x.len()).map(&mut axis).collect()
}

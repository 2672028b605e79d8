//! Pooling with channels last: whole vectors of channels per point.

use super::{count, operation, start};
use crate::lower::body::Body;
use crate::lower::contract::kernel::{Kernel, Source, build, name};
use crate::lower::contract::micro::copy;
use crate::lower::contract::num::Num;
use crate::lower::points::{Nest, offset};
use crate::lower::window::Axis;
use crate::lower::{LowerCx, Lowered, access};
use sinter_ir::Result;
use sinter_ir::expr::product;
use sinter_ir::op::Pool;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::tile::{BinOp, CvtOp, Inst, Reg};

/// Lowers a pooling of channels-last data.
pub fn lower(cx: &LowerCx, body: &Body, op: &Pool, axes: &[Axis], num: Num) -> Result<Lowered> {
    let root = body.root_node()?;
    let (x, xt) = (root.inputs[0], body.ty(root.inputs[0]));
    let family = if op.kind == PoolKind::Max { "maxpool_last" } else { "avgpool_last" };
    let rank = xt.rank();
    let (channels, plane) = (&xt.dims[rank - 1], product(&xt.dims[1..rank - 1]));
    build(cx, body, &name(family, xt.dtype, &xt.dims), |k| {
        let from = k.source(Source::Value(x))?;
        let Kernel { b, out, .. } = k;
        let lanes = if out.is_scalar() { 1 } else { cx.target.lanes(num.acc.bits()) };
        let nest = Nest { outer: &xt.dims[..1], axes, channels, lanes };
        nest.emit(b, &mut |b, block| {
            let acc: Vec<Reg> = (0..block.points.vectors)
                .map(|_| {
                    let s = access::constant(b, num.acc, lanes, start(op, xt.dtype));
                    copy(b, s)
                })
                .collect();
            let image = block.outer[0];
            block.for_each_tap(b, axes, &mut |b, _, points| {
                for (&a, point) in acc.iter().zip(points) {
                    let at = offset(b, (image, &plane), point, channels, block.channel);
                    let value = num.load(b, lanes, from, at.addr(), block.tail);
                    b.set(a, Inst::Bin(operation(op, num, xt.dtype), a, value));
                }
            });
            if op.kind == PoolKind::Average {
                let count = count(b, op, axes, block.points.spans);
                let count = b.cvt(CvtOp::SToF, num.acc, count);
                let count = b.splat(count, lanes);
                acc.iter().for_each(|&a| b.set(a, Inst::Bin(BinOp::Div, a, count)));
            }
            block.put(b, out, (image, block.channel), &acc)
        })
    })
}

//! `Append`: only the new rows are written; the rest is in the result's memory already.

use super::SPAN;
use crate::lower::body::Body;
use crate::lower::elementwise::{Nest, name};
use crate::lower::index::{Idx, dim, int, linear};
use crate::lower::line::Line;
use crate::lower::pull::{Puller, vector_or_scalar};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::op::Append;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, CmpOp, Reg};
use sinter_ir::{Diag, Expr, Result};

/// Lowers Append. The kernel has no operand for the cache: it is where the result is.
pub fn lower(cx: &LowerCx, body: &Body, op: &Append) -> Result<Lowered> {
    let root = body.root_node()?;
    let (rows, y) = (root.inputs[1], root.outputs[0]);
    let ty = body.ty(y).clone();
    if ty.dtype.bits() < 8 || SPAN % op.block != 0 {
        return Err(Diag::unsupported(format!("machine code for Append of {} elements", ty.dtype)));
    }
    let dims = body.ty(rows).dims.clone();
    let (outer, row) = dims.split_at(dims.len().saturating_sub(1));
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let mut b = KernelBuilder::new(name(body, "append"));
        let mut p = Puller::new(cx, body);
        let out = p.params.buf(&mut b, Arg::Output(0), Access::ReadWrite, &ty);
        let nest = Nest { cx, rows: outer, row, line: Line { lanes, unroll: 1 }, cost: 1 };
        nest.emit(&mut b, &mut p, &mut |b, p, idx, at| {
            let v = p.at(b, rows, idx, at.lanes)?;
            let [token, head, element] = idx else { return Err(Diag::bug("rows of a cache")) };
            let mut slot = token.plus_expr(b, &op.at);
            if op.ring {
                let all = ty.dims[1].clone() * op.block.into();
                let position = slot.materialise(b);
                slot = Idx::reg(ring(b, position, op.sinks, &all));
            }
            let place = match op.block {
                1 => vec![head.clone(), slot, element.clone()],
                block => {
                    let (shift, mask) = (int(b, block.ilog2().into()), int(b, block - 1));
                    let slot = slot.materialise(b);
                    let (outer, inner) = (b.bin(BinOp::ShrU, slot, shift), b.bin(BinOp::And, slot, mask));
                    vec![head.clone(), Idx::reg(outer), element.clone(), Idx::reg(inner)]
                }
            };
            let place = linear(b, &place, &ty.dims)?;
            let v = b.splat(v, at.lanes);
            access::store(b, ty.dtype, out, &place, v, at.tail)
        })?;
        Ok(p.params.finish(b))
    })
}

/// Slot of a position where the first `sinks` of all slots are no part of the ring.
pub fn ring(b: &mut KernelBuilder, position: Reg, sinks: i64, slots: &Expr) -> Reg {
    let n = dim(b, &(slots.clone() - sinks.into()));
    if sinks == 0 {
        return b.bin(BinOp::RemU, position, n);
    }
    let sinks = int(b, sinks);
    let behind = b.sub(position, sinks);
    let wrapped = b.bin(BinOp::RemU, behind, n);
    let slot = b.add(wrapped, sinks);
    let kept = b.cmp(CmpOp::Lt, position, sinks);
    b.select(kept, position, slot)
}

//! `WriteSlice`: only the new rows are written; the rest is in the result's memory already.

use super::access;
use super::body::Body;
use super::elementwise::{Nest, name};
use super::index::linear;
use super::line::Line;
use super::pull::{Puller, vector_or_scalar};
use super::{Arg, LowerCx, Lowered};
use sinter_ir::op::WriteSlice;
use sinter_ir::tile::Access;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{Diag, Result};

/// Lowers WriteSlice. The kernel has no operand for what is written into: it is where the result is.
pub fn lower(cx: &LowerCx, body: &Body, op: &WriteSlice) -> Result<Lowered> {
    let root = body.root_node()?;
    let (rows, y) = (root.inputs[1], root.outputs[0]);
    let ty = body.ty(y).clone();
    if ty.dtype.bits() < 8 {
        return Err(Diag::unsupported(format!("machine code for WriteSlice of {} elements", ty.dtype)));
    }
    let dims = body.ty(rows).dims.clone();
    let (outer, row) = dims.split_at(dims.len().saturating_sub(1));
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let mut b = KernelBuilder::new(name(body, "write"));
        let mut p = Puller::new(cx, body);
        let out = p.params.buf(&mut b, Arg::Output(0), Access::ReadWrite, &ty);
        let nest = Nest { cx, rows: outer, row, line: Line { lanes, unroll: 1 }, cost: 1 };
        nest.emit(&mut b, &mut p, &mut |b, p, idx, at| {
            let v = p.at(b, rows, idx, at.lanes)?;
            let mut to = idx.to_vec();
            to[op.axis] = idx[op.axis].plus_expr(b, &op.at);
            let place = linear(b, &to, &ty.dims)?;
            let v = b.splat(v, at.lanes);
            access::store(b, ty.dtype, out, &place, v, at.tail)
        })?;
        Ok(p.params.finish(b))
    })
}

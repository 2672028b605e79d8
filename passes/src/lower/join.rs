//! Concatenations along the innermost axes: a kernel per part, each of whole rows.

use super::access;
use super::body::Body;
use super::elementwise::{Nest, name};
use super::index::linear;
use super::line::{self, Line};
use super::merge::Merge;
use super::pull::{Puller, vector_or_scalar};
use super::{LowerCx, Lowered};
use crate::fuse::policy;
use sinter_ir::expr::product;
use sinter_ir::op::Concat;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{Expr, Op, Result, ValueId};

/// Most parts that get kernels of their own.
const PARTS: usize = 8;
/// Elements from which on that pays.
const ELEMENTS: i64 = 1024;

/// Lowers a group that ends in such a concatenation; `None` for all others.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Option<Lowered>> {
    let [y] = body.graph.outputs[..] else { return Ok(None) };
    let Some(node) = body.graph.def(y).filter(|_| body.input_index(y).is_none()) else { return Ok(None) };
    let (Op::Concat(op), ty) = (&node.op, body.ty(y)) else { return Ok(None) };
    // Rows of other concatenations lie in one part each: nothing is decided per element.
    let behind = product(&ty.dims[op.axis + 1..]).as_const();
    let short = behind.is_some_and(|n| n < i64::from(cx.target.lanes(32)));
    let large = cx.symbols.max(&ty.numel()) >= ELEMENTS;
    if !(short && large && node.inputs.len() <= PARTS && ty.dtype.bits() >= 8) {
        return Ok(None);
    }
    let mut all = Lowered::default();
    let mut start = Expr::from(0);
    for (i, &part) in node.inputs.iter().enumerate() {
        let one = write(cx, body, (i, part), (op, start.clone()))?;
        start = start + body.ty(part).dims[op.axis].clone();
        all.append(one);
    }
    Ok(Some(all))
}

/// The kernel of one part.
fn write(
    cx: &LowerCx,
    body: &Body,
    (i, part): (usize, ValueId),
    (op, start): (&Concat, Expr),
) -> Result<Lowered> {
    let ty = body.ty(body.graph.outputs[0]).clone();
    let dims = &body.ty(part).dims;
    let merge = Merge { body, dims, stop: &|_| false };
    let (rows, row) = dims.split_at(merge.run(&[part]).max(op.axis));
    let cost = body.graph.iter().map(|(_, n)| policy::cost(&n.op)).sum();
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let mut b = KernelBuilder::new(name(body, &format!("join{i}")));
        let mut p = Puller::new(cx, body);
        let line = Line { lanes, unroll: if lanes > 1 { line::unroll(body) } else { 1 } };
        let nest = Nest { cx, rows, row, line, cost };
        nest.emit(&mut b, &mut p, &mut |b, p, idx, at| {
            let v = p.at(b, part, idx, at.lanes)?;
            let v = b.splat(v, at.lanes);
            let mut to = idx.to_vec();
            to[op.axis] = idx[op.axis].plus_expr(b, &start);
            let place = linear(b, &to, &ty.dims)?;
            let out = p.output(b, 0);
            access::store(b, ty.dtype, out, &place, v, at.tail)
        })?;
        Ok(p.params.finish(b))
    })
}

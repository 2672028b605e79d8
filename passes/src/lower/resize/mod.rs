//! Resize. Every axis that changes has a table of taps. For a row of the result, the rows of the operand that it is
//! made of are summed first, as vectors; then the elements along the last axis that changes are put together.

mod columns;
mod coordinate;
mod row;
mod table;

use super::body::Body;
use super::contract::kernel::{Kernel, Source, build, name};
use super::contract::slots;
use super::coords::refuse_empty;
use super::index::{Idx, unravel};
use super::{LowerCx, Lowered, access};
use columns::Columns;
use row::Row;
use sinter_ir::expr::product;
use sinter_ir::op::Resize;
use sinter_ir::op::resize::{Coordinate, ResizeMode};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Elem, Reg};
use sinter_ir::{DType, Expr, Result};
use table::{Axis, Plan, Table};

/// Lowers a resize with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &Resize) -> Result<Lowered> {
    let root = body.root_node()?;
    let (xt, yt) = (body.ty(root.inputs[0]), body.ty(root.outputs[0]));
    // Sums of integers are truncated: they are as exact as the evaluator's.
    let copied = op.mode == ResizeMode::Nearest && matches!(xt.dtype, DType::I8 | DType::U8);
    let real = match xt.dtype.is_int() || xt.dtype == DType::F64 {
        true if !copied => DType::F64,
        _ => DType::F32,
    };
    let elem = access::memory(real);
    let plan =
        |axis: usize| Plan::new(Axis { op, axis, n: xt.dims[axis].clone(), m: yt.dims[axis].clone(), real });
    let changing: Vec<usize> =
        (0..xt.rank()).filter(|&i| !stays(cx, op, i, &xt.dims[i], &yt.dims[i])).collect();
    let plans: Vec<Plan> = changing.iter().map(|&i| plan(i)).collect();
    // Axes in front of the rows, and behind the columns.
    let (front, behind) = match changing.last() {
        Some(&last) => (last, last + 1),
        None => (xt.rank().saturating_sub(1), xt.rank().saturating_sub(1)),
    };
    let lead = &yt.dims[..front];
    let inner = product(&yt.dims[behind..]);
    let length = product(&xt.dims[front..]);
    let sums = op.mode != ResizeMode::Nearest && changing.len() > 1;
    let trips = product(lead);
    let mut lowered = build(cx, body, &name("resize", xt.dtype, &[&xt.dims[..], &yt.dims].concat()), |k| {
        let mut tables = plans.iter().map(|p| p.declare(k)).collect::<Result<Vec<Table>>>()?;
        let columns = tables.pop();
        let x = k.source(Source::Value(root.inputs[0]))?;
        let slots = k.slots(&trips);
        let scratch = sums.then(|| k.scratch(&(length.clone() * slots.into()), elem));
        let lanes = match access::vectorises(xt.dtype) && elem == Elem::F32 && !k.out.is_scalar() {
            true => cx.target.lanes(32),
            false => 1,
        };
        let Kernel { b, out, .. } = k;
        refuse_empty(cx, b, &changing.iter().map(|&i| xt.dims[i].clone()).collect::<Vec<_>>(), &yt.numel());
        let start = |b: &mut KernelBuilder, slot: Reg| {
            let n = b.dim(&length);
            b.mul(slot, n)
        };
        let mut done = Ok(());
        slots::for_each(b, slots, &trips, start, |b, &home, t| {
            done = (|| {
                let at = unravel(b, &Idx::reg(t), lead)?;
                let row = Row { xt, x, elem, real, tables: &tables, lanes, length: &length };
                let source = match scratch {
                    Some(buf) => row.sum(b, out, &at, (buf, home))?,
                    None => row.single(b, &at)?,
                };
                let outside = row.outside(b, &at);
                let put = Columns { op, source, row: &row, table: columns.as_ref(), inner: &inner, outside };
                put.emit(b, out, &at, (behind > front).then(|| &yt.dims[front]), xt.rank() - behind)
            })();
        });
        done
    })?;
    let mut first = 0;
    for (i, p) in plans.iter().enumerate() {
        if let Some(call) = p.kernel(first) {
            lowered.calls.insert(i.min(lowered.calls.len() - 1), call);
        }
        first += p.scratch();
    }
    Ok(lowered)
}

/// Whether an axis is known to be copied as it is.
fn stays(cx: &LowerCx, op: &Resize, axis: usize, n: &Expr, m: &Expr) -> bool {
    let unit = op.scales[axis].is_none_or(|s| s == 1.0);
    cx.symbols.known_eq(n, m) && unit && op.coordinate != Coordinate::TfCropAndResize
}

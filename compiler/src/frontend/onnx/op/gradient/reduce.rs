//! Derivatives of reductions, softmax and running sums.

use super::{Adjoints, Step};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::expr::product;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{Cumulate, Reduce, Softmax};
use sinter_ir::{Diag, Expr, Result, ValueId};

/// Every reduction hands its adjoint back to the elements, weighted by their influence.
pub fn reduce(cx: &mut NodeCx, s: &Step, op: &Reduce, dy: ValueId) -> Adjoints {
    let (x, y) = (s.x(0)?, s.y()?);
    let dims = cx.dims(x);
    let kept: Vec<Expr> = dims
        .iter()
        .enumerate()
        .map(|(i, d)| if op.axes.contains(&i) { 1.into() } else { d.clone() })
        .collect();
    let dy = cx.reshape(dy, kept.clone())?;
    let part = match op.kind {
        ReduceKind::Sum => dy,
        ReduceKind::Mean => {
            let over: Vec<Expr> = op.axes.iter().map(|&a| dims[a].clone()).collect();
            let count = cx.dim_scalar(product(&over), cx.dtype(x))?;
            cx.div(dy, count)?
        }
        // Equal extremes share.
        ReduceKind::Max | ReduceKind::Min => {
            let y = cx.reshape(y, kept)?;
            let hit = cx.compare(CompareKind::Eq, x, y)?;
            let hit = cx.cast(hit, cx.dtype(x))?;
            let hits = cx.reduce(ReduceKind::Sum, hit, &op.axes, true)?;
            let share = cx.div(dy, hits)?;
            cx.mul(hit, share)?
        }
        ReduceKind::Prod => {
            let others = product_of_others(cx, x, &op.axes)?;
            cx.mul(dy, others)?
        }
    };
    Ok(vec![Some(cx.broadcast(part, dims)?)])
}

/// For each element the product of all others in its group; exact also where elements are 0.
fn product_of_others(cx: &mut NodeCx, x: ValueId, axes: &[usize]) -> Result<ValueId> {
    let dims = cx.dims(x);
    let last: Vec<usize> =
        (0..dims.len()).filter(|i| !axes.contains(i)).chain(axes.iter().copied()).collect();
    let moved = cx.transpose(x, last.clone())?;
    let moved_dims = cx.dims(moved);
    let axis = dims.len() - axes.len();
    let flat = [&moved_dims[..axis], &[product(&moved_dims[axis..])]].concat();
    let flat = cx.reshape(moved, flat)?;
    let before = cx.emit(Cumulate { product: true, axis, exclusive: true, reverse: false }, &[flat])?;
    let after = cx.emit(Cumulate { product: true, axis, exclusive: true, reverse: true }, &[flat])?;
    let others = cx.mul(before, after)?;
    let others = cx.reshape(others, moved_dims)?;
    cx.transpose(others, super::movement::inverse(&last))
}

/// Softmax and its logarithm.
pub fn softmax(cx: &mut NodeCx, s: &Step, op: &Softmax, dy: ValueId) -> Adjoints {
    let y = s.y()?;
    let part = if op.log {
        let total = cx.reduce(ReduceKind::Sum, dy, &[op.axis], true)?;
        let p = cx.unary(UnaryKind::Exp, y)?;
        let share = cx.mul(p, total)?;
        cx.sub(dy, share)?
    } else {
        let weighted = cx.mul(dy, y)?;
        let total = cx.reduce(ReduceKind::Sum, weighted, &[op.axis], true)?;
        let centred = cx.sub(dy, total)?;
        cx.mul(centred, y)?
    };
    Ok(vec![Some(part)])
}

/// A running sum is undone by one from the other end.
pub fn cumulate(cx: &mut NodeCx, op: &Cumulate, dy: ValueId) -> Adjoints {
    if op.product {
        return Err(Diag::unsupported("Cumulate of products"));
    }
    Ok(vec![Some(cx.emit(Cumulate { reverse: !op.reverse, ..op.clone() }, &[dy])?)])
}

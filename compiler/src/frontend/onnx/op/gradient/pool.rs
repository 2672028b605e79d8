//! Derivatives of pooling.

use super::contract::{uncovered, window};
use super::{Adjoints, Step, index};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::{Conv, ConvTranspose, Pool};
use sinter_ir::{Diag, Expr, Result, ValueId};

/// Maxima pass the adjoint to the element they came from, averages spread it over the window.
pub fn pool(cx: &mut NodeCx, s: &Step, op: &Pool, dy: ValueId) -> Adjoints {
    let x = s.x(0)?;
    if op.kind == PoolKind::Max {
        let marked = Pool { indices: true, column_major: false, ..op.clone() };
        let at = *cx.add(marked.into(), &[x])?.get(1).ok_or_else(|| Diag::bug("Pool without indices"))?;
        return Ok(vec![Some(index::add_flat(cx, x, at, dy)?)]);
    }
    let (xd, yd) = (cx.dims(x), cx.dims(dy));
    let space = op.strides.len();
    let cut: Vec<Expr> = (0..space)
        .map(|i| {
            let span = window(&op.kernel[i], op.dilations[i]);
            uncovered(&yd[2 + i], op.strides[i], span, &xd[2 + i], &op.pads_before[i])
        })
        .collect();
    let counts = counts(cx, op, &xd, &cut, x)?;
    let share = cx.div(dy, counts)?;
    // Every plane on its own: a transposed convolution with ones.
    let planes = xd[0].clone() * xd[1].clone();
    let share = cx.reshape(share, [&[planes.clone(), 1.into()], &yd[2..]].concat())?;
    let ones = cx.full(cx.dtype(x), [&[Expr::from(1), 1.into()], op.kernel.as_slice()].concat(), 1.0)?;
    let spread = ConvTranspose {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads_before: op.pads_before.clone(),
        pads_after: cut,
        group: 1,
        channels_last: false,
    };
    let g = cx.emit(spread, &[share, ones])?;
    Ok(vec![Some(cx.reshape(g, xd)?)])
}

/// Number of elements that each window averages, `[1, 1, spatial..]`.
fn counts(cx: &mut NodeCx, op: &Pool, xd: &[Expr], cut: &[Expr], x: ValueId) -> Result<ValueId> {
    let space = op.strides.len();
    let one = Expr::from(1);
    let mut counted = vec![one.clone(), one.clone()];
    let (mut before, mut after) = (vec![Expr::from(0); 2], vec![Expr::from(0); 2]);
    for i in 0..space {
        let (front, back) = (&op.pads_before[i], &op.pads_after[i]);
        if op.count_include_pad {
            counted.push(xd[2 + i].clone() + front.clone() + back.clone());
            before.push(0.into());
            after.push(cut[i].clone() - back.clone());
        } else {
            counted.push(xd[2 + i].clone());
            before.push(front.clone());
            after.push(cut[i].clone());
        }
    }
    let ones = cx.full(cx.dtype(x), counted, 1.0)?;
    let ones = super::movement::zeros_around(cx, ones, before, after)?;
    let kernel = cx.full(cx.dtype(x), [&[one.clone(), one], op.kernel.as_slice()].concat(), 1.0)?;
    let none = vec![Expr::from(0); space];
    let sum = Conv {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads_before: none.clone(),
        pads_after: none,
        group: 1,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    cx.emit(sum, &[ones, kernel])
}

//! Derivatives of matrix products and convolutions: each operand's adjoint is a contraction of the same kind.

use super::{Adjoints, Step, collect, movement};
use crate::frontend::onnx::node::NodeCx;
use sinter_ir::op::{self, Conv, ConvTranspose};
use sinter_ir::{Diag, Expr, Result, ValueId};

/// `da = dy b'`, `db = a' dy`.
pub fn matmul(cx: &mut NodeCx, s: &Step, dy: ValueId) -> Adjoints {
    let (a, b) = (s.x(0)?, s.x(1)?);
    let mut out = vec![None, None];
    for (i, part) in out.iter_mut().enumerate().filter(|(i, _)| s.wants(*i)) {
        let other = swap_last(cx, if i == 0 { b } else { a })?;
        let operands = if i == 0 { [dy, other] } else { [other, dy] };
        let g = cx.emit(op::MatMul::default(), &operands)?;
        let dims = cx.dims(s.x(i)?);
        *part = Some(collect(cx, g, &dims)?);
    }
    Ok(out)
}

fn swap_last(cx: &mut NodeCx, v: ValueId) -> Result<ValueId> {
    let rank = cx.rank(v);
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    cx.transpose(v, perm)
}

/// Elements behind the last window so that `count` windows start inside: what a transposed convolution must cut.
pub fn uncovered(count: &Expr, stride: usize, window: Expr, n: &Expr, before: &Expr) -> Expr {
    (count.clone() - 1.into()) * stride.into() + window - before.clone() - n.clone()
}

/// Extent of a dilated kernel.
pub fn window(kernel: &Expr, dilation: usize) -> Expr {
    (kernel.clone() - 1.into()) * dilation.into() + 1.into()
}

/// The operand's adjoint is a transposed convolution, that of the weights a convolution of both data.
pub fn conv(cx: &mut NodeCx, s: &Step, op: &Conv, dy: ValueId) -> Adjoints {
    let (x, w) = (s.x(0)?, s.x(1)?);
    let (xd, wd, yd) = (cx.dims(x), cx.dims(w), cx.dims(dy));
    let mut out = vec![None, None];
    if s.wants(0) {
        let behind = (0..op.strides.len()).map(|i| {
            let span = window(&wd[2 + i], op.dilations[i]);
            uncovered(&yd[2 + i], op.strides[i], span, &xd[2 + i], &op.pads_before[i])
        });
        let back = ConvTranspose {
            strides: op.strides.clone(),
            dilations: op.dilations.clone(),
            pads_before: op.pads_before.clone(),
            pads_after: behind.collect(),
            group: op.group,
            channels_last: false,
        };
        let g = cx.emit(back, &[dy, w])?;
        out[0] = Some(cx.reshape(g, xd)?);
    }
    if s.wants(1) {
        let padded = pad_space(cx, x, &op.pads_before, &op.pads_after)?;
        out[1] = Some(weights(cx, padded, dy, &wd, op)?);
    }
    Ok(out)
}

/// A transposed convolution is undone by a convolution.
pub fn conv_transpose(cx: &mut NodeCx, s: &Step, op: &ConvTranspose, dy: ValueId) -> Adjoints {
    let (x, w) = (s.x(0)?, s.x(1)?);
    let (xd, wd) = (cx.dims(x), cx.dims(w));
    // The cut edges had no influence: zeros. Where zeros were added, their adjoint is dropped.
    let padded = pad_space(cx, dy, &op.pads_before, &op.pads_after)?;
    let none = vec![Expr::from(0); op.strides.len()];
    let forward = Conv {
        strides: op.strides.clone(),
        dilations: op.dilations.clone(),
        pads_before: none.clone(),
        pads_after: none,
        group: op.group,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    let mut out = vec![None, None];
    if s.wants(0) {
        let g = cx.emit(forward.clone(), &[padded, w])?;
        out[0] = Some(cx.reshape(g, xd)?);
    }
    if s.wants(1) {
        out[1] = Some(weights(cx, padded, x, &wd, &forward)?);
    }
    Ok(out)
}

fn pad_space(cx: &mut NodeCx, v: ValueId, before: &[Expr], after: &[Expr]) -> Result<ValueId> {
    let all = |p: &[Expr]| [&[Expr::from(0), Expr::from(0)], p].concat();
    movement::zeros_around(cx, v, all(before), all(after))
}

/// Adjoint of the weights of the convolution `y = conv(x, w)` with x padded already: x convolved with dy, channels
/// and batch exchanged, strides and dilations exchanged.
fn weights(cx: &mut NodeCx, x: ValueId, dy: ValueId, wd: &[Expr], op: &Conv) -> Result<ValueId> {
    let (xd, yd) = (cx.dims(x), cx.dims(dy));
    let space = op.strides.len();
    let (batch, group) = (xd[0].clone(), Expr::from(op.group));
    let per_group = xd[1].div(&group);
    let spatial: Vec<usize> = (0..space).collect();
    // [n, g, c, ..] -> [c, g, n, ..] -> [c, g * n, ..]
    let split = [&[batch.clone(), group.clone(), per_group.clone()], &xd[2..]].concat();
    let x = cx.reshape(x, split)?;
    let perm = [&[2, 1, 0], spatial.iter().map(|i| 3 + i).collect::<Vec<_>>().as_slice()].concat();
    let x = cx.transpose(x, perm)?;
    let x = cx.reshape(x, [&[per_group, group * batch], &xd[2..]].concat())?;
    // [n, o, ..] -> [o, n, ..]
    let swap = [&[1, 0], spatial.iter().map(|i| 2 + i).collect::<Vec<_>>().as_slice()].concat();
    let dy = cx.transpose(dy, swap.clone())?;
    if yd.len() != 2 + space {
        return Err(Diag::bug("convolution of another rank"));
    }
    let none = vec![Expr::from(0); space];
    let exchanged = Conv {
        strides: op.dilations.clone(),
        dilations: op.strides.clone(),
        pads_before: none.clone(),
        pads_after: none,
        group: op.group,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    let g = cx.emit(exchanged, &[x, dy])?;
    let mut g = cx.transpose(g, swap)?;
    // Windows that the stride left out at the end count as further taps: cut.
    for i in 0..space {
        g = cx.slice_axis(g, 2 + i, 0.into(), wd[2 + i].clone())?;
    }
    cx.reshape(g, wd.to_vec())
}

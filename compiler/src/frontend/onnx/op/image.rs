//! Sampling and folding of images: deformable convolution, column blocks, affine grids.

use super::conv::{channel_bias, padding, windows};
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::scope::Item;
use sinter_ir::expr::product;
use sinter_ir::op;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::grid_sample::GridPadding;
use sinter_ir::op::resize::ResizeMode;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] =
    &[("DeformConv", deform_conv), ("Col2Im", col2im), ("AffineGrid", affine_grid)];

/// Values `0..count` along one axis of a rank, in a float type.
fn steps(cx: &mut NodeCx, count: &Expr, axis: usize, rank: usize, t: DType) -> Result<ValueId> {
    let mut dims = vec![Expr::from(1); rank];
    dims[axis] = count.clone();
    let i = cx.emit(op::Iota { dtype: DType::I64, dims, axis }, &[])?;
    cx.cast(i, t)
}

fn positive(cx: &NodeCx, name: &str) -> Result<i64> {
    let v = cx.int(name, 1);
    if v < 1 { Err(Diag::input(format!("attribute `{name}` is {v}"))) } else { Ok(v) }
}

/// Samples every tap of every window with its offset, then multiplies by the weights as matrices.
fn deform_conv(cx: &mut NodeCx) -> Out {
    let (x, w, offset) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (xd, wd, od) = (cx.dims_at_least(x, 3)?, cx.dims(w), cx.dims(offset));
    let r = xd.len() - 2;
    if wd.len() != xd.len() || od.len() != xd.len() {
        return Err(Diag::input(format!("DeformConv of {}, {}, {}", cx.ty(x), cx.ty(w), cx.ty(offset))));
    }
    let (groups, sets) = (positive(cx, "group")?, positive(cx, "offset_group")?);
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    let pads = padding(cx, &xd[2..], &windows(&wd[2..], &dilations), &strides)?;
    let (kernel, out) = (wd[2..].to_vec(), od[2..].to_vec());
    let taps = product(&kernel);
    let sampled = xd[0].clone() * sets.into();
    let t = cx.dtype(x);
    // [n * sets, kernel.., r, out..]: one coordinate of every tap of every window.
    let moves = [vec![sampled.clone()], kernel.clone(), vec![r.into()], out.clone()].concat();
    let moves = cx.reshape(offset, moves)?;
    let rank = 2 * r + 1;
    let corners = xd[2..].iter().all(|d| cx.im.symbols.range(d).0 > 1);
    let mut coordinates = Vec::new();
    for i in 0..r {
        let own = cx.slice_axis(moves, 1 + r, (i as i64).into(), 1.into())?;
        let own = cx.squeeze(own, &[1 + r])?;
        let tap = steps(cx, &kernel[i], 1 + i, rank, t)?;
        let tap = cx.mul_num(tap, dilations[i] as f64)?;
        let window = steps(cx, &out[i], 1 + r + i, rank, t)?;
        let window = cx.mul_num(window, strides[i] as f64)?;
        let start = cx.dim_scalar(-pads.before[i].clone(), t)?;
        let place = cx.sum(tap, window)?;
        let place = cx.sum(place, start)?;
        let place = cx.sum(place, own)?;
        // Pixel centres are at 2 p / (size - 1) - 1, or (2 p + 1) / size - 1 where a size may be one.
        let mut place = cx.mul_num(place, 2.0)?;
        if !corners {
            place = cx.add_num(place, 1.0)?;
        }
        let extent = if corners { xd[2 + i].clone() - 1.into() } else { xd[2 + i].clone() };
        let extent = cx.dim_scalar(extent, t)?;
        let place = cx.div(place, extent)?;
        let place = cx.add_num(place, -1.0)?;
        coordinates.push(cx.unsqueeze(place, &[rank])?);
    }
    // Grids name the innermost axis first.
    coordinates.reverse();
    let grid = cx.concat(&coordinates, rank)?;
    // All taps of the first output axis: [n * sets, taps * out0, out1.., r].
    let flat = [vec![sampled.clone(), taps.clone() * out[0].clone()], out[1..].to_vec()].concat();
    let grid = cx.reshape(grid, [flat.clone(), vec![r.into()]].concat())?;
    let per = xd[1].div(&sets.into());
    let image = cx.reshape(x, [vec![sampled.clone(), per], xd[2..].to_vec()].concat())?;
    let sample =
        op::GridSample { mode: ResizeMode::Linear, padding: GridPadding::Zeros, align_corners: corners };
    let mut y = cx.emit(sample, &[image, grid])?;
    if let Some(mask) = cx.opt(4)? {
        let mask = cx.reshape(mask, flat)?;
        let mask = cx.unsqueeze(mask, &[1])?;
        y = cx.mul(y, mask)?;
    }
    // Columns of every group by its weights.
    let places = product(&out);
    let column = wd[1].clone() * taps;
    let y = cx.reshape(y, vec![xd[0].clone(), groups.into(), column.clone(), places])?;
    let w = cx.reshape(w, vec![groups.into(), wd[0].div(&groups.into()), column])?;
    let y = cx.emit(op::MatMul::default(), &[w, y])?;
    let mut y = cx.reshape(y, [vec![xd[0].clone(), wd[0].clone()], out].concat())?;
    if let Some(b) = cx.opt(3)? {
        y = channel_bias(cx, y, b)?;
    }
    cx.one(y)
}

/// Adds column blocks where they were cut out: a transposed convolution whose weights pick one place each.
fn col2im(cx: &mut NodeCx) -> Out {
    let (x, image, block) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let d = cx.dims_at_least(x, 3)?;
    let block =
        cx.const_ints(block).filter(|b| !b.is_empty() && b.iter().all(|&b| (1..1 << 16).contains(&b)));
    let block = block.ok_or_else(|| Diag::unsupported("block shapes that are not known at compile time"))?;
    let r = block.len();
    let hints = cx.declared(0).unwrap_or_default();
    let range = |i: usize| hints.get(2 + i).copied().flatten().map_or((1, 1 << 12), |d| (d, d));
    let image = cx.ints(image, &range)?;
    if image.len() != r {
        return Err(Diag::input(format!("an image of rank {} in blocks of rank {r}", image.len())));
    }
    let (strides, dilations) = (cx.sizes("strides", r, 1, 1)?, cx.sizes("dilations", r, 1, 1)?);
    let block: Vec<Expr> = block.into_iter().map(Expr::from).collect();
    let window = windows(&block, &dilations);
    let pads = padding(cx, &image, &window, &strides)?;
    let (mut grid, mut after) = (vec![], vec![]);
    for i in 0..r {
        let s = Expr::from(strides[i]);
        let room = image[i].clone() + pads.before[i].clone() + pads.after[i].clone() - window[i].clone();
        let count = room.div(&s) + 1.into();
        // What the last stride leaves over at the end stays zero.
        let full = (count.clone() - 1.into()) * s + window[i].clone();
        after.push(full - pads.before[i].clone() - image[i].clone());
        grid.push(count);
    }
    let taps = product(&block);
    let channels = d[1].exact_div(&taps).unwrap_or_else(|| d[1].div(&taps));
    let blocks = [vec![d[0].clone() * channels.clone(), taps.clone()], grid].concat();
    let x = cx.reshape(x, blocks)?;
    let square = vec![taps.clone(), taps.clone()];
    let i = cx.emit(op::Iota { dtype: DType::I64, dims: square.clone(), axis: 0 }, &[])?;
    let j = cx.emit(op::Iota { dtype: DType::I64, dims: square, axis: 1 }, &[])?;
    let unit = cx.compare(C::Eq, i, j)?;
    let unit = cx.cast(unit, cx.dtype(x))?;
    let unit = cx.reshape(unit, [vec![taps, 1.into()], block].concat())?;
    let op = op::ConvTranspose {
        strides,
        dilations,
        pads_before: pads.before,
        pads_after: after,
        group: 1,
        channels_last: false,
    };
    let y = cx.emit(op, &[x, unit])?;
    let y = cx.reshape(y, [vec![d[0].clone(), channels], image].concat())?;
    cx.one(y)
}

/// Positions `-1..1` of every place of an image, transformed.
fn affine_grid(cx: &mut NodeCx) -> Out {
    let (theta, size) = (cx.input(0)?, cx.input(1)?);
    let r = cx.dims_at_least(theta, 3)?[1].as_const().filter(|r| (1..=3).contains(r));
    let r = r.ok_or_else(|| Diag::input(format!("AffineGrid with {}", cx.ty(theta))))? as usize;
    let hints = cx.declared(0).unwrap_or_default();
    let n = cx.dims(theta)[0].clone();
    let range = |i: usize| match i {
        // Batch and channels do not show in the result.
        0 | 1 => (0, 1 << 20),
        _ => hints.get(i - 1).copied().flatten().map_or((1, 1 << 12), |d| (d, d)),
    };
    let size = cx.ints(size, &range)?;
    if size.len() != r + 2 {
        return Err(Diag::input(format!("{} sizes for {r} axes", size.len())));
    }
    let space = size[2..].to_vec();
    let t = cx.dtype(theta);
    let corners = cx.flag("align_corners", false);
    let mut parts = Vec::new();
    // Innermost axis first, then a one for the shift.
    for i in (0..r).rev() {
        let k = steps(cx, &space[i], i, r, t)?;
        let extent = if corners { space[i].clone() - 1.into() } else { space[i].clone() };
        let extent = cx.dim_scalar(extent, t)?;
        let k = cx.mul_num(k, 2.0)?;
        let k = if corners { k } else { cx.add_num(k, 1.0)? };
        let k = cx.div(k, extent)?;
        let k = cx.add_num(k, -1.0)?;
        let k = cx.broadcast(k, space.clone())?;
        parts.push(cx.unsqueeze(k, &[r])?);
    }
    let one = cx.full(t, [space.clone(), vec![1.into()]].concat(), 1.0)?;
    parts.push(one);
    let points = cx.concat(&parts, r)?;
    let points = cx.reshape(points, vec![product(&space), (r + 1).into()])?;
    let theta = cx.transpose(theta, vec![0, 2, 1])?;
    let y = cx.emit(op::MatMul::default(), &[points, theta])?;
    let y = cx.reshape(y, [vec![n], space, vec![r.into()]].concat())?;
    cx.one(y)
}

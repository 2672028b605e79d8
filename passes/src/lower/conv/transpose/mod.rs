//! Transposed convolution by output phases.
//!
//! Along an axis of stride s, all output positions with one remainder modulo s ("phase") use the same taps, and
//! those form a convolution of stride 1 over the input. Each phase gathers panels as an ordinary convolution
//! does; its weights are packed by themselves, so that no product with an inserted zero is computed.
//!
//! With `u = o + before = q * s + r`, tap t reads input `(u - t * d) / s` where that is whole: the first such tap
//! is t0(r), the others follow every s / gcd(s, d), and they read `q + shift(r) - j * d / gcd(s, d)`.

mod phases;
mod repack;

use super::panel::{Axis, Gather};
use crate::lower::body::Body;
use crate::lower::contract::finish::Strip;
use crate::lower::contract::gemm::{Cols, Finish, Gemm, Rows, block_bytes, dot, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build, name};
use crate::lower::contract::micro::{Depth, Operand, Step, Tile};
use crate::lower::contract::nest::Region;
use crate::lower::contract::num::Num;
use crate::lower::contract::slots;
use crate::lower::out::Index;
use crate::lower::{Arg, LowerCx, Lowered, access};
use phases::{Phase, Phases};
use sinter_ir::expr::product;
use sinter_ir::op::ConvTranspose;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp};
use sinter_ir::{DType, Diag, Expr, Result};

/// Lowers a transposed convolution with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &ConvTranspose) -> Result<Lowered> {
    if op.channels_last {
        return Err(Diag::unsupported("machine code for ConvTranspose with channels last"));
    }
    let root = body.root_node()?;
    let (x, w) = (root.inputs[0], root.inputs[1]);
    let (xt, wt, yt) = (body.ty(x), body.ty(w), body.ty(root.outputs[0]));
    let num = Num::of(xt.dtype)?;
    let shape: Option<Vec<usize>> =
        wt.dims.iter().map(|d| d.as_const().and_then(|d| usize::try_from(d).ok())).collect();
    let shape = shape.ok_or_else(|| {
        Diag::unsupported("a transposed convolution whose weights have open dims")
            .help("fix the dims of the weights")
    })?;
    let phases = Phases::new(op, &shape[2..]);
    let (in_per_group, out_per_group) = (shape[0] / op.group, shape[1]);
    let depth = in_per_group * phases.most();
    let tile = Tile::pick(cx, num, &out_per_group.into(), yt.dims.last().unwrap_or(&1.into()));
    let stride = phases.distances(in_per_group, out_per_group, tile.mr);
    let fixed = body.const_of(w).map(|t| phases.pack(t, op.group, tile.mr)).transpose()?;
    let r = xt.rank() - 2;
    let spatial: Vec<Expr> = op.strides.iter().map(|&s| s.into()).collect();
    // Points of the largest phase.
    let most: Vec<Expr> = (0..r).map(|i| yt.dims[2 + i].ceil_div(&spatial[i])).collect();
    let tiles_per_row = most[r - 1].ceil_div(&tile.nr().into());
    let work = [
        vec![xt.dims[0].clone(), op.group.into()],
        spatial.clone(),
        most[..r - 1].to_vec(),
        vec![tiles_per_row],
    ]
    .concat();
    let trips = product(&work);
    let plan = Gemm {
        batch: vec![],
        a_batch: vec![stride.group.into(), stride.phase.into()],
        b_batch: vec![],
        m: out_per_group.into(),
        n: most[r - 1].clone(),
        k: depth.into(),
        a: (Rows::Panels, num, Buf(0)),
        b: (Cols::Panels, num.ready(), Buf(0)),
        tile,
        block: block_bytes(cx.target),
        start: None,
        finish: Finish::Scalars,
    };
    let dims = [xt.dims.as_slice(), &wt.dims].concat();
    let elements = Expr::from(stride.group * op.group as i64);
    let mut lowered = build(cx, body, &name("convt", xt.dtype, &dims), |k| {
        let mut gemm = plan.clone();
        gemm.a.2 = match &fixed {
            Some(weights) => k.source(Source::Packed(weights.clone(), wt.dtype))?,
            None => k.scratch(&elements, access::memory(wt.dtype)),
        };
        let x = k.source(Source::Value(x))?;
        let table = k.source(Source::Packed(phases.table(), DType::I64))?;
        let slots = k.slots(&trips);
        let size = (depth * tile.nr()) as i64;
        let panel = k.scratch(&(size * slots).into(), num.acc);
        let spill = k.spill(&gemm, slots, true);
        let unit = op.strides.iter().all(|&s| s == 1);
        if unit {
            gemm.finish = k.out.finish();
        }
        let Kernel { b, out, .. } = k;
        let start = |b: &mut KernelBuilder, slot| {
            (scaled(b, slot, size), spill.map(|s| (s, scaled(b, slot, gemm.spill_elems()))))
        };
        let mut done = Ok(());
        slots::for_each(b, slots, &trips, start, |b, &(home, spill), t| {
            let at = unravel(b, t, &work);
            let (n, g, phase, outer, strip) =
                (at[0], at[1], &at[2..2 + r], &at[2 + r..1 + 2 * r], at[1 + 2 * r]);
            let axes: Vec<Phase> = (0..r).map(|i| phases.axis(b, table, i, phase[i], op, (xt, yt))).collect();
            let first = scaled(b, strip, tile.nr() as i64);
            // A smaller phase has no point here.
            let last = axes[r - 1].gather.points;
            let mut inside = b.cmp(CmpOp::Lt, first, last);
            let mut row = b.i64(0);
            for (a, &q) in axes.iter().zip(outer) {
                let ok = b.cmp(CmpOp::Lt, q, a.gather.points);
                inside = b.bin(BinOp::And, inside, ok);
                let up = b.mul(row, a.gather.points);
                row = b.add(up, q);
            }
            b.if_(
                inside,
                |b| {
                    let row = b.mul(row, last);
                    let (from, end) = (b.add(row, first), b.add(row, last));
                    let gathers: Vec<Axis> = axes.iter().map(|a| a.gather.clone()).collect();
                    let plane = product(&xt.dims[2..]);
                    let group = plane.clone() * in_per_group.into();
                    let gather = Gather {
                        axes: &gathers,
                        x: (x, num),
                        origin: dot(b, &[n, g], &[xt.dims[1].clone() * plane.clone(), group]),
                        channels: b.i64(in_per_group as i64),
                        channel_pitch: b.dim(&plane),
                        panel,
                        at: home,
                        tile,
                    };
                    gather.emit(b, from, end);
                    let taps = gathers.iter().fold(gather.channels, |p, a| b.mul(p, a.taps));
                    let step = Step::Const(tile.nr() as i64);
                    let y = Operand {
                        buf: panel,
                        num: num.ready(),
                        starts: vec![home],
                        parts: vec![(0, 0)],
                        step,
                    };
                    let depth = Depth { all: Bound::Reg(taps), ragged: None, list: None };
                    let number = phases.number(b, phase);
                    let region = Region {
                        batch: &[g, number],
                        lo: b.i64(0),
                        hi: b.dim(&gemm.m),
                        col: first,
                        strip: Strip::Open(b.sub(last, first)),
                    };
                    done = gemm.rows_loop(b, region, &y, &depth, spill, &mut |b, at, v| {
                        let per = scaled(b, g, out_per_group as i64);
                        let channel = b.add(per, at.row);
                        let mut index = vec![n, channel];
                        for (i, a) in axes.iter().enumerate() {
                            let q = *outer.get(i).unwrap_or(&at.col);
                            let o = scaled(b, q, op.strides[i] as i64);
                            index.push(if unit { o } else { b.add(o, a.first) });
                        }
                        let index: Vec<Index> = index.into_iter().map(|at| Index { at, axes: 1 }).collect();
                        out.put(b, &index, v, at.tail)
                    });
                },
                |_| {},
            );
        });
        done
    })?;
    if fixed.is_none() {
        // The first scratch buffer holds the packed weights.
        repack::prepend(&mut lowered, body, w, &phases, op.group, (tile.mr, Arg::Scratch(0)))?;
    }
    Ok(lowered)
}

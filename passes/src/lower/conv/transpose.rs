//! Transposed convolution by output phases.
//!
//! Along an axis of stride s, all output positions with one remainder modulo s ("phase") use the same taps, and
//! those form a convolution of stride 1 over the input. Each phase gathers panels as an ordinary convolution
//! does; its weights are packed by themselves, so that no product with an inserted zero is computed.
//!
//! With `u = o + before = q * s + r`, tap t reads input `(u - t * d) / s` where that is whole: the first such tap
//! is t0(r), the others follow every s / gcd(s, d), and they read `q + shift(r) - j * d / gcd(s, d)`.

use super::panel::{Axis, Gather};
use crate::lower::body::Body;
use crate::lower::contract::gemm::{Cols, Finish, Gemm, Region, Rows, dot, scaled, unravel};
use crate::lower::contract::kernel::{Kernel, Source, build, name};
use crate::lower::contract::micro::{Depth, Operand, Step, Tile};
use crate::lower::contract::num::Num;
use crate::lower::contract::{pack, slots};
use crate::lower::index::Idx;
use crate::lower::out::Index;
use crate::lower::{LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::op::ConvTranspose;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, Elem, Reg};
use sinter_ir::{DType, Diag, Expr, Result, Tensor, TensorType};

/// Lowers a transposed convolution with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &ConvTranspose) -> Result<Lowered> {
    let root = body.root_node()?;
    let (x, w) = (root.inputs[0], root.inputs[1]);
    let (xt, wt, yt) = (body.ty(x), body.ty(w), body.ty(root.outputs[0]));
    let num = Num::of(xt.dtype)?;
    let fixed = body.const_of(w).ok_or_else(|| {
        Diag::unsupported("a transposed convolution whose weights are computed at run time")
            .help("make the weights an initializer")
    })?;
    let phases = Phases::new(op, &fixed.shape()[2..]);
    let in_per_group = fixed.shape()[0] / op.group;
    let out_per_group = fixed.shape()[1];
    let depth = in_per_group * phases.most();
    let tile =
        Tile::pick(cx.target, num, Some(out_per_group as i64), yt.dims.last().and_then(Expr::as_const));
    let (weights, stride) = phases.pack(fixed, op.group, tile.mr)?;
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
        finish: Finish::Scalars,
    };
    let dims = [xt.dims.as_slice(), &wt.dims].concat();
    build(cx, body, &name("convt", xt.dtype, &dims), |k| {
        let mut gemm = plan.clone();
        gemm.a.2 = k.source(Source::Packed(weights.clone(), wt.dtype))?;
        let x = k.source(Source::Value(x))?;
        let table = k.source(Source::Packed(phases.table(), DType::I64))?;
        let slots = k.slots(&trips);
        let size = (depth * tile.nr()) as i64;
        let panel = k.scratch(&(size * slots).into(), num.acc);
        let spill = k.spill(&gemm, slots);
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
                    let depth = Depth { all: Bound::Reg(taps), ragged: None, unroll: 4 };
                    let number = phases.number(b, phase);
                    let region = Region {
                        batch: &[g, number],
                        lo: b.i64(0),
                        hi: b.dim(&gemm.m),
                        col: first,
                        cols: b.sub(last, first),
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
                        out.put(b, &index, v)
                    });
                },
                |_| {},
            );
        });
        done
    })
}

/// Distances in the packed weights.
struct Strides {
    group: i64,
    phase: i64,
}

/// One axis under one phase.
struct Phase {
    gather: Axis,
    /// First output position.
    first: Reg,
}

/// The phases of all axes.
struct Phases {
    /// Per axis and remainder: first tap, number of taps, and the shift of the position that tap 0 reads.
    axes: Vec<Vec<[i64; 3]>>,
    dilations: Vec<i64>,
    strides: Vec<i64>,
    kernel: Vec<usize>,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Phases {
    fn new(op: &ConvTranspose, kernel: &[usize]) -> Self {
        let axis = |i: usize| -> Vec<[i64; 3]> {
            let (s, d, n) = (op.strides[i] as i64, op.dilations[i] as i64, kernel[i] as i64);
            let every = s / gcd(s, d);
            let phase = |r: i64| match (0..n.min(every)).find(|t| (t * d - r).rem_euclid(s) == 0) {
                Some(t) => [t, (n - t + every - 1) / every, (r - t * d).div_euclid(s)],
                None => [0, 0, 0],
            };
            (0..s).map(phase).collect()
        };
        let i64s = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<_>>();
        Self {
            axes: (0..kernel.len()).map(axis).collect(),
            dilations: i64s(&op.dilations),
            strides: i64s(&op.strides),
            kernel: kernel.to_vec(),
        }
    }
    /// Largest number of taps of a phase.
    fn most(&self) -> usize {
        self.axes.iter().map(|a| a.iter().map(|p| p[1] as usize).max().unwrap_or(0)).product()
    }
    /// Distance of a phase's taps.
    fn every(&self, i: usize) -> i64 {
        self.strides[i] / gcd(self.strides[i], self.dilations[i])
    }
    /// `[group][phase][m / mr][k][mr]`, k in the order (channel, taps..) of the phase, padded to the largest k.
    fn pack(&self, w: &Tensor, group: usize, mr: usize) -> Result<(Bytes, Strides)> {
        let (channels, per) = (w.shape()[0] / group.max(1), w.shape()[1]);
        let (all, taps, most) = (
            self.strides.iter().product::<i64>() as usize,
            self.kernel.iter().product::<usize>(),
            self.most(),
        );
        let depth = channels * most;
        let bytes = pack::panels(w, (group * all, depth, per), mr, |o, k, m| {
            let (g, phase) = (o / all, o % all);
            let (c, t) = self.tap(phase, k, channels)?;
            Some(((g * channels + c) * per + m) * taps + t)
        })?;
        let panel = (per.div_ceil(mr) * mr * depth) as i64;
        Ok((bytes, Strides { group: panel * all as i64, phase: panel }))
    }
    /// Channel and tap of step k of a phase.
    fn tap(&self, phase: usize, k: usize, channels: usize) -> Option<(usize, usize)> {
        let (mut rest, mut own) = (phase, vec![[0; 3]; self.axes.len()]);
        for i in (0..own.len()).rev() {
            own[i] = self.axes[i][rest % self.axes[i].len()];
            rest /= self.axes[i].len();
        }
        let count: usize = own.iter().map(|p| p[1] as usize).product();
        let (channel, mut j) = (k.checked_div(count)?, k % count);
        let mut at = vec![0; own.len()];
        for i in (0..own.len()).rev() {
            let n = own[i][1] as usize;
            at[i] = own[i][0] as usize + (j % n) * self.every(i) as usize;
            j /= n;
        }
        let tap = at.iter().zip(&self.kernel).fold(0, |t, (a, n)| t * n + a);
        (channel < channels).then_some((channel, tap))
    }
    /// Per axis and remainder: number of taps, shift.
    fn table(&self) -> Bytes {
        self.axes
            .iter()
            .flatten()
            .flat_map(|p| [p[1], p[2]])
            .flat_map(i64::to_le_bytes)
            .collect::<Vec<u8>>()
            .into()
    }
    /// Row-major number of the remainders `(first output + before) mod stride`.
    fn number(&self, b: &mut KernelBuilder, remainders: &[Reg]) -> Reg {
        let mut n = b.i64(0);
        for (&r, &s) in remainders.iter().zip(&self.strides) {
            let up = scaled(b, n, s);
            n = b.add(up, r);
        }
        n
    }
    /// One axis for the outputs with remainder `r`.
    fn axis(
        &self,
        b: &mut KernelBuilder,
        table: Buf,
        i: usize,
        r: Reg,
        op: &ConvTranspose,
        (xt, yt): (&TensorType, &TensorType),
    ) -> Phase {
        let s = self.strides[i];
        let before: i64 = self.axes[..i].iter().map(|a| 2 * a.len() as i64).sum();
        let entry = |b: &mut KernelBuilder, n: i64| {
            b.load(Elem::I64, 1, table, Idx::reg(r).times(2).addr().offset(before + n), None)
        };
        let (taps, shift) = (entry(b, 0), entry(b, 1));
        // First output of the phase: the smallest o >= 0 with (o + before) mod s = r.
        let (pad, zero) = (b.dim(&op.pads_before[i]), b.i64(0));
        let (stride, d) = (b.i64(s), b.sub(r, pad));
        let m = b.bin(BinOp::RemS, d, stride);
        let negative = b.cmp(CmpOp::Lt, m, zero);
        let up = b.add(m, stride);
        let first = b.select(negative, up, m);
        let quotient = {
            let u = b.add(first, pad);
            let u = b.sub(u, r);
            b.bin(BinOp::DivS, u, stride)
        };
        let room = b.dim(&(yt.dims[2 + i].clone() + (s - 1).into()));
        let room = b.sub(room, first);
        let points = b.bin(BinOp::DivS, room, stride);
        let points = b.bin(BinOp::MaxS, points, zero);
        let gather = Axis {
            points,
            stride: 1,
            base: b.add(quotient, shift),
            dilation: -(self.dilations[i] / gcd(s, self.dilations[i])),
            taps,
            size: b.dim(&xt.dims[2 + i]),
            pitch: b.dim(&product(&xt.dims[3 + i..])),
        };
        Phase { gather, first }
    }
}

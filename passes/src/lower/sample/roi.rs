//! RoiAlign: bins of regions, each the mean or maximum of bilinear samples. The pixels of some samples are written
//! down with their weights, then every channel reads them; the channels' running sums are in scratch memory.

use super::{clamped, coordinate, weight};
use crate::lower::body::Body;
use crate::lower::contract::gemm::{add_const, scaled};
use crate::lower::contract::kernel::{Kernel, Source, name};
use crate::lower::contract::micro::copy;
use crate::lower::contract::slots;
use crate::lower::coords::{float, num, refuse_empty};
use crate::lower::index::{Idx, dim, unravel};
use crate::lower::pull::checked;
use crate::lower::{LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::RoiAlign;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, CvtOp, Elem, LoopKind, Reg, UnOp};
use sinter_ir::{Expr, Result, TensorType};

/// Most samples per bin and axis where the size of the bin decides.
const MOST_SAMPLES: f64 = 4096.0;

/// Samples whose pixels are found before any channel is read.
const BLOCK: i64 = 16;

/// Lowers a RoiAlign with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &RoiAlign) -> Result<Lowered> {
    let root = body.root_node()?;
    let (xt, rt) = (body.ty(root.inputs[0]), body.ty(root.inputs[1]));
    let mut k =
        Kernel::new(cx, body, &name("roi", xt.dtype, &[xt.dims.as_slice(), &rt.dims].concat()), true)?;
    let x = k.source(Source::Value(root.inputs[0]))?;
    let regions = k.source(Source::Value(root.inputs[1]))?;
    let images = k.source(Source::Value(root.inputs[2]))?;
    let bins: [Expr; 3] = [rt.dims[0].clone(), op.height.into(), op.width.into()];
    let (trips, channels) = (product(&bins), &xt.dims[1]);
    let slots = k.slots(&trips);
    let elem = access::compute(xt.dtype)?;
    let sums = k.scratch(&(channels.clone() * slots.into()), elem);
    let size = Expr::from(4 * BLOCK * slots);
    let (places, weights) = (k.scratch(&size, Elem::I64), k.scratch(&size, elem));
    let Kernel { b, out, .. } = &mut k;
    refuse_empty(cx, b, &xt.dims[2..], &(trips.clone() * channels.clone()));
    let start = |b: &mut KernelBuilder, slot: Reg| {
        let n = b.dim(channels);
        (b.mul(slot, n), scaled(b, slot, 4 * BLOCK))
    };
    let mut done = Ok(());
    slots::for_each(b, slots, &trips, start, |b, &(home, list), t| {
        done = (|| {
            let at = unravel(b, &Idx::reg(t), &bins)?;
            let image = b.load(Elem::I64, 1, images, at[0].addr(), None);
            let image = checked(b, image, &xt.dims[0]);
            let region = |b: &mut KernelBuilder, i: i64| {
                coordinate(b, rt.dtype, regions, &at[0].times(4).plus(&Idx::at(i)))
            };
            let ends = |b: &mut KernelBuilder, i: i64| Ok((region(b, i)?, region(b, i + 2)?));
            let (across, down) = (ends(b, 0)?, ends(b, 1)?);
            let columns = Axis::new(b, op, across, op.width, &at[2]);
            let rows = Axis::new(b, op, down, op.height, &at[1]);
            let first = access::constant(b, elem, 1, if op.max { f64::NEG_INFINITY } else { 0.0 });
            let place = |c: Reg| Idx::reg(home).plus(&Idx::reg(c)).addr();
            b.range(channels, |b, c| b.store(sums, place(c), first, None));
            let bin = Bin { op, xt, x, sums, home, elem, places, weights, list };
            let (count, zero) = (b.mul(rows.samples, columns.samples), b.i64(0));
            let mut inner = Ok(());
            b.for_(Bound::Const(0), Bound::Reg(count), BLOCK, LoopKind::Serial, |b, first| {
                let used = copy(b, zero);
                let end = add_const(b, first, BLOCK);
                let end = b.bin(BinOp::MinS, end, count);
                b.for_(Bound::Reg(first), Bound::Reg(end), 1, LoopKind::Serial, |b, q| {
                    let iy = b.bin(BinOp::DivU, q, columns.samples);
                    let ix = b.bin(BinOp::RemU, q, columns.samples);
                    let (y, x) = (rows.sample(b, iy), columns.sample(b, ix));
                    bin.keep(b, y, x, used);
                });
                inner = bin.collect(b, image, used);
            });
            inner?;
            let some = b.cmp(CmpOp::Gt, count, zero);
            let count = float(b, count);
            let count = weight(b, elem, count);
            let mut inner = Ok(());
            b.range(channels, |b, c| {
                let v = b.load(elem, 1, sums, place(c), None);
                let v = if op.max { v } else { b.bin(BinOp::Div, v, count) };
                let zero = access::constant(b, elem, 1, 0.0);
                let v = b.select(some, v, zero);
                inner = out.end.emit(b, &[at[0].clone(), Idx::reg(c), at[1].clone(), at[2].clone()], v, None);
            });
            inner
        })();
    });
    done?;
    Ok(k.finish())
}

/// The samples of a bin along one axis.
struct Axis {
    /// Start of the region.
    start: Reg,
    /// Size of a bin.
    size: Reg,
    /// Number of the bin.
    bin: Reg,
    /// Number of samples.
    samples: Reg,
}

impl Axis {
    fn new(b: &mut KernelBuilder, op: &RoiAlign, (from, to): (Reg, Reg), bins: usize, bin: &Idx) -> Self {
        let (scale, shift) = (num(b, op.spatial_scale.into()), num(b, if op.half_pixel { 0.5 } else { 0.0 }));
        let edge = |b: &mut KernelBuilder, v: Reg| {
            let v = b.mul(v, scale);
            b.sub(v, shift)
        };
        let (start, end) = (edge(b, from), edge(b, to));
        let mut length = b.sub(end, start);
        if !op.half_pixel {
            let one = num(b, 1.0);
            length = b.bin(BinOp::Max, length, one);
        }
        let bins = num(b, bins as f64);
        let size = b.bin(BinOp::Div, length, bins);
        let samples = match op.sampling_ratio {
            0 => {
                let (zero, most) = (num(b, 0.0), num(b, MOST_SAMPLES));
                let n = b.un(UnOp::Ceil, size);
                let n = b.bin(BinOp::Max, n, zero);
                let n = b.bin(BinOp::Min, n, most);
                b.cvt(CvtOp::FToS, Elem::I64, n)
            }
            n => b.i64(n as i64),
        };
        let bin = bin.materialise(b);
        Self { start, size, bin: float(b, bin), samples }
    }
    /// Coordinate of a sample.
    fn sample(&self, b: &mut KernelBuilder, i: Reg) -> Reg {
        let (i, n, half) = (float(b, i), float(b, self.samples), num(b, 0.5));
        let i = b.add(i, half);
        let part = b.bin(BinOp::Div, i, n);
        let at = b.add(self.bin, part);
        let at = b.mul(at, self.size);
        b.add(self.start, at)
    }
}

/// A bin that collects samples.
struct Bin<'a> {
    op: &'a RoiAlign,
    xt: &'a TensorType,
    x: Buf,
    /// Per channel, from `home` on.
    sums: Buf,
    home: Reg,
    elem: Elem,
    /// From `list` on: offsets in a channel's plane; negative: zero stands for the pixel.
    places: Buf,
    weights: Buf,
    list: Reg,
}

impl Bin<'_> {
    /// Writes the pixels of the sample at a point down; `used` counts them.
    fn keep(&self, b: &mut KernelBuilder, y: Reg, x: Reg, used: Reg) {
        let (h, w) = (&self.xt.dims[2], &self.xt.dims[3]);
        let (below, right) = (beyond(b, y, h), beyond(b, x, w));
        let outside = b.bin(BinOp::Or, below, right);
        let put = |b: &mut KernelBuilder, place: Reg, weight: Reg| {
            let to = Idx::reg(self.list).plus(&Idx::reg(used)).addr();
            b.store(self.places, to.clone(), place, None);
            b.store(self.weights, to, weight, None);
            let next = add_const(b, used, 1);
            b.copy_to(used, next);
        };
        b.if_(
            outside,
            |b| {
                // Zero adds nothing to a sum, but may be the maximum.
                if self.op.max {
                    let (none, zero) = (b.i64(-1), access::constant(b, self.elem, 1, 0.0));
                    put(b, none, zero);
                }
            },
            |b| {
                let (rows, columns) = (neighbours(b, y, h), neighbours(b, x, w));
                let width = dim(b, w);
                for (row, wy) in rows {
                    let row = b.mul(row, width);
                    for &(column, wx) in &columns {
                        let (at, own) = (b.add(row, column), b.mul(wy, wx));
                        let own = weight(b, self.elem, own);
                        put(b, at, own);
                    }
                }
            },
        );
    }
    /// Takes the first `used` pixels of an image that were written down into all channels.
    fn collect(&self, b: &mut KernelBuilder, image: Reg, used: Reg) -> Result<()> {
        let (channels, plane) = (dim(b, &self.xt.dims[1]), dim(b, &product(&self.xt.dims[2..])));
        let first = b.mul(image, channels);
        let mut done = Ok(());
        b.range(&self.xt.dims[1], |b, c| {
            let all = b.add(first, c);
            let origin = Idx::reg(b.mul(all, plane));
            let at = Idx::reg(self.home).plus(&Idx::reg(c)).addr();
            let sum = b.load(self.elem, 1, self.sums, at.clone(), None);
            let sum = copy(b, sum);
            b.for_(Bound::Const(0), Bound::Reg(used), 1, LoopKind::Serial, |b, i| {
                done = self.pixel(b, i, &origin).map(|p| {
                    let v = if self.op.max {
                        let more = b.cmp(CmpOp::Gt, p, sum);
                        b.select(more, p, sum)
                    } else {
                        b.add(sum, p)
                    };
                    b.copy_to(sum, v);
                });
            });
            b.store(self.sums, at, sum, None);
        });
        done
    }
    /// A pixel of the list times its weight.
    fn pixel(&self, b: &mut KernelBuilder, i: Reg, origin: &Idx) -> Result<Reg> {
        let from = Idx::reg(self.list).plus(&Idx::reg(i)).addr();
        let place = b.load(Elem::I64, 1, self.places, from.clone(), None);
        let w = b.load(self.elem, 1, self.weights, from, None);
        let load = |b: &mut KernelBuilder, at: Reg| {
            let v = access::load(b, self.xt.dtype, self.x, &origin.plus(&Idx::reg(at)), 1, None)?;
            Ok(b.mul(v, w))
        };
        if !self.op.max {
            return load(b, place);
        }
        let (zero, nothing) = (b.i64(0), access::constant(b, self.elem, 1, 0.0));
        let at = b.bin(BinOp::MaxS, place, zero);
        let (v, inside) = (load(b, at)?, b.cmp(CmpOp::Ge, place, zero));
        Ok(b.select(inside, v, nothing))
    }
}

/// Whether a coordinate is more than a pixel outside of `n`.
fn beyond(b: &mut KernelBuilder, v: Reg, n: &Expr) -> Reg {
    let (low, n) = (num(b, -1.0), dim(b, n));
    let n = float(b, n);
    let (before, behind) = (b.cmp(CmpOp::Lt, v, low), b.cmp(CmpOp::Gt, v, n));
    b.bin(BinOp::Or, before, behind)
}

/// The two pixels next to a coordinate with their weights.
fn neighbours(b: &mut KernelBuilder, v: Reg, n: &Expr) -> [(Reg, Reg); 2] {
    let (zero, one) = (num(b, 0.0), num(b, 1.0));
    let positive = b.cmp(CmpOp::Gt, v, zero);
    let v = b.select(positive, v, zero);
    let lo = clamped(b, v, n);
    let step = b.i64(1);
    let next = b.add(lo, step);
    let n = dim(b, n);
    let more = b.cmp(CmpOp::Lt, next, n);
    let hi = b.select(more, next, lo);
    let low = float(b, lo);
    let f = b.sub(v, low);
    let f = b.select(more, f, zero);
    [(lo, b.sub(one, f)), (hi, f)]
}

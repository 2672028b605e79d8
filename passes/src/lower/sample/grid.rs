//! GridSample: every point of the grid has a few pixels with weights, found for a block of points at a time.

use super::{clamped, coordinate, weight};
use crate::lower::body::Body;
use crate::lower::contract::gemm::scaled;
use crate::lower::contract::kernel::{Kernel, Source, name};
use crate::lower::contract::slots;
use crate::lower::coords::{cubic, float, num, refuse_empty};
use crate::lower::index::{Idx, dim, int, linear, unravel};
use crate::lower::out::Index;
use crate::lower::{LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::GridSample;
use sinter_ir::op::grid_sample::GridPadding;
use sinter_ir::op::resize::ResizeMode;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, Elem, Inst, LoopKind, Reg, Ty, UnOp};
use sinter_ir::{DType, Expr, Result};

/// Points whose pixels are found before any channel is read: channels lie far apart.
const BLOCK: i64 = 64;
/// Coefficient of the cubic kernel.
const A: f64 = -0.75;
/// Pixels per point that are summed without a loop over them.
const FEW: usize = 8;

/// Lowers a GridSample with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &GridSample) -> Result<Lowered> {
    let root = body.root_node()?;
    let (xt, gt) = (body.ty(root.inputs[0]), body.ty(root.inputs[1]));
    let rank = xt.rank() - 2;
    let (image, out_dims) = (&xt.dims[2..], &gt.dims[1..=rank]);
    let mut k =
        Kernel::new(cx, body, &name("grid", xt.dtype, &[xt.dims.as_slice(), &gt.dims].concat()), true)?;
    let (x, grid) = (k.source(Source::Value(root.inputs[0]))?, k.source(Source::Value(root.inputs[1]))?);
    let (elem, points) = (access::compute(xt.dtype)?, product(out_dims));
    let blocks = [xt.dims[0].clone(), points.ceil_div(&BLOCK.into())];
    let trips = product(&blocks);
    let slots = k.slots(&trips);
    let per_axis: usize = match op.mode {
        ResizeMode::Nearest => 1,
        ResizeMode::Linear => 2,
        ResizeMode::Cubic => 4,
    };
    let count = per_axis.pow(rank as u32);
    let size = Expr::from(BLOCK * count as i64 * slots);
    let places = k.scratch(&size, Elem::I64);
    let weights = if op.mode == ResizeMode::Nearest { None } else { Some(k.scratch(&size, elem)) };
    let Kernel { b, out, .. } = &mut k;
    refuse_empty(cx, b, image, &(xt.dims[0].clone() * xt.dims[1].clone() * points.clone()));
    let s = Sampler { op, dtype: xt.dtype, elem, x, places, weights, count };
    let start = |b: &mut KernelBuilder, slot: Reg| scaled(b, slot, BLOCK * count as i64);
    let mut done = Ok(());
    slots::for_each(b, slots, &trips, start, |b, &home, t| {
        done = (|| {
            let at = unravel(b, &Idx::reg(t), &blocks)?;
            let n = at[0].materialise(b);
            let first = at[1].times(BLOCK).materialise(b);
            let (all, room) = (b.dim(&points), b.i64(BLOCK));
            let left = b.sub(all, first);
            let here = b.bin(BinOp::MinS, left, room);
            let mut inner = Ok(());
            b.for_(Bound::Const(0), Bound::Reg(here), 1, LoopKind::Serial, |b, p| {
                inner = (|| {
                    let row = b.mul(n, all);
                    let row = Idx::reg(row).plus(&Idx::reg(first)).plus(&Idx::reg(p)).materialise(b);
                    let mut pixels = vec![Pixel { at: Idx::default(), weight: None, valid: None }];
                    for (i, n) in image.iter().enumerate() {
                        // The grid names the innermost axis first.
                        let at = Idx::reg(row).times(rank as i64).plus(&Idx::at((rank - 1 - i) as i64));
                        let g = coordinate(b, gt.dtype, grid, &at)?;
                        let own = s.axis(b, g, n);
                        pixels = combine(b, &pixels, &own, n)?;
                    }
                    s.keep(b, &pixels, &Idx::reg(p).times(count as i64).plus(&Idx::reg(home)));
                    Ok(())
                })();
            });
            std::mem::replace(&mut inner, Ok(()))?;
            b.range(&xt.dims[1], |b, c| {
                let lead = [at[0].clone(), Idx::reg(c)];
                let plane = linear(b, &lead, &xt.dims[..2]).and_then(|i| i.times_expr(b, &product(image)));
                inner = plane.and_then(|plane| {
                    let mut points_done = Ok(());
                    b.for_(Bound::Const(0), Bound::Reg(here), 1, LoopKind::Serial, |b, p| {
                        let from = Idx::reg(p).times(count as i64).plus(&Idx::reg(home));
                        points_done = s.sum(b, &from, &plane).and_then(|v| {
                            let point = b.add(first, p);
                            let index = [(n, 1), (c, 1), (point, rank)];
                            out.put(b, &index.map(|(at, axes)| Index { at, axes }), v, None)
                        });
                    });
                    points_done
                });
            });
            inner
        })();
    });
    done?;
    Ok(k.finish())
}

/// A pixel of a channel, or along one axis a place; where it is not valid it counts as zero.
#[derive(Debug, Clone)]
struct Pixel {
    at: Idx,
    weight: Option<Reg>,
    valid: Option<Reg>,
}

/// All pairs of the pixels of the axes so far and the places along the next one.
fn combine(b: &mut KernelBuilder, pixels: &[Pixel], places: &[Pixel], n: &Expr) -> Result<Vec<Pixel>> {
    let mut all = Vec::with_capacity(pixels.len() * places.len());
    for p in pixels {
        let row = p.at.times_expr(b, n)?;
        for q in places {
            let mut both = |op: BinOp, x: Option<Reg>, y: Option<Reg>| match (x, y) {
                (Some(x), Some(y)) => Some(b.bin(op, x, y)),
                (x, y) => x.or(y),
            };
            let (weight, valid) = (both(BinOp::Mul, p.weight, q.weight), both(BinOp::And, p.valid, q.valid));
            // One register per pixel: the loop over channels adds only the channel's offset.
            let at = Idx::reg(row.plus(&q.at).materialise(b));
            all.push(Pixel { at, weight, valid });
        }
    }
    Ok(all)
}

struct Sampler<'a> {
    op: &'a GridSample,
    dtype: DType,
    elem: Elem,
    x: Buf,
    /// Offset of each pixel of a block's points; negative: zero stands for it.
    places: Buf,
    /// Their weights; none: 1.
    weights: Option<Buf>,
    /// Pixels per point.
    count: usize,
}

impl Sampler<'_> {
    /// Writes the pixels of a point down.
    fn keep(&self, b: &mut KernelBuilder, pixels: &[Pixel], to: &Idx) {
        for (i, p) in pixels.iter().enumerate() {
            let to = to.plus(&Idx::at(i as i64)).addr();
            let mut at = p.at.materialise(b);
            if let Some(ok) = p.valid {
                let none = int(b, -1);
                at = b.select(ok, at, none);
            }
            b.store(self.places, to.clone(), at, None);
            if let (Some(buf), Some(w)) = (self.weights, p.weight) {
                let w = weight(b, self.elem, w);
                b.store(buf, to, w, None);
            }
        }
    }
    /// The value at the point whose pixels were written down from `from` on.
    fn sum(&self, b: &mut KernelBuilder, from: &Idx, plane: &Idx) -> Result<Reg> {
        if self.count <= FEW {
            let mut sum = None;
            for i in 0..self.count {
                let v = self.pixel(b, &from.plus(&Idx::at(i as i64)), plane)?;
                sum = Some(sum.map_or(v, |s| b.add(s, v)));
            }
            return Ok(sum.unwrap_or_else(|| access::constant(b, self.elem, 1, 0.0)));
        }
        let sum = b.zero(Ty { elem: self.elem, lanes: 1 });
        let mut done = Ok(());
        b.range(&self.count.into(), |b, i| {
            done = self.pixel(b, &from.plus(&Idx::reg(i)), plane).map(|v| {
                b.set(sum, Inst::Bin(BinOp::Add, sum, v));
            });
        });
        done.map(|()| sum)
    }
    /// A pixel times its weight.
    fn pixel(&self, b: &mut KernelBuilder, from: &Idx, plane: &Idx) -> Result<Reg> {
        let place = b.load(Elem::I64, 1, self.places, from.addr(), None);
        let zero = int(b, 0);
        let outside = self.op.padding == GridPadding::Zeros;
        let at = if outside { b.bin(BinOp::MaxS, place, zero) } else { place };
        let mut v = access::load(b, self.dtype, self.x, &plane.plus(&Idx::reg(at)), 1, None)?;
        if let Some(w) = self.weights {
            let w = b.load(self.elem, 1, w, from.addr(), None);
            v = b.mul(v, w);
        }
        // Neither the pixel nor the weight may matter where the image ends.
        if outside {
            let (inside, nothing) = (b.cmp(CmpOp::Ge, place, zero), access::constant(b, self.elem, 1, 0.0));
            v = b.select(inside, v, nothing);
        }
        Ok(v)
    }
    /// The places along an axis of `n` pixels that make up normalised coordinate `g`.
    fn axis(&self, b: &mut KernelBuilder, g: Reg, n: &Expr) -> Vec<Pixel> {
        let (one, two) = (num(b, 1.0), num(b, 2.0));
        let size = dim(b, n);
        let size = float(b, size);
        let up = b.add(g, one);
        let mut c = if self.op.align_corners {
            let half = b.bin(BinOp::Div, up, two);
            let last = b.sub(size, one);
            b.mul(half, last)
        } else {
            let wide = b.mul(up, size);
            let wide = b.sub(wide, one);
            b.bin(BinOp::Div, wide, two)
        };
        if self.op.mode != ResizeMode::Cubic {
            c = match self.op.padding {
                GridPadding::Zeros => c,
                GridPadding::Border => within(b, c, size),
                GridPadding::Reflection => self.reflect(b, c, size),
            };
        }
        if self.op.mode == ResizeMode::Nearest {
            let i = b.un(UnOp::Nearest, c);
            return vec![self.place(b, i, None, n, size)];
        }
        let floor = b.un(UnOp::Floor, c);
        let f = b.sub(c, floor);
        let back = b.sub(one, f);
        let weights: Vec<(f64, Reg)> = if self.op.mode == ResizeMode::Linear {
            vec![(0.0, back), (1.0, f)]
        } else {
            let (before, behind) = (b.add(f, one), b.sub(two, f));
            vec![
                (-1.0, cubic(b, before, A, false)),
                (0.0, cubic(b, f, A, true)),
                (1.0, cubic(b, back, A, true)),
                (2.0, cubic(b, behind, A, false)),
            ]
        };
        let mut places = vec![];
        for (step, w) in weights {
            let step = num(b, step);
            let i = b.add(floor, step);
            places.push(self.place(b, i, Some(w), n, size));
        }
        places
    }
    /// The pixel that stands for a whole coordinate.
    fn place(&self, b: &mut KernelBuilder, i: Reg, weight: Option<Reg>, n: &Expr, size: Reg) -> Pixel {
        let inside = |b: &mut KernelBuilder| {
            let zero = num(b, 0.0);
            let (low, high) = (b.cmp(CmpOp::Ge, i, zero), b.cmp(CmpOp::Lt, i, size));
            b.bin(BinOp::And, low, high)
        };
        let (valid, c) = match self.op.padding {
            GridPadding::Zeros => (Some(inside(b)), i),
            GridPadding::Border => (None, i),
            GridPadding::Reflection => {
                let r = self.reflect(b, i, size);
                let r = b.un(UnOp::Nearest, r);
                let inside = inside(b);
                (None, b.select(inside, i, r))
            }
        };
        Pixel { at: Idx::reg(clamped(b, c, n)), weight, valid }
    }
    /// A coordinate folded back and forth into the image; 0 where that has no meaning.
    fn reflect(&self, b: &mut KernelBuilder, c: Reg, size: Reg) -> Reg {
        let (zero, one, two) = (num(b, 0.0), num(b, 1.0), num(b, 2.0));
        let (lo, span) = match self.op.align_corners {
            true => (zero, b.sub(size, one)),
            false => (num(b, -0.5), size),
        };
        let (from, period) = (b.sub(c, lo), b.mul(span, two));
        let turns = b.bin(BinOp::Div, from, period);
        let turns = b.un(UnOp::Floor, turns);
        let whole = b.mul(turns, period);
        let m = b.sub(from, whole);
        let (past, back) = (b.cmp(CmpOp::Gt, m, span), b.sub(period, m));
        let m = b.select(past, back, m);
        let r = b.add(lo, m);
        let r = within(b, r, size);
        let (wide, rest) = (b.cmp(CmpOp::Gt, span, zero), b.sub(c, c));
        let finite = b.cmp(CmpOp::Eq, rest, zero);
        let ok = b.bin(BinOp::And, wide, finite);
        b.select(ok, r, zero)
    }
}

/// A coordinate clamped to the centres of the first and last pixel.
fn within(b: &mut KernelBuilder, c: Reg, size: Reg) -> Reg {
    let (zero, one) = (num(b, 0.0), num(b, 1.0));
    let last = b.sub(size, one);
    let c = b.bin(BinOp::Max, c, zero);
    b.bin(BinOp::Min, c, last)
}

//! NonMaxSuppression: per image and class a heap of the boxes above the threshold, best score on top; each box taken
//! is compared with those kept so far, many at once: their sides lie in scratch memory, each side by itself.

use super::heap::{Heap, Pair, order_key, reversed};
use super::{finish, guard, words};
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::{add_const, scaled};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::{Idx, linear};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::NonMaxSuppression;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Result, TensorType};

/// Lowers a NonMaxSuppression.
pub fn lower(cx: &LowerCx, body: &Body, op: &NonMaxSuppression) -> Result<Lowered> {
    let root = body.root_node()?;
    let (boxes, scores) = (body.ty(root.inputs[0]), body.ty(root.inputs[1]));
    let (mut l, mut b, mut p) =
        (Lowered::default(), KernelBuilder::new(name(body, "nms")), Params::default());
    let mut bufs = vec![];
    for &v in &root.inputs {
        bufs.push(p.value(&mut b, body, v)?);
    }
    let y = p.buf(&mut b, Arg::Output(0), Access::ReadWrite, body.ty(root.outputs[0]));
    let count = boxes.dims[1].clone();
    let memory = words(&mut l, &mut b, &mut p, &(count.clone() * 2.into()));
    let scalar =
        |b: &mut KernelBuilder, i: usize, elem: Elem| b.load(elem, 1, bufs[i], Idx::default().addr(), None);
    let (most, iou, threshold) =
        (scalar(&mut b, 2, Elem::I64), scalar(&mut b, 3, Elem::F32), scalar(&mut b, 4, Elem::F32));
    let zero = b.i64(0);
    let room = b.dim(&count);
    // Models write "no limit" as the largest integer.
    let most = b.bin(BinOp::MinS, most, room);
    let most = b.bin(BinOp::MaxS, most, zero);
    let every = product(&scores.dims);
    let heap = Heap { buf: memory, base: zero, room, largest: false };
    let kept = copy(&mut b, zero);
    let sides = TensorType::new(DType::F32, vec![count.clone() * 4.into()]);
    l.scratch.push(sides.numel() * 4.into());
    let sides = p.buf(&mut b, Arg::Scratch(l.scratch.len() - 1), Access::ReadWrite, &sides);
    let rows = [0, 1, 2, 3].map(|side| scaled(&mut b, room, side));
    let pass = Pass { op, boxes: bufs[0], count: room, sides, rows, iou, lanes: cx.target.lanes(32) };
    let mut done = Ok(());
    b.range(&scores.dims[0], |b, image| {
        b.range(&scores.dims[1], |b, class| {
            done = (|| {
                let size = copy(b, zero);
                let mut inner = Ok(());
                b.range(&count, |b, j| {
                    inner =
                        linear(b, &[Idx::reg(image), Idx::reg(class), Idx::reg(j)], &scores.dims).map(|at| {
                            let s = b.load(Elem::F32, 1, bufs[1], at.addr(), None);
                            let key = order_key(b, DType::F32, s);
                            let key = reversed(b, key);
                            let over = if op.has_score_threshold {
                                b.cmp(CmpOp::Gt, s, threshold)
                            } else {
                                b.bool(1, true)
                            };
                            b.if_(
                                over,
                                |b| {
                                    heap.set(b, size, Pair { key, id: j });
                                    let n = add_const(b, size, 1);
                                    b.copy_to(size, n);
                                },
                                |_| {},
                            );
                        });
                });
                inner?;
                heap.build(b, size);
                let first = copy(b, kept);
                let limit = b.add(first, most);
                b.while_(
                    |b| {
                        let (more, room) = (b.cmp(CmpOp::Gt, size, zero), b.cmp(CmpOp::Lt, kept, limit));
                        b.bin(BinOp::And, more, room)
                    },
                    |b| {
                        let best = heap.pop(b, size);
                        let n = add_const(b, size, -1);
                        b.copy_to(size, n);
                        let own = pass.corners(b, image, best.id);
                        let before = b.sub(kept, first);
                        let free = pass.is_free(b, own, before);
                        b.if_(
                            free,
                            |b| {
                                guard(cx, b, op.count, &every, kept);
                                for (i, v) in [image, class, best.id].into_iter().enumerate() {
                                    b.store(y, Idx::reg(kept).times(3).addr().offset(i as i64), v, None);
                                }
                                for (&row, &side) in pass.rows.iter().zip(&own) {
                                    b.store(pass.sides, Addr::reg(row).plus(before, 1), side, None);
                                }
                                let n = add_const(b, kept, 1);
                                b.copy_to(kept, n);
                            },
                            |_| {},
                        );
                    },
                );
                Ok(())
            })();
        });
    });
    done?;
    b.set_sym(op.count, kept);
    Ok(finish(l, b, p))
}

struct Pass<'a> {
    op: &'a NonMaxSuppression,
    boxes: Buf,
    count: Reg,
    /// Of the boxes that are kept, `[4][count]`, and where each side begins.
    sides: Buf,
    rows: [Reg; 4],
    iou: Reg,
    lanes: u16,
}

impl Pass<'_> {
    /// Low and high corner of a box.
    fn corners(&self, b: &mut KernelBuilder, image: Reg, j: Reg) -> [Reg; 4] {
        let row = b.mul(image, self.count);
        let row = b.add(row, j);
        let v: [Reg; 4] = std::array::from_fn(|i| {
            b.load(Elem::F32, 1, self.boxes, Idx::reg(row).times(4).addr().offset(i as i64), None)
        });
        if self.op.center_point_box {
            let two = access::constant(b, Elem::F32, 1, 2.0);
            let (w, h) = (b.bin(BinOp::Div, v[2], two), b.bin(BinOp::Div, v[3], two));
            return [b.sub(v[0], w), b.sub(v[1], h), b.add(v[0], w), b.add(v[1], h)];
        }
        let mut ends = |op: BinOp, i: usize| b.bin(op, v[i], v[i + 2]);
        [ends(BinOp::Min, 0), ends(BinOp::Min, 1), ends(BinOp::Max, 0), ends(BinOp::Max, 1)]
    }
    /// Whether a box overlaps none of the first `n` that are kept too much.
    fn is_free(&self, b: &mut KernelBuilder, own: [Reg; 4], n: Reg) -> Reg {
        let lanes = self.lanes;
        let own = own.map(|v| b.splat(v, lanes));
        let none = access::constant(b, Elem::F32, lanes, f64::NEG_INFINITY);
        let most = copy(b, none);
        let step = |b: &mut KernelBuilder, i: Reg, tail: Option<Reg>| {
            let other =
                self.rows.map(|row| b.load(Elem::F32, lanes, self.sides, Addr::reg(row).plus(i, 1), tail));
            // Lanes behind the last box have one of no size, which overlaps nothing.
            let share = overlap(b, own, other);
            let larger = b.bin(BinOp::Max, most, share);
            b.copy_to(most, larger);
        };
        let mask = b.i64(-i64::from(lanes));
        let whole = b.bin(BinOp::And, n, mask);
        let every = i64::from(lanes);
        b.for_(Bound::Const(0), Bound::Reg(whole), every, LoopKind::Serial, |b, i| step(b, i, None));
        b.for_(Bound::Reg(whole), Bound::Reg(n), every, LoopKind::Serial, |b, i| {
            let left = b.sub(n, i);
            step(b, i, Some(left));
        });
        let most = if lanes > 1 { b.fold(BinOp::Max, most) } else { most };
        b.cmp(CmpOp::Le, most, self.iou)
    }
}

/// Intersection over union.
fn overlap(b: &mut KernelBuilder, x: [Reg; 4], y: [Reg; 4]) -> Reg {
    let zero = access::constant(b, Elem::F32, b.ty(x[0]).lanes, 0.0);
    let mut side = |i: usize| {
        let (hi, lo) = (b.bin(BinOp::Min, x[i + 2], y[i + 2]), b.bin(BinOp::Max, x[i], y[i]));
        let d = b.sub(hi, lo);
        b.bin(BinOp::Max, d, zero)
    };
    let (w, h) = (side(0), side(1));
    let both = b.mul(w, h);
    let mut area = |c: [Reg; 4]| {
        let (w, h) = (b.sub(c[2], c[0]), b.sub(c[3], c[1]));
        b.mul(w, h)
    };
    let (ax, ay) = (area(x), area(y));
    let union = b.add(ax, ay);
    let union = b.sub(union, both);
    let some = b.cmp(CmpOp::Gt, union, zero);
    let share = b.bin(BinOp::Div, both, union);
    b.select(some, share, zero)
}

//! NonMaxSuppression: per image and class a heap of the boxes above the threshold, best score on top; each box taken
//! is compared with those kept so far, which are read back from the result.

use super::heap::{Heap, Pair, order_key, reversed};
use super::{finish, guard, words};
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::add_const;
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::{Idx, linear};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::NonMaxSuppression;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result};

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
    let pass = Pass { op, boxes: bufs[0], count: &count, y, iou };
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
                        let free = pass.is_free(b, (image, best.id), (first, kept));
                        b.if_(
                            free,
                            |b| {
                                guard(cx, b, op.count, &every, kept);
                                for (i, v) in [image, class, best.id].into_iter().enumerate() {
                                    b.store(y, Idx::reg(kept).times(3).addr().offset(i as i64), v, None);
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
    count: &'a Expr,
    y: Buf,
    iou: Reg,
}

impl Pass<'_> {
    /// Low and high corner of a box.
    fn corners(&self, b: &mut KernelBuilder, image: Reg, j: Reg) -> [Reg; 4] {
        let per = b.dim(self.count);
        let row = b.mul(image, per);
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
    /// Whether a box overlaps none of the rows `from .. to` of the result too much.
    fn is_free(&self, b: &mut KernelBuilder, (image, j): (Reg, Reg), (from, to): (Reg, Reg)) -> Reg {
        let own = self.corners(b, image, j);
        let yes = b.bool(1, true);
        let free = copy(b, yes);
        b.for_(Bound::Reg(from), Bound::Reg(to), 1, LoopKind::Serial, |b, row| {
            let q = b.load(Elem::I64, 1, self.y, Idx::reg(row).times(3).addr().offset(2), None);
            let other = self.corners(b, image, q);
            let overlap = overlap(b, own, other);
            let ok = b.cmp(CmpOp::Le, overlap, self.iou);
            let all = b.bin(BinOp::And, free, ok);
            b.copy_to(free, all);
        });
        free
    }
}

/// Intersection over union.
fn overlap(b: &mut KernelBuilder, x: [Reg; 4], y: [Reg; 4]) -> Reg {
    let zero = access::constant(b, Elem::F32, 1, 0.0);
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

//! TopK: one pass over a line with a heap of the k best so far, worst on top; then the heap empties into the result
//! from the back. Time n log k, whatever k is; equal values keep their order because pairs compare by index too.

use super::heap::{Heap, order_key, reversed};
use super::{addressable, finish, words};
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::add_const;
use crate::lower::contract::micro::copy;
use crate::lower::contract::slots;
use crate::lower::elementwise::name;
use crate::lower::index::{Idx, linear, unravel};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::TopK;
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{Access, Bound, CmpOp, LoopKind, Reg};
use sinter_ir::{Expr, Result};

/// Lowers a TopK.
pub fn lower(cx: &LowerCx, body: &Body, op: &TopK) -> Result<Lowered> {
    let root = body.root_node()?;
    let (xt, yt) = (body.ty(root.inputs[0]), body.ty(root.outputs[0]));
    addressable(xt.dtype, "TopK")?;
    let (mut l, mut b, mut p) =
        (Lowered::default(), KernelBuilder::new(name(body, "topk")), Params::default());
    let x = p.value(&mut b, body, root.inputs[0])?;
    let values = p.buf(&mut b, Arg::Output(0), Access::Write, yt);
    let indices = p.buf(&mut b, Arg::Output(1), Access::Write, body.ty(root.outputs[1]));
    let (len, k) = (xt.dims[op.axis].clone(), yt.dims[op.axis].clone());
    let (outer, inner) = (product(&xt.dims[..op.axis]), product(&xt.dims[op.axis + 1..]));
    let lines: [Expr; 2] = [outer, inner.clone()];
    let trips = product(&lines);
    let slots = slots::count(cx.target, &trips);
    let room = k.clone() * 2.into();
    let memory = words(&mut l, &mut b, &mut p, &(room.clone() * slots.into()));
    if cx.symbols.range(&(len.clone() - k.clone())).0 < 0 {
        let (len, k) = (b.dim(&len), b.dim(&k));
        let short = b.cmp(CmpOp::Lt, len, k);
        b.fail_if(short, code::INDEX);
    }
    let mut done = Ok(());
    let start = |b: &mut KernelBuilder, slot: Reg| {
        let room = b.dim(&room);
        b.mul(slot, room)
    };
    slots::for_each(&mut b, slots, &trips, start, |b, &base, t| {
        done = (|| {
            let at = unravel(b, &Idx::reg(t), &lines)?;
            let (k, zero) = (b.dim(&k), b.i64(0));
            let heap = Heap { buf: memory, base, room: k, largest: true };
            let from = |b: &mut KernelBuilder, i: Reg| {
                linear(
                    b,
                    &[at[0].clone(), Idx::reg(i), at[1].clone()],
                    &[lines[0].clone(), len.clone(), inner.clone()],
                )
            };
            let pair = |b: &mut KernelBuilder, i: Reg| -> Result<super::heap::Pair> {
                let i_at = from(b, i)?;
                let v = access::load(b, xt.dtype, x, &i_at, 1, None)?;
                let key = order_key(b, xt.dtype, v);
                let key = if op.largest { reversed(b, key) } else { key };
                Ok(super::heap::Pair { key, id: i })
            };
            let mut inner_done = Ok(());
            b.for_(Bound::Const(0), Bound::Reg(k), 1, LoopKind::Serial, |b, i| {
                inner_done = pair(b, i).map(|p| heap.set(b, i, p))
            });
            std::mem::replace(&mut inner_done, Ok(()))?;
            heap.build(b, k);
            let some = b.cmp(CmpOp::Gt, k, zero);
            let end = b.dim(&len);
            b.if_(
                some,
                |b| {
                    b.for_(Bound::Reg(k), Bound::Reg(end), 1, LoopKind::Serial, |b, i| {
                        inner_done = pair(b, i).map(|p| {
                            let worst = heap.get(b, zero);
                            // Later elements lose ties.
                            let better = b.cmp(CmpOp::Lt, p.key, worst.key);
                            b.if_(better, |b| heap.sift(b, zero, k, p), |_| {});
                        });
                    });
                },
                |_| {},
            );
            std::mem::replace(&mut inner_done, Ok(()))?;
            let left = copy(b, k);
            b.while_(
                |b| b.cmp(CmpOp::Gt, left, zero),
                |b| {
                    inner_done = (|| {
                        let worst = heap.pop(b, left);
                        let last = add_const(b, left, -1);
                        b.copy_to(left, last);
                        let source = from(b, worst.id)?;
                        let v = access::load(b, xt.dtype, x, &source, 1, None)?;
                        let k = yt.dims[op.axis].clone();
                        let to = linear(
                            b,
                            &[at[0].clone(), Idx::reg(left), at[1].clone()],
                            &[lines[0].clone(), k, inner.clone()],
                        )?;
                        access::store(b, yt.dtype, values, &to, v, None)?;
                        b.store(indices, to.addr(), worst.id, None);
                        Ok(())
                    })();
                },
            );
            inner_done
        })();
    });
    done?;
    Ok(finish(l, b, p))
}

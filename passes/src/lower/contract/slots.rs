//! Parallel loops whose iterations own a piece of scratch memory.
//!
//! A kernel does not know its thread, so scratch belongs to a fixed number of slots: each slot is one parallel
//! iteration and works through its share of the trips.

use super::arith::{add_const, unravel};
use super::micro::copy;
use sinter_ir::Expr;
use sinter_ir::expr::product;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, LoopKind, Reg};

/// Slots for a number of trips: enough for the target's cores to balance, not more than trips.
pub fn count(target: &TargetDesc, trips: &Expr) -> i64 {
    let most = i64::from(target.cores.max(1)) * 4;
    trips.as_const().map_or(most, |t| t.clamp(1, most))
}

/// Slots that `work` vector operations should be cut into, whatever their trips.
pub fn wanted(target: &TargetDesc, work: Option<&i64>) -> i64 {
    for_work(target, &i64::MAX.into(), work)
}

/// Slots for a number of trips that are `work` vector operations in all, where that is known.
pub fn for_work(target: &TargetDesc, trips: &Expr, work: Option<&i64>) -> i64 {
    let most = work.map_or(i64::MAX, |w| (w / target.cost.thread_work.max(1)).max(1));
    let slots = count(target, trips).min(most);
    // Two threads take as many each, where trips do not say otherwise.
    if slots > 1 && slots == most { slots - slots % 2 } else { slots }
}

/// Parallel over `slots`, serial over each slot's trips. `start` sees the slot once, `each` every trip.
pub fn for_each<S>(
    b: &mut KernelBuilder,
    slots: i64,
    trips: &Expr,
    start: impl FnOnce(&mut KernelBuilder, Reg) -> S,
    each: impl FnOnce(&mut KernelBuilder, &S, Reg),
) {
    if slots == 1 {
        let first = b.i64(0);
        let state = start(b, first);
        return b.range(trips, |b, t| each(b, &state, t));
    }
    b.parallel(&slots.into(), |b, slot| {
        let state = start(b, slot);
        if trips.is(slots) {
            return each(b, &state, slot);
        }
        let (lo, hi) = share(b, slot, slots, trips);
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, t| each(b, &state, t));
    });
}

/// The trips of a slot.
fn share(b: &mut KernelBuilder, slot: Reg, slots: i64, trips: &Expr) -> (Reg, Reg) {
    let (all, n) = (b.dim(trips), b.i64(slots));
    let lo = b.mul(slot, all);
    let lo = b.bin(BinOp::DivS, lo, n);
    let next = add_const(b, slot, 1);
    let hi = b.mul(next, all);
    (lo, b.bin(BinOp::DivS, hi, n))
}

/// Like [`for_each`] over trips of several dims, innermost last. `each` sees the outer coordinates and a range of the
/// innermost one, so that work that the outer ones share is done once for the range.
pub fn for_each_run<S>(
    b: &mut KernelBuilder,
    slots: i64,
    work: &[Expr],
    start: impl FnOnce(&mut KernelBuilder, Reg) -> S,
    each: impl FnOnce(&mut KernelBuilder, &S, &[Reg], Bound, Bound),
) {
    let Some((inner, outer)) = work.split_last() else { return };
    if slots == 1 {
        let first = b.i64(0);
        let state = start(b, first);
        return b.range(&product(outer), |b, t| {
            let at = unravel(b, t, outer);
            let hi = b.bound(inner);
            each(b, &state, &at, Bound::Const(0), hi);
        });
    }
    b.parallel(&slots.into(), |b, slot| {
        let state = start(b, slot);
        share_run(b, (slot, slots), work, |b, at, lo, hi| each(b, &state, at, lo, hi));
    });
}

/// The part of [`for_each_run`] that is one slot's.
pub fn share_run(
    b: &mut KernelBuilder,
    (slot, slots): (Reg, i64),
    work: &[Expr],
    each: impl FnOnce(&mut KernelBuilder, &[Reg], Bound, Bound),
) {
    let Some((inner, outer)) = work.split_last() else { return };
    let (lo, hi) = share(b, slot, slots, &product(work));
    if product(outer).is(1) {
        let at: Vec<Reg> = outer.iter().map(|_| b.i64(0)).collect();
        return each(b, &at, Bound::Reg(lo), Bound::Reg(hi));
    }
    let t = copy(b, lo);
    b.while_(
        |b| b.cmp(CmpOp::Lt, t, hi),
        |b| {
            let n = b.dim(inner);
            let line = b.bin(BinOp::DivS, t, n);
            let skip = b.mul(line, n);
            let first = b.sub(t, skip);
            let left = b.sub(hi, skip);
            let last = b.bin(BinOp::MinS, left, n);
            let at = unravel(b, line, outer);
            each(b, &at, Bound::Reg(first), Bound::Reg(last));
            let next = b.add(skip, last);
            b.copy_to(t, next);
        },
    );
}

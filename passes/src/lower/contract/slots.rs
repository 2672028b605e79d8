//! Parallel loops whose iterations own a piece of scratch memory.
//!
//! A kernel does not know its thread, so scratch belongs to a fixed number of slots: each slot is one parallel
//! iteration and works through its share of the trips.

use super::gemm::add_const;
use sinter_ir::Expr;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, LoopKind, Reg};

/// Slots for a number of trips: enough for the target's cores to balance, not more than trips.
pub fn count(target: &TargetDesc, trips: &Expr) -> i64 {
    let most = i64::from(target.cores.max(1)) * 4;
    trips.as_const().map_or(most, |t| t.clamp(1, most))
}

/// Parallel over `slots`, serial over each slot's trips. `start` sees the slot once, `each` every trip.
pub fn for_each<S>(
    b: &mut KernelBuilder,
    slots: i64,
    trips: &Expr,
    start: impl FnOnce(&mut KernelBuilder, Reg) -> S,
    each: impl FnOnce(&mut KernelBuilder, &S, Reg),
) {
    b.parallel(&slots.into(), |b, slot| {
        let state = start(b, slot);
        if trips.is(slots) {
            return each(b, &state, slot);
        }
        let (all, n) = (b.dim(trips), b.i64(slots));
        let lo = b.mul(slot, all);
        let lo = b.bin(BinOp::DivS, lo, n);
        let next = add_const(b, slot, 1);
        let hi = b.mul(next, all);
        let hi = b.bin(BinOp::DivS, hi, n);
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, t| each(b, &state, t));
    });
}

//! Runs of neighbouring elements copied, or made zero.

use crate::lower::access;
use crate::lower::contract::num::Num;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, LoopKind, Reg, Ty};

/// Fills the elements `lo .. hi` behind `to` of scratch memory with those behind `from`, in the form of the arithmetic;
/// without a source with the integer `zero`, which is 0 for floats.
pub fn fill(
    b: &mut KernelBuilder,
    (num, lanes): (Num, u16),
    from: Option<(Buf, Reg)>,
    (buf, to): (Buf, Reg),
    (lo, hi): (Reg, Reg),
    zero: i64,
) {
    let step = i64::from(lanes);
    let mask = b.i64(-step);
    let count = b.sub(hi, lo);
    let even = b.bin(BinOp::And, count, mask);
    let end = b.add(lo, even);
    let rest = b.sub(count, even);
    let move_ = |b: &mut KernelBuilder, at: Reg, tail: Option<Reg>| {
        let value = match from {
            Some((source, f)) => {
                let x = num.load(b, lanes, source, Addr::reg(f).plus(at, 1), tail);
                num.flipped(b, x)
            }
            None if zero != 0 => access::whole(b, num.acc, lanes, zero),
            None => b.zero(Ty { elem: num.acc, lanes }),
        };
        b.store(buf, Addr::reg(to).plus(at, 1), value, tail);
    };
    b.for_(Bound::Reg(lo), Bound::Reg(end), step, LoopKind::Serial, |b, i| move_(b, i, None));
    b.for_(Bound::Reg(end), Bound::Reg(hi), step, LoopKind::Serial, |b, i| move_(b, i, Some(rest)));
}

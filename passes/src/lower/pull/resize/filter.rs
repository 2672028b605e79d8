//! Filters that shrinking makes wider, so that every operand element counts. Their weights are scaled to sum to 1.

use super::{clamped, cubic, float, num};
use crate::lower::index::{Idx, int};
use sinter_ir::op::Resize;
use sinter_ir::op::resize::ResizeMode;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, CvtOp, Elem, Inst, LoopKind, Reg, UnOp};

/// A run of neighbours along one axis with weights by their distance from the centre.
pub struct Filter {
    cubic: Option<f64>,
    centre: Reg,
    /// Operand dim.
    n: Reg,
    /// Distances are multiplied by this; at most 1.
    stretch: Reg,
    first: Reg,
    end: Reg,
    /// Whether places outside do not count; else the elements at the ends stand for them.
    drops: bool,
    /// Weights are divided by this.
    norm: Reg,
}

impl Filter {
    /// The filter around a coordinate.
    pub fn new(b: &mut KernelBuilder, op: &Resize, centre: Reg, n: Reg, scale: Reg) -> Self {
        let one = num(b, 1.0);
        let stretch = b.bin(BinOp::Min, scale, one);
        let cubic = (op.mode == ResizeMode::Cubic).then_some(f64::from(op.cubic_a));
        let reach = num(b, if cubic.is_some() { 2.0 } else { 1.0 });
        let reach = b.bin(BinOp::Div, reach, stretch);
        let (low, high) = (b.sub(centre, reach), b.add(centre, reach));
        let (low, high) = (b.un(UnOp::Floor, low), b.un(UnOp::Ceil, high));
        let (first, last) = (b.cvt(CvtOp::FToS, Elem::I64, low), b.cvt(CvtOp::FToS, Elem::I64, high));
        let step = int(b, 1);
        let end = b.add(last, step);
        let mut own = Self { cubic, centre, n, stretch, first, end, drops: op.exclude_outside, norm: one };
        let sum = b.reg(Elem::F64, 1);
        let zero = num(b, 0.0);
        b.copy_to(sum, zero);
        own.run(b, |b, _, w| b.set(sum, Inst::Bin(BinOp::Add, sum, w)));
        own.norm = sum;
        own
    }
    /// Calls `f` with the place, inside the operand, and the weight of each neighbour that counts.
    pub fn for_each(&self, b: &mut KernelBuilder, f: impl FnOnce(&mut KernelBuilder, Idx, Reg)) {
        self.run(b, |b, i, w| {
            let w = b.bin(BinOp::Div, w, self.norm);
            let c = float(b, i);
            let at = clamped(b, c, self.n);
            f(b, at, w);
        });
    }
    fn run(&self, b: &mut KernelBuilder, f: impl FnOnce(&mut KernelBuilder, Reg, Reg)) {
        b.for_(Bound::Reg(self.first), Bound::Reg(self.end), 1, LoopKind::Serial, |b, i| {
            let place = float(b, i);
            let d = b.sub(place, self.centre);
            let d = b.mul(d, self.stretch);
            let d = b.un(UnOp::Abs, d);
            let (mut w, zero) = (self.weight(b, d), num(b, 0.0));
            if self.drops {
                let outside = b.cmp(CmpOp::GeU, i, self.n);
                w = b.select(outside, zero, w);
            }
            let counts = b.cmp(CmpOp::Ne, w, zero);
            b.if_(counts, |b| f(b, i, w), |_| {});
        });
    }
    fn weight(&self, b: &mut KernelBuilder, d: Reg) -> Reg {
        let (zero, one, two) = (num(b, 0.0), num(b, 1.0), num(b, 2.0));
        let Some(a) = self.cubic else {
            let w = b.sub(one, d);
            return b.bin(BinOp::Max, w, zero);
        };
        let (near, far) = (cubic(b, d, a, true), cubic(b, d, a, false));
        let (close, inside) = (b.cmp(CmpOp::Le, d, one), b.cmp(CmpOp::Lt, d, two));
        let w = b.select(inside, far, zero);
        b.select(close, near, w)
    }
}

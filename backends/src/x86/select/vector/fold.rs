//! Horizontal reductions: pairwise halves.

use super::emit::{Src, Vx};
use crate::x86::mir::VReg;
use sinter_ir::tile::{BinOp, Elem, Reg};

impl Vx<'_, '_> {
    /// All lanes into one: lane i with lane i + n/2, repeated.
    pub fn fold(&mut self, op: BinOp, dst: Reg, a: Reg) {
        let ty = self.ty(a);
        if ty.elem == Elem::B1 {
            return self.fold_truth(op, dst, a);
        }
        let e = ty.elem;
        let parts = self.layout(ty);
        let mut regs = self.parts(a);
        // The number of lanes is a power of two: parts are equal.
        let mut n = parts[0].bytes;
        while regs.len() > 1 {
            let half = regs.len() / 2;
            regs = (0..half).map(|i| self.both(op, e, n, regs[i], regs[i + half])).collect();
        }
        let mut bytes = u32::from(parts[0].lanes) * e.bytes();
        let mut r = regs[0];
        while bytes > e.bytes() {
            bytes /= 2;
            let high = self.low(r, n, bytes, bytes);
            n = (bytes as u8).max(16);
            r = self.both(op, e, n, r, high);
        }
        let d = self.dst(dst)[0];
        self.scalar_of(e, d, r);
    }
    fn both(&mut self, op: BinOp, e: Elem, n: u8, a: VReg, b: VReg) -> VReg {
        let d = self.vec();
        self.bin(op, e, n, d, a, Src::Reg(b));
        d
    }
}

//! Upper bits of the bytes of words: a shift of words and a mask that keeps each byte's own bits are one shift of bytes.

use crate::machine::facts::Facts;
use sinter_ir::tile::{BinOp, Elem, Inst, Kernel, Reg, Scalar, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// What was found in a kernel.
#[derive(Debug, Default)]
pub struct ByteShifts {
    /// Masked words that are bytes shifted to the right: what is shifted, and by how many bits.
    of: BTreeMap<Reg, (Reg, i64)>,
    /// Shifts of words that nothing else reads.
    absent: BTreeSet<Reg>,
}

impl ByteShifts {
    /// Of a kernel.
    pub fn of(k: &Kernel, facts: &Facts) -> Self {
        let mut out = Self::default();
        out.block(k, facts, &k.body);
        out
    }
    /// What a masked word is shifted from, and by how many bits.
    pub fn get(&self, r: Reg) -> Option<(Reg, i64)> {
        self.of.get(&r).copied()
    }
    /// Whether an assignment makes nothing.
    pub fn is_absent(&self, r: Reg) -> bool {
        self.absent.contains(&r)
    }
    fn block(&mut self, k: &Kernel, facts: &Facts, body: &[Stmt]) {
        let number = |r: &Reg| match facts.consts.get(r) {
            Some(Scalar::Int(v)) => Some(*v),
            _ => None,
        };
        let once = |r: &Reg| facts.writes[r.0 as usize] == 1;
        // Shifts of this list that are read once: what is shifted.
        let mut shifts: BTreeMap<Reg, (Reg, i64)> = BTreeMap::new();
        for s in body {
            let Stmt::Let { dst, inst: Inst::Bin(op, a, b) } = s else {
                s.blocks().into_iter().for_each(|b| self.block(k, facts, b));
                continue;
            };
            let ty = k.ty(*dst);
            if ty.elem != Elem::I32 || ty.lanes == 1 || !once(dst) {
                continue;
            }
            match (op, number(b)) {
                (BinOp::ShrU, Some(by @ 1..=7)) if once(a) && facts.reads[dst.0 as usize] == 1 => {
                    shifts.insert(*dst, (*a, by));
                }
                (BinOp::And, Some(mask)) => {
                    if let Some((x, by)) = shifts.get(a).copied()
                        && mask as u32 == 0x0101_0101 * (0xff >> by)
                    {
                        self.of.insert(*dst, (x, by));
                        self.absent.insert(*a);
                    }
                }
                _ => {}
            }
        }
    }
}

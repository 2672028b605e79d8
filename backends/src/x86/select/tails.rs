//! Masks of tails: made once, in front of the loops that do not change the number of lanes.

use super::Select;
use crate::x86::mir::VReg;
use sinter_ir::tile::{Elem, Inst, Reg, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// Most masks that are made in front of one loop: each holds a register.
const HOISTED: usize = 4;

/// Masks in registers: the tail and the number of lanes that it cuts.
pub type Tails = BTreeMap<(Reg, u16), Vec<VReg>>;

impl Select<'_> {
    /// The mask of a tail that is there already.
    pub fn known_tail(&self, tail: Reg, lanes: u16) -> Option<Vec<VReg>> {
        self.tails.get(&(tail, lanes)).cloned()
    }
    /// Keeps the mask of a tail for others.
    pub fn keep_tail(&mut self, tail: Reg, lanes: u16, mask: &[VReg]) {
        self.tails.insert((tail, lanes), mask.to_vec());
    }
    /// Whether a tail is known to take in all lanes.
    pub fn takes_all(&self, tail: Reg, lanes: u16) -> bool {
        self.int_of(tail).is_some_and(|n| n >= i64::from(lanes))
    }
    /// Tails of vectors in a body.
    fn tails_in(&self, body: &[Stmt], out: &mut BTreeSet<(Reg, u16)>) {
        for s in body {
            let (value, tail) = match s {
                Stmt::Let { dst, inst: Inst::Load { tail, .. } | Inst::LoadGather { tail, .. } } => {
                    (*dst, *tail)
                }
                Stmt::Store { value, tail, .. } => (*value, *tail),
                other => {
                    other.blocks().into_iter().for_each(|b| self.tails_in(b, out));
                    continue;
                }
            };
            let ty = self.ty(value);
            // Narrow elements have masks with AVX-512 only.
            let masked = ty.lanes > 1 && (self.isa.avx512 || ty.elem.bytes() >= 4) && ty.elem != Elem::B1;
            if let Some(t) = tail.filter(|t| masked && !self.takes_all(*t, ty.lanes)) {
                out.insert((t, ty.lanes));
            }
        }
    }
    /// A loop begins that changes these registers.
    pub(super) fn hoist_tails(&mut self, bodies: &[&[Stmt]], changes: &BTreeSet<Reg>) {
        let mut found = BTreeSet::new();
        bodies.iter().for_each(|b| self.tails_in(b, &mut found));
        found.retain(|(t, _)| !changes.contains(t));
        for (t, lanes) in found.into_iter().take(HOISTED) {
            self.make_tail(t, lanes);
        }
    }
}

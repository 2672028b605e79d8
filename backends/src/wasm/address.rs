//! Addresses of accesses: sums that a loop does not change are formed in front of it, and neighbouring accesses share one
//! sum and differ in their static offset.

use super::kernel::{Emit, walk};
use sinter_ir::tile::{Addr, Buf, Inst, Reg, Stmt};
use std::collections::BTreeSet;
use wasm_encoder::{Instruction as I, ValType};

/// Largest static offset that is used.
const FAR: i64 = 1 << 30;

/// Variable part of an address in bytes.
type Terms = Vec<(Reg, i64)>;

/// Base and some terms of addresses, in a local.
struct Sum {
    buf: Buf,
    terms: Terms,
    local: u32,
}

/// An address that was accessed, so that it lies inside the buffer, or what follows from a tail.
#[derive(Clone, PartialEq)]
enum Recent {
    Address { buf: Buf, terms: Terms, offset: i64, local: u32 },
    Tail { reg: Reg, lanes: u16, local: u32 },
    Mask { reg: Reg, lanes: u16, bits: u32, part: usize, local: u32 },
}

impl Recent {
    fn uses(&self, r: Reg) -> bool {
        match self {
            Recent::Address { terms, .. } => terms.iter().any(|t| t.0 == r),
            Recent::Tail { reg, .. } | Recent::Mask { reg, .. } => *reg == r,
        }
    }
}

/// What is in locals at this place of the kernel.
#[derive(Default)]
pub struct Known {
    sums: Vec<Sum>,
    recent: Vec<Recent>,
}

/// To go back to what was known before a block.
pub struct Before {
    sums: usize,
    recent: Vec<Recent>,
}

impl Known {
    /// A register changes.
    pub fn assigned(&mut self, r: Reg) {
        self.recent.retain(|k| !k.uses(r));
    }
    /// Before a block that may not run, or run again; `changed` are the registers that it assigns.
    pub fn enter(&mut self, changed: &BTreeSet<Reg>) -> Before {
        self.recent.retain(|k| !changed.iter().any(|r| k.uses(*r)));
        Before { sums: self.sums.len(), recent: self.recent.clone() }
    }
    /// Behind it, or before its other branch.
    pub fn leave(&mut self, before: &Before) {
        self.sums.truncate(before.sums);
        self.recent.clone_from(&before.recent);
    }
    /// The clamped tail.
    pub fn tail(&self, r: Reg, n: u16) -> Option<u32> {
        self.recent.iter().find_map(|k| match k {
            Recent::Tail { reg, lanes, local } if (*reg, *lanes) == (r, n) => Some(*local),
            _ => None,
        })
    }
    /// Notes a clamped tail.
    pub fn keep_tail(&mut self, reg: Reg, lanes: u16, local: u32) {
        self.recent.push(Recent::Tail { reg, lanes, local });
    }
    /// The mask of a part under a tail.
    pub fn mask(&self, r: Reg, n: u16, width: u32, which: usize) -> Option<u32> {
        self.recent.iter().find_map(|k| match k {
            Recent::Mask { reg, lanes, bits, part, local }
                if (*reg, *lanes, *bits, *part) == (r, n, width, which) =>
            {
                Some(*local)
            }
            _ => None,
        })
    }
    /// Notes a mask.
    pub fn keep_mask(&mut self, reg: Reg, lanes: u16, bits: u32, part: usize, local: u32) {
        self.recent.push(Recent::Mask { reg, lanes, bits, part, local });
    }
}

/// Registers that statements assign, loop variables among them.
pub fn assigned(body: &[Stmt]) -> BTreeSet<Reg> {
    let mut out = BTreeSet::new();
    walk(body, &mut |s| match s {
        Stmt::Let { dst, .. } => {
            out.insert(*dst);
        }
        Stmt::For { var, .. } => {
            out.insert(*var);
        }
        _ => {}
    });
    out
}

impl Emit<'_> {
    /// Terms and offset in bytes; constants go into the offset.
    fn normal(&self, at: &Addr, width: u32) -> (Terms, i64) {
        let width = i64::from(width);
        let mut offset = at.offset.wrapping_mul(width);
        let mut terms = Terms::new();
        for &(r, scale) in &at.terms {
            let scale = scale.wrapping_mul(width);
            match self.known_int(r) {
                Some(v) => offset = offset.wrapping_add(v.wrapping_mul(scale)),
                None => match terms.iter_mut().find(|t| t.0 == r) {
                    Some(t) => t.1 = t.1.wrapping_add(scale),
                    None => terms.push((r, scale)),
                },
            }
        }
        terms.sort_unstable();
        (terms, offset)
    }
    /// Pushes an address; the rest of it is the static offset that comes back. `sure`: the access happens whatever its
    /// tail says, so that the address lies in memory.
    pub fn address(&mut self, buf: Buf, at: &Addr, width: u32, sure: bool) -> u64 {
        let (terms, offset) = self.normal(at, width);
        if terms.is_empty() && (0..FAR).contains(&offset) {
            self.f.get(buf.0);
            return offset as u64;
        }
        let near = self.known.recent.iter().find_map(|k| match k {
            Recent::Address { buf: b, terms: t, offset: o, local }
                if *b == buf && *t == terms && (*o..*o + FAR).contains(&offset) =>
            {
                Some((*local, offset - o))
            }
            _ => None,
        });
        if let Some((local, more)) = near {
            self.f.get(local);
            return more as u64;
        }
        self.sum(buf, &terms);
        if offset != 0 {
            // Before what is negative is added the sum may lie outside of memory: no static offset.
            self.f.ops([I::I32Const(offset as i32), I::I32Add]);
        }
        if sure {
            let local = self.f.keep(ValType::I32);
            self.f.get(local);
            self.known.recent.push(Recent::Address { buf, terms, offset, local });
        }
        0
    }
    /// Pushes base and terms, starting with what is in a local already.
    fn sum(&mut self, buf: Buf, terms: &[(Reg, i64)]) {
        let fits = |s: &&Sum| s.buf == buf && s.terms.iter().all(|t| terms.contains(t));
        let best = self.known.sums.iter().filter(fits).max_by_key(|s| s.terms.len());
        let (local, have) = best.map_or((buf.0, Terms::new()), |s| (s.local, s.terms.clone()));
        self.f.get(local);
        let mut have = have;
        for &(r, scale) in terms {
            if let Some(i) = have.iter().position(|t| *t == (r, scale)) {
                have.swap_remove(i);
                continue;
            }
            self.push(r);
            self.f.op(I::I32WrapI64);
            self.scale(scale);
            self.f.op(I::I32Add);
        }
    }
    /// Multiplies the `i32` on the stack.
    pub fn scale(&mut self, by: i64) {
        match by {
            1 => {}
            s if s > 0 && s & (s - 1) == 0 && s < FAR => {
                self.f.ops([I::I32Const(s.trailing_zeros() as i32), I::I32Shl]);
            }
            s => self.f.ops([I::I32Const(s as i32), I::I32Mul]),
        }
    }
    /// Forms the sums in front of a loop that its accesses have in common.
    pub fn hoist(&mut self, body: &[Stmt], changed: &BTreeSet<Reg>) {
        let mut wanted: Vec<(Buf, Terms)> = vec![];
        walk(body, &mut |s| {
            let (buf, at, width) = match s {
                Stmt::Let { dst, inst: Inst::Load { buf, at, .. } | Inst::LoadGather { buf, at, .. } } => {
                    (*buf, at, self.ty(*dst).elem.bytes())
                }
                Stmt::Store { buf, at, value, .. } => (*buf, at, self.ty(*value).elem.bytes()),
                _ => return,
            };
            let (mut terms, _) = self.normal(at, width);
            terms.retain(|t| !changed.contains(&t.0));
            let have = |s: &Sum| s.buf == buf && s.terms == terms;
            if !terms.is_empty()
                && !self.known.sums.iter().any(have)
                && !wanted.contains(&(buf, terms.clone()))
            {
                wanted.push((buf, terms));
            }
        });
        for (buf, terms) in wanted {
            self.sum(buf, &terms);
            let local = self.f.keep(ValType::I32);
            self.known.sums.push(Sum { buf, terms, local });
        }
    }
}

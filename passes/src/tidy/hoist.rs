//! Loop-invariant code: what a loop computes alike in every iteration is computed in front of it.
//!
//! Instructions that read no memory cannot fail, so it does no harm that a loop may run zero times. Loads move out of
//! loops that are known to run, where there are registers enough; the kernel's operands do not change under it. What stands
//! in a branch stays there.

use super::{Facts, is_pure};
use sinter_ir::tile::{Access, Bound, Buffer, Inst, Kernel, Reg, Stmt, Ty};
use std::collections::{BTreeMap, BTreeSet};

/// Vector registers that a loop may be given for what it reads and computes: half of those that targets with short and
/// with long vectors have, roughly.
const ROOM: (usize, usize) = (12, 26);
/// Bytes of a long vector.
const LONG: usize = 64;

/// A kernel's registers and buffers.
pub(super) struct Types {
    regs: Vec<Ty>,
    bufs: Vec<Buffer>,
}

/// Moves code out of all loops of a kernel, innermost first.
pub(super) fn run(kernel: &mut Kernel, facts: &Facts) {
    let types = Types { regs: kernel.regs.clone(), bufs: kernel.bufs.clone() };
    block(&mut kernel.body, facts, &types);
}

fn block(body: &mut Vec<Stmt>, facts: &Facts, types: &Types) {
    for mut s in std::mem::take(body) {
        s.blocks_mut().into_iter().for_each(|b| block(b, facts, types));
        if matches!(s, Stmt::For { .. } | Stmt::While { .. }) {
            let mut changed = BTreeSet::new();
            assigned(&s, &mut changed);
            let mut room = types.room(&s);
            for block in s.blocks_mut() {
                let (out, rest) = std::mem::take(block).into_iter().partition::<Vec<Stmt>, _>(|s| {
                    invariant(s, facts, &mut changed, &mut |dst, inst| types.load(dst, inst, &mut room))
                });
                *block = rest;
                body.extend(out);
            }
        }
        body.push(s);
    }
}

impl Types {
    /// Long vectors that a value takes.
    fn size(&self, r: Reg) -> usize {
        let ty = self.regs[r.0 as usize];
        if ty.lanes == 1 { 0 } else { self.bytes(r).div_ceil(LONG) }
    }
    fn bytes(&self, r: Reg) -> usize {
        let ty = self.regs[r.0 as usize];
        usize::from(ty.lanes) * ty.elem.bytes() as usize
    }
    /// Registers that a loop leaves free: none where it may not run, or has blocks inside.
    fn room(&self, s: &Stmt) -> usize {
        let Stmt::For { lo: Bound::Const(lo), hi: Bound::Const(hi), body, .. } = s else { return 0 };
        if lo >= hi || body.iter().any(|s| !s.blocks().is_empty()) {
            return 0;
        }
        let mut last = BTreeMap::new();
        for (i, s) in body.iter().enumerate() {
            s.clone().reads_mut(&mut |r| {
                last.insert(*r, i);
            });
        }
        // What is read first comes from outside and stays.
        let (mut own, mut live, mut most) = (BTreeSet::new(), 0, 0);
        for (i, s) in body.iter().enumerate() {
            if let Stmt::Let { dst, .. } = s
                && own.insert(*dst)
            {
                live += self.size(*dst);
            }
            most = most.max(live);
            let gone = last.iter().filter(|(r, at)| **at == i && own.contains(r));
            live -= gone.map(|(r, _)| self.size(*r)).sum::<usize>().min(live);
        }
        let outer: usize = last.keys().filter(|r| !own.contains(r)).map(|r| self.size(*r)).sum();
        let long = last.keys().any(|r| self.regs[r.0 as usize].lanes > 1 && self.bytes(*r) >= LONG);
        let all = if long { ROOM.1 } else { ROOM.0 };
        all.saturating_sub(most + outer)
    }
    /// Whether a load may leave its loop, and takes of the room what it needs.
    fn load(&self, dst: Reg, inst: &Inst, room: &mut usize) -> bool {
        let Inst::Load { buf, .. } = inst else { return false };
        let size = self.size(dst);
        let fits = size > 0 && size <= *room && self.bufs[buf.0 as usize].access == Access::Read;
        if fits {
            *room -= size;
        }
        fits
    }
}

/// Whether a statement of a loop can stand in front of it; what it assigns then no longer changes inside. `load` is asked
/// for those loads whose addresses do not change.
fn invariant(
    s: &Stmt,
    facts: &Facts,
    changed: &mut BTreeSet<Reg>,
    load: &mut dyn FnMut(Reg, &Inst) -> bool,
) -> bool {
    let Stmt::Let { dst, inst } = s else { return false };
    let fixed = match inst {
        // An absolute address is good only where the kernel says so.
        Inst::LoadAt(_) => false,
        Inst::Dim(_) => !facts.sets_symbols,
        // Whoever copies wants a register of its own.
        Inst::Copy(_) => false,
        Inst::Load { .. } => true,
        other => is_pure(other),
    };
    let mut stays = !fixed || !facts.is_single(*dst);
    inst.reads(&mut |r| stays |= changed.contains(&r));
    if !stays && matches!(inst, Inst::Load { .. }) {
        stays = !load(*dst, inst);
    }
    if !stays {
        changed.remove(dst);
    }
    !stays
}

/// Registers that a statement or its blocks assign.
fn assigned(s: &Stmt, out: &mut BTreeSet<Reg>) {
    if let Stmt::Let { dst: r, .. } | Stmt::For { var: r, .. } = s {
        out.insert(*r);
    }
    s.blocks().into_iter().flatten().for_each(|s| assigned(s, out));
}

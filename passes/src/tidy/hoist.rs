//! Loop-invariant code: what a loop computes alike in every iteration is computed in front of it.
//!
//! Only instructions that read no memory move: they cannot fail, so it does no harm that a loop may run zero times. What
//! stands in a branch stays there.

use super::{Facts, is_pure};
use sinter_ir::tile::{Inst, Reg, Stmt};
use std::collections::BTreeSet;

/// Moves code out of all loops of a block, innermost first.
pub(super) fn run(body: &mut Vec<Stmt>, facts: &Facts) {
    for mut s in std::mem::take(body) {
        s.blocks_mut().into_iter().for_each(|b| run(b, facts));
        if matches!(s, Stmt::For { .. } | Stmt::While { .. }) {
            let mut changed = BTreeSet::new();
            assigned(&s, &mut changed);
            for block in s.blocks_mut() {
                let (out, rest) = std::mem::take(block)
                    .into_iter()
                    .partition::<Vec<Stmt>, _>(|s| invariant(s, facts, &mut changed));
                *block = rest;
                body.extend(out);
            }
        }
        body.push(s);
    }
}

/// Whether a statement of a loop can stand in front of it; what it assigns then no longer changes inside.
fn invariant(s: &Stmt, facts: &Facts, changed: &mut BTreeSet<Reg>) -> bool {
    let Stmt::Let { dst, inst } = s else { return false };
    let fixed = match inst {
        // An absolute address is good only where the kernel says so.
        Inst::LoadAt(_) => false,
        Inst::Dim(_) => !facts.sets_symbols,
        // Whoever copies wants a register of its own.
        Inst::Copy(_) => false,
        other => is_pure(other),
    };
    let mut stays = !fixed || !facts.is_single(*dst);
    inst.reads(&mut |r| stays |= changed.contains(&r));
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

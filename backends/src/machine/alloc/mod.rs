//! Register allocation: linear scan, then spills, until everything fits.

mod coalesce;
mod live;
mod scan;
mod spill;
#[cfg(test)]
mod tests;

use super::Forms;
use super::mir::{Func, Item};
use sinter_ir::{Diag, Result};
use std::collections::BTreeSet;

/// Rounds of spilling; each leaves only registers of single instructions behind, so that few are ever needed.
const ROUNDS: usize = 12;

/// Gives every virtual register a machine register; rewrites the code where there are not enough. Registers that
/// are never used get none.
pub fn allocate<C: Forms>(f: &mut Func<C>, features: C::Features) -> Result<Vec<Option<C::Reg>>> {
    coalesce::coalesce(f);
    C::before(f);
    let mut temps = BTreeSet::new();
    for _ in 0..ROUNDS {
        let live = live::intervals(f);
        let found = scan::scan(f, &live, &temps, features);
        if found.spilled.is_empty() {
            C::after(f);
            align_innermost(f);
            return Ok(found.regs);
        }
        if found.spilled.iter().any(|v| temps.contains(v)) {
            break;
        }
        spill::rewrite(f, &live, &found.spilled, features, &mut temps);
    }
    Err(Diag::bug("no machine registers for a single instruction"))
}

/// Keeps the alignment of innermost loops only: the heads of others are passed too rarely to be worth the padding.
fn align_innermost<C: Forms>(f: &mut Func<C>) {
    let mut open: Vec<(Option<usize>, bool)> = Vec::new();
    let mut dead = BTreeSet::new();
    for (i, item) in f.items.iter().enumerate() {
        match item {
            Item::LoopBegin => {
                open.iter_mut().for_each(|l| l.1 = true);
                open.push((None, false));
            }
            Item::Align => {
                if let Some(l) = open.last_mut() {
                    l.0 = Some(i);
                }
            }
            Item::LoopEnd => {
                if let Some((Some(at), true)) = open.pop() {
                    dead.insert(at);
                }
            }
            _ => {}
        }
    }
    let mut at = 0;
    f.items.retain(|_| {
        at += 1;
        !dead.contains(&(at - 1))
    });
}

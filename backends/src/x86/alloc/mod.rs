//! Register allocation: linear scan, then spills, until everything fits.

mod coalesce;
mod live;
mod scan;
mod spill;
#[cfg(test)]
mod tests;

use super::mir::Func;
use super::peephole;
use super::regs::PReg;
use sinter_ir::{Diag, Result};
use std::collections::BTreeSet;

/// Rounds of spilling; each leaves only registers of single instructions behind, so that few are ever needed.
const ROUNDS: usize = 12;

/// Gives every virtual register a machine register; rewrites the code where there are not enough. `wide`: the target
/// has 32 vector registers (AVX-512). Registers that are never used get none.
pub fn allocate(f: &mut Func, wide: bool) -> Result<Vec<Option<PReg>>> {
    coalesce::coalesce(f);
    peephole::sums(f);
    let mut temps = BTreeSet::new();
    for _ in 0..ROUNDS {
        let live = live::intervals(f);
        let found = scan::scan(f, &live, &temps, wide);
        if found.spilled.is_empty() {
            peephole::zeros(f);
            peephole::align_innermost(f);
            return Ok(found.regs);
        }
        if found.spilled.iter().any(|v| temps.contains(v)) {
            break;
        }
        spill::rewrite(f, &live, &found.spilled, wide, &mut temps);
    }
    Err(Diag::bug("no machine registers for a single instruction"))
}

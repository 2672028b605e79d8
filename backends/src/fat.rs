//! Programs of one model for several levels of instruction sets: one weights section for all of them.
//!
//! Constants with the same bytes are kept once, whoever uses them: levels whose packings agree share their weights.

use sinter_ir::program::{Loc, Program, Step};
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// What one level brought into a joined bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Weights that the level reads.
    pub weights_bytes: u64,
    /// Those of them that no other level reads.
    pub own_weights_bytes: u64,
    /// Arena that the level needs.
    pub arena_bytes: u64,
}

/// Whether two programs look the same to a caller.
pub fn same_interface(a: &Program, b: &Program) -> bool {
    let ports = |p: &Program| [p.inputs.clone(), p.outputs.clone(), p.states.clone()];
    let given = |p: &Program| p.capacity().and_then(|s| p.symbols.info(s).map(|i| (i.min, i.max)));
    a.name == b.name
        && a.arena_bytes == b.arena_bytes
        && a.weights == b.weights
        && ports(a) == ports(b)
        && given(a) == given(b)
}

/// Gives all programs the same weights and the same size of arena, the largest. What each level has, in their order.
pub fn join(programs: &mut [Program]) -> Result<Vec<Share>> {
    let mut at: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut users: BTreeMap<u64, u32> = BTreeMap::new();
    let mut joined = vec![];
    let mut end = 0_u64;
    let mut moves: Vec<BTreeMap<u64, (u64, u64)>> = vec![];
    for p in programs.iter() {
        let mut moved = BTreeMap::new();
        for (from, bytes) in &p.weights {
            let to = *at.entry(bytes).or_insert_with(|| {
                let start = end.next_multiple_of(sinter_abi::ALIGNMENT as u64);
                end = start + bytes.len() as u64;
                joined.push((start, bytes.clone()));
                start
            });
            moved.insert(*from, (to, bytes.len() as u64));
        }
        let used: BTreeMap<u64, u64> = moved.values().copied().collect();
        used.keys().for_each(|to| *users.entry(*to).or_default() += 1);
        moves.push(moved);
    }
    let shares = programs.iter().zip(&moves).map(|(p, moved)| {
        let used: BTreeMap<u64, u64> = moved.values().copied().collect();
        let own = used.iter().filter(|(to, _)| users.get(to) == Some(&1)).map(|(_, n)| n).sum();
        Share { weights_bytes: used.values().sum(), own_weights_bytes: own, arena_bytes: p.arena_bytes }
    });
    let shares = shares.collect();
    let arena = programs.iter().map(|p| p.arena_bytes).max().unwrap_or(0);
    for (p, moved) in programs.iter_mut().zip(&moves) {
        relocate(&mut p.steps, moved)?;
        p.weights.clone_from(&joined);
        p.arena_bytes = arena;
    }
    Ok(shares)
}

/// Lets steps find constants where they are now.
fn relocate(steps: &mut [Step], moved: &BTreeMap<u64, (u64, u64)>) -> Result<()> {
    let place = |loc: &mut Loc| {
        let Loc::Weights(o) = loc else { return Ok(()) };
        let (from, (to, bytes)) =
            moved.range(..=*o).next_back().ok_or_else(|| Diag::bug("an address in front of all weights"))?;
        // A constant of no bytes may be addressed, but nothing is read there.
        if *o - from > *bytes {
            return Err(Diag::bug("an address between two weights"));
        }
        *o = to + (*o - from);
        Ok(())
    };
    for step in steps {
        match step {
            Step::Call { args, .. } => args.iter_mut().try_for_each(place)?,
            Step::Copy { dst, src, .. } => {
                place(dst)?;
                place(src)?;
            }
            Step::ReadSym { from, .. } => place(from)?,
            Step::If { cond, then, els } => {
                place(cond)?;
                relocate(then, moved)?;
                relocate(els, moved)?;
            }
            Step::Loop { trip, cond, iter, body, .. } => {
                trip.iter_mut().chain(cond).chain([iter]).try_for_each(place)?;
                relocate(body, moved)?;
            }
            Step::SetSym { .. } | Step::Require { .. } => {}
        }
    }
    Ok(())
}

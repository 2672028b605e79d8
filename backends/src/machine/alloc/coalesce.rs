//! Copies between registers that are never live together: both become one register.

use super::live::intervals;
use crate::machine::Forms;
use crate::machine::mir::{Func, Item, VReg};

/// The register that stands for a merged one.
fn find(to: &mut [u32], v: u32) -> u32 {
    let mut root = v;
    while to[root as usize] != root {
        root = to[root as usize];
    }
    to[v as usize] = root;
    root
}

/// Merges what copies connect, those in the innermost loops first, and drops the copies.
pub fn coalesce<C: Forms>(f: &mut Func<C>) {
    let mut moves = Vec::new();
    let mut depth = 0u32;
    for (i, item) in f.items.iter().enumerate() {
        match item {
            Item::LoopBegin => depth += 1,
            Item::LoopEnd => depth -= 1,
            Item::Move { dst, src, .. } if !f.fixed.contains_key(dst) && !f.fixed.contains_key(src) => {
                moves.push((std::cmp::Reverse(depth), i, *dst, *src));
            }
            _ => {}
        }
    }
    if moves.is_empty() {
        return;
    }
    moves.sort_unstable();
    let mut live = intervals(f);
    let mut to: Vec<u32> = (0..f.classes.len() as u32).collect();
    for (_, _, dst, src) in moves {
        let (a, b) = (find(&mut to, dst.0), find(&mut to, src.0));
        if a != b && !live[a as usize].overlaps(&live[b as usize]) {
            let taken = std::mem::take(&mut live[b as usize]);
            live[a as usize].merge(&taken);
            to[b as usize] = a;
        }
    }
    for item in &mut f.items {
        item.regs_mut(&mut |v, _| *v = VReg(find(&mut to, v.0)));
    }
    f.items.retain(|i| !matches!(i, Item::Move { dst, src, .. } if dst == src));
}

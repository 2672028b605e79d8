//! How vectors lie in `v128` parts.

use super::kernel::walk;
use sinter_ir::tile::{Elem, Inst, Kernel, Reg, Stmt, Ty};
use std::collections::BTreeMap;

/// Parts of a vector whose lanes have so many bits.
pub fn parts(ty: Ty, bits: u32) -> usize {
    (u32::from(ty.lanes) * bits).div_ceil(128) as usize
}

/// Lanes of a part.
pub fn per_part(bits: u32) -> usize {
    (128 / bits) as usize
}

/// Bits per lane of every truth vector: those of the numbers compared, else of the numbers selected, so that masks
/// seldom change their width.
pub fn masks(k: &Kernel) -> BTreeMap<Reg, u32> {
    let truth = |r: Reg| k.ty(r).elem == Elem::B1 && k.ty(r).lanes > 1;
    let mut made: BTreeMap<Reg, u32> = BTreeMap::new();
    let mut used: BTreeMap<Reg, u32> = BTreeMap::new();
    walk(&k.body, &mut |s| {
        let Stmt::Let { dst, inst } = s else { return };
        match inst {
            Inst::Select(c, ..) if truth(*c) && !truth(*dst) => {
                used.entry(*c).or_insert(k.ty(*dst).elem.bits());
            }
            Inst::Cvt(_, a) if truth(*a) => {
                used.entry(*a).or_insert(k.ty(*dst).elem.bits());
            }
            _ => {}
        }
        if !truth(*dst) || made.contains_key(dst) {
            return;
        }
        let bits = match inst {
            Inst::Cmp(_, a, _) if !truth(*a) => Some(k.ty(*a).elem.bits()),
            Inst::Cmp(_, a, _)
            | Inst::Copy(a)
            | Inst::Un(_, a)
            | Inst::Bin(_, a, _)
            | Inst::Select(_, a, _) => made.get(a).copied(),
            _ => None,
        };
        if let Some(bits) = bits {
            made.insert(*dst, bits);
        }
    });
    let all = (0..k.regs.len() as u32).map(Reg).filter(|r| truth(*r));
    all.map(|r| (r, made.get(&r).or(used.get(&r)).copied().unwrap_or(32))).collect()
}

//! Lanes of vectors as factors: `splat(lane(v, i))` and `splat(loaded)` need no register where products read them alone,
//! because those take a lane of their second factor.

use super::Isa;
use crate::machine::facts::{Facts, own_reads};
use sinter_ir::tile::{Elem, Inst, Kernel, Reg, Stmt, Ty};
use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Default)]
pub struct Factors {
    /// Splats that only products read: the register and the lane that they are.
    lanes: BTreeMap<Reg, (Reg, u16)>,
    /// Lanes that only such splats read.
    absent: BTreeSet<Reg>,
    /// Integer scalars that are loaded for splats alone: they are better in vector registers.
    loaded: BTreeSet<Reg>,
}

impl Factors {
    /// Of a kernel.
    pub fn of(k: &Kernel, facts: &Facts, isa: Isa) -> Self {
        let mut out = Self::default();
        let mut uses: BTreeMap<Reg, u32> = BTreeMap::new();
        let mut loads = BTreeSet::new();
        splats(&k.body, &mut uses, &mut loads);
        for (r, n) in &uses {
            let ty = Ty { elem: Elem::I32, lanes: 1 };
            let once = facts.writes[r.0 as usize] == 1 && facts.reads[r.0 as usize] == *n;
            if once && loads.contains(r) && k.ty(*r) == ty {
                out.loaded.insert(*r);
            }
        }
        let mut finder = Finder { k, facts, isa, uses: &uses, out };
        finder.block(&k.body);
        finder.out
    }
    /// Whether an integer scalar is in the low lane of a vector register.
    pub fn in_vector(&self, r: Reg) -> bool {
        self.loaded.contains(&r)
    }
    /// The register and the lane that a splat is.
    pub fn lane(&self, r: Reg) -> Option<(Reg, u16)> {
        self.lanes.get(&r).copied()
    }
    /// Whether an assignment makes nothing.
    pub fn is_absent(&self, r: Reg) -> bool {
        self.lanes.contains_key(&r) || self.absent.contains(&r)
    }
}

/// How often every register is splat, and which are loaded.
fn splats(body: &[Stmt], uses: &mut BTreeMap<Reg, u32>, loads: &mut BTreeSet<Reg>) {
    for s in body {
        match s {
            Stmt::Let { inst: Inst::Splat(a), .. } => *uses.entry(*a).or_default() += 1,
            Stmt::Let { dst, inst: Inst::Load { tail: None, .. } } => {
                loads.insert(*dst);
            }
            _ => {}
        }
        s.blocks().into_iter().for_each(|b| splats(b, uses, loads));
    }
}

struct Finder<'a> {
    k: &'a Kernel,
    facts: &'a Facts,
    isa: Isa,
    uses: &'a BTreeMap<Reg, u32>,
    out: Factors,
}

impl Finder<'_> {
    fn block(&mut self, body: &[Stmt]) {
        // Lanes of vectors in this list: where, of what.
        let mut lanes: BTreeMap<Reg, (usize, Reg, u16)> = BTreeMap::new();
        for (i, s) in body.iter().enumerate() {
            match s {
                Stmt::Let { dst, inst: Inst::Lane(v, n) }
                    if self.quarter(*v) && self.facts.writes[dst.0 as usize] == 1 =>
                {
                    lanes.insert(*dst, (i, *v, *n));
                }
                Stmt::Let { dst, inst: Inst::Splat(a) } => {
                    let elem = self.k.ty(*a).elem;
                    let scalar = elem == Elem::F32 || self.out.loaded.contains(a);
                    let source = match lanes.get(a) {
                        Some((from, v, n)) if self.uses[a] == self.facts.reads[a.0 as usize] => {
                            Some((*from, *v, *n))
                        }
                        _ if scalar => Some((i, *a, 0)),
                        _ => None,
                    };
                    if let Some((from, v, n)) = source
                        && self.only_factor(body, (from, i), *dst, v)
                    {
                        self.out.lanes.insert(*dst, (v, n));
                    }
                }
                _ => s.blocks().into_iter().for_each(|b| self.block(b)),
            }
        }
        // A lane is made no more where none of its splats is.
        for (r, _) in lanes {
            let splats = body.iter().filter_map(|s| match s {
                Stmt::Let { dst, inst: Inst::Splat(a) } if *a == r => Some(*dst),
                _ => None,
            });
            let gone = splats.filter(|d| self.out.lanes.contains_key(d)).count();
            if gone as u32 == self.facts.reads[r.0 as usize] {
                self.out.absent.insert(r);
            }
        }
    }
    /// Whether products take lanes of a vector: one register of four.
    fn quarter(&self, v: Reg) -> bool {
        let ty = self.k.ty(v);
        (2..=4).contains(&ty.lanes) && matches!(ty.elem, Elem::F32 | Elem::I32)
    }
    /// Whether all that reads the splat at `body[at]` are products behind it, in front of any change of `v`, which must
    /// not change from `body[from]` on.
    fn only_factor(&self, body: &[Stmt], (from, at): (usize, usize), splat: Reg, v: Reg) -> bool {
        let wanted = self.facts.reads[splat.0 as usize];
        if self.facts.writes[splat.0 as usize] != 1 || wanted == 0 {
            return false;
        }
        let mut found = 0;
        for (i, s) in body.iter().enumerate().skip(from + 1) {
            if found == wanted {
                break;
            }
            let Stmt::Let { dst, inst } = s else {
                let mut read = false;
                own_reads(s, &mut |r| read |= r == splat);
                if read || !s.blocks().is_empty() {
                    return false;
                }
                continue;
            };
            if i > at {
                let mut reads = 0;
                inst.reads(&mut |r| reads += u32::from(r == splat));
                if reads > 1 || reads == 1 && !self.is_factor(*dst, inst, splat) {
                    return false;
                }
                found += reads;
            }
            // The read of a statement comes in front of its write.
            if *dst == v && found < wanted {
                return false;
            }
        }
        found == wanted
    }
    /// Whether a product can take a lane in the place of `r`.
    fn is_factor(&self, dst: Reg, inst: &Inst, r: Reg) -> bool {
        let vector = self.k.ty(dst).lanes > 1;
        match inst {
            Inst::MulAdd(a, b, c) => {
                let other = if *a == r { b } else { a };
                // One lane alone: the other factor is a whole vector.
                vector && self.k.ty(dst).elem == Elem::F32 && *c != r && !self.out.lanes.contains_key(other)
            }
            Inst::Dot4 { acc, a, b, a_signed, b_signed, .. } => {
                let other = if *a == r { b } else { a };
                let same = a_signed == b_signed;
                let can = if same { self.isa.dotprod } else { self.isa.i8mm };
                vector && can && *acc != r && !self.out.lanes.contains_key(other)
            }
            _ => false,
        }
    }
}

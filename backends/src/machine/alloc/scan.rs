//! Linear scan over intervals with holes. What finds no register throws out cheaper ones; what loses is spilled.

use super::live::Interval;
use super::spill::recipes;
use crate::machine::mir::{Class, Func, Item, VReg};
use crate::machine::{Forms, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Outcome of one try.
pub struct Scan<R> {
    /// Machine registers.
    pub regs: Vec<Option<R>>,
    /// What found none.
    pub spilled: BTreeSet<VReg>,
}

struct State<'a, R> {
    live: &'a [Interval],
    cost: Vec<f64>,
    /// Ranges in use of every machine register: start, end, owner.
    busy: Vec<BTreeMap<u32, (u32, VReg)>>,
    regs: Vec<Option<R>>,
}

impl<R: Register> State<'_, R> {
    /// Calls `f` with who is in the way, until it says stop; gives whether it went through.
    fn conflicts(&self, v: VReg, p: R, mut f: impl FnMut(VReg) -> bool) -> bool {
        let busy = &self.busy[p.index()];
        self.live[v.0 as usize].ranges.iter().all(|&(from, to)| {
            let before = busy.range(..from).next_back().filter(|(_, (end, _))| *end > from);
            before.into_iter().chain(busy.range(from..to)).all(|(_, (_, owner))| f(*owner))
        })
    }
    /// Whether nothing is in the way.
    fn is_free(&self, v: VReg, p: R) -> bool {
        self.conflicts(v, p, |_| false)
    }
    /// Gives a register its machine register.
    fn assign(&mut self, v: VReg, p: R) {
        for &(from, to) in &self.live[v.0 as usize].ranges {
            self.busy[p.index()].insert(from, (to, v));
        }
        self.regs[v.0 as usize] = Some(p);
    }
    /// Takes its machine register from a register.
    fn remove(&mut self, v: VReg) {
        if let Some(p) = self.regs[v.0 as usize].take() {
            for (from, _) in &self.live[v.0 as usize].ranges {
                self.busy[p.index()].remove(from);
            }
        }
    }
    /// The cheapest set of owners to throw out for `v`: all worth less than it.
    fn victims(&self, v: VReg, allowed: &[R]) -> Option<(R, BTreeSet<VReg>)> {
        let mut best: Option<(f64, R, BTreeSet<VReg>)> = None;
        for &p in allowed {
            let limit = best.as_ref().map_or(self.cost[v.0 as usize], |b| b.0);
            let mut owners = BTreeSet::new();
            let mut most = 0.0;
            let cheaper = self.conflicts(v, p, |o| {
                owners.insert(o);
                most = f64::max(most, self.cost[o.0 as usize]);
                most < limit
            });
            if cheaper {
                best = Some((most, p, owners));
            }
        }
        best.map(|(_, p, owners)| (p, owners))
    }
}

/// Which vectors have to be among those that every form reaches.
fn low<C: Forms>(f: &Func<C>) -> Vec<bool> {
    let mut out = vec![false; f.classes.len()];
    for item in &f.items {
        if let Item::Op(op) = item
            && op.code.is_narrow()
        {
            item.regs(&mut |v, _| out[v.0 as usize] |= f.class(v) == Class::Vec);
        }
    }
    out
}

/// Copies that would vanish if both sides got one machine register: partners of every register, most useful first.
fn hints<C: Forms>(f: &Func<C>) -> Vec<Vec<VReg>> {
    let mut found: Vec<Vec<(i64, VReg)>> = vec![vec![]; f.classes.len()];
    let mut depth = 0;
    for item in &f.items {
        match item {
            Item::LoopBegin => depth += 1,
            Item::LoopEnd => depth -= 1,
            Item::Move { dst, src, .. } => {
                found[dst.0 as usize].push((-depth, *src));
                found[src.0 as usize].push((-depth, *dst));
            }
            _ => {}
        }
    }
    found
        .into_iter()
        .map(|mut h| {
            h.sort_unstable();
            h.into_iter().map(|(_, v)| v).collect()
        })
        .collect()
}

/// Tries to give every register a machine register. `keep` are never spilled.
pub fn scan<C: Forms>(
    f: &Func<C>,
    live: &[Interval],
    keep: &BTreeSet<VReg>,
    features: C::Features,
) -> Scan<C::Reg> {
    let all: BTreeSet<VReg> = (0..f.classes.len() as u32).map(VReg).collect();
    let cheap: BTreeSet<VReg> = recipes(f, &all).into_keys().collect();
    let cost = live
        .iter()
        .enumerate()
        .map(|(i, iv)| match VReg(i as u32) {
            v if f.fixed.contains_key(&v) => f64::INFINITY,
            v if keep.contains(&v) => 1e100,
            // What can be made again needs no store, and often no register either.
            v if cheap.contains(&v) => 0.2 * iv.uses / f64::from(iv.len() + 8),
            _ => iv.uses / f64::from(iv.len() + 8),
        })
        .collect();
    let mut s =
        State { live, cost, busy: vec![BTreeMap::new(); C::Reg::COUNT], regs: vec![None; f.classes.len()] };
    for (v, r) in &f.fixed {
        s.assign(*v, *r);
    }
    let low = low(f);
    let hints = hints(f);
    let pools = [(Class::Gpr, false), (Class::Vec, false), (Class::Vec, true), (Class::Mask, false)]
        .map(|(c, low)| C::allocatable(c, low, features));
    let mut queue: BTreeSet<(u32, VReg)> = (0..f.classes.len() as u32)
        .map(VReg)
        .filter(|v| !f.fixed.contains_key(v) && !live[v.0 as usize].ranges.is_empty())
        .map(|v| (live[v.0 as usize].start(), v))
        .collect();
    let mut spilled = BTreeSet::new();
    while let Some((_, v)) = queue.pop_first() {
        let allowed = match f.class(v) {
            Class::Gpr => &pools[0],
            Class::Vec => &pools[1 + usize::from(low[v.0 as usize])],
            Class::Mask => &pools[3],
        };
        let hinted = hints[v.0 as usize].iter().filter_map(|h| s.regs[h.0 as usize]);
        let mut wanted = hinted.filter(|p| allowed.contains(p)).chain(allowed.iter().copied());
        if let Some(p) = wanted.find(|p| s.is_free(v, *p)) {
            s.assign(v, p);
        } else if let Some((p, owners)) = s.victims(v, allowed) {
            for o in owners {
                s.remove(o);
                queue.insert((live[o.0 as usize].start(), o));
            }
            s.assign(v, p);
        } else {
            spilled.insert(v);
        }
    }
    Scan { regs: s.regs, spilled }
}

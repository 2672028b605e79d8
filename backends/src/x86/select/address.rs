//! Addresses: base + index * scale + displacement. Sums of other terms are computed once: in front of the loops that do
//! not change them, and kept up by additions where they follow a loop's variable.

use super::Select;
use super::control::unrolls;
use super::tails::Tails;
use crate::machine::facts::own_addresses;
use crate::x86::mir::{Base, Class, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// Most sums that are computed in front of one loop.
const HOISTED: usize = 16;

/// A buffer's base and terms in bytes, sorted; or terms alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    buf: Option<u32>,
    terms: Terms,
}

/// Terms in bytes: register and factor.
type Terms = Vec<(Reg, i64)>;

/// Sums that are in registers.
pub type Sums = BTreeMap<Sum, VReg>;

/// What is in registers besides the kernel's own: sums of addresses and masks of tails.
#[derive(Debug, Clone)]
pub struct Known {
    sums: Sums,
    tails: Tails,
}

/// What was known outside of a loop, and what follows its variable.
pub struct Outer {
    before: Known,
    running: Vec<(VReg, i64)>,
}

/// Whether addressing modes have this factor.
fn is_scale(s: i64) -> bool {
    matches!(s, 1 | 2 | 4 | 8)
}

impl Select<'_> {
    /// Address of a buffer's first byte.
    pub fn base(&mut self, buf: Buf) -> VReg {
        match self.bases.get(&buf.0) {
            Some(b) => *b,
            // Every buffer in use got its base at entry.
            None => self.int(0, true),
        }
    }
    /// Terms in bytes without those that are known, and the displacement.
    fn terms(&self, at: &Addr, elem: Elem) -> (Terms, i64) {
        let width = i64::from(elem.bytes());
        let mut disp = at.offset.wrapping_mul(width);
        let mut terms: Terms = Vec::new();
        for (r, s) in &at.terms {
            let scale = s.wrapping_mul(width);
            match self.int_of(*r) {
                Some(v) => disp = disp.wrapping_add(v.wrapping_mul(scale)),
                None => match terms.iter_mut().find(|t| t.0 == *r) {
                    Some(t) => t.1 = t.1.wrapping_add(scale),
                    None => terms.push((*r, scale)),
                },
            }
        }
        (terms, disp)
    }
    /// Memory operand of an access to a buffer in elements of a type.
    pub fn address(&mut self, buf: Buf, at: &Addr, elem: Elem) -> Mem {
        let (terms, mut disp) = self.terms(at, elem);
        let (mut base, index) = self.sum(buf, terms);
        // Room for the parts behind the first.
        if i32::try_from(disp).is_err() || i32::try_from(disp + (1 << 20)).is_err() {
            let far = self.int(disp, true);
            base = self.plus_scaled(base, far, 1);
            disp = 0;
        }
        Mem { base: Base::Reg(base), index, disp }
    }
    /// Base and index of a sum.
    fn sum(&mut self, buf: Buf, terms: Terms) -> (VReg, Option<(VReg, u8)>) {
        let (mut base, mut known) = (self.base(buf), Vec::new());
        let best = self
            .sums
            .iter()
            .filter(|(k, _)| k.buf == Some(buf.0) && k.terms.iter().all(|t| terms.contains(t)))
            .max_by_key(|(k, _)| k.terms.len());
        if let Some((k, v)) = best {
            (base, known) = (*v, k.terms.clone());
        }
        let mut rest: Terms = terms.into_iter().filter(|t| !known.contains(t)).collect();
        // The last term varies fastest as a rule: it becomes the index.
        let running = |s: &Self, t: &(Reg, i64)| s.sums.get(&Sum { buf: None, terms: vec![*t] }).copied();
        let n = rest.iter().rposition(|t| is_scale(t.1) || running(self, t).is_some());
        let index = n.map(|n| {
            let t = rest.remove(n);
            match running(self, &t) {
                Some(v) => (v, 1),
                None => (self.one(t.0), t.1 as u8),
            }
        });
        for (r, s) in rest {
            let x = self.one(r);
            base = self.plus_scaled(base, x, s);
            known.push((r, s));
            known.sort_unstable();
            self.sums.insert(Sum { buf: Some(buf.0), terms: known.clone() }, base);
        }
        (base, index)
    }
    /// `base + x * scale` in a fresh register.
    pub fn plus_scaled(&mut self, base: VReg, x: VReg, scale: i64) -> VReg {
        let t = self.temp(Class::Gpr);
        let (x, scale) = match scale {
            s if is_scale(s) => (x, s as u8),
            s if s % 8 == 0 => (self.times(x, s / 8), 8),
            s if s % 4 == 0 => (self.times(x, s / 4), 4),
            s if s % 2 == 0 => (self.times(x, s / 2), 2),
            s => (self.times(x, s), 1),
        };
        let m = Mem { base: Base::Reg(base), index: Some((x, scale)), disp: 0 };
        self.f.op(Code::Lea_r64_m, &[Opnd::Def(t, 8), Opnd::Mem(m)]);
        t
    }
    /// A register gets another value: sums with it are out of date.
    pub(super) fn forget(&mut self, r: Reg) {
        if !self.sums.is_empty() {
            self.sums.retain(|k, _| k.terms.iter().all(|t| t.0 != r));
        }
        if !self.tails.is_empty() {
            self.tails.retain(|k, _| k.0 != r);
        }
        if !self.words.is_empty() {
            self.words.retain(|k, _| k.0 != r);
        }
    }
    /// What is known now, to be given to [`Self::rejoin`].
    pub(super) fn fork(&self) -> Known {
        Known { sums: self.sums.clone(), tails: self.tails.clone() }
    }
    /// What is still true of what was known before a piece of code that assigns these registers.
    pub(super) fn rejoin(&mut self, before: Known, changes: &BTreeSet<Reg>) {
        Known { sums: self.sums, tails: self.tails } = before;
        self.sums.retain(|k, _| k.terms.iter().all(|t| !changes.contains(&t.0)));
        self.tails.retain(|k, _| !changes.contains(&k.0));
    }
    /// Sums that addresses in a body are made of: buffer, terms in bytes.
    fn addresses_in(&self, body: &[Stmt], out: &mut Vec<(Buf, Terms)>, known: &mut BTreeSet<Reg>) {
        for s in body {
            if let Stmt::For { var, lo, hi, step, kind, .. } = s
                && unrolls(self, lo, hi, *step, *kind).is_some()
            {
                known.insert(*var);
            }
            if let Some((buf, at, elem)) = own_addresses(self.k, s) {
                let (terms, _) = self.terms(at, elem);
                let terms: Terms = terms.into_iter().filter(|t| !known.contains(&t.0)).collect();
                if !terms.is_empty() {
                    out.push((buf, terms));
                }
            }
            s.blocks().into_iter().for_each(|b| self.addresses_in(b, out, known));
        }
    }
    /// A loop begins, with the variable at its first value: what addresses in it need and it does not change is computed
    /// here. `var`: the variable and its step.
    pub(super) fn enter_loop(
        &mut self,
        var: Option<(Reg, i64)>,
        bodies: &[&[Stmt]],
        changes: &BTreeSet<Reg>,
    ) -> Outer {
        let before = self.fork();
        self.rejoin(before.clone(), changes);
        self.hoist_tails(bodies, changes);
        let mut found = Vec::new();
        bodies.iter().for_each(|b| self.addresses_in(b, &mut found, &mut BTreeSet::new()));
        let is_var = |r: Reg| var.is_some_and(|(v, _)| v == r);
        // Every multiple of the variable that is no scale: how many different sums it is part of.
        let mut followers: BTreeMap<i64, BTreeSet<(Buf, Terms)>> = BTreeMap::new();
        let mut fixed: Vec<(Buf, Terms)> = Vec::new();
        for (buf, terms) in found {
            let still: Terms =
                terms.iter().copied().filter(|t| !is_var(t.0) && !changes.contains(&t.0)).collect();
            let alone = still.len() == terms.len();
            if let Some((_, c)) = terms.iter().find(|t| is_var(t.0) && !is_scale(t.1)) {
                followers.entry(*c).or_default().insert((buf, still.clone()));
            }
            let simple = still.is_empty() || (alone && still.len() == 1 && is_scale(still[0].1));
            if !simple && !fixed.contains(&(buf, still.clone())) {
                fixed.push((buf, still));
            }
        }
        for (buf, terms) in fixed.into_iter().take(HOISTED) {
            self.whole_sum(buf, terms);
        }
        let mut running = Vec::new();
        for (c, sums) in followers.into_iter().take(HOISTED) {
            let Some((var, step)) = var else { continue };
            let v = self.dst(var)[0];
            let by = step.wrapping_mul(c);
            if sums.len() > 2 || i32::try_from(by).is_err() {
                let t = self.times(v, c);
                self.sums.insert(Sum { buf: None, terms: vec![(var, c)] }, t);
                running.push((t, by));
                continue;
            }
            for (buf, mut terms) in sums {
                let base = self.whole_sum(buf, terms.clone());
                let t = self.plus_scaled(base, v, c);
                terms.push((var, c));
                terms.sort_unstable();
                self.sums.insert(Sum { buf: Some(buf.0), terms }, t);
                running.push((t, by));
            }
        }
        Outer { before, running }
    }
    /// A sum in one register.
    fn whole_sum(&mut self, buf: Buf, mut terms: Terms) -> VReg {
        let (base, index) = self.sum(buf, terms.clone());
        let Some((x, s)) = index else { return base };
        let t = self.plus_scaled(base, x, i64::from(s));
        terms.sort_unstable();
        self.sums.insert(Sum { buf: Some(buf.0), terms }, t);
        t
    }
    /// The loop's variable makes its step: what follows it too.
    pub(super) fn step_loop(&mut self, outer: &Outer) {
        for (v, by) in &outer.running {
            self.add_imm(*v, *by);
        }
    }
    /// A loop has ended.
    pub(super) fn leave_loop(&mut self, outer: Outer, changes: &BTreeSet<Reg>) {
        self.rejoin(outer.before, changes);
    }
}

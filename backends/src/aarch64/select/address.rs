//! Addresses: base and displacement. Sums of terms are computed once: in front of the loops that do not change them.

use super::{Select, used};
use crate::aarch64::encode::reaches;
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::{Base, Class, Mem, Opnd, VReg};
use crate::machine::facts::own_addresses;
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// Most sums that are computed in front of one loop.
const HOISTED: usize = 12;

/// Terms in bytes: register and factor, sorted.
type Terms = Vec<(Reg, i64)>;

/// A buffer's base, terms, and a displacement too large for instructions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum {
    buf: u32,
    terms: Terms,
    far: i64,
}

/// Sums that are in registers.
pub type Sums = BTreeMap<Sum, VReg>;

/// What was known outside of a loop, and what follows its variable.
pub struct Outer {
    before: Sums,
    running: Vec<(VReg, i64)>,
}

impl Select<'_> {
    /// Address of a buffer's first byte.
    pub(super) fn base(&mut self, buf: Buf) -> VReg {
        match self.bases.get(&buf.0) {
            Some(b) => *b,
            // Every buffer in use got its base at entry.
            None => self.int(0),
        }
    }
    /// Terms in bytes without those that are known, and the displacement.
    fn terms(&self, at: &Addr, elem: Elem) -> (Terms, i64) {
        let width = i64::from(elem.bytes());
        let mut disp = at.offset.wrapping_mul(width);
        let mut terms: BTreeMap<Reg, i64> = BTreeMap::new();
        for (r, s) in &at.terms {
            let scale = s.wrapping_mul(width);
            match self.int_of(*r) {
                Some(v) => disp = disp.wrapping_add(v.wrapping_mul(scale)),
                None => {
                    let t = terms.entry(*r).or_default();
                    *t = t.wrapping_add(scale);
                }
            }
        }
        (terms.into_iter().filter(|t| t.1 != 0).collect(), disp)
    }
    /// Address of an access to a buffer in elements of a type; its parts lie behind it.
    pub(super) fn address(&mut self, buf: Buf, at: &Addr, elem: Elem) -> Mem {
        let (terms, disp) = self.terms(at, elem);
        // What scalars reach, with room for parts.
        let window = 4032 * i64::from(elem.bytes());
        let far = if (0..window).contains(&disp) { 0 } else { disp.div_euclid(window).wrapping_mul(window) };
        let base = self.sum(buf, terms, far);
        Mem::reg(base).plus(disp.wrapping_sub(far))
    }
    /// A sum in one register.
    fn sum(&mut self, buf: Buf, terms: Terms, far: i64) -> VReg {
        let sum = Sum { buf: buf.0, terms, far };
        if let Some(v) = self.sums.get(&sum) {
            return *v;
        }
        let v = match far {
            0 => self.near(buf, &sum.terms),
            _ => {
                let near = self.sum(buf, sum.terms.clone(), 0);
                self.plus(near, far)
            }
        };
        self.sums.insert(sum, v);
        v
    }
    /// Base and terms, from the longest sum that is there.
    fn near(&mut self, buf: Buf, terms: &Terms) -> VReg {
        let within = |k: &Sum| k.buf == buf.0 && k.far == 0 && k.terms.iter().all(|t| terms.contains(t));
        let best = self.sums.iter().filter(|(k, _)| within(k)).max_by_key(|(k, _)| k.terms.len());
        let (mut base, mut known) = match best {
            Some((k, v)) => (*v, k.terms.clone()),
            None => (self.base(buf), vec![]),
        };
        for t in terms {
            if known.contains(t) {
                continue;
            }
            let x = self.one(t.0);
            base = self.plus_scaled(base, x, t.1);
            known.push(*t);
            known.sort_unstable();
            self.sums.insert(Sum { buf: buf.0, terms: known.clone(), far: 0 }, base);
        }
        base
    }
    /// `base + by` in a fresh register.
    pub(super) fn plus(&mut self, base: VReg, by: i64) -> VReg {
        let t = self.gpr();
        self.f.copy(t, base, 8);
        self.add_imm(t, by);
        t
    }
    /// `base + x * scale` in a fresh register.
    pub(super) fn plus_scaled(&mut self, base: VReg, x: VReg, scale: i64) -> VReg {
        if scale > 0 && scale & (scale - 1) == 0 {
            let shift = Opnd::Imm(i64::from(scale.trailing_zeros()));
            return self.result(form::ADD_LSL.wide(true), Class::Gpr, &[used(base), used(x), shift]);
        }
        let c = self.int(scale);
        self.x(form::MADD.wide(true), &[x, c, base])
    }
    /// A memory operand that instructions on `1 << size` bytes reach.
    fn reachable(&mut self, m: Mem, size: u8) -> Mem {
        match m.base {
            Base::Reg(base) if m.index.is_none() && !reaches(m.disp, size) => {
                Mem::reg(self.plus(base, m.disp))
            }
            _ => m,
        }
    }
    /// Loads to a fresh register.
    pub(super) fn load(&mut self, form: Form, class: Class, m: Mem) -> VReg {
        let m = self.reachable(m, size_of(form));
        self.result(form, class, &[Opnd::Mem(m)])
    }
    /// Stores a register.
    pub(super) fn save(&mut self, form: Form, v: VReg, m: Mem) {
        let m = self.reachable(m, size_of(form));
        self.op(form, &[used(v), Opnd::Mem(m)]);
    }
    /// Address of a memory operand in a register, which may be changed.
    pub(super) fn pointer(&mut self, m: Mem) -> VReg {
        match m.base {
            Base::Reg(base) => self.plus(base, m.disp),
            Base::Frame(_) | Base::Pool(_) => self.int(0),
        }
    }
    /// A register gets another value: sums with it are out of date.
    pub(super) fn forget(&mut self, r: Reg) {
        if !self.sums.is_empty() {
            self.sums.retain(|k, _| k.terms.iter().all(|t| t.0 != r));
        }
    }
    /// What is still true of what was known before a piece of code that assigns these registers.
    pub(super) fn rejoin(&mut self, before: Sums, changes: &BTreeSet<Reg>) {
        self.sums = before;
        self.sums.retain(|k, _| k.terms.iter().all(|t| !changes.contains(&t.0)));
    }
    /// What is known now, to be given to [`Self::rejoin`].
    pub(super) fn fork(&self) -> Sums {
        self.sums.clone()
    }
    /// Sums that addresses in a body are made of.
    fn addresses_in(&self, body: &[Stmt], out: &mut Vec<(Buf, Terms)>, known: &mut BTreeSet<Reg>) {
        for s in body {
            if let Stmt::For { var, lo, hi, step, kind, .. } = s
                && self.unrolls(lo, hi, *step, *kind).is_some()
            {
                known.insert(*var);
            }
            if let Some((buf, at, elem)) = own_addresses(self.k, s) {
                let (terms, _) = self.terms(at, elem);
                let terms: Terms = terms.into_iter().filter(|t| !known.contains(&t.0)).collect();
                if !terms.is_empty() && !out.contains(&(buf, terms.clone())) {
                    out.push((buf, terms));
                }
            }
            s.blocks().into_iter().for_each(|b| self.addresses_in(b, out, known));
        }
    }
    /// A loop begins, with the variable at its first value: what addresses in it need and it does not change is computed
    /// here, and what grows with the variable by other steps than shifts give. `var`: the variable and its step.
    pub(super) fn enter_loop(
        &mut self,
        var: Option<(Reg, i64)>,
        bodies: &[&[Stmt]],
        changes: &BTreeSet<Reg>,
    ) -> Outer {
        let before = self.fork();
        self.rejoin(before.clone(), changes);
        let mut found = Vec::new();
        bodies.iter().for_each(|b| self.addresses_in(b, &mut found, &mut BTreeSet::new()));
        let mut running = Vec::new();
        for (buf, terms) in found.into_iter().take(HOISTED) {
            let still: Terms = terms.iter().copied().filter(|t| !changes.contains(&t.0)).collect();
            let base = if still.is_empty() { self.base(buf) } else { self.sum(buf, still.clone(), 0) };
            let Some((v, step)) = var else { continue };
            let Some((_, c)) = terms.iter().find(|t| t.0 == v) else { continue };
            if c & (c - 1) == 0 && *c > 0 {
                continue;
            }
            let mut followed = still;
            followed.push((v, *c));
            followed.sort_unstable();
            let sum = Sum { buf: buf.0, terms: followed, far: 0 };
            if !self.sums.contains_key(&sum) {
                let x = self.dst(v)[0];
                let t = self.plus_scaled(base, x, *c);
                self.sums.insert(sum, t);
                running.push((t, step.wrapping_mul(*c)));
            }
        }
        Outer { before, running }
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

/// Bytes that a form loads or stores, as a power of two.
fn size_of(form: Form) -> u8 {
    form.fields.iter().find_map(|f| if let form::Field::Mem(n) = f { Some(*n) } else { None }).unwrap_or(0)
}

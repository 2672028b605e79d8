//! Loops, branches, leaving.

use super::{Select, used};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Cond, Item, Opnd, VReg};
use crate::aarch64::regs::PReg;
use crate::machine::facts::assigned;
use sinter_ir::tile::{Bound, LoopKind, Reg, Stmt};
use std::collections::BTreeSet;

/// Loops of up to this many iterations are unrolled where the kernel asks for it.
const UNROLL_MAX: i64 = 16;

/// An upper bound of a loop.
#[derive(Clone, Copy)]
enum Limit {
    Const(i64),
    Reg(VReg),
}

impl Select<'_> {
    /// First value and number of iterations of a loop that becomes straight code.
    pub(super) fn unrolls(&self, lo: &Bound, hi: &Bound, step: i64, kind: LoopKind) -> Option<(i64, i64)> {
        let known = |b: &Bound| match b {
            Bound::Const(c) => Some(*c),
            Bound::Reg(r) => self.int_of(*r),
        };
        let (lo, hi) = (known(lo)?, known(hi)?);
        let count = (hi.saturating_sub(lo).saturating_add(step - 1)).div_euclid(step).max(0);
        let small = count <= 1 || (kind == LoopKind::Unrolled && count <= UNROLL_MAX);
        (kind != LoopKind::Parallel && small).then_some((lo, count))
    }
    fn limit(&mut self, b: &Bound) -> Limit {
        match b {
            Bound::Const(c) => Limit::Const(*c),
            Bound::Reg(r) => match self.int_of(*r) {
                Some(c) => Limit::Const(c),
                None => Limit::Reg(self.one(*r)),
            },
        }
    }
    fn limit_reg(&mut self, l: Limit) -> VReg {
        match l {
            Limit::Const(c) => self.int(c),
            Limit::Reg(r) => r,
        }
    }
    /// Compares a loop variable with its bound.
    fn compare_limit(&mut self, v: VReg, l: Limit) {
        match l {
            Limit::Const(c) => self.compare_imm(v, c, true),
            Limit::Reg(r) => self.op(form::CMP.wide(true), &[used(v), used(r)]),
        }
    }
    /// A counted loop: tested in front once, then at the bottom.
    pub(super) fn for_(
        &mut self,
        var: Reg,
        lo: &Bound,
        hi: &Bound,
        step: i64,
        kind: LoopKind,
        body: &[Stmt],
    ) {
        if let Some((first, count)) = self.unrolls(lo, hi, step, kind) {
            for i in 0..count {
                self.fixed.insert(var, first + i * step);
                self.block(body);
            }
            self.fixed.remove(&var);
            return;
        }
        let (first, mut last) = (self.limit(lo), self.limit(hi));
        let v = self.dst(var)[0];
        let mut changes = BTreeSet::new();
        assigned(body, &mut changes);
        if let (Bound::Reg(r), Limit::Reg(l)) = (hi, last)
            && changes.contains(r)
        {
            last = Limit::Reg(self.plus(l, 0));
        }
        let mut start = self.limit_reg(first);
        if let (LoopKind::Parallel, Some((begin, end))) = (kind, self.range) {
            start = self.pick(start, begin, Cond::Gt, true);
            let hi = self.limit_reg(last);
            last = Limit::Reg(self.pick(hi, end, Cond::Lt, true));
        }
        self.f.copy(v, start, 8);
        let (head, after) = (self.f.label(), self.f.label());
        // Whether there is a first iteration.
        if !matches!((first, last), (Limit::Const(a), Limit::Const(b)) if a < b) {
            self.compare_limit(v, last);
            self.f.branch(Cond::Ge, after);
        }
        changes.insert(var);
        let outer = self.enter_loop(Some((var, step)), &[body], &changes);
        // A bound that no comparison takes is made once.
        if let Limit::Const(c) = last
            && !(-4095..=4095).contains(&c)
        {
            last = Limit::Reg(self.int(c));
        }
        self.f.loop_begin(head);
        self.block(body);
        self.step_loop(&outer);
        self.add_imm(v, step);
        self.compare_limit(v, last);
        self.f.branch(Cond::Lt, head);
        self.f.loop_end();
        self.leave_loop(outer, &changes);
        self.f.bind(after);
    }
    /// A loop with a test of its own, which lies at the bottom.
    pub(super) fn while_(&mut self, test: &[Stmt], cond: Reg, body: &[Stmt]) {
        let (head, inside) = (self.f.label(), self.f.label());
        let mut changes = BTreeSet::new();
        assigned(test, &mut changes);
        assigned(body, &mut changes);
        let outer = self.enter_loop(None, &[test, body], &changes);
        self.f.jump(head);
        self.f.loop_begin(inside);
        // The test runs first: what the body computes is not there at its first time.
        let before = self.fork();
        self.block(body);
        self.rejoin(before, &changes);
        self.f.bind(head);
        self.block(test);
        let c = self.test(cond);
        self.f.branch(c, inside);
        self.f.loop_end();
        self.leave_loop(outer, &changes);
    }
    /// A branch.
    pub(super) fn if_(&mut self, cond: Reg, then: &[Stmt], els: &[Stmt]) {
        let c = self.test(cond);
        let no = self.f.label();
        self.f.branch(c.opposite(), no);
        let mut changes = BTreeSet::new();
        assigned(then, &mut changes);
        assigned(els, &mut changes);
        let sums = self.fork();
        self.block(then);
        if els.is_empty() {
            self.f.bind(no);
        } else {
            let after = self.f.label();
            self.f.jump(after);
            self.f.bind(no);
            self.rejoin(sums.clone(), &BTreeSet::new());
            self.block(els);
            self.f.bind(after);
        }
        self.rejoin(sums, &changes);
    }
    /// The end of the kernel, then the ways out with an error code.
    pub(super) fn leave(&mut self) {
        let result = self.f.fixed(PReg::x(0));
        let exit = self.f.label();
        let code = self.int(0);
        self.f.copy(result, code, 8);
        self.f.bind(exit);
        self.f.items.push(Item::Ret(result));
        for (code, l) in self.fails.clone() {
            self.f.bind(l);
            let code = self.int(code.into());
            self.f.copy(result, code, 8);
            self.f.jump(exit);
        }
    }
    /// `a` where comparing it with `b` gives the condition, else `b`.
    pub(super) fn pick(&mut self, a: VReg, b: VReg, when: Cond, wide: bool) -> VReg {
        self.op(form::CMP.wide(wide), &[used(a), used(b)]);
        self.result(form::CSEL.wide(wide), Class::Gpr, &[used(a), used(b), when.opnd()])
    }
    /// Compares with a constant.
    pub(super) fn compare_imm(&mut self, v: VReg, c: i64, wide: bool) {
        let (form, n) = match c {
            0..=4095 => (form::CMP_I, c),
            -4095..=-1 => (form::CMN_I, -c),
            _ => {
                let c = self.int(c);
                return self.op(form::CMP.wide(wide), &[used(v), used(c)]);
            }
        };
        self.op(form.wide(wide), &[used(v), Opnd::Imm(n)]);
    }
}

//! Loops, branches, leaving.

use super::Select;
use crate::machine::facts::assigned;
use crate::x86::mir::{Class, Cond, Opnd, VReg};
use iced_x86::{Code, Register};
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

/// First value and number of iterations of a loop that becomes straight code.
pub fn unrolls(s: &Select<'_>, lo: &Bound, hi: &Bound, step: i64, kind: LoopKind) -> Option<(i64, i64)> {
    let known = |b: &Bound| match b {
        Bound::Const(c) => Some(*c),
        Bound::Reg(r) => s.int_of(*r),
    };
    let (lo, hi) = (known(lo)?, known(hi)?);
    let count = (hi.saturating_sub(lo).saturating_add(step - 1)).div_euclid(step).max(0);
    let small = count <= 1 || (kind == LoopKind::Unrolled && count <= UNROLL_MAX);
    (kind != LoopKind::Parallel && small).then_some((lo, count))
}

impl Select<'_> {
    /// A bound as constant or register.
    fn limit(&mut self, b: &Bound) -> Limit {
        match b {
            Bound::Const(c) => Limit::Const(*c),
            Bound::Reg(r) => match self.int_of(*r) {
                Some(c) => Limit::Const(c),
                None => Limit::Reg(self.one(*r)),
            },
        }
    }
    /// A bound in a register.
    fn limit_reg(&mut self, l: Limit) -> VReg {
        match l {
            Limit::Const(c) => self.int(c, true),
            Limit::Reg(r) => r,
        }
    }
    /// Compares a loop variable with its bound.
    fn compare_limit(&mut self, v: VReg, l: Limit) {
        match l {
            Limit::Const(c) => self.compare_imm(v, 8, c),
            Limit::Reg(r) => self.f.op(Code::Cmp_r64_rm64, &[Opnd::Use(v, 8), Opnd::Use(r, 8)]),
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
        let (first, mut last) = (self.limit(lo), self.limit(hi));
        if let Some((first, count)) = unrolls(self, lo, hi, step, kind) {
            for i in 0..count {
                self.fixed.insert(var, first + i * step);
                self.block(body);
            }
            self.fixed.remove(&var);
            return;
        }
        let v = self.dst(var)[0];
        let mut changes = BTreeSet::new();
        assigned(body, &mut changes);
        if let (Bound::Reg(r), Limit::Reg(l)) = (hi, last)
            && changes.contains(r)
        {
            let own = self.temp(Class::Gpr);
            self.f.copy(own, l, 8);
            last = Limit::Reg(own);
        }
        let mut start = self.limit_reg(first);
        if let (LoopKind::Parallel, Some((begin, end))) = (kind, self.range) {
            start = self.least(start, begin, Cond::L);
            let hi = self.limit_reg(last);
            last = Limit::Reg(self.least(hi, end, Cond::G));
        }
        self.f.copy(v, start, 8);
        let (head, after) = (self.f.label(), self.f.label());
        // Whether there is a first iteration.
        if !matches!((first, last), (Limit::Const(a), Limit::Const(b)) if a < b) {
            self.compare_limit(v, last);
            self.f.branch(Cond::GE, after);
        }
        changes.insert(var);
        let outer = self.enter_loop(Some((var, step)), &[body], &changes);
        self.f.loop_begin(head);
        self.block(body);
        self.step_loop(&outer);
        self.add_imm(v, step);
        self.compare_limit(v, last);
        self.f.branch(Cond::L, head);
        self.f.loop_end();
        self.leave_loop(outer, &changes);
        self.f.bind(after);
    }
    /// `a`, or `b` where comparing them gives the condition.
    fn least(&mut self, a: VReg, b: VReg, when: Cond) -> VReg {
        let t = self.temp(Class::Gpr);
        self.f.copy(t, a, 8);
        self.f.op(Code::Cmp_r64_rm64, &[Opnd::Use(a, 8), Opnd::Use(b, 8)]);
        self.f.op(when.cmov(8), &[Opnd::UseDef(t, 8), Opnd::Use(b, 8)]);
        t
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
        let t = self.test(cond);
        self.branch_if(t, inside);
        self.f.loop_end();
        self.leave_loop(outer, &changes);
    }
    /// A branch.
    pub(super) fn if_(&mut self, cond: Reg, then: &[Stmt], els: &[Stmt]) {
        let t = self.test(cond);
        let no = self.f.label();
        self.branch_unless(t, no);
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
        let rax = self.f.fixed(Register::RAX);
        let exit = self.f.label();
        self.f.op(Code::Xor_r32_rm32, &[Opnd::Def(rax, 4), Opnd::Def(rax, 4)]);
        self.f.bind(exit);
        self.f.items.push(crate::x86::mir::Item::Ret(rax));
        for (code, l) in self.fails.clone() {
            self.f.bind(l);
            self.f.op(Code::Mov_r32_imm32, &[Opnd::Def(rax, 4), Opnd::Imm(i64::from(code))]);
            self.f.jump(exit);
        }
    }
}

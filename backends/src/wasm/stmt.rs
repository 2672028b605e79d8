//! Statements of a kernel.

use super::address::assigned;
use super::body::Val;
use super::kernel::Emit;
use sinter_ir::tile::{Bound, LoopKind, Reg, Scalar, Stmt};
use wasm_encoder::{BlockType, Instruction as I, ValType};

/// Constant loops up to this many iterations are unrolled where the kernel asks for it.
const UNROLL_MAX: i64 = 16;

impl Emit<'_> {
    /// Emits a block of statements.
    pub fn block(&mut self, body: &[Stmt]) {
        for s in body {
            self.stmt(s);
        }
    }
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, .. } if self.consts.contains_key(dst) => {}
            Stmt::Let { dst, inst } => self.assign(*dst, inst),
            Stmt::Store { buf, at, value, tail } => self.store(*buf, at, *value, *tail),
            Stmt::For { var, lo, hi, step, kind, body } => self.for_(*var, (lo, hi), *step, *kind, body),
            Stmt::While { test, cond, body } => {
                let changed = assigned(test).union(&assigned(body)).copied().collect();
                let before = self.known.enter(&changed);
                self.hoist(test, &changed);
                self.hoist(body, &changed);
                self.f.ops([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
                self.block(test);
                self.push(*cond);
                self.f.ops([I::I32Eqz, I::BrIf(1)]);
                self.block(body);
                self.f.ops([I::Br(0), I::End, I::End]);
                self.known.leave(&before);
            }
            Stmt::If { cond, then, els } => {
                self.push(*cond);
                let changed = assigned(then).union(&assigned(els)).copied().collect();
                let before = self.known.enter(&changed);
                self.f.op(I::If(BlockType::Empty));
                self.block(then);
                self.known.leave(&before);
                if !els.is_empty() {
                    self.f.op(I::Else);
                    self.block(els);
                    self.known.leave(&before);
                }
                self.f.op(I::End);
            }
            Stmt::SetSym { sym, value } => {
                self.f.i32(0);
                self.push(*value);
                let at = u64::from(self.syms) + 8 * u64::from(sym.0);
                self.f.op(I::I64Store(super::scalar::memory(at)));
            }
            Stmt::FailIf { cond, code } => {
                self.push(*cond);
                self.leave_if(*code);
            }
        }
    }
    fn bound(&self, b: &Bound) -> Val {
        match b {
            Bound::Const(c) => Val::I64(*c),
            Bound::Reg(r) => self.val(*r),
        }
    }
    /// Pushes the larger or smaller of two `i64`.
    fn choose(&mut self, x: Val, y: Val, order: super::body::Inst) {
        for v in [x, y, x, y] {
            self.f.push(v);
        }
        self.f.ops([order, I::Select]);
    }
    fn for_(&mut self, var: Reg, (lo, hi): (&Bound, &Bound), step: i64, kind: LoopKind, body: &[Stmt]) {
        if let (LoopKind::Unrolled, Bound::Const(lo), Bound::Const(hi)) = (kind, lo, hi)
            && (hi - lo) / step <= UNROLL_MAX
        {
            let mut i = *lo;
            while i < *hi {
                self.consts.insert(var, Scalar::Int(i));
                self.block(body);
                i += step;
            }
            self.consts.remove(&var);
            return;
        }
        let (mut first, mut last) = (self.bound(lo), self.bound(hi));
        let mut changed = assigned(body);
        changed.insert(var);
        if let (LoopKind::Parallel, Some((begin, end))) = (kind, self.range) {
            self.choose(first, Val::Local(begin), I::I64GtS);
            first = Val::Local(self.f.keep(ValType::I64));
            self.choose(last, Val::Local(end), I::I64LtS);
            last = Val::Local(self.f.keep(ValType::I64));
        } else if matches!(hi, Bound::Reg(r) if changed.contains(r)) {
            // Bounds are read once.
            self.f.push(last);
            last = Val::Local(self.f.keep(ValType::I64));
        }
        self.f.push(first);
        let i = self.regs[var.0 as usize][0];
        self.f.set(i);
        let before = self.known.enter(&changed);
        let runs = matches!((first, last), (Val::I64(a), Val::I64(b)) if a < b);
        if !runs {
            self.f.push(first);
            self.f.push(last);
            self.f.ops([I::I64LtS, I::If(BlockType::Empty)]);
        }
        self.hoist(body, &changed);
        self.f.op(I::Loop(BlockType::Empty));
        self.block(body);
        self.f.ops([I::LocalGet(i), I::I64Const(step), I::I64Add, I::LocalSet(i), I::LocalGet(i)]);
        self.f.push(last);
        self.f.ops([I::I64LtS, I::BrIf(0), I::End]);
        if !runs {
            self.f.op(I::End);
        }
        self.known.leave(&before);
    }
}

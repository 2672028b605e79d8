//! Statements of a kernel.

use super::kernel::{Emit, scalar, vector};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Value};
use sinter_ir::tile::{Addr, Bound, Buf, LoopKind, Reg, Stmt, Ty};

/// Constant loops up to this many iterations are unrolled where the kernel asks for it.
const UNROLL_MAX: i64 = 16;

impl Emit<'_, '_> {
    /// Emits a block of statements.
    pub fn block(&mut self, body: &[Stmt]) {
        for s in body {
            self.stmt(s);
        }
    }
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                let v = self.inst(*dst, inst);
                self.set(*dst, &v);
            }
            Stmt::Store { buf, at, value, tail } => self.store(*buf, at, *value, *tail),
            Stmt::For { var, lo, hi, step, kind, body } => self.for_(*var, lo, hi, *step, *kind, body),
            Stmt::While { test, cond, body } => self.while_(test, *cond, body),
            Stmt::If { cond, then, els } => self.if_(*cond, then, els),
            Stmt::SetSym { sym, value } => {
                let v = self.one(*value);
                self.b.ins().store(MemFlagsData::trusted(), v, self.syms, 8 * sym.0 as i32);
            }
            Stmt::FailIf { cond, code } => {
                let c = self.one(*cond);
                let next = self.b.create_block();
                let code = self.b.ins().iconst(I32, i64::from(*code));
                self.b.ins().brif(c, self.exit, &[BlockArg::from(code)], next, &[]);
                self.b.switch_to_block(next);
            }
        }
    }
    fn bound(&mut self, b: &Bound) -> Value {
        match b {
            Bound::Const(c) => self.b.ins().iconst(I64, *c),
            Bound::Reg(r) => self.one(*r),
        }
    }
    fn for_(&mut self, var: Reg, lo: &Bound, hi: &Bound, step: i64, kind: LoopKind, body: &[Stmt]) {
        if let (LoopKind::Unrolled, Bound::Const(lo), Bound::Const(hi)) = (kind, lo, hi)
            && (hi - lo) / step <= UNROLL_MAX
        {
            let mut i = *lo;
            while i < *hi {
                let v = self.b.ins().iconst(I64, i);
                self.set(var, &[v]);
                self.block(body);
                i += step;
            }
            return;
        }
        let (mut first, mut last) = (self.bound(lo), self.bound(hi));
        if kind == LoopKind::Parallel {
            first = self.b.ins().smax(first, self.range.0);
            last = self.b.ins().smin(last, self.range.1);
        }
        self.set(var, &[first]);
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        let i = self.one(var);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, last);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        self.block(body);
        let i = self.one(var);
        let next = self.b.ins().iadd_imm_s(i, step);
        self.set(var, &[next]);
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(after);
    }
    fn while_(&mut self, test: &[Stmt], cond: Reg, body: &[Stmt]) {
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(head);
        self.block(test);
        let c = self.one(cond);
        self.b.ins().brif(c, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        self.block(body);
        self.b.ins().jump(head, &[]);
        self.b.switch_to_block(after);
    }
    fn if_(&mut self, cond: Reg, then: &[Stmt], els: &[Stmt]) {
        let c = self.one(cond);
        let (yes, no, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(c, yes, &[], no, &[]);
        for (block, body) in [(yes, then), (no, els)] {
            self.b.switch_to_block(block);
            self.block(body);
            self.b.ins().jump(after, &[]);
        }
        self.b.switch_to_block(after);
    }
    fn store(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let ty = self.ty(value);
        let (addr, offset) = self.address(buf, at, ty.elem);
        let Some(tail) = tail else {
            let flags = unaligned();
            for (i, v) in self.get(value).into_iter().enumerate() {
                let size = if self.parts(ty).is_some() { 16 } else { ty.elem.bytes() as i32 };
                self.b.ins().store(flags, v, addr, offset + i as i32 * size);
            }
            return;
        };
        let n = self.one(tail);
        if self.parts(ty).is_some() {
            for (i, v) in self.get(value).into_iter().enumerate() {
                self.store_part(ty, v, (addr, offset + 16 * i as i32), n, i);
            }
            return;
        }
        let lanes = self.lanes(value);
        for (i, v) in lanes.into_iter().enumerate() {
            self.when_lane(i, n, |e| {
                let flags = unaligned();
                e.b.ins().store(flags, v, addr, offset + i as i32 * ty.elem.bytes() as i32);
            });
        }
    }
    /// Stores the lanes of part `i` that lie below `n`: whole, or element by element through the stack.
    fn store_part(&mut self, ty: Ty, v: Value, to: (Value, i32), n: Value, i: usize) {
        let (left, full) = self.lanes_left(ty, n, i);
        let (whole, some, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(full, whole, &[], some, &[]);
        self.b.switch_to_block(whole);
        self.b.ins().store(unaligned(), v, to.0, to.1);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(some);
        let slot = self.scratch();
        self.b.ins().store(unaligned(), v, slot, 0);
        let to = self.b.ins().iadd_imm_s(to.0, i64::from(to.1));
        self.copy_elements(ty, to, slot, left);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }
    /// Loads the lanes of part `i` that lie below `n`, zeros elsewhere.
    fn load_part(&mut self, ty: Ty, from: (Value, i32), n: Value, i: usize) -> Value {
        let vt = vector(ty.elem);
        let (left, full) = self.lanes_left(ty, n, i);
        let out = self.b.declare_var(vt);
        let (whole, some, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(full, whole, &[], some, &[]);
        self.b.switch_to_block(whole);
        let v = self.b.ins().load(vt, unaligned(), from.0, from.1);
        self.b.def_var(out, v);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(some);
        let slot = self.scratch();
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().store(unaligned(), zero, slot, 0);
        self.b.ins().store(unaligned(), zero, slot, 8);
        let from = self.b.ins().iadd_imm_s(from.0, i64::from(from.1));
        self.copy_elements(ty, slot, from, left);
        let v = self.b.ins().load(vt, unaligned(), slot, 0);
        self.b.def_var(out, v);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
        self.b.use_var(out)
    }
    /// Lanes of part `i` below `n`, and whether that is all of them.
    fn lanes_left(&mut self, ty: Ty, n: Value, i: usize) -> (Value, Value) {
        let per = i64::from(vector(ty.elem).lane_count());
        let left = if i == 0 { n } else { self.b.ins().iadd_imm_s(n, -(per * i as i64)) };
        (left, self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, left, per))
    }
    /// Address of 16 bytes on the stack.
    fn scratch(&mut self) -> Value {
        let slot = *self.slot.get_or_insert_with(|| {
            self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 16, 4))
        });
        self.b.ins().stack_addr(I64, slot, 0)
    }
    /// Copies `n` elements of a type.
    fn copy_elements(&mut self, ty: Ty, to: Value, from: Value, n: Value) {
        let size = i64::from(ty.elem.bytes());
        let int = match size {
            1 => I8,
            2 => I16,
            4 => I32,
            _ => I64,
        };
        let bytes = self.b.ins().imul_imm_s(n, size);
        let (head, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(head, I64);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(head, &[BlockArg::from(zero)]);
        self.b.switch_to_block(head);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, bytes);
        self.b.ins().brif(more, body, &[], after, &[]);
        self.b.switch_to_block(body);
        let (f, t) = (self.b.ins().iadd(from, i), self.b.ins().iadd(to, i));
        let v = self.b.ins().load(int, unaligned(), f, 0);
        self.b.ins().store(unaligned(), v, t, 0);
        let next = self.b.ins().iadd_imm_s(i, size);
        self.b.ins().jump(head, &[BlockArg::from(next)]);
        self.b.switch_to_block(after);
    }
    /// Emits code that runs when lane `i` is among the first `n`.
    fn when_lane(&mut self, i: usize, n: Value, f: impl FnOnce(&mut Self)) {
        let on = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, i as i64);
        let (yes, after) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(on, yes, &[], after, &[]);
        self.b.switch_to_block(yes);
        f(self);
        self.b.ins().jump(after, &[]);
        self.b.switch_to_block(after);
    }
    /// Lanes `0..tail` from memory (all without a tail), others zero; `at` gives each lane's address.
    pub fn load_lanes(
        &mut self,
        dst: Reg,
        tail: Option<Reg>,
        at: &dyn Fn(&mut Self, usize) -> (Value, i32),
    ) -> Vec<Value> {
        let ty = self.ty(dst);
        let st = scalar(ty.elem);
        let flags = unaligned();
        let n = tail.map(|t| self.one(t));
        let mut lanes = Vec::new();
        for i in 0..ty.lanes as usize {
            let Some(n) = n else {
                let (addr, offset) = at(self, i);
                lanes.push(self.b.ins().load(st, flags, addr, offset));
                continue;
            };
            let var = self.b.declare_var(st);
            let zero = self.zero(st);
            self.b.def_var(var, zero);
            self.when_lane(i, n, |e| {
                let (addr, offset) = at(e, i);
                let v = e.b.ins().load(st, flags, addr, offset);
                e.b.def_var(var, v);
            });
            lanes.push(self.b.use_var(var));
        }
        self.of_lanes(ty, &lanes)
    }
    /// Contiguous load.
    pub fn load(&mut self, dst: Reg, buf: Buf, at: &Addr, tail: Option<Reg>) -> Vec<Value> {
        let ty = self.ty(dst);
        let (addr, offset) = self.address(buf, at, ty.elem);
        let flags = unaligned();
        match (tail, self.parts(ty)) {
            (None, Some(n)) => {
                let vt = vector(ty.elem);
                (0..n).map(|i| self.b.ins().load(vt, flags, addr, offset + 16 * i as i32)).collect()
            }
            (Some(tail), Some(count)) => {
                let n = self.one(tail);
                (0..count).map(|i| self.load_part(ty, (addr, offset + 16 * i as i32), n, i)).collect()
            }
            _ => {
                let size = ty.elem.bytes() as i32;
                self.load_lanes(dst, tail, &|_, i| (addr, offset + i as i32 * size))
            }
        }
    }
}

/// Loads and stores are never assumed aligned: buffers are, elements of a tile are not.
fn unaligned() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

//! One walk in program order: copies resolved, known integers folded, addresses shortened, equal values shared.

use super::{Facts, fold, is_pure};
use sinter_ir::tile::{Addr, Bound, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, Ty, UnOp};
use std::collections::BTreeMap;

/// What is known at a place of the kernel.
pub(super) struct Forward<'a> {
    facts: &'a Facts,
    regs: &'a [Ty],
    /// What a register is a copy of.
    alias: Vec<Reg>,
    /// Integers and truth values that registers hold.
    known: Vec<Option<i64>>,
    /// Constants of any type that registers hold.
    constant: Vec<Option<Scalar>>,
    /// Registers that are another one plus a constant.
    sum: Vec<Option<(Reg, i64)>>,
    /// Half floats that registers hold as f32, and how they were rounded.
    rounded: Vec<Option<(UnOp, Reg)>>,
    /// Half floats by the rounding that made them.
    halves: Vec<Option<UnOp>>,
    /// Values that are computed already, innermost scope last.
    scopes: Vec<BTreeMap<(Ty, Inst), Reg>>,
}

impl<'a> Forward<'a> {
    pub fn new(facts: &'a Facts, kernel: &'a mut Kernel) -> Self {
        let n = kernel.regs.len();
        Self {
            facts,
            regs: &kernel.regs,
            alias: (0..n as u32).map(Reg).collect(),
            known: vec![None; n],
            constant: vec![None; n],
            sum: vec![None; n],
            rounded: vec![None; n],
            halves: vec![None; n],
            scopes: vec![],
        }
    }
    pub fn block(&mut self, body: &mut Vec<Stmt>) {
        self.scopes.push(BTreeMap::new());
        for mut s in std::mem::take(body) {
            self.stmt(&mut s);
            match s {
                Stmt::Let { dst, inst: Inst::Copy(src) } if dst == src => {}
                Stmt::If { cond, then, els } if self.known(cond).is_some() => {
                    body.extend(if self.known(cond) == Some(0) { els } else { then });
                }
                Stmt::For { var, lo: Bound::Const(lo), hi: Bound::Const(hi), step, kind, body: once }
                    if kind != LoopKind::Parallel && lo < hi && hi <= lo.saturating_add(step) =>
                {
                    body.push(Stmt::Let { dst: var, inst: Inst::Const(Scalar::Int(lo)) });
                    body.extend(once);
                }
                Stmt::For { lo: Bound::Const(lo), hi: Bound::Const(hi), kind, .. }
                    if kind != LoopKind::Parallel && lo >= hi => {}
                other => body.push(other),
            }
        }
        self.scopes.pop();
    }
    fn known(&self, r: Reg) -> Option<i64> {
        self.known[r.0 as usize]
    }
    fn is_index(&self, r: Reg) -> bool {
        self.regs[r.0 as usize] == Ty { elem: Elem::I64, lanes: 1 }
    }
    fn stmt(&mut self, s: &mut Stmt) {
        s.reads_mut(&mut |r| *r = self.alias[r.0 as usize]);
        match s {
            Stmt::Let { dst, inst } => self.assign(*dst, inst),
            Stmt::Store { at, .. } => self.address(at),
            Stmt::For { var, lo, hi, step, .. } => {
                for b in [&mut *lo, hi] {
                    if let Bound::Reg(r) = b
                        && let Some(v) = self.known(*r)
                    {
                        *b = Bound::Const(v);
                    }
                }
                // A loop that runs once becomes its body: inside, the variable is a constant.
                if let (Bound::Const(lo), Bound::Const(hi)) = (lo, hi)
                    && *hi <= lo.saturating_add(*step)
                    && self.facts.is_single(*var)
                {
                    self.known[var.0 as usize] = Some(*lo);
                }
            }
            Stmt::While { .. } | Stmt::If { .. } | Stmt::SetSym { .. } | Stmt::FailIf { .. } => {}
        }
        s.blocks_mut().into_iter().for_each(|b| self.block(b));
        if let Stmt::While { cond, .. } = s {
            *cond = self.alias[cond.0 as usize];
        }
    }
    fn assign(&mut self, dst: Reg, inst: &mut Inst) {
        let index = self.is_index(dst);
        if index && let Some(simpler) = fold::simpler(inst, &|r| self.known(r)) {
            *inst = simpler;
        }
        if let Inst::Cmp(op, a, b) = inst
            && self.regs[dst.0 as usize].lanes == 1
            && let (true, Some(x), Some(y)) = (self.is_index(*a), self.known(*a), self.known(*b))
        {
            *inst = Inst::Const(Scalar::B1(fold::truth(*op, x, y)));
        }
        if let Inst::Load { at, .. } | Inst::LoadGather { at, .. } = inst {
            self.address(at);
        }
        if let Inst::Un(op, a) = *inst
            && let Some((_, half)) = self.rounded[a.0 as usize].filter(|r| r.0 == op)
        {
            // Rounded already: rounding again changes nothing.
            *inst = Inst::Copy(half);
        }
        if let Inst::Splat(a) = inst
            && let Some(c) = self.constant[a.0 as usize]
        {
            *inst = Inst::Const(c);
        }
        if !self.facts.is_single(dst) {
            return;
        }
        let slot = dst.0 as usize;
        if let Inst::Const(c) = *inst {
            self.constant[slot] = Some(c);
        }
        match *inst {
            Inst::Const(Scalar::Int(v)) if index => self.known[slot] = Some(v),
            Inst::Const(Scalar::B1(v)) if self.regs[slot].lanes == 1 => self.known[slot] = Some(v.into()),
            Inst::Copy(src) if self.facts.is_single(src) => {
                self.alias[slot] = src;
                *inst = Inst::Copy(dst);
                return;
            }
            Inst::Un(op @ (UnOp::F32ToBf16 | UnOp::F32ToBf16Flush | UnOp::F32ToF16), _) => {
                self.halves[slot] = Some(op);
            }
            Inst::Un(UnOp::Bf16ToF32 | UnOp::F16ToF32, half) => {
                self.rounded[slot] = self.halves[half.0 as usize].map(|op| (op, half));
            }
            Inst::Bin(sinter_ir::tile::BinOp::Add, a, b) if index => {
                self.sum[slot] = match (self.known(a), self.known(b)) {
                    (None, Some(c)) if self.facts.is_single(a) => Some((a, c)),
                    (Some(c), None) if self.facts.is_single(b) => Some((b, c)),
                    _ => None,
                };
            }
            _ => {}
        }
        self.share(dst, inst);
    }
    /// A value that was computed before, in this block or one around it, is not computed again.
    fn share(&mut self, dst: Reg, inst: &mut Inst) {
        let mut stable = is_pure(inst) && !(self.facts.sets_symbols && matches!(inst, Inst::Dim(_)));
        inst.reads_mut(&mut |r| stable &= self.facts.is_single(*r));
        if !stable {
            return;
        }
        let key = (self.regs[dst.0 as usize], inst.clone());
        match self.scopes.iter().find_map(|s| s.get(&key)) {
            Some(&same) => {
                self.alias[dst.0 as usize] = same;
                *inst = Inst::Copy(dst);
            }
            None => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(key, dst);
                }
            }
        }
    }
    /// Constants go into the offset, terms of one register are added up.
    fn address(&self, at: &mut Addr) {
        let mut terms: Vec<(Reg, i64)> = Vec::with_capacity(at.terms.len());
        for (mut r, scale) in std::mem::take(&mut at.terms) {
            while let Some((base, c)) = self.sum[r.0 as usize] {
                at.offset = at.offset.wrapping_add(c.wrapping_mul(scale));
                r = base;
            }
            match (self.known(r), terms.iter_mut().find(|t| t.0 == r)) {
                (Some(v), _) => at.offset = at.offset.wrapping_add(v.wrapping_mul(scale)),
                (None, Some(t)) => t.1 = t.1.wrapping_add(scale),
                (None, None) => terms.push((r, scale)),
            }
        }
        terms.retain(|t| t.1 != 0);
        at.terms = terms;
    }
}

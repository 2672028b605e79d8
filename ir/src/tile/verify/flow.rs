//! Definite assignment and ownership of loop variables.

use super::Verifier;
use crate::tile::{Bound, Inst, LoopKind, Reg, Stmt};

/// Runs the dataflow over a kernel whose registers all exist.
pub(super) fn check(v: &mut Verifier) {
    let mut f = Flow { set: vec![false; v.k.regs.len()], owned: vec![false; v.k.regs.len()] };
    let body = &v.k.body;
    f.block(v, body);
}

/// Calls `f` with every register an instruction reads.
pub(super) fn reads(inst: &Inst, f: &mut dyn FnMut(Reg)) {
    match inst {
        Inst::Const(_) | Inst::Dim(_) | Inst::LaneIndex | Inst::Address(_) => {}
        Inst::Copy(a)
        | Inst::Un(_, a)
        | Inst::Cvt(_, a)
        | Inst::LoadAt(a)
        | Inst::Splat(a)
        | Inst::Lane(a, _)
        | Inst::Fold(_, a) => f(*a),
        Inst::Bin(_, a, b) | Inst::Cmp(_, a, b) => [a, b].into_iter().for_each(|r| f(*r)),
        Inst::Select(a, b, c) | Inst::MulAdd(a, b, c) | Inst::Dot4 { acc: a, a: b, b: c, .. } => {
            [a, b, c].into_iter().for_each(|r| f(*r));
        }
        Inst::Load { at, tail, .. } => at.terms.iter().map(|(r, _)| *r).chain(*tail).for_each(f),
        Inst::LoadGather { at, index, tail, .. } => {
            at.terms.iter().map(|(r, _)| *r).chain([*index]).chain(*tail).for_each(f);
        }
    }
}

struct Flow {
    /// Assigned on every path to here.
    set: Vec<bool>,
    /// Variables of the loops around.
    owned: Vec<bool>,
}

impl Flow {
    fn read(&self, v: &mut Verifier, r: Reg) {
        if !self.set[r.0 as usize] {
            v.err(format_args!("r{} may be read before it is assigned", r.0));
        }
    }
    fn assign(&mut self, v: &mut Verifier, r: Reg) {
        if self.owned[r.0 as usize] {
            v.err(format_args!("r{} is the variable of a loop around and is assigned in its body", r.0));
        }
        self.set[r.0 as usize] = true;
    }
    fn block(&mut self, v: &mut Verifier, body: &[Stmt]) {
        for (i, s) in body.iter().enumerate() {
            v.path.push(i);
            self.stmt(v, s);
            v.path.pop();
        }
    }
    fn stmt(&mut self, v: &mut Verifier, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                reads(inst, &mut |r| self.read(v, r));
                self.assign(v, *dst);
            }
            Stmt::Store { at, value, tail, .. } => {
                at.terms.iter().map(|(r, _)| *r).chain([*value]).chain(*tail).for_each(|r| self.read(v, r));
            }
            Stmt::SetSym { value, .. } => self.read(v, *value),
            Stmt::FailIf { cond, .. } => self.read(v, *cond),
            Stmt::If { cond, then, els } => {
                self.read(v, *cond);
                let before = self.set.clone();
                self.block(v, then);
                let after_then = std::mem::replace(&mut self.set, before);
                self.block(v, els);
                self.set.iter_mut().zip(after_then).for_each(|(a, b)| *a &= b);
            }
            Stmt::While { test, cond, body } => {
                self.block(v, test);
                self.read(v, *cond);
                let before = self.set.clone();
                self.block(v, body);
                self.set = before;
            }
            Stmt::For { var, lo, hi, kind, body, .. } => {
                for b in [lo, hi] {
                    if let Bound::Reg(r) = b {
                        self.read(v, *r);
                    }
                }
                let before = self.set.clone();
                self.assign(v, *var);
                let outer = std::mem::replace(&mut self.owned[var.0 as usize], true);
                self.block(v, body);
                self.owned[var.0 as usize] = outer;
                let runs = matches!((lo, hi), (Bound::Const(l), Bound::Const(h)) if l < h);
                if !runs || *kind == LoopKind::Parallel {
                    self.set = before;
                }
                // What a loop variable holds afterwards is not defined.
                self.set[var.0 as usize] = false;
            }
        }
    }
}

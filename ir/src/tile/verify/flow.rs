//! Definite assignment and ownership of loop variables.

use super::Verifier;
use crate::tile::{Bound, LoopKind, Reg, Stmt};

/// Runs the dataflow over a kernel whose registers all exist.
pub(super) fn check(v: &mut Verifier) {
    let mut f = Flow { set: vec![false; v.k.regs.len()], owned: vec![false; v.k.regs.len()] };
    let body = &v.k.body;
    f.block(v, body);
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
                inst.reads(&mut |r| self.read(v, r));
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

//! Walking kernels: nested blocks and the registers that instructions read.

use super::{Bound, Inst, Reg, Stmt};

impl Stmt {
    /// The nested statement lists, in the order of the text.
    pub fn blocks(&self) -> Vec<&Vec<Stmt>> {
        match self {
            Stmt::For { body, .. } => vec![body],
            Stmt::While { test, body, .. } => vec![test, body],
            Stmt::If { then, els, .. } => vec![then, els],
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::SetSym { .. } | Stmt::FailIf { .. } => vec![],
        }
    }
    /// The nested statement lists, for changes.
    pub fn blocks_mut(&mut self) -> Vec<&mut Vec<Stmt>> {
        match self {
            Stmt::For { body, .. } => vec![body],
            Stmt::While { test, body, .. } => vec![test, body],
            Stmt::If { then, els, .. } => vec![then, els],
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::SetSym { .. } | Stmt::FailIf { .. } => vec![],
        }
    }
    /// Every register that the statement itself reads, nested blocks left out.
    pub fn reads_mut(&mut self, f: &mut dyn FnMut(&mut Reg)) {
        match self {
            Stmt::Let { inst, .. } => inst.reads_mut(f),
            Stmt::Store { at, value, tail, .. } => {
                at.terms.iter_mut().map(|(r, _)| r).chain([value]).chain(tail.as_mut()).for_each(f);
            }
            Stmt::For { lo, hi, .. } => {
                for b in [lo, hi] {
                    if let Bound::Reg(r) = b {
                        f(r);
                    }
                }
            }
            Stmt::While { cond, .. } | Stmt::If { cond, .. } | Stmt::FailIf { cond, .. } => f(cond),
            Stmt::SetSym { value, .. } => f(value),
        }
    }
}

impl Inst {
    /// Calls `f` with every register that the instruction reads.
    pub fn reads(&self, f: &mut dyn FnMut(Reg)) {
        self.clone().reads_mut(&mut |r| f(*r));
    }
    /// Every register that the instruction reads, for changes.
    pub fn reads_mut(&mut self, f: &mut dyn FnMut(&mut Reg)) {
        match self {
            Inst::Const(_) | Inst::Dim(_) | Inst::LaneIndex | Inst::Address(_) => {}
            Inst::Copy(a)
            | Inst::Un(_, a)
            | Inst::Cvt(_, a)
            | Inst::LoadAt(a)
            | Inst::Splat(a)
            | Inst::Lane(a, _)
            | Inst::Fold(_, a) => f(a),
            Inst::Bin(_, a, b) | Inst::Cmp(_, a, b) | Inst::Halves { a, b, .. } => {
                [a, b].into_iter().for_each(f);
            }
            Inst::Select(a, b, c)
            | Inst::MulAdd(a, b, c)
            | Inst::Dot2 { acc: a, a: b, b: c }
            | Inst::Dot4 { acc: a, a: b, b: c, .. }
            | Inst::Mat8 { acc: a, a: b, b: c, .. }
            | Inst::Mat4 { acc: a, a: b, b: c } => {
                [a, b, c].into_iter().for_each(f);
            }
            Inst::Load { at, tail, .. } => {
                at.terms.iter_mut().map(|(r, _)| r).chain(tail.as_mut()).for_each(f);
            }
            Inst::LoadGather { at, index, tail, .. } => {
                at.terms.iter_mut().map(|(r, _)| r).chain([index]).chain(tail.as_mut()).for_each(f);
            }
        }
    }
}

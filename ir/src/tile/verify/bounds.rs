//! Accesses that are outside their buffer for sure: those that every run makes, at addresses known here.
//!
//! Registers are followed as sums of loop variables and constants. In loops with constant bounds such an address
//! takes its smallest and its largest value, so both must be inside; nothing is said of the rest.

use super::Verifier;
use crate::tile::{Addr, BinOp, Bound, Buf, Inst, Reg, Scalar, Stmt, Ty};
use std::collections::BTreeMap;

/// Checks a kernel whose types are right.
pub(super) fn check(v: &mut Verifier) {
    let body = &v.k.body;
    Bounds { values: vec![None; v.k.regs.len()], vars: BTreeMap::new(), sure: true }.block(v, body);
}

/// `offset + Σ variable * scale` over variables of loops around.
#[derive(Debug, Clone, Default)]
struct Form {
    terms: BTreeMap<Reg, i64>,
    offset: i64,
}

impl Form {
    fn constant(offset: i64) -> Self {
        Self { offset, ..Self::default() }
    }
    /// `self + other * scale`; `None` on overflow.
    fn plus(mut self, other: &Form, scale: i64) -> Option<Self> {
        self.offset = self.offset.checked_add(other.offset.checked_mul(scale)?)?;
        for (r, s) in &other.terms {
            let t = self.terms.entry(*r).or_default();
            *t = t.checked_add(s.checked_mul(scale)?)?;
        }
        self.terms.retain(|_, s| *s != 0);
        Some(self)
    }
    fn as_constant(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.offset)
    }
}

struct Bounds {
    /// What registers hold, where it is known.
    values: Vec<Option<Form>>,
    /// First and last value of the variables of loops around.
    vars: BTreeMap<Reg, (i64, i64)>,
    /// Whether every run that ends with code 0 comes here.
    sure: bool,
}

impl Bounds {
    fn get(&self, r: Reg) -> Option<&Form> {
        self.values[r.0 as usize].as_ref()
    }
    fn block(&mut self, v: &mut Verifier, body: &[Stmt]) {
        for (i, s) in body.iter().enumerate() {
            v.path.push(i);
            self.stmt(v, s);
            v.path.pop();
        }
    }
    /// What the statements assign is not known from one round to the next.
    fn forget(&mut self, body: &[Stmt]) {
        for s in body {
            if let Stmt::Let { dst: r, .. } | Stmt::For { var: r, .. } = s {
                self.values[r.0 as usize] = None;
            }
            s.blocks().into_iter().for_each(|b| self.forget(b));
        }
    }
    fn stmt(&mut self, v: &mut Verifier, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                if let Inst::Load { buf, at, tail: None } = inst {
                    self.access(v, "load", *buf, at, v.k.ty(*dst));
                }
                self.values[dst.0 as usize] = self.value(inst);
            }
            Stmt::Store { buf, at, value, tail: None } => self.access(v, "store", *buf, at, v.k.ty(*value)),
            Stmt::For { var, lo, hi, step, body, .. } => {
                let span = self.bound(lo).zip(self.bound(hi)).filter(|(lo, hi)| lo < hi);
                self.forget(body);
                // Later rounds do not come where an earlier one may leave the kernel.
                let sure = self.sure && !leaves(body);
                self.sure = sure && span.is_some();
                if let Some((lo, hi)) = span {
                    // The last value below the end: the difference may need the whole width.
                    let rounds = (i128::from(hi) - 1 - i128::from(lo)) / i128::from(*step);
                    let last = i128::from(lo) + rounds * i128::from(*step);
                    self.vars.insert(*var, (lo, i64::try_from(last).unwrap_or(hi)));
                    let mut form = Form::default();
                    form.terms.insert(*var, 1);
                    self.values[var.0 as usize] = Some(form);
                }
                self.block(v, body);
                self.forget(body);
                self.vars.remove(var);
                self.values[var.0 as usize] = None;
                self.sure = sure;
            }
            Stmt::While { test, body, .. } => {
                self.forget(test);
                self.forget(body);
                let sure = std::mem::replace(&mut self.sure, false);
                self.block(v, test);
                self.block(v, body);
                self.forget(test);
                self.forget(body);
                self.sure = sure && !leaves(test) && !leaves(body);
            }
            Stmt::If { then, els, .. } => {
                let sure = std::mem::replace(&mut self.sure, false);
                let before = self.values.clone();
                self.block(v, then);
                self.values = before;
                self.block(v, els);
                self.forget(then);
                self.forget(els);
                self.sure = sure && !leaves(then) && !leaves(els);
            }
            Stmt::FailIf { .. } => self.sure = false,
            Stmt::Store { .. } | Stmt::SetSym { .. } => {}
        }
    }
    fn bound(&self, b: &Bound) -> Option<i64> {
        match b {
            Bound::Const(c) => Some(*c),
            Bound::Reg(r) => self.get(*r)?.as_constant(),
        }
    }
    /// Value of an instruction; only I64 scalars are addresses, others may wrap at another width.
    fn value(&self, inst: &Inst) -> Option<Form> {
        match inst {
            Inst::Const(Scalar::Int(c)) => Some(Form::constant(*c)),
            Inst::Dim(e) => e.as_const().map(Form::constant),
            Inst::Copy(a) => self.get(*a).cloned(),
            Inst::Bin(BinOp::Add, a, b) => self.get(*a)?.clone().plus(self.get(*b)?, 1),
            Inst::Bin(BinOp::Sub, a, b) => self.get(*a)?.clone().plus(self.get(*b)?, -1),
            Inst::Bin(BinOp::Mul, a, b) => self.product(*a, *b),
            Inst::MulAdd(a, b, c) => self.product(*a, *b)?.plus(self.get(*c)?, 1),
            _ => None,
        }
    }
    fn product(&self, a: Reg, b: Reg) -> Option<Form> {
        let (a, b) = (self.get(a)?, self.get(b)?);
        match (a.as_constant(), b.as_constant()) {
            (Some(c), _) => Form::default().plus(b, c),
            (_, Some(c)) => Form::default().plus(a, c),
            _ => None,
        }
    }
    fn access(&self, v: &mut Verifier, what: &str, buf: Buf, at: &Addr, ty: Ty) {
        let known =
            at.terms.iter().try_fold(Form::constant(at.offset), |f, (r, s)| f.plus(self.get(*r)?, *s));
        let b = &v.k.bufs[buf.0 as usize];
        let (Some(form), Some(bytes), true) = (known, b.bytes.as_const(), self.sure) else { return };
        let (mut lo, mut hi) = (i128::from(form.offset), i128::from(form.offset));
        for (r, s) in &form.terms {
            let Some((first, last)) = self.vars.get(r) else { return };
            let ends = [first, last].map(|e| i128::from(*e) * i128::from(*s));
            lo += ends[0].min(ends[1]);
            hi += ends[0].max(ends[1]);
        }
        let size = i128::from(ty.elem.bytes());
        let (lo, hi) = (lo * size, (hi + i128::from(ty.lanes)) * size);
        if lo < 0 || hi > i128::from(bytes) {
            let name = b.name.clone();
            v.err(format_args!("{what} outside buffer b{} `{name}`: bytes {lo}..{hi} of {bytes}", buf.0));
        }
    }
}

/// Whether statements may end the kernel early.
fn leaves(body: &[Stmt]) -> bool {
    body.iter().any(|s| matches!(s, Stmt::FailIf { .. }) || s.blocks().into_iter().any(|b| leaves(b)))
}

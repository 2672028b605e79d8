//! Verifier of TileIR: whatever passes is safe to interpret and to emit.
//!
//! Checked: register and buffer numbers, the types of every instruction ([`types`]), buffer access modes, the
//! shape of loops, that a register is assigned on every path before it is read and that loop variables belong
//! to their loops ([`flow`]), that no access is outside its buffer for sure ([`bounds`]), and that symbolic
//! integers are usable. Everything found is a defect of the pass
//! that made the kernel.

mod bounds;
mod flow;
mod types;

use super::{Access, Addr, Bound, Buf, Elem, Inst, Kernel, LoopKind, Reg, Stmt, Ty};
use crate::{Diag, Expr};

/// Problems that are reported per kernel; the rest would only repeat them.
const MAX_DIAGS: usize = 20;
/// Deepest nesting of statements.
pub const MAX_DEPTH: usize = 64;

/// Everything wrong with a kernel; empty when it is sound.
pub fn verify(k: &Kernel) -> Vec<Diag> {
    let mut v = Verifier { k, path: vec![], out: vec![] };
    v.signature();
    v.block(&k.body, false);
    // Dataflow indexes registers: only once they are known to exist.
    if v.out.is_empty() {
        flow::check(&mut v);
        bounds::check(&mut v);
    }
    v.out
}

/// State: the kernel, the position of the current statement, problems so far.
struct Verifier<'a> {
    k: &'a Kernel,
    path: Vec<usize>,
    out: Vec<Diag>,
}

impl<'a> Verifier<'a> {
    fn err(&mut self, what: impl std::fmt::Display) {
        if self.out.len() < MAX_DIAGS {
            let at: Vec<String> = self.path.iter().map(ToString::to_string).collect();
            let at = if at.is_empty() { String::new() } else { format!(", statement {}", at.join(".")) };
            self.out.push(Diag::bug(format!("kernel {}{at}: {what}", self.k.name)));
        }
    }
    fn signature(&mut self) {
        let k = self.k;
        for (i, ty) in k.regs.iter().enumerate() {
            if ty.lanes == 0 {
                self.err(format_args!("r{i} has no lanes"));
            }
        }
        for (i, b) in k.bufs.iter().enumerate() {
            if b.bytes.is_too_big() {
                self.err(format_args!("size of buffer b{i} `{}` is too large an expression", b.name));
            }
        }
        let parallel = |s: &&Stmt| matches!(s, Stmt::For { kind: LoopKind::Parallel, .. });
        match (&k.parallel, k.body.iter().position(|s| parallel(&s))) {
            (None, None) => {}
            (Some(_), None) => self.err("has a parallel bound but no outermost parallel loop"),
            (None, Some(_)) => self.err("has a parallel loop but no parallel bound"),
            (Some(bound), Some(at)) => self.parallel(bound, at),
        }
    }
    /// The parallel loop: last of the body, from 0 in steps of 1 to the stated bound, after pure statements.
    fn parallel(&mut self, bound: &Expr, at: usize) {
        let k = self.k;
        self.path.push(at);
        if bound.is_too_big() {
            self.err("the parallel bound is too large an expression");
        }
        if at + 1 != k.body.len() {
            self.err("statements after a parallel loop would run once per thread");
        }
        if let Some(Stmt::For { lo, hi, step, .. }) = k.body.get(at) {
            if *lo != Bound::Const(0) || *step != 1 {
                self.err("a parallel loop runs from 0 in steps of 1");
            }
            let same = match hi {
                Bound::Const(c) => bound.is(*c),
                Bound::Reg(r) => {
                    let def = k.body[..at].iter().rev().find_map(|s| match s {
                        Stmt::Let { dst, inst } if dst == r => Some(inst),
                        _ => None,
                    });
                    matches!(def, Some(Inst::Dim(e)) if e == bound)
                }
            };
            if !same {
                self.err(format_args!("the parallel loop does not end at the stated bound {bound}"));
            }
        }
        self.path.pop();
        for (i, s) in k.body[..at].iter().enumerate() {
            if !pure(s) {
                self.path.push(i);
                self.err("every thread repeats this statement, so it must not write");
                self.path.pop();
            }
        }
    }
    fn block(&mut self, body: &[Stmt], in_parallel: bool) {
        if self.path.len() >= MAX_DEPTH {
            self.err(format_args!("nesting deeper than {MAX_DEPTH}"));
            return;
        }
        for (i, s) in body.iter().enumerate() {
            self.path.push(i);
            self.stmt(s, in_parallel);
            self.path.pop();
        }
    }
    fn stmt(&mut self, s: &Stmt, in_parallel: bool) {
        let i64x1 = Ty { elem: Elem::I64, lanes: 1 };
        let truth = Ty { elem: Elem::B1, lanes: 1 };
        match s {
            Stmt::Let { dst, inst } => self.inst(*dst, inst),
            Stmt::Store { buf, at, value, tail } => {
                self.access(*buf, at, *tail, &[Access::Write, Access::ReadWrite]);
                if self.ty(*value).is_some_and(|t| t.elem == Elem::B1) {
                    self.err("truth values have no memory form");
                }
            }
            Stmt::For { var, lo, hi, step, kind, body } => {
                self.expect(*var, i64x1);
                for b in [lo, hi] {
                    if let Bound::Reg(r) = b {
                        self.expect(*r, i64x1);
                    }
                }
                if *step <= 0 {
                    self.err(format_args!("loop step {step} is not positive"));
                }
                let consts = matches!((lo, hi), (Bound::Const(_), Bound::Const(_)));
                if *kind == LoopKind::Unrolled && !consts {
                    self.err("an unrolled loop needs constant bounds");
                }
                if *kind == LoopKind::Parallel && self.path.len() > 1 {
                    self.err("a parallel loop inside another statement");
                }
                if *kind == LoopKind::Parallel && in_parallel {
                    self.err("a second parallel loop");
                }
                self.block(body, in_parallel || *kind == LoopKind::Parallel);
            }
            Stmt::While { test, cond, body } => {
                self.block(test, in_parallel);
                self.expect(*cond, truth);
                self.block(body, in_parallel);
            }
            Stmt::If { cond, then, els } => {
                self.expect(*cond, truth);
                self.block(then, in_parallel);
                self.block(els, in_parallel);
            }
            Stmt::SetSym { value, .. } => {
                self.expect(*value, i64x1);
                if in_parallel {
                    self.err("a symbol is set inside a parallel loop");
                }
            }
            Stmt::FailIf { cond, code } => {
                self.expect(*cond, truth);
                if *code <= 0 {
                    self.err(format_args!("error code {code} is not positive"));
                }
            }
        }
    }
    /// Type of a register, reporting numbers out of range.
    fn ty(&mut self, r: Reg) -> Option<Ty> {
        let ty = self.k.regs.get(r.0 as usize).copied();
        if ty.is_none() {
            self.err(format_args!("r{} does not exist", r.0));
        }
        ty
    }
    fn expect(&mut self, r: Reg, want: Ty) {
        if let Some(ty) = self.ty(r)
            && ty != want
        {
            self.err(format_args!("r{} is {ty}, expected {want}", r.0));
        }
    }
    fn access(&mut self, buf: Buf, at: &Addr, tail: Option<Reg>, allowed: &[Access]) {
        match self.k.bufs.get(buf.0 as usize) {
            None => self.err(format_args!("b{} does not exist", buf.0)),
            Some(b) if !allowed.contains(&b.access) => {
                self.err(format_args!("buffer b{} `{}` is declared {}", buf.0, b.name, b.access));
            }
            Some(_) => {}
        }
        for r in at.terms.iter().map(|(r, _)| *r).chain(tail) {
            self.expect(r, Ty { elem: Elem::I64, lanes: 1 });
        }
    }
}

/// Writes neither memory nor symbols, directly or inside.
fn pure(s: &Stmt) -> bool {
    match s {
        Stmt::Let { .. } | Stmt::FailIf { .. } => true,
        Stmt::Store { .. } | Stmt::SetSym { .. } => false,
        Stmt::For { body, .. } => body.iter().all(pure),
        Stmt::While { test, body, .. } => test.iter().chain(body).all(pure),
        Stmt::If { then, els, .. } => then.iter().chain(els).all(pure),
    }
}

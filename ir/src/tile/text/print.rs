//! Printer.

use super::{ACCESSES, BINARY, COMPARE, CONVERT, KINDS, UNARY, name_of};
use crate::lex::quoted;
use crate::tile::{Addr, Bound, Buf, Inst, Kernel, Reg, Scalar, Stmt};
use std::fmt::Write;

/// Appends a kernel.
pub(crate) fn kernel(out: &mut String, k: &Kernel) {
    let mut p = Printer { out, k, seen: vec![false; k.regs.len()], depth: 1 };
    // Registers without assignment must be declared; the assigned ones are found first.
    p.assigned(&k.body);
    let loose: Vec<usize> = (0..k.regs.len()).filter(|&i| !p.seen[i]).collect();
    p.seen.fill(false);
    // Writing to a String cannot fail.
    let _ = writeln!(p.out, "kernel {} {{", quoted(&k.name));
    if let Some(n) = &k.parallel {
        p.line(format_args!("parallel {n}"));
    }
    for (i, b) in k.bufs.iter().enumerate() {
        let access = name_of(ACCESSES, b.access);
        p.line(format_args!("buf b{i} {} {access} {}", quoted(&b.name), b.bytes));
    }
    for i in loose {
        p.line(format_args!("reg r{i}: {}", k.regs[i]));
    }
    p.block(&k.body);
    p.out.push_str("}\n");
}

struct Printer<'a> {
    out: &'a mut String,
    k: &'a Kernel,
    /// Registers whose type is already written.
    seen: Vec<bool>,
    depth: usize,
}

impl Printer<'_> {
    fn line(&mut self, what: std::fmt::Arguments) {
        let _ = writeln!(self.out, "{:1$}{what}", "", 2 * self.depth);
    }
    fn assigned(&mut self, body: &[Stmt]) {
        for s in body {
            if let Stmt::Let { dst: r, .. } | Stmt::For { var: r, .. } = s {
                self.target(*r);
            }
            s.blocks().into_iter().for_each(|b| self.assigned(b));
        }
    }
    /// A register that is assigned, with its type the first time.
    fn target(&mut self, r: Reg) -> String {
        let i = r.0 as usize;
        match (self.seen.get_mut(i), self.k.regs.get(i)) {
            (Some(seen @ false), Some(ty)) => {
                *seen = true;
                format!("{r}: {ty}")
            }
            _ => r.to_string(),
        }
    }
    fn block(&mut self, body: &[Stmt]) {
        body.iter().for_each(|s| self.stmt(s));
    }
    fn nested(&mut self, body: &[Stmt]) {
        self.depth += 1;
        self.block(body);
        self.depth -= 1;
    }
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                let dst = self.target(*dst);
                self.line(format_args!("{dst} = {}", right(inst)));
            }
            Stmt::Store { buf, at, value, tail } => {
                self.line(format_args!("store {}, {value}{}", place(*buf, at), tail_of(*tail)));
            }
            Stmt::For { var, lo, hi, step, kind, body } => {
                let (var, kind) = (self.target(*var), name_of(KINDS, *kind));
                self.line(format_args!("for {var} = {lo}..{hi} step {step} {kind} {{"));
                self.nested(body);
                self.line(format_args!("}}"));
            }
            Stmt::While { test, cond, body } => {
                self.line(format_args!("while {{"));
                self.nested(test);
                self.line(format_args!("}} holds {cond} {{"));
                self.nested(body);
                self.line(format_args!("}}"));
            }
            Stmt::If { cond, then, els } => {
                self.line(format_args!("if {cond} {{"));
                self.nested(then);
                if !els.is_empty() {
                    self.line(format_args!("}} else {{"));
                    self.nested(els);
                }
                self.line(format_args!("}}"));
            }
            Stmt::SetSym { sym, value } => self.line(format_args!("setsym s{} {value}", sym.0)),
            Stmt::FailIf { cond, code } => self.line(format_args!("failif {cond} {code}")),
        }
    }
}

impl std::fmt::Display for Reg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::Const(c) => write!(f, "{c}"),
            Bound::Reg(r) => write!(f, "{r}"),
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::B1(v) => write!(f, "{v}"),
            Scalar::Int(v) => write!(f, "{v}"),
            // A NaN has more to say than its name.
            Scalar::F32(v) if v.is_nan() => write!(f, "f32 bits {}", v.to_bits()),
            Scalar::F64(v) if v.is_nan() => write!(f, "f64 bits {}", v.to_bits()),
            Scalar::F32(v) => write!(f, "f32 {v:?}"),
            Scalar::F64(v) => write!(f, "f64 {v:?}"),
        }
    }
}

fn place(buf: Buf, at: &Addr) -> String {
    let mut terms: Vec<String> = at
        .terms
        .iter()
        .map(|(r, scale)| if *scale == 1 { r.to_string() } else { format!("{r}*{scale}") })
        .collect();
    if at.offset != 0 || terms.is_empty() {
        terms.push(at.offset.to_string());
    }
    format!("b{}[{}]", buf.0, terms.join(" + "))
}

fn tail_of(tail: Option<Reg>) -> String {
    tail.map_or_else(String::new, |r| format!(" tail {r}"))
}

fn right(inst: &Inst) -> String {
    match inst {
        Inst::Const(s) => format!("const {s}"),
        Inst::Copy(a) => format!("copy {a}"),
        Inst::Dim(e) => format!("dim {e}"),
        Inst::Un(op, a) => format!("{} {a}", name_of(UNARY, *op)),
        Inst::Bin(op, a, b) => format!("{} {a}, {b}", name_of(BINARY, *op)),
        Inst::Cmp(op, a, b) => format!("{} {a}, {b}", name_of(COMPARE, *op)),
        Inst::Select(c, a, b) => format!("select {c}, {a}, {b}"),
        Inst::MulAdd(a, b, c) => format!("muladd {a}, {b}, {c}"),
        Inst::Dot2 { acc, a, b } => format!("dot2 {acc}, {a}, {b}"),
        Inst::Dot4 { acc, a, b, a_signed, b_signed, within } => {
            let sign = |s: bool| if s { 's' } else { 'u' };
            let within = within.map_or(String::new(), |w| format!(" within {w}"));
            format!("dot4{}{} {acc}, {a}, {b}{within}", sign(*a_signed), sign(*b_signed))
        }
        Inst::Mat8 { acc, a, b, a_signed } => {
            format!("mat8{} {acc}, {a}, {b}", if *a_signed { 's' } else { 'u' })
        }
        Inst::Mat4 { acc, a, b } => format!("mat4 {acc}, {a}, {b}"),
        Inst::Halves { a, b, high } => format!("{} {a}, {b}", if *high { "highs" } else { "lows" }),
        Inst::Cvt(op, a) => format!("{} {a}", name_of(CONVERT, *op)),
        Inst::Load { buf, at, tail } => format!("load {}{}", place(*buf, at), tail_of(*tail)),
        Inst::LoadGather { buf, at, index, tail } => {
            format!("gather {} index {index}{}", place(*buf, at), tail_of(*tail))
        }
        Inst::Address(buf) => format!("address b{}", buf.0),
        Inst::LoadAt(a) => format!("loadat {a}"),
        Inst::Splat(a) => format!("splat {a}"),
        Inst::Lane(a, i) => format!("lane {a}, {i}"),
        Inst::LaneIndex => "laneindex".to_owned(),
        Inst::Fold(op, a) => format!("fold {} {a}", name_of(BINARY, *op)),
    }
}

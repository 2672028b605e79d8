//! One kernel as a C function: `static int32_t k7(uint8_t *const *bufs, int64_t *syms, int64_t begin, int64_t end)`.

use super::expr::{int, text as text_of};
use super::inst::{self, ctype, suffix};
use super::width::{self, Width, widths};
use sinter_ir::graph::Symbols;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CvtOp, Elem, Inst, Kernel, LoopKind, Reg, Stmt, Ty};
use std::fmt::Write;

/// Name of a kernel's function.
pub fn name(index: usize) -> String {
    format!("k{index}")
}

struct Emit<'a> {
    k: &'a Kernel,
    widths: Vec<Width>,
    out: String,
    depth: usize,
    /// Loops so far, for names of bounds.
    loops: usize,
}

/// Text of the function.
pub fn text(k: &Kernel, index: usize, symbols: &Symbols) -> String {
    let widths = widths(k, &|e| symbols.range(e));
    let mut e = Emit { k, widths, out: String::new(), depth: 1, loops: 0 };
    let _ = writeln!(
        e.out,
        "/* {} */\nstatic int32_t {}(uint8_t *const *bufs, int64_t *syms, int64_t begin, int64_t end) {{",
        k.name.replace("*/", "* /"),
        name(index)
    );
    for i in 0..k.bufs.len() {
        e.line(&format!("uint8_t *const b{i} = bufs[{i}];"));
    }
    for (i, ty) in k.regs.iter().enumerate() {
        match ty.lanes {
            1 => e.line(&format!("{} r{i};", e.held(Reg(i as u32)))),
            n => e.line(&format!("{} r{i}[{n}];", ctype(ty.elem))),
        }
    }
    // Nothing says that a kernel uses all it is given.
    let given: Vec<String> = (0..k.bufs.len()).map(|i| format!("(void)b{i};")).collect();
    e.line(&format!("(void)bufs; (void)syms; (void)begin; (void)end; {}", given.join(" ")));
    e.block(&k.body);
    e.line("return 0;");
    e.out.push_str("}\n\n");
    e.out
}

impl Emit<'_> {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", 4 * self.depth);
    }
    fn inside(&mut self, head: &str, f: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        f(self);
        self.depth -= 1;
        self.line("}");
    }
    fn block(&mut self, body: &[Stmt]) {
        body.iter().for_each(|s| self.stmt(s));
    }
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => self.assign(*dst, inst),
            Stmt::Store { buf, at, value, tail } => self.store(*buf, at, *value, *tail),
            Stmt::For { var, lo, hi, step, kind, body } => self.for_(*var, (lo, hi), *step, *kind, body),
            Stmt::While { test, cond, body } => self.inside("for (;;)", |e| {
                e.block(test);
                e.line(&format!("if (!r{}) break;", cond.0));
                e.block(body);
            }),
            Stmt::If { cond, then, els } => {
                self.inside(&format!("if (r{})", cond.0), |e| e.block(then));
                if !els.is_empty() {
                    self.inside("else", |e| e.block(els));
                }
            }
            Stmt::SetSym { sym, value } => self.line(&format!("syms[{}] = {};", sym.0, self.signed(*value))),
            Stmt::FailIf { cond, code } => self.line(&format!("if (r{}) return {code};", cond.0)),
        }
    }
    fn for_(&mut self, var: Reg, (lo, hi): (&Bound, &Bound), step: i64, kind: LoopKind, body: &[Stmt]) {
        let bound = |b: &Bound| match b {
            Bound::Const(c) => int(*c),
            Bound::Reg(r) => self.signed(*r),
        };
        let (mut lo, mut hi) = (bound(lo), bound(hi));
        if kind == LoopKind::Parallel {
            (lo, hi) = (format!("most({lo}, begin)"), format!("least({hi}, end)"));
        }
        let (i, n) = (format!("i{}", self.loops), format!("n{}", self.loops));
        self.loops += 1;
        // The counter is signed and never changed by the body, which helps compilers.
        let (counter, held) = match self.width(var) {
            Width::Word => ("int32_t", "uint32_t"),
            Width::Full | Width::Address => ("int64_t", "uint64_t"),
        };
        // Bounds that are wider than the counter have its values.
        let (lo, hi) = (format!("({counter})({lo})"), format!("({counter})({hi})"));
        let head = format!("for ({counter} {i} = {lo}, {n} = {hi}; {i} < {n}; {i} += {step})");
        self.inside(&head, |e| {
            e.line(&format!("r{0} = ({held}){i}; (void)r{0};", var.0));
            e.block(body);
        });
    }
    /// How a register is held; as wide as its type where that is not a question.
    fn width(&self, r: Reg) -> Width {
        match self.widths.get(r.0 as usize) {
            Some(w) if width::is_index(self.k, r) => *w,
            _ => Width::Full,
        }
    }
    /// C type of a register's lane.
    fn held(&self, r: Reg) -> &'static str {
        match self.width(r) {
            Width::Full => ctype(self.k.ty(r).elem),
            Width::Word => "uint32_t",
            Width::Address => "uintptr_t",
        }
    }
    /// A scalar I64 register as a signed integer.
    fn signed(&self, r: Reg) -> String {
        match self.width(r) {
            Width::Word => format!("(int32_t)r{}", r.0),
            _ => format!("(int64_t)r{}", r.0),
        }
    }
    /// A scalar I64 register as part of an address.
    fn pointer(&self, r: Reg) -> String {
        match self.width(r) {
            Width::Full => format!("(uintptr_t)r{}", r.0),
            Width::Word => format!("(uintptr_t)(int32_t)r{}", r.0),
            Width::Address => format!("r{}", r.0),
        }
    }
    /// Lane `lane` of a register; scalars have one for all.
    fn lane(&self, r: Reg, lane: &str) -> String {
        match (self.k.ty(r).lanes, self.width(r)) {
            (1, Width::Word) => format!("(uint64_t)(int32_t)r{}", r.0),
            (1, _) => format!("r{}", r.0),
            _ => format!("r{}[{lane}]", r.0),
        }
    }
    /// How an instruction takes its scalar I64 operands: at full width, or what of them the result is made of.
    fn narrow(&self, dst: Reg, i: &Inst) -> Width {
        let mut operands = vec![];
        match i {
            // Shifts take the amount modulo the width.
            Inst::Bin(BinOp::Shl | BinOp::ShrS | BinOp::ShrU, ..) => return Width::Full,
            Inst::Select(_, a, b) => operands.extend([*a, *b]),
            Inst::Bin(..) | Inst::Cmp(..) | Inst::MulAdd(..) | Inst::Copy(_) | Inst::Un(..) => {
                i.reads(&mut |r| operands.push(r));
            }
            Inst::Cvt(CvtOp::SToF | CvtOp::Narrow, a) => operands.push(*a),
            _ => return Width::Full,
        }
        let words = operands.iter().all(|r| self.width(*r) == Width::Word);
        match self.width(dst) {
            Width::Address if width::low_bits_suffice(i) => Width::Address,
            Width::Word if words => Width::Word,
            // Results of other types: comparisons, conversions.
            Width::Full if words && self.k.ty(dst).elem != Elem::I64 => Width::Word,
            _ => Width::Full,
        }
    }
    /// Runs over the lanes of a type, by what names the lane.
    fn lanes(&mut self, ty: Ty, f: impl FnOnce(&mut Self, &str)) {
        if ty.lanes == 1 {
            return f(self, "0");
        }
        self.inside(&format!("for (int l = 0; l < {}; l++)", ty.lanes), |e| f(e, "l"));
    }
    /// Address of the first element of an access. Pointers have fewer bits than sums of I64 on small machines: what is
    /// cut off does not count.
    fn address(&self, buf: Buf, at: &Addr, elem: Elem) -> String {
        let size = i64::from(elem.bytes());
        let mut out = format!("b{}", buf.0);
        for (r, scale) in &at.terms {
            let _ = match scale.wrapping_mul(size) {
                1 => write!(out, " + {}", self.pointer(*r)),
                s => write!(out, " + {} * (uintptr_t){}", self.pointer(*r), int(s)),
            };
        }
        if at.offset != 0 {
            let _ = write!(out, " + (uintptr_t){}", int(at.offset.wrapping_mul(size)));
        }
        out
    }
    /// `value`, where the lane is among the first `tail`.
    fn under_tail(&self, tail: Option<Reg>, lane: &str, value: String) -> String {
        match tail {
            None => value,
            Some(t) => format!("{lane} < {} ? {value} : 0", self.signed(t)),
        }
    }
    fn store(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let ty = self.k.ty(value);
        let (to, size, s) = (self.address(buf, at, ty.elem), ty.elem.bytes(), suffix(ty.elem));
        self.lanes(ty, |e, l| {
            let value = e.lane(value, l);
            let to = if ty.lanes == 1 { to } else { format!("{to} + {l} * {size}") };
            let guard = tail.map_or(String::new(), |t| format!("if ({l} < {}) ", e.signed(t)));
            e.line(&format!("{guard}store_{s}({to}, {value});"));
        });
    }
    fn assign(&mut self, dst: Reg, i: &Inst) {
        let ty = self.k.ty(dst);
        match i {
            Inst::Fold(op, a) => return self.fold(dst, *op, *a),
            Inst::Lane(a, n) => {
                let value = self.lane(*a, &n.to_string());
                return self.line(&format!("r{} = {value};", dst.0));
            }
            _ => {}
        }
        self.lanes(ty, |e, l| {
            let value = e.value(dst, i, l);
            let to = if ty.lanes == 1 { format!("r{}", dst.0) } else { format!("r{}[{l}]", dst.0) };
            e.line(&format!("{to} = {value};"));
        });
    }
    fn fold(&mut self, dst: Reg, op: sinter_ir::tile::BinOp, a: Reg) {
        let ty = self.k.ty(a);
        if ty.lanes == 1 {
            return self.line(&format!("r{} = r{};", dst.0, a.0));
        }
        self.inside("", |e| {
            e.line(&format!("{} t[{}];", ctype(ty.elem), ty.lanes));
            e.line(&format!("memcpy(t, r{}, sizeof t);", a.0));
            let value = inst::binary(op, ty.elem, "t[l]", "t[l + h]");
            e.inside(&format!("for (int h = {} / 2; h > 0; h /= 2)", ty.lanes), |e| {
                e.line(&format!("for (int l = 0; l < h; l++) t[l] = {value};"));
            });
            e.line(&format!("r{} = t[0];", dst.0));
        });
    }
    /// The value of a lane.
    fn value(&self, dst: Reg, i: &Inst, l: &str) -> String {
        let ty = self.k.ty(dst);
        let narrow = self.narrow(dst, i);
        let of = |r: &Reg| match narrow {
            Width::Address if width::is_index(self.k, *r) => self.pointer(*r),
            Width::Word if width::is_index(self.k, *r) => format!("r{}", r.0),
            _ => self.lane(*r, l),
        };
        let elem = |r: &Reg| match narrow {
            Width::Word if width::is_index(self.k, *r) => Elem::I32,
            _ => self.k.ty(*r).elem,
        };
        let to = elem(&dst);
        match i {
            Inst::Const(s) => inst::constant(self.held(dst), *s),
            Inst::Copy(a) | Inst::Splat(a) => of(a),
            Inst::Dim(e) => format!("({}){}", self.held(dst), text_of(e)),
            Inst::Un(op, a) => inst::unary(*op, to, &of(a)),
            Inst::Bin(op, a, b) => inst::binary(*op, to, &of(a), &of(b)),
            Inst::Cmp(op, a, b) => inst::compare(*op, elem(a), &of(a), &of(b)),
            Inst::Select(c, a, b) => format!("{} ? {} : {}", of(c), of(a), of(b)),
            Inst::MulAdd(a, b, c) => inst::mul_add(to, &of(a), &of(b), &of(c)),
            Inst::Dot4 { acc, a, b, a_signed, b_signed, .. } => {
                let sign = |signed: &bool| if *signed { 's' } else { 'u' };
                // Four lanes of bytes are a word, lowest first.
                let word = |r: &Reg| match elem(r) {
                    Elem::I8 => format!("load_i32(r{} + 4 * {l})", r.0),
                    _ => of(r),
                };
                format!("dot4_{}{}({}, {}, {})", sign(a_signed), sign(b_signed), of(acc), word(a), word(b))
            }
            Inst::Cvt(op, a) => inst::convert(*op, elem(a), ty.elem, &of(a)),
            Inst::Load { buf, at, tail } => {
                let (from, size) = (self.address(*buf, at, ty.elem), ty.elem.bytes());
                let from = if ty.lanes == 1 { from } else { format!("{from} + {l} * {size}") };
                self.under_tail(*tail, l, format!("load_{}({from})", suffix(ty.elem)))
            }
            Inst::LoadGather { buf, at, index, tail } => {
                let from = self.address(*buf, at, ty.elem);
                let signed = if elem(index) == Elem::I64 { "int64_t" } else { "int32_t" };
                let from = format!("{from} + (uintptr_t)({signed}){} * {}", of(index), ty.elem.bytes());
                self.under_tail(*tail, l, format!("load_{}({from})", suffix(ty.elem)))
            }
            Inst::Address(buf) => format!("(uint64_t)(uintptr_t)b{}", buf.0),
            Inst::LoadAt(a) => format!("load_{}((const uint8_t *)(uintptr_t){})", suffix(ty.elem), of(a)),
            Inst::LaneIndex => l.to_owned(),
            // Statements of their own, or refused before emission.
            Inst::Fold(..)
            | Inst::Lane(..)
            | Inst::Dot2 { .. }
            | Inst::Mat8 { .. }
            | Inst::Mat4 { .. }
            | Inst::Halves { .. } => "0".into(),
        }
    }
}

//! TileIR to machine IR.
//!
//! Every TileIR register is a list of parts: vectors fill 128-bit registers one after the other, the last one from its low
//! end. Scalars of integer types are in Gprs: of I8 and I16 only the low bits are defined, I32 leaves the upper half
//! undefined, B1 is 0 or 1. Float scalars are the low lane of a Vec. Truth vectors are masks of 32-bit lanes. Lanes
//! beyond the last are undefined.

mod address;
mod arith;
mod bytes;
mod compare;
mod control;
mod convert;
mod dot;
mod expr;
mod factors;
mod float;
mod gather;
mod int;
mod isa;
mod lanes;
mod memory;
mod vector;

use super::form::{self, Form};
use super::mir::{Class, Cond, Func, Label, Mem, Opnd, VReg};
use super::regs::PReg;
use crate::machine::expr::{Memo, compute};
use crate::machine::facts::Facts;
use bytes::ByteShifts;
use factors::Factors;
pub use isa::{Isa, supports};
use sinter_ir::Expr;
use sinter_ir::tile::{CmpOp, Elem, Inst, Kernel, Reg, Scalar, Stmt, Ty};
use std::collections::BTreeMap;

/// Bytes of a vector register.
const VECTOR: u32 = 16;

/// Selection state of one kernel.
pub struct Select<'k> {
    f: Func,
    k: &'k Kernel,
    isa: Isa,
    facts: Facts,
    factors: Factors,
    byte_shifts: ByteShifts,
    regs: Vec<Vec<VReg>>,
    /// Comparisons that wait for their use.
    compares: BTreeMap<Reg, (CmpOp, Reg, Reg)>,
    /// Loop variables that are a constant while their loop is unrolled.
    fixed: BTreeMap<Reg, i64>,
    dims: BTreeMap<Expr, VReg>,
    sums: address::Sums,
    bases: BTreeMap<u32, VReg>,
    syms: VReg,
    range: Option<(VReg, VReg)>,
    /// Where the kernel leaves with an error code.
    fails: BTreeMap<i32, Label>,
}

/// Machine IR of a kernel that the emitter [`supports`].
pub fn select(k: &Kernel, isa: Isa) -> Func {
    let mut f = Func::default();
    let facts = Facts::of(k, false);
    let factors = Factors::of(k, &facts, isa);
    let byte_shifts = ByteShifts::of(k, &facts);
    let regs = (0..k.regs.len() as u32)
        .map(|r| {
            let ty = k.ty(Reg(r));
            let vector = ty.lanes > 1 || ty.elem.is_float() || factors.in_vector(Reg(r));
            let class = if vector { Class::Vec } else { Class::Gpr };
            (0..parts(ty)).map(|_| f.vreg(class)).collect()
        })
        .collect();
    let syms = f.vreg(Class::Gpr);
    let mut s = Select {
        f,
        k,
        isa,
        facts,
        factors,
        byte_shifts,
        regs,
        compares: BTreeMap::new(),
        fixed: BTreeMap::new(),
        dims: BTreeMap::new(),
        sums: address::Sums::new(),
        bases: BTreeMap::new(),
        syms,
        range: None,
        fails: BTreeMap::new(),
    };
    s.entry();
    s.constants();
    s.block(&k.body);
    s.leave();
    s.f
}

/// Bytes of a lane in vectors: truth values are masks of 32 bits.
fn width(e: Elem) -> u32 {
    if e == Elem::B1 { 4 } else { e.bytes() }
}

/// The number of machine registers of a type.
fn parts(ty: Ty) -> usize {
    if ty.lanes == 1 { 1 } else { (u32::from(ty.lanes) * width(ty.elem)).div_ceil(VECTOR) as usize }
}

/// Whether arithmetic takes 64 bits.
fn wide(e: Elem) -> bool {
    e == Elem::I64
}

impl Select<'_> {
    /// Parameters, addresses of buffers, symbolic integers.
    fn entry(&mut self) {
        let params = [0, 1, 2, 3].map(|n| self.f.fixed(PReg::x(n)));
        let [bufs, syms, begin, end] = params.map(|p| (self.gpr(), p));
        for (v, p) in [bufs, syms, begin, end] {
            self.f.copy(v, p, 8);
        }
        self.syms = syms.0;
        self.range = self.facts.parallel.then_some((begin.0, end.0));
        for b in self.facts.bufs.clone() {
            let at = Mem::reg(bufs.0).plus(8 * i64::from(b));
            let base = self.load(form::LDR_X, Class::Gpr, at);
            self.bases.insert(b, base);
        }
        if !self.facts.sets_symbols {
            let mut memo = Memo::new();
            for e in self.facts.dims.clone() {
                let v = compute(self, &e, &mut memo);
                self.dims.insert(e, v);
            }
        }
    }
    /// Vectors that are constant get their value once, in front of everything: the allocator makes those again that it
    /// has no register for.
    fn constants(&mut self) {
        let mut known: BTreeMap<(Scalar, Elem), VReg> = BTreeMap::new();
        for (r, c) in self.facts.consts.clone() {
            if !self.is_constant_vector(r) {
                continue;
            }
            let elem = self.ty(r).elem;
            let v = *known.entry((c, elem)).or_insert_with(|| self.vector_const(c, elem));
            self.regs[r.0 as usize].fill(v);
        }
    }
    /// Whether a register is one of those.
    fn is_constant_vector(&self, r: Reg) -> bool {
        self.ty(r).lanes > 1 && self.facts.consts.contains_key(&r)
    }
    /// Type of a TileIR register.
    fn ty(&self, r: Reg) -> Ty {
        self.k.ty(r)
    }
    /// Parts of a register to read; makes the value first where that was put off. Not to be written.
    fn parts(&mut self, r: Reg) -> Vec<VReg> {
        if let Some((op, a, b)) = self.compares.remove(&r) {
            let c = self.compare(op, a, b);
            let v = self.truth(c);
            self.f.copy(self.regs[r.0 as usize][0], v, 8);
        }
        if self.ty(r).lanes == 1 {
            if let Some(v) = self.int_of(r) {
                return vec![self.int(v)];
            }
            if let Some(c @ (Scalar::F32(_) | Scalar::F64(_))) = self.facts.consts.get(&r) {
                return vec![self.float_const(*c)];
            }
        }
        self.regs[r.0 as usize].clone()
    }
    /// Parts of a register to write.
    fn dst(&self, r: Reg) -> Vec<VReg> {
        self.regs[r.0 as usize].clone()
    }
    /// The only part of a scalar, to read.
    fn one(&mut self, r: Reg) -> VReg {
        self.parts(r)[0]
    }
    /// Value of an integer scalar that is known.
    fn int_of(&self, r: Reg) -> Option<i64> {
        if let Some(v) = self.fixed.get(&r) {
            return Some(*v);
        }
        match self.facts.consts.get(&r)? {
            Scalar::Int(v) => Some(*v),
            Scalar::B1(v) => Some(i64::from(*v)),
            _ => None,
        }
    }
    /// A fresh integer register.
    fn gpr(&mut self) -> VReg {
        self.f.vreg(Class::Gpr)
    }
    /// A fresh vector register.
    fn vec(&mut self) -> VReg {
        self.f.vreg(Class::Vec)
    }
    /// Appends an instruction.
    fn op(&mut self, form: Form, opnds: &[Opnd]) {
        self.f.op(form, opnds);
    }
    /// An instruction whose result is a fresh register.
    fn result(&mut self, form: Form, class: Class, rest: &[Opnd]) -> VReg {
        let d = self.f.vreg(class);
        let opnds: Vec<Opnd> = [Opnd::Def(d, VECTOR as u8)].into_iter().chain(rest.iter().copied()).collect();
        self.f.op(form, &opnds);
        d
    }
    /// The same on vector registers.
    fn v(&mut self, form: Form, from: &[VReg]) -> VReg {
        let opnds: Vec<Opnd> = from.iter().map(|v| used(*v)).collect();
        self.result(form, Class::Vec, &opnds)
    }
    /// The same on vector registers with a number behind them.
    fn vi(&mut self, form: Form, from: &[VReg], n: i64) -> VReg {
        let opnds: Vec<Opnd> = from.iter().map(|v| used(*v)).chain([Opnd::Imm(n)]).collect();
        self.result(form, Class::Vec, &opnds)
    }
    /// The same on integer registers.
    fn x(&mut self, form: Form, from: &[VReg]) -> VReg {
        let opnds: Vec<Opnd> = from.iter().map(|v| used(*v)).collect();
        self.result(form, Class::Gpr, &opnds)
    }
    /// An instruction that changes a copy of its first operand.
    fn changed(&mut self, form: Form, first: VReg, rest: &[Opnd]) -> VReg {
        let d = self.vec();
        self.f.copy(d, first, VECTOR as u8);
        self.change(form, d, rest);
        d
    }
    /// An instruction that changes its first operand.
    fn change(&mut self, form: Form, d: VReg, rest: &[Opnd]) {
        let opnds: Vec<Opnd> =
            [Opnd::UseDef(d, VECTOR as u8)].into_iter().chain(rest.iter().copied()).collect();
        self.f.op(form, &opnds);
    }
    /// Writes all parts of a register.
    fn set(&mut self, dst: Reg, values: &[VReg]) {
        for (d, v) in self.dst(dst).into_iter().zip(values) {
            if d != *v {
                self.f.copy(d, *v, VECTOR as u8);
            }
        }
    }
    /// A list of statements.
    fn block(&mut self, body: &[Stmt]) {
        for s in body {
            self.stmt(s);
        }
    }
    /// A statement.
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                self.assign(*dst, inst);
                self.forget(*dst);
            }
            Stmt::Store { buf, at, value, tail } => self.store(*buf, at, *value, *tail),
            Stmt::For { var, lo, hi, step, kind, body } => self.for_(*var, lo, hi, *step, *kind, body),
            Stmt::While { test, cond, body } => self.while_(test, *cond, body),
            Stmt::If { cond, then, els } => self.if_(*cond, then, els),
            Stmt::SetSym { sym, value } => {
                let v = self.one(*value);
                let to = Mem::reg(self.syms).plus(8 * i64::from(sym.0));
                self.save(form::STR_X, v, to);
            }
            Stmt::FailIf { cond, code } => {
                let to = match self.fails.get(code) {
                    Some(l) => *l,
                    None => {
                        let l = self.f.label();
                        self.fails.insert(*code, l);
                        l
                    }
                };
                let c = self.test(*cond);
                self.f.branch(c, to);
            }
        }
    }
    /// An assignment: put off, or made now.
    fn assign(&mut self, dst: Reg, inst: &Inst) {
        let ty = self.ty(dst);
        match inst {
            // Made where it is read, or in front of everything.
            Inst::Const(_) | Inst::Dim(_) if ty.lanes == 1 && self.facts.consts.contains_key(&dst) => {}
            Inst::Const(_) | Inst::Splat(_) if self.is_constant_vector(dst) => {}
            // One lane of a vector, taken by the products that read it.
            _ if self.factors.is_absent(dst) || self.byte_shifts.is_absent(dst) => {}
            Inst::Cmp(op, a, b) if self.facts.late.contains(&dst) => {
                self.compares.insert(dst, (*op, *a, *b));
            }
            _ => {
                let values = self.value(dst, ty, inst);
                self.set(dst, &values);
            }
        }
    }
    /// The parts of a right-hand side. They may be parts of its operands.
    fn value(&mut self, dst: Reg, ty: Ty, inst: &Inst) -> Vec<VReg> {
        let e = ty.elem;
        match inst {
            Inst::Const(c) if ty.lanes > 1 => vec![self.vector_const(*c, e); parts(ty)],
            Inst::Const(Scalar::Int(v)) => vec![self.int(*v)],
            Inst::Const(Scalar::B1(v)) => vec![self.int((*v).into())],
            Inst::Const(c) => vec![self.float_const(*c)],
            Inst::Copy(a) => self.parts(*a),
            Inst::Dim(x) => match self.dims.get(x) {
                Some(v) => vec![*v],
                None => vec![compute(self, x, &mut Memo::new())],
            },
            Inst::Un(op, a) => self.unary(*op, ty, *a),
            Inst::Bin(op, a, b) => match self.byte_shifts.get(dst) {
                Some((x, by)) => self.parts(x).into_iter().map(|x| self.vi(form::USHR_B, &[x], by)).collect(),
                None => self.binary(*op, ty, *a, *b),
            },
            Inst::Cmp(op, a, b) if ty.lanes == 1 => {
                let c = self.compare(*op, *a, *b);
                vec![self.truth(c)]
            }
            Inst::Cmp(op, a, b) => self.compare_vectors(*op, *a, *b),
            Inst::Select(c, a, b) => self.choose(ty, *c, *a, *b),
            Inst::MulAdd(a, b, c) => self.mul_add(dst, ty, *a, *b, *c),
            Inst::Dot4 { acc, a, b, a_signed, b_signed, .. } => {
                self.dot4(dst, ty, *acc, (*a, *a_signed), (*b, *b_signed))
            }
            Inst::Mat8 { acc, a, b, a_signed } => self.mat8(dst, *acc, (*a, *a_signed), *b),
            Inst::Mat4 { acc, a, b } => self.mat4(dst, *acc, *a, *b),
            Inst::Halves { a, b, high } => self.matrix_rows(*a, *b, *high),
            Inst::Cvt(op, a) => self.convert(*op, ty, *a),
            Inst::Load { buf, at, tail } => self.load_parts(dst, *buf, at, *tail),
            Inst::LoadGather { buf, at, index, tail } => self.gather(ty, *buf, at, *index, *tail),
            Inst::Address(buf) => vec![self.base(*buf)],
            Inst::LoadAt(a) => {
                let at = self.one(*a);
                vec![self.load_scalar(e, Mem::reg(at))]
            }
            Inst::Splat(a) => self.splat(ty, *a),
            Inst::Lane(a, i) => vec![self.lane_of(*a, *i)],
            Inst::LaneIndex => self.lane_index(ty),
            Inst::Fold(op, a) => vec![self.fold(*op, *a)],
            // Refused before.
            Inst::Dot2 { acc, .. } => self.parts(*acc),
        }
    }
    /// Sets the flags by a truth value, or by the comparison that it is.
    fn test(&mut self, cond: Reg) -> Cond {
        if let Some((op, a, b)) = self.compares.remove(&cond) {
            return self.compare(op, a, b);
        }
        let c = self.one(cond);
        self.op(form::CMP_I, &[used(c), Opnd::Imm(0)]);
        Cond::Ne
    }
    /// 1 where the flags hold a condition, else 0.
    fn truth(&mut self, c: Cond) -> VReg {
        self.result(form::CSET, Class::Gpr, &[c.opposite().opnd()])
    }
}

/// A register that is read.
fn used(v: VReg) -> Opnd {
    Opnd::Use(v, VECTOR as u8)
}

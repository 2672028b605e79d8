//! TileIR to machine IR.
//!
//! Every TileIR register is a list of parts ([`layout`]). Scalars of integer types are in Gprs: of I8 and I16 only the
//! low bits are defined, I32 leaves the upper half undefined, B1 is 0 or 1 in 32 bits. Float scalars are the low lane of
//! a Vec whose other lanes are undefined. Lanes of a part beyond its count are undefined too.

mod address;
mod compare;
mod control;
mod convert;
mod divide;
mod expr;

mod float;
mod int;
mod isa;
mod layout;

mod scalar;
mod tails;
pub mod vector;

use super::mir::{Base, Class, Func, Label, Mem, Opnd, VReg};
use crate::machine::expr::{Memo, compute};
use crate::machine::facts::Facts;
use iced_x86::{Code, Register};
pub use isa::Isa;
pub use layout::{Part, layout};
use sinter_ir::Expr;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Inst, Kernel, Reg, Scalar, Stmt, Ty, UnOp};
use std::collections::{BTreeMap, BTreeSet};

/// A value that is not in registers yet: its only use may take it as a memory operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Contiguous elements from this address on; part `i` is [`Part::at`] bytes further.
    Load(Mem),
    /// One element, in every lane.
    Splat(Mem),
}

/// Sums of pairs of products in 16 bits, which go to sums of 32 later.
#[derive(Debug, Clone)]
pub struct Partial {
    /// One per part.
    pub regs: Vec<VReg>,
    /// What may still be added without overflow.
    pub room: u32,
    /// Whether the sum of 32 bits is zero so far.
    pub alone: bool,
}

/// Selection state of one kernel.
pub struct Select<'k> {
    /// The code so far.
    pub f: Func,
    /// The kernel.
    pub k: &'k Kernel,
    /// The target.
    pub isa: Isa,
    facts: Facts,
    regs: Vec<Vec<VReg>>,
    pending: BTreeMap<Reg, Pending>,
    /// Comparisons that wait for their use.
    compares: BTreeMap<Reg, (CmpOp, Reg, Reg)>,
    /// Loop variables that are a constant while their loop is unrolled.
    fixed: BTreeMap<Reg, i64>,
    dims: BTreeMap<Expr, VReg>,
    sums: address::Sums,
    tails: tails::Tails,
    /// Bytes of words in 16 bits, even ones and odd ones of every part, by their sign: known to the end of a block.
    words: BTreeMap<(Reg, bool), Vec<(VReg, VReg)>>,
    /// What sums of I32 still lack.
    partial: BTreeMap<Reg, Partial>,
    /// Vectors that are zero here.
    zeros: BTreeSet<Reg>,
    bases: BTreeMap<u32, VReg>,
    syms: VReg,
    range: Option<(VReg, VReg)>,
    /// Where the kernel leaves with an error code.
    fails: BTreeMap<i32, Label>,
}

/// Whether the emitter carries a kernel; the reason where not.
pub fn supports(k: &Kernel, isa: Isa) -> Result<(), String> {
    fn walk(k: &Kernel, isa: Isa, body: &[Stmt]) -> Result<(), String> {
        for s in body {
            match s {
                Stmt::Let { dst, inst } if is_vector(k, *dst, inst) => {
                    vector::supports(k, isa, *dst, inst)?;
                }
                Stmt::Let { inst, .. } => scalar::supports(inst)?,
                Stmt::Store { value, tail, .. } if k.ty(*value).lanes > 1 => {
                    vector::supports_store(k, isa, *value, *tail)?;
                }
                _ => {}
            }
            s.blocks().into_iter().try_for_each(|b| walk(k, isa, b))?;
        }
        Ok(())
    }
    walk(k, isa, &k.body)
}

/// Machine IR of a kernel that the emitter [`supports`].
pub fn select(k: &Kernel, isa: Isa) -> Func {
    let mut f = Func::default();
    let facts = Facts::of(k, true);
    let regs = k.regs.iter().map(|ty| layout(*ty, isa).iter().map(|p| f.vreg(p.class)).collect()).collect();
    let syms = f.vreg(Class::Gpr);
    let mut s = Select {
        f,
        k,
        isa,
        facts,
        regs,
        pending: BTreeMap::new(),
        compares: BTreeMap::new(),
        fixed: BTreeMap::new(),
        dims: BTreeMap::new(),
        sums: address::Sums::new(),
        tails: tails::Tails::new(),
        words: BTreeMap::new(),
        partial: BTreeMap::new(),
        zeros: BTreeSet::new(),
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

/// Whether an assignment is selected as one of vectors: it has lanes, or instructions only of vectors.
fn is_vector(k: &Kernel, dst: Reg, inst: &Inst) -> bool {
    let only = matches!(
        inst,
        Inst::Bin(BinOp::Scale, ..)
            | Inst::Un(UnOp::F16ToF32 | UnOp::F32ToF16 | UnOp::F32ToBf16Flush, _)
            | Inst::Dot4 { .. }
            | Inst::Dot2 { .. }
    );
    let mut wide = only || k.ty(dst).lanes > 1;
    inst.reads(&mut |r| wide |= k.ty(r).lanes > 1);
    wide
}

impl Select<'_> {
    /// Parameters, addresses of buffers, symbolic integers.
    fn entry(&mut self) {
        let params = [Register::RDI, Register::RSI, Register::RDX, Register::RCX].map(|r| self.f.fixed(r));
        let take = |f: &mut Func, i: usize| {
            let v = f.vreg(Class::Gpr);
            f.copy(v, params[i], 8);
            v
        };
        let bufs = (!self.facts.bufs.is_empty()).then(|| take(&mut self.f, 0));
        if self.facts.symbols {
            self.syms = take(&mut self.f, 1);
        }
        if self.facts.parallel {
            self.range = Some((take(&mut self.f, 2), take(&mut self.f, 3)));
        }
        for b in self.facts.bufs.clone() {
            let Some(bufs) = bufs else { continue };
            let base = self.temp(Class::Gpr);
            self.f.op(
                Code::Mov_r64_rm64,
                &[Opnd::Def(base, 8), Opnd::Mem(Mem::reg(bufs).plus(8 * i64::from(b)))],
            );
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
        let mut known: BTreeMap<(Scalar, Elem, u8), VReg> = BTreeMap::new();
        for (r, c) in self.facts.consts.clone() {
            if !self.is_constant_vector(r) {
                continue;
            }
            let ty = self.ty(r);
            for (i, p) in self.layout(ty).iter().enumerate() {
                let own = self.regs[r.0 as usize][i];
                let same = *known.entry((c, ty.elem, p.bytes)).or_insert(own);
                if same == own {
                    self.constant_part(own, ty.elem, p.bytes, c);
                }
                self.regs[r.0 as usize][i] = same;
            }
        }
    }
    /// Whether a register is one of those.
    fn is_constant_vector(&self, r: Reg) -> bool {
        let Ty { elem, lanes } = self.ty(r);
        lanes > 1 && elem != Elem::B1 && self.facts.consts.contains_key(&r)
    }
    /// Type of a TileIR register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.k.ty(r)
    }
    /// How a type is spread over machine registers.
    pub fn layout(&self, ty: Ty) -> Vec<Part> {
        layout(ty, self.isa)
    }
    /// Parts of a register to read; makes the value first where that was put off. Not to be written.
    pub fn parts(&mut self, r: Reg) -> Vec<VReg> {
        match self.pending.remove(&r) {
            Some(Pending::Load(m)) if self.ty(r).lanes == 1 => self.load_scalar(r, m),
            Some(Pending::Load(m)) => self.load_vector(r, m),
            Some(Pending::Splat(m)) => self.splat_vector(r, m),
            None => {}
        }
        self.settle(r);
        if let Some((op, a, b)) = self.compares.remove(&r) {
            let v = self.compare(op, a, b);
            self.f.copy(self.regs[r.0 as usize][0], v, 4);
        }
        if self.ty(r).lanes == 1 {
            if let Some(v) = self.int_of(r) {
                return vec![self.int(v, self.ty(r).elem.bits() > 32)];
            }
            if let Some(m) = self.const_float(r) {
                let v = self.temp(Class::Vec);
                self.load_float(v, self.ty(r).elem, m);
                return vec![v];
            }
        }
        self.regs[r.0 as usize].clone()
    }
    /// Parts of a register to write.
    pub fn dst(&self, r: Reg) -> Vec<VReg> {
        self.regs[r.0 as usize].clone()
    }
    /// The only part of a scalar, to read.
    pub fn one(&mut self, r: Reg) -> VReg {
        self.parts(r)[0]
    }
    /// Takes a register's value as a memory operand, when it is a load that nothing else wants. Whoever takes it must
    /// use it.
    pub fn take_pending(&mut self, r: Reg) -> Option<Pending> {
        self.pending.remove(&r)
    }
    /// Value of an integer scalar that is known.
    pub fn int_of(&self, r: Reg) -> Option<i64> {
        if let Some(v) = self.fixed.get(&r) {
            return Some(*v);
        }
        match self.facts.consts.get(&r)? {
            Scalar::Int(v) => Some(*v),
            Scalar::B1(v) => Some(i64::from(*v)),
            _ => None,
        }
    }
    /// The constant that a register of any number of lanes holds wherever it is read.
    pub fn const_of(&self, r: Reg) -> Option<Scalar> {
        match self.fixed.get(&r) {
            Some(v) => Some(Scalar::Int(*v)),
            None => self.facts.consts.get(&r).copied(),
        }
    }
    /// How often the text of the kernel reads a register.
    pub fn reads(&self, r: Reg) -> u32 {
        self.facts.reads[r.0 as usize]
    }
    /// A fresh register.
    pub fn temp(&mut self, class: Class) -> VReg {
        self.f.vreg(class)
    }
    /// An integer in a fresh register; leaves the flags alone.
    pub fn int(&mut self, v: i64, wide: bool) -> VReg {
        let t = self.temp(Class::Gpr);
        match (wide, u32::try_from(v), i32::try_from(v)) {
            (true, Err(_), Ok(_)) => self.f.op(Code::Mov_rm64_imm32, &[Opnd::Def(t, 8), Opnd::Imm(v)]),
            (true, Err(_), Err(_)) => self.f.op(Code::Mov_r64_imm64, &[Opnd::Def(t, 8), Opnd::Imm(v)]),
            _ => self.f.op(Code::Mov_r32_imm32, &[Opnd::Def(t, 4), Opnd::Imm(v)]),
        }
        t
    }
    /// The second form where the target has AVX-512: it reaches all 32 registers.
    pub fn form(&self, vex: Code, evex: Code) -> Code {
        if self.isa.avx512 { evex } else { vex }
    }
    /// A constant as memory.
    pub fn constant(&mut self, bytes: &[u8]) -> Mem {
        let base: Base = self.f.pool(bytes, bytes.len().min(64));
        base.into()
    }
    /// A list of statements.
    fn block(&mut self, body: &[Stmt]) {
        self.words.clear();
        for s in body {
            if !s.blocks().is_empty() {
                self.settle_all();
            }
            self.stmt(s);
        }
        self.words.clear();
        self.settle_all();
    }
    /// Brings all sums of 32 bits up to date, where control comes from elsewhere or goes there.
    fn settle_all(&mut self) {
        self.zeros.clear();
        while let Some(&r) = self.partial.keys().next() {
            self.settle(r);
        }
    }
    /// A statement.
    fn stmt(&mut self, s: &Stmt) {
        match s {
            Stmt::Let { dst, inst } => {
                self.assign(*dst, inst);
                if !matches!(inst, Inst::Dot4 { acc, .. } if acc == dst) {
                    self.partial.remove(dst);
                }
                match inst {
                    Inst::Const(Scalar::Int(0)) => self.zeros.insert(*dst),
                    _ => self.zeros.remove(dst),
                };
                self.forget(*dst);
            }
            Stmt::Store { buf, at, value, tail } => {
                if self.ty(*value).lanes > 1 {
                    self.store_vector(*buf, at, *value, *tail);
                } else {
                    self.store_scalar(*buf, at, *value, *tail);
                }
            }
            Stmt::For { var, lo, hi, step, kind, body } => self.for_(*var, lo, hi, *step, *kind, body),
            Stmt::While { test, cond, body } => self.while_(test, *cond, body),
            Stmt::If { cond, then, els } => self.if_(*cond, then, els),
            Stmt::SetSym { sym, value } => {
                let v = self.one(*value);
                let to = Mem::reg(self.syms).plus(8 * i64::from(sym.0));
                self.f.op(Code::Mov_rm64_r64, &[Opnd::Mem(to), Opnd::Use(v, 8)]);
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
                let test = self.test(*cond);
                self.branch_if(test, to);
            }
        }
    }
    /// An assignment: put off, or made now.
    fn assign(&mut self, dst: Reg, inst: &Inst) {
        let late = self.facts.late.contains(&dst);
        match inst {
            // Made together with what reads it.
            _ if self.facts.patterns.absent.contains(&dst) => {}
            // Made in front of everything.
            Inst::Const(_) | Inst::Splat(_) if self.is_constant_vector(dst) => {}
            Inst::Load { buf, at, tail: None } if late => {
                let m = self.address(*buf, at, self.ty(dst).elem);
                self.pending.insert(dst, Pending::Load(m));
            }
            Inst::Splat(a) if late && self.ty(dst).elem != Elem::B1 => match self.pending.remove(a) {
                Some(Pending::Load(m)) => {
                    self.pending.insert(dst, Pending::Splat(m));
                }
                Some(p) => {
                    self.pending.insert(*a, p);
                    self.vector(dst, inst);
                }
                None => self.vector(dst, inst),
            },
            Inst::Cmp(op, a, b) if late => {
                // Their loads reach only to here.
                for r in [*a, *b] {
                    if self.pending.contains_key(&r) {
                        self.parts(r);
                    }
                }
                self.compares.insert(dst, (*op, *a, *b));
            }
            // Made where it is read.
            Inst::Const(_) | Inst::Dim(_)
                if self.ty(dst).lanes == 1 && self.facts.consts.contains_key(&dst) => {}
            _ if is_vector(self.k, dst, inst) => self.vector(dst, inst),
            _ => self.scalar(dst, inst),
        }
    }
}

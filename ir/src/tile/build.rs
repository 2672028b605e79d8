//! Builder of kernels: one method per construct, types derived from operands.

use super::*;
use crate::DType;

/// Builds one [`Kernel`]. Bodies of loops and branches are closures.
#[derive(Debug)]
pub struct KernelBuilder {
    kernel: Kernel,
    prelude: Vec<Stmt>,
    blocks: Vec<Vec<Stmt>>,
}

/// Error codes of kernels and programs; the same numbers as in `sinter-abi`.
pub mod code {
    /// A dim of an input is outside its range or differs from what another says.
    pub const DIM: i32 = 1;
    /// A constraint does not hold.
    pub const CONSTRAINT: i32 = 2;
    /// An index is outside its axis.
    pub const INDEX: i32 = 5;
    /// A run-time symbol is outside its range.
    pub const VALUE: i32 = 7;
    /// A loop exceeds its largest count.
    pub const ITERATIONS: i32 = 8;
    /// A size computed while running is outside the range that was planned for.
    pub const RANGE: i32 = 7;
    /// Texts made while running need more space than was planned for.
    pub const TEXTS: i32 = 10;
}

impl KernelBuilder {
    /// New, empty kernel.
    pub fn new(name: impl Into<String>) -> Self {
        let kernel = Kernel { name: name.into(), bufs: vec![], regs: vec![], body: vec![], parallel: None };
        Self { kernel, prelude: vec![], blocks: vec![vec![]] }
    }
    /// Takes a finished kernel apart for rewriting: its registers and buffers stay, its statements come back.
    pub fn reopen(mut kernel: Kernel) -> (Self, Vec<Stmt>) {
        let body = std::mem::take(&mut kernel.body);
        (Self { kernel, prelude: vec![], blocks: vec![vec![]] }, body)
    }
    /// Statements that `f` emits, not added anywhere.
    pub fn detached(&mut self, f: impl FnOnce(&mut Self)) -> Vec<Stmt> {
        self.blocks.push(vec![]);
        f(self);
        self.blocks.pop().unwrap_or_default()
    }
    /// Renames the kernel.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.kernel.name = name.into();
    }
    /// Adds a parameter.
    pub fn buf(&mut self, name: impl Into<String>, access: Access, bytes: Expr) -> Buf {
        self.kernel.bufs.push(Buffer { name: name.into(), access, bytes });
        Buf(self.kernel.bufs.len() as u32 - 1)
    }
    /// Adds a parameter that holds `count` elements of a dtype.
    pub fn tensor(&mut self, name: impl Into<String>, access: Access, dtype: DType, count: &Expr) -> Buf {
        let bytes = (count.clone() * Expr::from(dtype.bits())).ceil_div(&8.into());
        self.buf(name, access, bytes)
    }
    /// A fresh register.
    pub fn reg(&mut self, elem: Elem, lanes: u16) -> Reg {
        self.kernel.regs.push(Ty { elem, lanes });
        Reg(self.kernel.regs.len() as u32 - 1)
    }
    /// Type of a register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.kernel.ty(r)
    }
    /// Appends a statement to the innermost open block.
    pub fn push(&mut self, s: Stmt) {
        if let Some(b) = self.blocks.last_mut() {
            b.push(s);
        }
    }
    /// Assigns an existing register.
    pub fn set(&mut self, dst: Reg, inst: Inst) {
        self.push(Stmt::Let { dst, inst });
    }
    /// Assigns a register from another.
    pub fn copy_to(&mut self, dst: Reg, src: Reg) {
        self.set(dst, Inst::Copy(src));
    }
    fn def(&mut self, ty: Ty, inst: Inst) -> Reg {
        let dst = self.reg(ty.elem, ty.lanes);
        self.set(dst, inst);
        dst
    }
    /// Assigns a fresh register once, in front of everything else: for what no loop changes (constants, dims).
    pub fn hoist(&mut self, elem: Elem, lanes: u16, inst: Inst) -> Reg {
        let ty = Ty { elem, lanes };
        let known = self.prelude.iter().find_map(|s| match s {
            Stmt::Let { dst, inst: i } if *i == inst && self.kernel.ty(*dst) == ty => Some(*dst),
            _ => None,
        });
        known.unwrap_or_else(|| {
            let dst = self.reg(elem, lanes);
            self.prelude.push(Stmt::Let { dst, inst });
            dst
        })
    }
    /// Integer constant in every lane.
    pub fn int(&mut self, elem: Elem, lanes: u16, v: i64) -> Reg {
        self.def(Ty { elem, lanes }, Inst::Const(Scalar::Int(v)))
    }
    /// I64 scalar constant.
    pub fn i64(&mut self, v: i64) -> Reg {
        self.int(Elem::I64, 1, v)
    }
    /// Float constant (F32 or F64) in every lane.
    pub fn float(&mut self, elem: Elem, lanes: u16, v: f64) -> Reg {
        let s = if elem == Elem::F64 { Scalar::F64(v) } else { Scalar::F32(v as f32) };
        self.def(Ty { elem, lanes }, Inst::Const(s))
    }
    /// Zero of any type.
    pub fn zero(&mut self, ty: Ty) -> Reg {
        match ty.elem {
            Elem::F32 | Elem::F64 => self.float(ty.elem, ty.lanes, 0.0),
            Elem::B1 => self.bool(ty.lanes, false),
            _ => self.int(ty.elem, ty.lanes, 0),
        }
    }
    /// Truth constant in every lane.
    pub fn bool(&mut self, lanes: u16, v: bool) -> Reg {
        self.def(Ty { elem: Elem::B1, lanes }, Inst::Const(Scalar::B1(v)))
    }
    /// Value of a symbolic integer.
    pub fn dim(&mut self, e: &Expr) -> Reg {
        match e.as_const() {
            Some(v) => self.i64(v),
            None => self.def(Ty { elem: Elem::I64, lanes: 1 }, Inst::Dim(e.clone())),
        }
    }
    /// Symbolic integer as a loop bound.
    pub fn bound(&mut self, e: &Expr) -> Bound {
        match e.as_const() {
            Some(v) => Bound::Const(v),
            None => Bound::Reg(self.dim(e)),
        }
    }
    /// One operand; F16/BF16 conversions change the element type.
    pub fn un(&mut self, op: UnOp, a: Reg) -> Reg {
        let mut ty = self.ty(a);
        match op {
            UnOp::F16ToF32 | UnOp::Bf16ToF32 => ty.elem = Elem::F32,
            UnOp::F32ToF16 | UnOp::F32ToBf16 | UnOp::F32ToBf16Flush => ty.elem = Elem::I16,
            _ => {}
        }
        self.def(ty, Inst::Un(op, a))
    }
    /// Two operands of one type.
    pub fn bin(&mut self, op: BinOp, a: Reg, b: Reg) -> Reg {
        let ty = self.ty(a);
        self.def(ty, Inst::Bin(op, a, b))
    }
    /// Sum.
    pub fn add(&mut self, a: Reg, b: Reg) -> Reg {
        self.bin(BinOp::Add, a, b)
    }
    /// Difference.
    pub fn sub(&mut self, a: Reg, b: Reg) -> Reg {
        self.bin(BinOp::Sub, a, b)
    }
    /// Product.
    pub fn mul(&mut self, a: Reg, b: Reg) -> Reg {
        self.bin(BinOp::Mul, a, b)
    }
    /// Comparison.
    pub fn cmp(&mut self, op: CmpOp, a: Reg, b: Reg) -> Reg {
        let lanes = self.ty(a).lanes;
        self.def(Ty { elem: Elem::B1, lanes }, Inst::Cmp(op, a, b))
    }
    /// `cond ? a : b`.
    pub fn select(&mut self, cond: Reg, a: Reg, b: Reg) -> Reg {
        let ty = self.ty(a);
        self.def(ty, Inst::Select(cond, a, b))
    }
    /// `a * b + c`.
    pub fn mul_add(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        let ty = self.ty(c);
        self.def(ty, Inst::MulAdd(a, b, c))
    }
    /// Conversion to another element type.
    pub fn cvt(&mut self, op: CvtOp, to: Elem, a: Reg) -> Reg {
        let lanes = self.ty(a).lanes;
        self.def(Ty { elem: to, lanes }, Inst::Cvt(op, a))
    }
    /// Contiguous load.
    pub fn load(&mut self, elem: Elem, lanes: u16, buf: Buf, at: Addr, tail: Option<Reg>) -> Reg {
        self.def(Ty { elem, lanes }, Inst::Load { buf, at, tail })
    }
    /// Contiguous store.
    pub fn store(&mut self, buf: Buf, at: Addr, value: Reg, tail: Option<Reg>) {
        self.push(Stmt::Store { buf, at, value, tail });
    }
    /// Address of a buffer's first byte.
    pub fn address(&mut self, buf: Buf) -> Reg {
        self.def(Ty { elem: Elem::I64, lanes: 1 }, Inst::Address(buf))
    }
    /// Load from an absolute address.
    pub fn load_at(&mut self, elem: Elem, address: Reg) -> Reg {
        self.def(Ty { elem, lanes: 1 }, Inst::LoadAt(address))
    }
    /// A scalar in every lane (the register itself when `lanes` is 1).
    pub fn splat(&mut self, a: Reg, lanes: u16) -> Reg {
        if lanes == self.ty(a).lanes {
            return a;
        }
        let elem = self.ty(a).elem;
        self.def(Ty { elem, lanes }, Inst::Splat(a))
    }
    /// One lane as a scalar (the register itself when scalar).
    pub fn lane(&mut self, a: Reg, lane: u16) -> Reg {
        let ty = self.ty(a);
        if ty.lanes == 1 {
            return a;
        }
        self.def(Ty { lanes: 1, ..ty }, Inst::Lane(a, lane))
    }
    /// Horizontal reduction (the register itself when scalar).
    pub fn fold(&mut self, op: BinOp, a: Reg) -> Reg {
        let ty = self.ty(a);
        if ty.lanes == 1 {
            return a;
        }
        self.def(Ty { lanes: 1, ..ty }, Inst::Fold(op, a))
    }
    /// Loop.
    pub fn for_(&mut self, lo: Bound, hi: Bound, step: i64, kind: LoopKind, f: impl FnOnce(&mut Self, Reg)) {
        let var = self.reg(Elem::I64, 1);
        self.blocks.push(vec![]);
        f(self, var);
        let body = self.blocks.pop().unwrap_or_default();
        self.push(Stmt::For { var, lo, hi, step, kind, body });
    }
    /// Serial loop from 0 to a symbolic integer.
    pub fn range(&mut self, hi: &Expr, f: impl FnOnce(&mut Self, Reg)) {
        let hi = self.bound(hi);
        self.for_(Bound::Const(0), hi, 1, LoopKind::Serial, f);
    }
    /// Parallel loop from 0 to a symbolic integer: outermost only.
    pub fn parallel(&mut self, hi: &Expr, f: impl FnOnce(&mut Self, Reg)) {
        self.kernel.parallel = Some(hi.clone());
        let hi = self.bound(hi);
        self.for_(Bound::Const(0), hi, 1, LoopKind::Parallel, f);
    }
    /// Branch.
    pub fn if_(&mut self, cond: Reg, then: impl FnOnce(&mut Self), els: impl FnOnce(&mut Self)) {
        self.blocks.push(vec![]);
        then(self);
        let t = self.blocks.pop().unwrap_or_default();
        self.blocks.push(vec![]);
        els(self);
        let e = self.blocks.pop().unwrap_or_default();
        self.push(Stmt::If { cond, then: t, els: e });
    }
    /// `while test() { body() }`.
    pub fn while_(&mut self, test: impl FnOnce(&mut Self) -> Reg, body: impl FnOnce(&mut Self)) {
        self.blocks.push(vec![]);
        let cond = test(self);
        let test = self.blocks.pop().unwrap_or_default();
        self.blocks.push(vec![]);
        body(self);
        let body = self.blocks.pop().unwrap_or_default();
        self.push(Stmt::While { test, cond, body });
    }
    /// Leaves with an error code when `cond` holds.
    pub fn fail_if(&mut self, cond: Reg, code: i32) {
        self.push(Stmt::FailIf { cond, code });
    }
    /// Defines a run-time symbol.
    pub fn set_sym(&mut self, sym: Sym, value: Reg) {
        self.push(Stmt::SetSym { sym, value });
    }
    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        self.kernel.body = self.prelude;
        self.kernel.body.extend(self.blocks.pop().unwrap_or_default());
        self.kernel
    }
}

impl Addr {
    /// A constant address.
    pub fn at(offset: i64) -> Self {
        Self { terms: vec![], offset }
    }
    /// A register address.
    pub fn reg(r: Reg) -> Self {
        Self { terms: vec![(r, 1)], offset: 0 }
    }
    /// Adds `r * scale`.
    pub fn plus(mut self, r: Reg, scale: i64) -> Self {
        match self.terms.iter_mut().find(|(x, _)| *x == r) {
            Some((_, s)) => *s += scale,
            None => self.terms.push((r, scale)),
        }
        self.terms.retain(|(_, s)| *s != 0);
        self
    }
    /// Adds a constant.
    pub fn offset(mut self, by: i64) -> Self {
        self.offset += by;
        self
    }
}

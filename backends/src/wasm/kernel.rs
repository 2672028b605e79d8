//! One kernel as a function of the module: `fn(buffer addresses.., begin, end) -> code`, the last two for kernels with
//! a Parallel loop only.
//!
//! A scalar register is a local. A vector register is a list of `v128` locals, the last perhaps partly used; what is in
//! unused lanes is anything. Truth vectors are masks of whole lanes, as wide as the numbers whose comparison they are.

use super::address::Known;
use super::body::{Body, Val};
use super::expr::{self, Memo};
use super::scalar::{constant, val_type};
use super::shape;
use sinter_ir::Expr;
use sinter_ir::tile::{Elem, Inst, Kernel, Reg, Scalar, Stmt, Ty};
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{Function, Instruction as I, ValType};

/// Emission state of one kernel.
pub struct Emit<'a> {
    /// The function.
    pub f: Body,
    /// The kernel.
    pub k: &'a Kernel,
    /// Locals of every register.
    pub regs: Vec<Vec<u32>>,
    /// Bits per lane of truth vectors.
    pub masks: BTreeMap<Reg, u32>,
    /// Range of the Parallel loop.
    pub range: Option<(u32, u32)>,
    /// Address of the symbol array.
    pub syms: u32,
    /// Symbolic integers, computed once at entry.
    pub dims: BTreeMap<Expr, u32>,
    /// Scalar registers that have one value wherever they are read.
    pub consts: BTreeMap<Reg, Scalar>,
    /// Vector registers that have one integer in all lanes wherever they are read.
    pub splats: BTreeMap<Reg, i64>,
    /// What is already in locals.
    pub known: Known,
}

/// Parameters of a kernel's function.
pub fn params(k: &Kernel) -> Vec<ValType> {
    let range = if k.parallel.is_some() { 2 } else { 0 };
    k.bufs.iter().map(|_| ValType::I32).chain((0..range).map(|_| ValType::I64)).collect()
}

/// Builds a kernel; `syms` is the address of the symbol array.
pub fn build(k: &Kernel, syms: u32) -> Function {
    let mut f = Body::new(&params(k));
    let range = k.parallel.as_ref().map(|_| (k.bufs.len() as u32, k.bufs.len() as u32 + 1));
    let facts = Facts::of(k);
    let masks = shape::masks(k);
    let regs = k
        .regs
        .iter()
        .enumerate()
        .map(|(i, &ty)| match ty.lanes {
            1 => vec![f.local(val_type(ty.elem))],
            _ => {
                let bits = masks.get(&Reg(i as u32)).copied().unwrap_or(ty.elem.bits());
                (0..shape::parts(ty, bits)).map(|_| f.local(ValType::V128)).collect()
            }
        })
        .collect();
    let mut memo = Memo::new();
    let mut dims = BTreeMap::new();
    for d in facts.dims {
        expr::push(&mut f, syms, d, &mut memo);
        dims.insert(d.clone(), f.keep(ValType::I64));
    }
    let known = Known::default();
    let mut e =
        Emit { f, k, regs, masks, range, syms, dims, consts: facts.consts, splats: facts.splats, known };
    e.block(&k.body);
    e.f.i32(0);
    e.f.finish()
}

/// Calls `f` with every statement, nested ones behind the one that holds them.
pub fn walk<'k>(body: &'k [Stmt], f: &mut impl FnMut(&'k Stmt)) {
    for s in body {
        f(s);
        s.blocks().into_iter().for_each(|b| walk(b, f));
    }
}

/// What is true everywhere in a kernel.
struct Facts<'k> {
    /// Symbolic integers that do not change while it runs.
    dims: BTreeSet<&'k Expr>,
    /// Scalars assigned once, a constant.
    consts: BTreeMap<Reg, Scalar>,
    /// Vectors assigned once, an integer constant.
    splats: BTreeMap<Reg, i64>,
}

impl<'k> Facts<'k> {
    fn of(k: &'k Kernel) -> Self {
        let (mut dims, mut consts, mut splats) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let (mut assigned, mut fixed) = (BTreeMap::<Reg, u32>::new(), true);
        walk(&k.body, &mut |s| match s {
            Stmt::Let { dst, inst } => {
                *assigned.entry(*dst).or_default() += 1;
                match inst {
                    Inst::Dim(e) => {
                        dims.insert(e);
                    }
                    Inst::Const(c) if k.ty(*dst).lanes == 1 => {
                        consts.insert(*dst, *c);
                    }
                    Inst::Const(Scalar::Int(v)) => {
                        splats.insert(*dst, *v);
                    }
                    _ => {}
                }
            }
            Stmt::SetSym { .. } => fixed = false,
            _ => {}
        });
        consts.retain(|r, _| assigned.get(r) == Some(&1));
        splats.retain(|r, _| assigned.get(r) == Some(&1));
        if !fixed {
            dims.clear();
        }
        Self { dims, consts, splats }
    }
}

impl Emit<'_> {
    /// Type of a register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.k.ty(r)
    }
    /// A scalar register as a value.
    pub fn val(&self, r: Reg) -> Val {
        match self.consts.get(&r) {
            Some(&c) => constant(self.ty(r).elem, c),
            None => Val::Local(self.regs[r.0 as usize][0]),
        }
    }
    /// The number of an integer register, where it has only one.
    pub fn known_int(&self, r: Reg) -> Option<i64> {
        match self.consts.get(&r) {
            Some(Scalar::Int(v)) => Some(*v),
            _ => None,
        }
    }
    /// Pushes a scalar register.
    pub fn push(&mut self, r: Reg) {
        let v = self.val(r);
        self.f.push(v);
    }
    /// Locals of a register's parts.
    pub fn parts(&self, r: Reg) -> Vec<u32> {
        self.regs[r.0 as usize].clone()
    }
    /// Bits per lane of a register.
    pub fn bits(&self, r: Reg) -> u32 {
        let e = self.ty(r).elem;
        if e == Elem::B1 { self.masks.get(&r).copied().unwrap_or(32) } else { e.bits() }
    }
    /// Assigns all parts from the stack, where the last is on top.
    pub fn set(&mut self, r: Reg) {
        for l in self.parts(r).into_iter().rev() {
            self.f.set(l);
        }
        self.known.assigned(r);
    }
    /// Emits a symbolic integer.
    pub fn dim(&mut self, e: &Expr) {
        match self.dims.get(e) {
            Some(&l) => self.f.get(l),
            None => expr::push(&mut self.f, self.syms, e, &mut Memo::new()),
        }
    }
    /// Leaves the kernel with a code when the condition on the stack holds.
    pub fn leave_if(&mut self, code: i32) {
        self.f.ops([I::If(wasm_encoder::BlockType::Empty), I::I32Const(code), I::Return, I::End]);
    }
}

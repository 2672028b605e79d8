//! One kernel as a Cranelift function.
//!
//! A register is a list of parts: 128-bit vectors where lanes fill them, scalars otherwise. Truth vectors are
//! 32-bit lane masks in the same way. Whatever has no vector form runs lane by lane, so every verified kernel
//! compiles.

use super::layout::Name;
use cranelift_codegen::ir::types::{F32, F32X4, F64, F64X2, I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{
    AbiParam, Block, Function, InstBuilder, MemFlagsData, Signature, StackSlot, Type, Value,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{Buf, Elem, Inst, Kernel, Reg, Scalar, Stmt, Ty};
use sinter_ir::{Diag, Expr, Result};
use std::collections::{BTreeMap, BTreeSet};

/// `fn(bufs, syms, begin, end) -> i32`.
pub fn signature(conv: CallConv) -> Signature {
    let mut s = Signature::new(conv);
    s.params.extend([I64; 4].map(AbiParam::new));
    s.returns.push(AbiParam::new(I32));
    s
}

/// Emission state of one kernel.
pub struct Emit<'a, 'f> {
    /// Instruction builder.
    pub b: FunctionBuilder<'f>,
    /// The kernel.
    pub k: &'a Kernel,
    /// There are vectors of 128 bits.
    pub simd: bool,
    /// Fused multiply-add is an instruction.
    pub fma: bool,
    /// Instructions take unaligned memory operands.
    pub vex: bool,
    /// Parts of every register.
    pub regs: Vec<Vec<Variable>>,
    /// Buffer addresses.
    pub bases: Vec<Value>,
    /// Symbol array.
    pub syms: Value,
    /// Range of the Parallel loop.
    pub range: (Value, Value),
    /// Symbolic integers, computed once at entry.
    pub dims: BTreeMap<Expr, Value>,
    /// Registers that are an integer constant wherever they are read.
    pub splats: BTreeMap<Reg, i64>,
    /// Leaves the kernel with its parameter.
    pub exit: Block,
    /// 16 bytes on the stack, once they are needed.
    pub slot: Option<StackSlot>,
}

/// Scalar type of an element. Truth values are bytes.
pub fn scalar(e: Elem) -> Type {
    match e {
        Elem::B1 | Elem::I8 => I8,
        Elem::I16 => I16,
        Elem::I32 => I32,
        Elem::I64 => I64,
        Elem::F32 => F32,
        Elem::F64 => F64,
    }
}

/// 128-bit type of an element; truth values are 32-bit masks.
pub fn vector(e: Elem) -> Type {
    match e {
        Elem::I8 => I8X16,
        Elem::I16 => I16X8,
        Elem::B1 | Elem::I32 => I32X4,
        Elem::I64 => I64X2,
        Elem::F32 => F32X4,
        Elem::F64 => F64X2,
    }
}

/// Number of vector parts, when the target has vectors and the lanes fill whole ones.
fn parts(ty: Ty, simd: bool) -> Option<usize> {
    let per = vector(ty.elem).lane_count() as usize;
    let lanes = ty.lanes as usize;
    (simd && lanes > 1 && lanes.is_multiple_of(per)).then(|| lanes / per)
}

/// Builds a kernel.
pub fn build(func: &mut Function, k: &Kernel, isa: &dyn TargetIsa, target: &TargetDesc) -> Result<()> {
    *func = Function::with_name_signature(Name::Kernel(0, 0).func(), signature(isa.default_call_conv()));
    let mut ctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(func, &mut ctx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [bufs, syms, begin, end] = *b.block_params(entry) else {
        return Err(Diag::bug("kernel signature"));
    };
    let flags = MemFlagsData::trusted();
    let bases = (0..k.bufs.len()).map(|i| b.ins().load(I64, flags, bufs, 8 * i as i32)).collect();
    let simd = target.vector_bits > 0;
    let regs = k
        .regs
        .iter()
        .map(|&ty| match parts(ty, simd) {
            Some(n) => (0..n).map(|_| b.declare_var(vector(ty.elem))).collect(),
            None => (0..ty.lanes).map(|_| b.declare_var(scalar(ty.elem))).collect(),
        })
        .collect();
    let exit = b.create_block();
    b.append_block_param(exit, I32);
    let (dims, splats) = facts(k);
    let mut memo = super::expr::Memo::new();
    let dims =
        dims.into_iter().map(|d| (d.clone(), super::expr::emit_shared(&mut b, syms, d, &mut memo))).collect();
    let mut e = Emit {
        dims,
        splats,
        b,
        k,
        simd,
        fma: target.has("fma"),
        vex: target.has("avx"),
        regs,
        bases,
        syms,
        range: (begin, end),
        exit,
        slot: None,
    };
    e.block(&k.body);
    let ok = e.b.ins().iconst(I32, 0);
    e.b.ins().return_(&[ok]);
    e.b.switch_to_block(exit);
    let code = e.b.block_params(exit)[0];
    e.b.ins().return_(&[code]);
    e.b.seal_all_blocks();
    e.b.finalize(isa.frontend_config());
    Ok(())
}

/// Symbolic integers of a kernel that do not change while it runs, and registers assigned once, a constant.
fn facts(k: &Kernel) -> (BTreeSet<&Expr>, BTreeMap<Reg, i64>) {
    fn walk<'k>(body: &'k [Stmt], f: &mut impl FnMut(&'k Stmt)) {
        for s in body {
            f(s);
            s.blocks().into_iter().for_each(|b| walk(b, f));
        }
    }
    let (mut dims, mut assigned, mut splats, mut fixed) =
        (BTreeSet::new(), BTreeMap::new(), BTreeMap::new(), true);
    walk(&k.body, &mut |s| match s {
        Stmt::Let { dst, inst } => {
            *assigned.entry(*dst).or_insert(0) += 1;
            match inst {
                Inst::Dim(e) => {
                    dims.insert(e);
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
    splats.retain(|r, _| assigned.get(r) == Some(&1));
    if !fixed {
        dims.clear();
    }
    (dims, splats)
}

impl Emit<'_, '_> {
    /// Type of a register.
    pub fn ty(&self, r: Reg) -> Ty {
        self.k.ty(r)
    }
    /// Number of vector parts, when the lanes fill whole vectors.
    pub fn parts(&self, ty: Ty) -> Option<usize> {
        parts(ty, self.simd)
    }
    /// Current parts of a register.
    pub fn get(&mut self, r: Reg) -> Vec<Value> {
        let vars = self.regs[r.0 as usize].clone();
        vars.into_iter().map(|v| self.b.use_var(v)).collect()
    }
    /// Current value of a scalar register.
    pub fn one(&mut self, r: Reg) -> Value {
        let v = self.regs[r.0 as usize][0];
        self.b.use_var(v)
    }
    /// Assigns all parts.
    pub fn set(&mut self, r: Reg, parts: &[Value]) {
        let vars = self.regs[r.0 as usize].clone();
        for (var, v) in vars.into_iter().zip(parts) {
            self.b.def_var(var, *v);
        }
    }
    /// Lanes of a register as scalars; truth values as bytes 0 or 1.
    pub fn lanes(&mut self, r: Reg) -> Vec<Value> {
        let ty = self.ty(r);
        let values = self.get(r);
        if self.parts(ty).is_none() {
            return values;
        }
        let per = vector(ty.elem).lane_count() as u8;
        let mut out = Vec::new();
        for v in values {
            for i in 0..per {
                let x = self.b.ins().extractlane(v, i);
                out.push(if ty.elem == Elem::B1 { self.truth_of_mask(x) } else { x });
            }
        }
        out
    }
    fn truth_of_mask(&mut self, x: Value) -> Value {
        use cranelift_codegen::ir::condcodes::IntCC;
        self.b.ins().icmp_imm_s(IntCC::NotEqual, x, 0)
    }
    /// Parts of a type from scalar lanes.
    pub fn of_lanes(&mut self, ty: Ty, lanes: &[Value]) -> Vec<Value> {
        if self.parts(ty).is_none() {
            return lanes.to_vec();
        }
        let vt = vector(ty.elem);
        lanes
            .chunks(vt.lane_count() as usize)
            .map(|chunk| {
                let masks: Vec<Value> = match ty.elem {
                    Elem::B1 => chunk
                        .iter()
                        .map(|&x| {
                            let wide = self.b.ins().uextend(I32, x);
                            self.b.ins().ineg(wide)
                        })
                        .collect(),
                    _ => chunk.to_vec(),
                };
                // Cranelift's x86 rules have no scalar_to_vector of 8 or 16 bits.
                let mut v = match ty.elem {
                    Elem::I8 | Elem::I16 => self.b.ins().splat(vt, masks[0]),
                    _ => self.b.ins().scalar_to_vector(vt, masks[0]),
                };
                for (i, &x) in masks.iter().enumerate().skip(1) {
                    v = self.b.ins().insertlane(v, x, i as u8);
                }
                v
            })
            .collect()
    }
    /// Byte address of an access.
    pub fn address(&mut self, buf: Buf, at: &sinter_ir::tile::Addr, elem: Elem) -> (Value, i32) {
        let width = i64::from(elem.bytes());
        let mut addr = self.bases[buf.0 as usize];
        for &(r, scale) in &at.terms {
            let x = self.one(r);
            let scaled = match scale * width {
                1 => x,
                s if s > 0 && (s as u64).is_power_of_two() => {
                    self.b.ins().ishl_imm_u(x, i64::from(s.trailing_zeros()))
                }
                s => self.b.ins().imul_imm_s(x, s),
            };
            addr = self.b.ins().iadd(addr, scaled);
        }
        match at.offset.checked_mul(width).and_then(|o| i32::try_from(o).ok()) {
            Some(o) => (addr, o),
            None => {
                let far = self.b.ins().iconst(I64, at.offset.wrapping_mul(width));
                (self.b.ins().iadd(addr, far), 0)
            }
        }
    }
}

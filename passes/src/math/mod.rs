//! Functions as arithmetic: what no processor has an instruction for becomes polynomials in TileIR, so that bundles
//! need no math library and every target computes the same way.
//!
//! Bounds in units of the last place, checked by `tests/math.rs`: f32 exp and log 1.5, tanh, sigmoid, erf 4; all
//! other f32 functions go through f64 and are within 1. f64 functions are within 1e-14 (sin, cos, tan: 1e-13).
//! sin, cos and tan hold to |x| = 1e6 and lose digits beyond. fmod is exact; infinities, NaN, -0 and subnormals
//! are as in C.

pub mod coarse;
mod erf;
mod exp;
mod fmod;
mod hyperbolic;
mod inverse;
mod log;
mod narrow;
mod pow;
mod trig;

use crate::lower::Precision;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CvtOp, Elem, Inst, Kernel, Reg, Scalar, Stmt, UnOp};

/// What a target does in one instruction, so that it need not be expanded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Primitives {
    /// [`BinOp::Scale`].
    pub scale: bool,
    /// f16 to and from f32.
    pub half: bool,
    /// [`UnOp::F32ToBf16Flush`].
    pub bf16: bool,
    /// That also stands for [`UnOp::F32ToBf16`]: subnormal numbers may become zeros.
    pub flush: bool,
}

impl Primitives {
    /// Of a target.
    pub fn of(target: &TargetDesc) -> Self {
        let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|f| target.has(f));
        Self {
            scale: avx512,
            half: target.has("avx2") && target.has("f16c") || target.has("neon"),
            bf16: avx512 && target.has("avx512bf16"),
            flush: false,
        }
    }
    /// For arithmetic of a precision.
    pub fn with(self, precision: Precision) -> Self {
        Self { flush: self.bf16 && precision == Precision::Bf16, ..self }
    }
}

/// Rewrites every function call of a kernel that is no primitive.
pub fn expand(kernel: Kernel, have: Primitives) -> Kernel {
    let (b, body) = KernelBuilder::reopen(kernel);
    let mut b = Math { b, have };
    body.into_iter().for_each(|s| stmt(&mut b, s));
    b.b.finish()
}

/// The kernel under construction.
struct Math {
    b: KernelBuilder,
    have: Primitives,
}

impl std::ops::Deref for Math {
    type Target = KernelBuilder;
    fn deref(&self) -> &KernelBuilder {
        &self.b
    }
}

impl std::ops::DerefMut for Math {
    fn deref_mut(&mut self) -> &mut KernelBuilder {
        &mut self.b
    }
}

fn block(b: &mut Math, body: Vec<Stmt>) -> Vec<Stmt> {
    let have = b.have;
    b.detached(|b| {
        let mut inner = Math { b: std::mem::replace(b, KernelBuilder::new("")), have };
        body.into_iter().for_each(|s| stmt(&mut inner, s));
        *b = inner.b;
    })
}

fn stmt(b: &mut Math, s: Stmt) {
    let s = match s {
        Stmt::Let { dst, inst } => match function(b, dst, &inst) {
            Some(r) => Stmt::Let { dst, inst: Inst::Copy(r) },
            None => Stmt::Let { dst, inst },
        },
        Stmt::For { var, lo, hi, step, kind, body } => {
            let body = block(b, body);
            Stmt::For { var, lo, hi, step, kind, body }
        }
        Stmt::While { test, cond, body } => {
            let (test, body) = (block(b, test), block(b, body));
            Stmt::While { test, cond, body }
        }
        Stmt::If { cond, then, els } => {
            let (then, els) = (block(b, then), block(b, els));
            Stmt::If { cond, then, els }
        }
        other => other,
    };
    b.push(s);
}

/// The value of a function call, or none for everything else.
fn function(b: &mut Math, dst: Reg, inst: &Inst) -> Option<Reg> {
    let double = b.ty(dst).elem == Elem::F64;
    Some(match *inst {
        Inst::Un(UnOp::F16ToF32 | UnOp::F32ToF16, _) if b.have.half => return None,
        Inst::Un(op, x) => match op {
            UnOp::F16ToF32 => narrow::f16_to_f32(b, x),
            UnOp::F32ToF16 => narrow::f32_to_f16(b, x),
            UnOp::Bf16ToF32 => narrow::bf16_to_f32(b, x),
            UnOp::F32ToBf16 if b.have.flush => b.un(UnOp::F32ToBf16Flush, x),
            UnOp::F32ToBf16 => narrow::f32_to_bf16(b, x),
            UnOp::F32ToBf16Flush if b.have.bf16 => return None,
            UnOp::F32ToBf16Flush => narrow::f32_to_bf16_flush(b, x),
            UnOp::Exp => exp::exp(b, x),
            UnOp::Log => log::log(b, x),
            UnOp::Sigmoid => exp::sigmoid(b, x),
            UnOp::Tanh => hyperbolic::tanh(b, x),
            UnOp::Erf => erf::erf(b, x),
            UnOp::Sin => widened(b, double, &[x], |b, x| trig::sin(b, x[0])),
            UnOp::Cos => widened(b, double, &[x], |b, x| trig::cos(b, x[0])),
            UnOp::Tan => widened(b, double, &[x], |b, x| trig::tan(b, x[0])),
            UnOp::Asin => widened(b, double, &[x], |b, x| inverse::asin(b, x[0])),
            UnOp::Acos => widened(b, double, &[x], |b, x| inverse::acos(b, x[0])),
            UnOp::Atan => widened(b, double, &[x], |b, x| inverse::atan(b, x[0])),
            UnOp::Asinh => widened(b, double, &[x], |b, x| inverse::asinh(b, x[0])),
            UnOp::Acosh => widened(b, double, &[x], |b, x| inverse::acosh(b, x[0])),
            UnOp::Atanh => widened(b, double, &[x], |b, x| inverse::atanh(b, x[0])),
            UnOp::Sinh => widened(b, double, &[x], |b, x| hyperbolic::sinh(b, x[0])),
            UnOp::Cosh => widened(b, double, &[x], |b, x| hyperbolic::cosh(b, x[0])),
            UnOp::Neg
            | UnOp::Abs
            | UnOp::Not
            | UnOp::Ceil
            | UnOp::Floor
            | UnOp::Trunc
            | UnOp::Nearest
            | UnOp::Sqrt => {
                return None;
            }
        },
        Inst::Bin(BinOp::Pow, x, y) => widened(b, double, &[x, y], |b, x| pow::pow(b, x[0], x[1], double)),
        Inst::Bin(BinOp::Fmod, x, y) => widened(b, double, &[x, y], |b, x| fmod::fmod(b, x[0], x[1])),
        _ => return None,
    })
}

/// Runs an f64 function on f32 or f64 operands.
fn widened(b: &mut Math, double: bool, x: &[Reg], f: impl FnOnce(&mut Math, &[Reg]) -> Reg) -> Reg {
    if double {
        return f(b, x);
    }
    let wide: Vec<Reg> = x.iter().map(|&x| b.cvt(CvtOp::FToF, Elem::F64, x)).collect();
    let y = f(b, &wide);
    b.cvt(CvtOp::FToF, Elem::F32, y)
}

/// A float constant of the type and lanes of `like`, hoisted.
fn num(b: &mut Math, like: Reg, v: f64) -> Reg {
    let ty = b.ty(like);
    let s = if ty.elem == Elem::F64 { Scalar::F64(v) } else { Scalar::F32(v as f32) };
    b.hoist(ty.elem, ty.lanes, Inst::Const(s))
}

/// An integer constant with the lanes of `like`, hoisted.
fn int(b: &mut Math, like: Reg, elem: Elem, v: i64) -> Reg {
    let lanes = b.ty(like).lanes;
    b.hoist(elem, lanes, Inst::Const(Scalar::Int(v)))
}

/// Horner's rule, highest coefficient first.
fn poly(b: &mut Math, x: Reg, coefficients: &[f64]) -> Reg {
    let (first, rest) = coefficients.split_first().unwrap_or((&0.0, &[]));
    let mut y = num(b, x, *first);
    for &c in rest {
        let c = num(b, x, c);
        y = b.mul_add(y, x, c);
    }
    y
}

fn div(b: &mut Math, x: Reg, y: Reg) -> Reg {
    b.bin(BinOp::Div, x, y)
}

/// `x` with the sign of `s` (that of -0 included), for `x >= 0`.
fn with_sign(b: &mut Math, x: Reg, s: Reg) -> Reg {
    let elem = b.ty(x).elem;
    let (ie, sign) = if elem == Elem::F64 { (Elem::I64, i64::MIN) } else { (Elem::I32, i32::MIN.into()) };
    let sign = int(b, x, ie, sign);
    let (x, s) = (b.cvt(CvtOp::Bits, ie, x), b.cvt(CvtOp::Bits, ie, s));
    let s = b.bin(BinOp::And, s, sign);
    let y = b.bin(BinOp::Or, x, s);
    b.cvt(CvtOp::Bits, elem, y)
}

/// `2^n` in f64 for whole I64 `n` within the exponent range, built from bits.
fn exp2i(b: &mut Math, n: Reg) -> Reg {
    let (bias, shift) = (int(b, n, Elem::I64, 1023), int(b, n, Elem::I64, 52));
    let e = b.add(n, bias);
    let e = b.bin(BinOp::Shl, e, shift);
    b.cvt(CvtOp::Bits, Elem::F64, e)
}

/// `y 2^n` in f64 for I64 `n` down to -2100, rounded once even when the result is subnormal.
fn scale(b: &mut Math, y: Reg, n: Reg) -> Reg {
    let one = int(b, n, Elem::I64, 1);
    let half = b.bin(BinOp::ShrS, n, one);
    let rest = b.sub(n, half);
    let (s1, s2) = (exp2i(b, half), exp2i(b, rest));
    let y = b.mul(y, s1);
    b.mul(y, s2)
}

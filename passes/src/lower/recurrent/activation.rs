//! Activation functions of recurrent cells on registers.

use crate::lower::access::constant;
use sinter_ir::op::recurrent::{Activation, ActivationKind as K};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, Reg, UnOp};

/// Emits the function's value.
pub fn apply(b: &mut KernelBuilder, f: &Activation, v: Reg) -> Reg {
    let ty = b.ty(v);
    let number = |b: &mut KernelBuilder, x: f64| constant(b, ty.elem, ty.lanes, x);
    let (alpha, beta) = (f64::from(f.alpha), f64::from(f.beta));
    match f.kind {
        K::Affine => {
            let (a, c) = (number(b, alpha), number(b, beta));
            b.mul_add(a, v, c)
        }
        K::Relu => {
            let zero = number(b, 0.0);
            b.bin(BinOp::Max, v, zero)
        }
        K::LeakyRelu => {
            let a = number(b, alpha);
            let scaled = b.mul(a, v);
            below_zero(b, v, scaled)
        }
        K::ThresholdedRelu => {
            let (a, zero) = (number(b, alpha), number(b, 0.0));
            let over = b.cmp(CmpOp::Gt, v, a);
            b.select(over, v, zero)
        }
        K::Tanh => b.un(UnOp::Tanh, v),
        K::ScaledTanh => {
            let (a, c) = (number(b, alpha), number(b, beta));
            let inner = b.mul(c, v);
            let t = b.un(UnOp::Tanh, inner);
            b.mul(a, t)
        }
        K::Sigmoid => b.un(UnOp::Sigmoid, v),
        K::HardSigmoid => {
            let (a, c, zero, one) = (number(b, alpha), number(b, beta), number(b, 0.0), number(b, 1.0));
            let line = b.mul_add(a, v, c);
            let line = b.bin(BinOp::Max, line, zero);
            b.bin(BinOp::Min, line, one)
        }
        K::Elu => {
            let (a, one) = (number(b, alpha), number(b, 1.0));
            let e = b.un(UnOp::Exp, v);
            let e = b.sub(e, one);
            let e = b.mul(a, e);
            below_zero(b, v, e)
        }
        K::Softsign => {
            let one = number(b, 1.0);
            let size = b.un(UnOp::Abs, v);
            let size = b.add(one, size);
            b.bin(BinOp::Div, v, size)
        }
        K::Softplus => {
            let one = number(b, 1.0);
            let e = b.un(UnOp::Exp, v);
            let e = b.add(one, e);
            b.un(UnOp::Log, e)
        }
    }
}

/// `v < 0 ? low : v`.
fn below_zero(b: &mut KernelBuilder, v: Reg, low: Reg) -> Reg {
    let ty = b.ty(v);
    let zero = b.zero(ty);
    let negative = b.cmp(CmpOp::Lt, v, zero);
    b.select(negative, low, v)
}

//! Float scalars: low lanes of vectors.

use super::{Select, used};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Opnd, VReg};
use sinter_ir::tile::{BinOp, Elem, Scalar, UnOp};

impl Select<'_> {
    /// A constant of a float type in a fresh register.
    pub(super) fn float_const(&mut self, c: Scalar) -> VReg {
        let (form, bytes) = match c {
            Scalar::F64(v) => (form::LDR_D, v.to_bits().to_le_bytes().to_vec()),
            Scalar::F32(v) => (form::LDR_S, v.to_bits().to_le_bytes().to_vec()),
            Scalar::Int(_) | Scalar::B1(_) => (form::LDR_S, vec![0; 4]),
        };
        if c.is_zero() {
            return self.result(form::MOVI_0, Class::Vec, &[]);
        }
        let from = self.f.pool(&bytes, bytes.len());
        self.result(form, Class::Vec, &[Opnd::Mem(from.into())])
    }
    pub(super) fn float_un(&mut self, op: UnOp, e: Elem, x: VReg) -> VReg {
        let form = match op {
            UnOp::Neg => form::FNEG_S,
            UnOp::Abs => form::FABS_S,
            UnOp::Sqrt => form::FSQRT_S,
            UnOp::Ceil => form::FRINTP_S,
            UnOp::Floor => form::FRINTM_S,
            UnOp::Trunc => form::FRINTZ_S,
            UnOp::Nearest => form::FRINTN_S,
            _ => return x,
        };
        self.v(form.float(e.bytes()), &[x])
    }
    pub(super) fn float_bin(&mut self, op: BinOp, e: Elem, x: VReg, y: VReg) -> VReg {
        let form = match op {
            BinOp::Add => form::FADD_S,
            BinOp::Sub => form::FSUB_S,
            BinOp::Mul => form::FMUL_S,
            BinOp::Div => form::FDIV_S,
            BinOp::Min => form::FMIN_S,
            BinOp::Max => form::FMAX_S,
            _ => return x,
        };
        self.v(form.float(e.bytes()), &[x, y])
    }
    /// `x * y + z`, rounded once.
    pub(super) fn fused(&mut self, e: Elem, x: VReg, y: VReg, z: VReg) -> VReg {
        self.result(form::FMADD_S.float(e.bytes()), Class::Vec, &[used(x), used(y), used(z)])
    }
}

//! Conversions between element types.

use super::vector::log2;
use super::{Select, used, width};
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::{Class, Opnd, VReg};
use sinter_ir::tile::{CvtOp, Elem, Reg, Ty, UnOp};

impl Select<'_> {
    /// A conversion.
    pub(super) fn convert(&mut self, op: CvtOp, ty: Ty, a: Reg) -> Vec<VReg> {
        let (from, to) = (self.ty(a).elem, ty.elem);
        if ty.lanes == 1 {
            let x = self.one(a);
            return vec![self.convert_scalar(op, from, to, x)];
        }
        let (n, m) = (width(from), width(to));
        match op {
            CvtOp::SExt | CvtOp::ZExt => {
                let x = self.parts(a);
                let signed = op == CvtOp::SExt || from == Elem::B1;
                let r = self.resized(x, n, m, ty.lanes, signed);
                // Masks are -1.
                match (op, from) {
                    (CvtOp::ZExt, Elem::B1) => self.each(form::NEG_V.lanes(log2(m)), r),
                    _ => r,
                }
            }
            CvtOp::Narrow => {
                let x = self.parts(a);
                self.resized(x, n, m, ty.lanes, true)
            }
            CvtOp::Bits => self.parts(a),
            CvtOp::SToF | CvtOp::UToF if n <= m => {
                let x = self.parts(a);
                let signed = op == CvtOp::SToF;
                let x = self.resized(x, n, m, ty.lanes, signed);
                self.each(if signed { form::SCVTF_V } else { form::UCVTF_V }.float(m), x)
            }
            CvtOp::FToS | CvtOp::FToU if n <= m => {
                let mut x = self.parts(a);
                if n < m {
                    x = self.halves(&x, form::FCVTL_S, m, ty.lanes);
                }
                self.each(if op == CvtOp::FToS { form::FCVTZS_V } else { form::FCVTZU_V }.float(m), x)
            }
            CvtOp::FToF if n < m => {
                let x = self.parts(a);
                self.halves(&x, form::FCVTL_S, m, ty.lanes)
            }
            CvtOp::FToF => {
                let x = self.parts(a);
                self.joined(&x, form::FCVTN_S)
            }
            _ => self.by_lanes(ty, &[a], |s, x| s.convert_scalar(op, from, to, x[0])),
        }
    }
    /// To and from the bits of f16.
    pub(super) fn half(&mut self, op: UnOp, ty: Ty, a: Reg) -> Vec<VReg> {
        let x = self.parts(a);
        match (op, ty.lanes) {
            (UnOp::F16ToF32, 1) => {
                let bits = self.v(form::FMOV_SW, &x);
                vec![self.v(form::FCVT_HS, &[bits])]
            }
            (_, 1) => {
                let bits = self.v(form::FCVT_SH, &x);
                vec![self.x(form::FMOV_WS, &[bits])]
            }
            (UnOp::F16ToF32, lanes) => self.halves(&x, form::FCVTL_H, 4, lanes),
            _ => self.joined(&x, form::FCVTN_H),
        }
    }
    /// A form of one operand on every part.
    fn each(&mut self, form: Form, parts: Vec<VReg>) -> Vec<VReg> {
        parts.into_iter().map(|x| self.v(form, &[x])).collect()
    }
    fn convert_scalar(&mut self, op: CvtOp, from: Elem, to: Elem, x: VReg) -> VReg {
        let (wide_from, wide_to) = (from == Elem::I64, to == Elem::I64);
        match op {
            CvtOp::SExt if from == Elem::B1 => self.x(form::NEG.wide(true), &[x]),
            CvtOp::ZExt if from == Elem::B1 => x,
            CvtOp::SExt | CvtOp::ZExt => {
                let form = if op == CvtOp::SExt { form::SBFM_X } else { form::UBFM_X };
                let last = Opnd::Imm(i64::from(from.bits()) - 1);
                self.result(form, Class::Gpr, &[used(x), Opnd::Imm(0), last])
            }
            CvtOp::Narrow => x,
            CvtOp::SToF | CvtOp::UToF => {
                let signed = op == CvtOp::SToF;
                let x = self.extended(x, from, signed);
                let form = if signed { form::SCVTF } else { form::UCVTF };
                self.v(form.wide(wide_from).float(to.bytes()), &[x])
            }
            CvtOp::FToS | CvtOp::FToU => {
                let form = if op == CvtOp::FToS { form::FCVTZS } else { form::FCVTZU };
                self.x(form.wide(wide_to).float(from.bytes()), &[x])
            }
            CvtOp::FToF if to == Elem::F64 => self.v(form::FCVT_SD, &[x]),
            CvtOp::FToF => self.v(form::FCVT_DS, &[x]),
            CvtOp::Bits => match (from, to) {
                (Elem::F32, _) => self.x(form::FMOV_WS, &[x]),
                (Elem::F64, _) => self.x(form::FMOV_XD, &[x]),
                (_, Elem::F32) => self.v(form::FMOV_SW, &[x]),
                _ => self.v(form::FMOV_DX, &[x]),
            },
        }
    }
}

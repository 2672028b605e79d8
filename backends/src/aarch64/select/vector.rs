//! Vectors: constants, lanes of another width.

use super::{Select, VECTOR, used};
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::{Class, Opnd, VReg};
use sinter_ir::tile::{Elem, Reg, Scalar, Ty};

/// Of a power of two.
pub fn log2(bytes: u32) -> u32 {
    bytes.trailing_zeros()
}

/// The form for lanes of `1 << n` bytes.
pub fn by_size(forms: [Form; 4], bytes: u32) -> Form {
    forms[log2(bytes).min(3) as usize]
}

impl Select<'_> {
    /// One part with a number in every lane.
    pub(super) fn vector_const(&mut self, c: Scalar, e: Elem) -> VReg {
        let lane = match c {
            Scalar::B1(v) => (-i32::from(v)).to_le_bytes().to_vec(),
            Scalar::Int(v) => v.to_le_bytes()[..e.bytes() as usize].to_vec(),
            Scalar::F32(v) => v.to_bits().to_le_bytes().to_vec(),
            Scalar::F64(v) => v.to_bits().to_le_bytes().to_vec(),
        };
        self.vector_bytes(&lane.iter().copied().cycle().take(VECTOR as usize).collect::<Vec<u8>>())
    }
    fn vector_bytes(&mut self, bytes: &[u8]) -> VReg {
        if bytes.iter().all(|b| *b == 0) {
            return self.result(form::MOVI_0, Class::Vec, &[]);
        }
        let from = self.f.pool(bytes, VECTOR as usize);
        self.result(form::LDR_Q, Class::Vec, &[Opnd::Mem(from.into())])
    }
    /// 0, 1, 2, ...
    pub(super) fn lane_index(&mut self, ty: Ty) -> Vec<VReg> {
        if ty.lanes == 1 {
            return vec![self.int(0)];
        }
        let size = ty.elem.bytes() as usize;
        let bytes: Vec<u8> =
            (0..u64::from(ty.lanes)).flat_map(|i| i.to_le_bytes()[..size].to_vec()).collect();
        let whole = |chunk: &[u8]| {
            let mut b = chunk.to_vec();
            b.resize(VECTOR as usize, 0);
            b
        };
        bytes.chunks(VECTOR as usize).map(|c| self.vector_bytes(&whole(c))).collect()
    }
    /// A scalar in every lane.
    pub(super) fn splat(&mut self, ty: Ty, a: Reg) -> Vec<VReg> {
        let in_vector = self.factors.in_vector(a);
        let x = self.one(a);
        if ty.lanes == 1 {
            return vec![if in_vector { self.lane_out(x, Elem::I32, 0) } else { x }];
        }
        let bytes = super::width(ty.elem);
        let v = if ty.elem.is_float() || in_vector {
            let lanes = [form::DUP_B, form::DUP_H, form::DUP_S, form::DUP_D];
            self.vi(by_size(lanes, bytes), &[x], 0)
        } else {
            let x = if ty.elem == Elem::B1 { self.x(form::NEG, &[x]) } else { x };
            self.v(by_size([form::DUP_GB, form::DUP_GH, form::DUP_GS, form::DUP_GD], bytes), &[x])
        };
        vec![v; super::parts(ty)]
    }
    /// Integers or masks in lanes of another width.
    pub(super) fn resized(
        &mut self,
        mut parts: Vec<VReg>,
        mut from: u32,
        to: u32,
        lanes: u16,
        signed: bool,
    ) -> Vec<VReg> {
        while from < to {
            parts = self.widened(&parts, from, lanes, signed);
            from *= 2;
        }
        while from > to {
            from /= 2;
            let form = form::XTN.lanes(log2(from));
            parts = self.joined(&parts, form);
        }
        parts
    }
    /// Lanes of twice the width.
    fn widened(&mut self, parts: &[VReg], bytes: u32, lanes: u16, signed: bool) -> Vec<VReg> {
        let form = match signed {
            true => by_size([form::SXTL_B, form::SXTL_H, form::SXTL_S, form::SXTL_S], bytes),
            false => by_size([form::UXTL_B, form::UXTL_H, form::UXTL_S, form::UXTL_S], bytes),
        };
        self.halves(parts, form, 2 * bytes, lanes)
    }
    /// What a form makes of the lower and upper halves of vectors, for so many lanes of so many bytes.
    pub(super) fn halves(&mut self, parts: &[VReg], form: Form, bytes: u32, lanes: u16) -> Vec<VReg> {
        let count = (u32::from(lanes) * bytes).div_ceil(VECTOR) as usize;
        (0..count).map(|i| self.v(form.upper(i % 2 == 1), &[parts[i / 2]])).collect()
    }
    /// What a form makes of pairs of vectors, one in the lower and one in the upper half.
    pub(super) fn joined(&mut self, parts: &[VReg], form: Form) -> Vec<VReg> {
        let pairs = parts.chunks(2).map(|pair| {
            let low = self.v(form, &[pair[0]]);
            if let Some(high) = pair.get(1) {
                self.change(form.upper(true), low, &[used(*high)]);
            }
            low
        });
        pairs.collect()
    }
}

//! Single lanes: in and out of vectors, operations that have no vector form, folds.

use super::vector::by_size;
use super::{Select, VECTOR, used, width};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Opnd, VReg};
use sinter_ir::tile::{BinOp, Elem, Reg, Ty};

impl Select<'_> {
    /// Lane `i` of a part as a scalar.
    pub(super) fn lane_out(&mut self, v: VReg, e: Elem, i: usize) -> VReg {
        let bytes = width(e);
        if e.is_float() {
            let form = if bytes == 8 { form::DUP_D } else { form::DUP_S };
            return self.vi(form, &[v], i as i64);
        }
        let forms = [form::UMOV_B, form::UMOV_H, form::UMOV_S, form::UMOV_D];
        let x = self.result(by_size(forms, bytes), Class::Gpr, &[used(v), Opnd::Imm(i as i64)]);
        if e != Elem::B1 {
            return x;
        }
        self.shift_right(x, 31, false, false)
    }
    /// Lane `i` of a register.
    pub(super) fn lane_of(&mut self, a: Reg, i: u16) -> VReg {
        let ty = self.ty(a);
        let parts = self.parts(a);
        if ty.lanes == 1 {
            return parts[0];
        }
        let per = (VECTOR / width(ty.elem)) as usize;
        self.lane_out(parts[usize::from(i) / per], ty.elem, usize::from(i) % per)
    }
    /// All lanes as scalars.
    fn lanes(&mut self, a: Reg) -> Vec<VReg> {
        (0..self.ty(a).lanes).map(|i| self.lane_of(a, i)).collect()
    }
    /// Changes lane `i` of a part to a scalar.
    pub(super) fn lane_in(&mut self, v: VReg, e: Elem, i: usize, x: VReg) {
        let at = Opnd::Imm(i as i64);
        if e.is_float() {
            let form = if e == Elem::F64 { form::INS_D } else { form::INS_S };
            return self.change(form, v, &[at, used(x), Opnd::Imm(0)]);
        }
        let x = if e == Elem::B1 { self.x(form::NEG, &[x]) } else { x };
        let forms = [form::INS_GB, form::INS_GH, form::INS_GS, form::INS_GD];
        self.change(by_size(forms, width(e)), v, &[at, used(x)]);
    }
    /// Parts of a type from scalars.
    pub(super) fn of_lanes(&mut self, ty: Ty, lanes: &[VReg]) -> Vec<VReg> {
        if ty.lanes == 1 {
            return lanes.to_vec();
        }
        let per = (VECTOR / width(ty.elem)) as usize;
        let parts = lanes.chunks(per).map(|chunk| {
            let v = self.result(form::MOVI_0, Class::Vec, &[]);
            for (i, x) in chunk.iter().enumerate() {
                self.lane_in(v, ty.elem, i, *x);
            }
            v
        });
        parts.collect()
    }
    /// An operation without a vector form, lane by lane.
    pub(super) fn by_lanes(
        &mut self,
        ty: Ty,
        from: &[Reg],
        f: impl Fn(&mut Self, &[VReg]) -> VReg,
    ) -> Vec<VReg> {
        let from: Vec<Vec<VReg>> = from.iter().map(|r| self.lanes(*r)).collect();
        let out: Vec<VReg> = (0..usize::from(ty.lanes))
            .map(|i| {
                let lane: Vec<VReg> = from.iter().map(|l| l[i]).collect();
                f(self, &lane)
            })
            .collect();
        self.of_lanes(ty, &out)
    }
    /// A horizontal reduction by halves.
    pub(super) fn fold(&mut self, op: BinOp, a: Reg) -> VReg {
        let Ty { elem, mut lanes } = self.ty(a);
        let mut parts = self.parts(a);
        let vector = self.bin_form(op, elem).is_some();
        if lanes > 1 && vector {
            while parts.len() > 1 {
                let half = parts.len() / 2;
                let sums = (0..half).map(|i| self.bin_part(op, elem, parts[i], parts[i + half]));
                parts = sums.collect();
                lanes /= 2;
            }
            let mut v = parts[0];
            while lanes > 1 {
                lanes /= 2;
                let by = i64::from(u32::from(lanes) * width(elem));
                let other = self.vi(form::EXT, &[v, v], by);
                v = self.bin_part(op, elem, v, other);
            }
            return self.lane_out(v, elem, 0);
        }
        let mut all = self.lanes(a);
        while all.len() > 1 {
            let half = all.len() / 2;
            all = (0..half).map(|i| self.scalar_bin(op, elem, all[i], all[i + half])).collect();
        }
        all[0]
    }
}

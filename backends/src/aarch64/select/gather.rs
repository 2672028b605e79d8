//! One element per lane from anywhere in a buffer.

use super::memory::LANE_LOADS;
use super::vector::by_size;
use super::{Select, VECTOR, parts, used};
use crate::aarch64::form;
use crate::aarch64::mir::{Class, Cond, Mem, Opnd, VReg};
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Ty};

impl Select<'_> {
    pub(super) fn gather(&mut self, ty: Ty, buf: Buf, at: &Addr, index: Reg, tail: Option<Reg>) -> Vec<VReg> {
        let m = self.address(buf, at, ty.elem);
        let base = self.pointer(m);
        let places: Vec<VReg> = (0..ty.lanes).map(|i| self.place(base, ty.elem, index, i)).collect();
        let known = tail.and_then(|t| self.int_of(t));
        let n = tail.filter(|_| known.is_none()).map(|t| self.one(t));
        let end = self.f.label();
        if ty.lanes == 1 {
            let out = self.f.vreg(if ty.elem.is_float() { Class::Vec } else { Class::Gpr });
            let zero =
                if ty.elem.is_float() { self.result(form::MOVI_0, Class::Vec, &[]) } else { self.int(0) };
            self.f.copy(out, zero, VECTOR as u8);
            if let Some(n) = n {
                self.compare_imm(n, 0, true);
                self.f.branch(Cond::Le, end);
            }
            if known.is_none_or(|n| n > 0) {
                let v = self.load_scalar(ty.elem, Mem::reg(places[0]));
                self.f.copy(out, v, VECTOR as u8);
            }
            self.f.bind(end);
            return vec![out];
        }
        let out: Vec<VReg> = (0..parts(ty)).map(|_| self.result(form::MOVI_0, Class::Vec, &[])).collect();
        let per = (VECTOR / ty.elem.bytes()) as usize;
        for (i, p) in places.into_iter().enumerate() {
            if known.is_some_and(|n| i as i64 >= n) {
                break;
            }
            if let Some(n) = n {
                self.compare_imm(n, i as i64, true);
                self.f.branch(Cond::Le, end);
            }
            let (form, place) = (by_size(LANE_LOADS, ty.elem.bytes()), Opnd::Imm((i % per) as i64));
            self.change(form, out[i / per], &[place, Opnd::Mem(Mem::reg(p))]);
        }
        self.f.bind(end);
        out
    }
    /// Address of the element of a lane.
    fn place(&mut self, base: VReg, e: Elem, index: Reg, lane: u16) -> VReg {
        let ty = self.ty(index);
        let x = if ty == (Ty { elem: Elem::I32, lanes: 1 }) {
            let x = self.one(index);
            self.result(form::SBFM_X, Class::Gpr, &[used(x), Opnd::Imm(0), Opnd::Imm(31)])
        } else if ty.elem == Elem::I32 {
            let v = self.parts(index)[usize::from(lane) / 4];
            self.result(form::SMOV_S, Class::Gpr, &[used(v), Opnd::Imm(i64::from(lane) % 4)])
        } else {
            self.lane_of(index, lane)
        };
        self.plus_scaled(base, x, e.bytes().into())
    }
}

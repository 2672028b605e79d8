//! Loads and stores of whole vectors, of the first lanes, of scalars.

use super::vector::by_size;
use super::{Select, VECTOR, parts, used};
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::{Class, Cond, Label, Mem, Opnd, VReg};
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Ty};

const LOADS: [Form; 4] = [form::LDR_B, form::LDR_H, form::LDR_S, form::LDR_D];
const STORES: [Form; 4] = [form::STR_B, form::STR_H, form::STR_S, form::STR_D];
pub const LANE_LOADS: [Form; 4] = [form::LD1_B, form::LD1_H, form::LD1_S, form::LD1_D];
const LANE_STORES: [Form; 4] = [form::ST1_B, form::ST1_H, form::ST1_S, form::ST1_D];

/// Pieces of a vector's low bytes, the largest first: where each begins, and its size.
fn pieces(bytes: u32) -> Vec<(u32, u32)> {
    let mut at = 0;
    let sizes = [8, 4, 2, 1].into_iter().filter(|s| bytes & s != 0);
    let place = |s: u32| {
        at += s;
        (at - s, s)
    };
    sizes.map(place).collect()
}

impl Select<'_> {
    /// A scalar from memory.
    pub(super) fn load_scalar(&mut self, e: Elem, from: Mem) -> VReg {
        match e {
            Elem::B1 | Elem::I8 => self.load(form::LDRB, Class::Gpr, from),
            Elem::I16 => self.load(form::LDRH, Class::Gpr, from),
            Elem::I32 => self.load(form::LDR_W, Class::Gpr, from),
            Elem::I64 => self.load(form::LDR_X, Class::Gpr, from),
            Elem::F32 => self.load(form::LDR_S, Class::Vec, from),
            Elem::F64 => self.load(form::LDR_D, Class::Vec, from),
        }
    }
    /// Contiguous elements.
    pub(super) fn load_parts(&mut self, dst: Reg, buf: Buf, at: &Addr, tail: Option<Reg>) -> Vec<VReg> {
        let ty = self.ty(dst);
        let from = self.address(buf, at, ty.elem);
        let Some(tail) = tail else {
            return match ty.lanes {
                1 if self.factors.in_vector(dst) => vec![self.load(form::LDR_S, Class::Vec, from)],
                1 => vec![self.load_scalar(ty.elem, from)],
                n => self.load_first(ty, from, n),
            };
        };
        if let Some(n) = self.int_of(tail)
            && ty.lanes > 1
        {
            return self.load_first(ty, from, n.clamp(0, ty.lanes.into()) as u16);
        }
        let n = self.one(tail);
        if ty.lanes == 1 {
            return vec![self.load_one_if(ty.elem, from, n)];
        }
        let out: Vec<VReg> = (0..parts(ty)).map(|_| self.vec()).collect();
        let (some, end) = (self.f.label(), self.f.label());
        self.compare_imm(n, ty.lanes.into(), true);
        self.f.branch(Cond::Lt, some);
        let all = self.load_first(ty, from, ty.lanes);
        out.iter().zip(all).for_each(|(d, v)| self.f.copy(*d, v, VECTOR as u8));
        self.f.jump(end);
        self.f.bind(some);
        for v in &out {
            self.op(form::MOVI_0, &[Opnd::Def(*v, 16)]);
        }
        let p = self.pointer(from);
        self.lane_by_lane(ty, n, end, p, |s, i, v, place| {
            let form = by_size(LANE_LOADS, ty.elem.bytes());
            s.change(form, out[v], &[Opnd::Imm(place), Opnd::Mem(Mem::reg(i))]);
        });
        self.f.bind(end);
        out
    }
    /// The first lanes from memory, zeros in the others.
    fn load_first(&mut self, ty: Ty, from: Mem, lanes: u16) -> Vec<VReg> {
        let bytes = u32::from(lanes) * ty.elem.bytes();
        (0..parts(ty) as u32)
            .map(|i| {
                let from = from.plus(i64::from(VECTOR * i));
                match bytes.saturating_sub(VECTOR * i) {
                    0 => self.result(form::MOVI_0, Class::Vec, &[]),
                    VECTOR.. => self.load(form::LDR_Q, Class::Vec, from),
                    left => self.load_bytes(from, left),
                }
            })
            .collect()
    }
    /// Fewer bytes than a vector has.
    fn load_bytes(&mut self, from: Mem, bytes: u32) -> VReg {
        let mut out = None;
        for (at, size) in pieces(bytes) {
            let from = from.plus(at.into());
            match out {
                None => out = Some(self.load(by_size(LOADS, size), Class::Vec, from)),
                Some(v) => {
                    let p = self.pointer(from);
                    let place = Opnd::Imm((at / size).into());
                    self.change(by_size(LANE_LOADS, size), v, &[place, Opnd::Mem(Mem::reg(p))]);
                }
            }
        }
        match out {
            Some(v) => v,
            None => self.result(form::MOVI_0, Class::Vec, &[]),
        }
    }
    /// A scalar where `n` is positive, else zero.
    fn load_one_if(&mut self, e: Elem, from: Mem, n: VReg) -> VReg {
        let (class, zero) = match e.is_float() {
            true => (Class::Vec, self.result(form::MOVI_0, Class::Vec, &[])),
            false => (Class::Gpr, self.int(0)),
        };
        let out = self.f.vreg(class);
        self.f.copy(out, zero, VECTOR as u8);
        let skip = self.f.label();
        self.compare_imm(n, 0, true);
        self.f.branch(Cond::Le, skip);
        let v = self.load_scalar(e, from);
        self.f.copy(out, v, VECTOR as u8);
        self.f.bind(skip);
        out
    }
    /// Code for every lane, which ends in front of lane `n`: gets the lane's address, its part and its place there.
    fn lane_by_lane(
        &mut self,
        ty: Ty,
        n: VReg,
        end: Label,
        p: VReg,
        mut f: impl FnMut(&mut Self, VReg, usize, i64),
    ) {
        let per = VECTOR / ty.elem.bytes();
        // All lanes are done elsewhere.
        for i in 0..u32::from(ty.lanes) - 1 {
            self.compare_imm(n, i.into(), true);
            self.f.branch(Cond::Le, end);
            f(self, p, (i / per) as usize, (i % per).into());
            self.add_imm(p, ty.elem.bytes().into());
        }
    }
    /// Contiguous elements to memory.
    pub(super) fn store(&mut self, buf: Buf, at: &Addr, value: Reg, tail: Option<Reg>) {
        let ty = self.ty(value);
        let v = self.parts(value);
        let to = self.address(buf, at, ty.elem);
        let Some(tail) = tail else {
            return match ty.lanes {
                1 => self.store_scalar(ty.elem, v[0], to),
                n => self.store_first(ty, &v, to, n),
            };
        };
        if let Some(n) = self.int_of(tail)
            && ty.lanes > 1
        {
            return self.store_first(ty, &v, to, n.clamp(0, ty.lanes.into()) as u16);
        }
        let n = self.one(tail);
        let end = self.f.label();
        if ty.lanes == 1 {
            self.compare_imm(n, 0, true);
            self.f.branch(Cond::Le, end);
            self.store_scalar(ty.elem, v[0], to);
            return self.f.bind(end);
        }
        let some = self.f.label();
        self.compare_imm(n, ty.lanes.into(), true);
        self.f.branch(Cond::Lt, some);
        self.store_first(ty, &v, to, ty.lanes);
        self.f.jump(end);
        self.f.bind(some);
        let p = self.pointer(to);
        self.lane_by_lane(ty, n, end, p, |s, i, part, place| {
            let form = by_size(LANE_STORES, ty.elem.bytes());
            s.op(form, &[used(v[part]), Opnd::Imm(place), Opnd::Mem(Mem::reg(i))]);
        });
        self.f.bind(end);
    }
    fn store_scalar(&mut self, e: Elem, v: VReg, to: Mem) {
        let form = match e {
            Elem::B1 | Elem::I8 => form::STRB,
            Elem::I16 => form::STRH,
            Elem::I32 => form::STR_W,
            Elem::I64 => form::STR_X,
            Elem::F32 => form::STR_S,
            Elem::F64 => form::STR_D,
        };
        self.save(form, v, to);
    }
    /// The first lanes to memory.
    fn store_first(&mut self, ty: Ty, v: &[VReg], to: Mem, lanes: u16) {
        let bytes = u32::from(lanes) * ty.elem.bytes();
        for (i, v) in (0u32..).zip(v) {
            let to = to.plus(i64::from(VECTOR * i));
            match bytes.saturating_sub(VECTOR * i) {
                0 => {}
                VECTOR.. => self.save(form::STR_Q, *v, to),
                left => {
                    for (at, size) in pieces(left) {
                        let to = to.plus(at.into());
                        if at == 0 {
                            self.save(by_size(STORES, size), *v, to);
                            continue;
                        }
                        let p = self.pointer(to);
                        let place = Opnd::Imm((at / size).into());
                        let form = by_size(LANE_STORES, size);
                        self.op(form, &[used(*v), place, Opnd::Mem(Mem::reg(p))]);
                    }
                }
            }
        }
    }
}

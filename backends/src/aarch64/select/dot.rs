//! Dot products of groups of four bytes.

use super::{Select, parts, used};
use crate::aarch64::form::{self, Form};
use crate::aarch64::mir::{Class, VReg};
use sinter_ir::tile::{Elem, Reg, Ty};

/// An operand and whether its bytes are signed.
type Bytes = (Reg, bool);

impl Select<'_> {
    /// `acc + a . b` by groups.
    pub(super) fn dot4(&mut self, dst: Reg, ty: Ty, acc: Reg, a: Bytes, b: Bytes) -> Vec<VReg> {
        // The lane goes last.
        let (a, b) = if self.factors.lane(a.0).is_some() { (b, a) } else { (a, b) };
        let (sums, x) = (self.parts(acc), self.words(a.0));
        if let Some((v, n)) = self.factors.lane(b.0) {
            let y = self.words(v)[0];
            let form = match (a.1, b.1) {
                (true, true) => form::SDOT_LANE,
                (false, false) => form::UDOT_LANE,
                (false, true) => form::USDOT_LANE,
                (true, false) => form::SUDOT_LANE,
            };
            let old = self.dst(dst);
            return (0..x.len()).map(|i| self.accumulate(form, old[i], sums[i], x[i], y, Some(n))).collect();
        }
        let y = self.words(b.0);
        if ty.lanes == 1 {
            // Sums of one lane are Gprs.
            let z = self.v(form::FMOV_SW, &[sums[0]]);
            let r = self.dot_part(z, z, (x[0], a.1), (y[0], b.1));
            return vec![self.x(form::FMOV_WS, &[r])];
        }
        let old = self.dst(dst);
        let all = (0..parts(ty)).map(|i| self.dot_part(old[i], sums[i], (x[i], a.1), (y[i], b.1)));
        all.collect()
    }
    /// `acc + a * b` by matrices of two by two.
    pub(super) fn mat8(&mut self, dst: Reg, acc: Reg, a: Bytes, b: Reg) -> Vec<VReg> {
        let (old, sums, x, y) = (self.dst(dst), self.parts(acc), self.parts(a.0), self.parts(b));
        let form = if a.1 { form::SMMLA } else { form::USMMLA };
        (0..old.len()).map(|i| self.accumulate(form, old[i], sums[i], x[i], y[i], None)).collect()
    }
    /// The same of matrices of bf16.
    pub(super) fn mat4(&mut self, dst: Reg, acc: Reg, a: Reg, b: Reg) -> Vec<VReg> {
        let (old, sums, x, y) = (self.dst(dst), self.parts(acc), self.parts(a), self.parts(b));
        (0..old.len()).map(|i| self.accumulate(form::BFMMLA, old[i], sums[i], x[i], y[i], None)).collect()
    }
    /// Halves of matrices: rows of two of them side by side.
    pub(super) fn matrix_rows(&mut self, a: Reg, b: Reg, high: bool) -> Vec<VReg> {
        let (x, y) = (self.parts(a), self.parts(b));
        let form = if high { form::ZIP2 } else { form::ZIP1 };
        x.into_iter().zip(y).map(|(x, y)| self.v(form.lanes(3), &[x, y])).collect()
    }
    /// Parts of bytes or words in vector registers.
    fn words(&mut self, r: Reg) -> Vec<VReg> {
        let v = self.parts(r);
        let gpr = self.ty(r) == Ty { elem: Elem::I32, lanes: 1 } && !self.factors.in_vector(r);
        if gpr { vec![self.v(form::FMOV_SW, &[v[0]])] } else { v }
    }
    fn dot_part(&mut self, dst: VReg, acc: VReg, a: (VReg, bool), b: (VReg, bool)) -> VReg {
        let (form, x, y) = match (a.1, b.1) {
            (true, true) => (form::SDOT, a.0, b.0),
            (false, false) => (form::UDOT, a.0, b.0),
            (false, true) => (form::USDOT, a.0, b.0),
            (true, false) => (form::USDOT, b.0, a.0),
        };
        if if a.1 == b.1 { self.isa.dotprod } else { self.isa.i8mm } {
            return self.accumulate(form, dst, acc, x, y, None);
        }
        // Products of words, whose sums by four are those of neighbours twice.
        let products: Vec<VReg> = [false, true]
            .into_iter()
            .flat_map(|upper| {
                let extend = |s: &mut Self, (v, signed): (VReg, bool)| {
                    let form: Form = if signed { form::SXTL_B } else { form::UXTL_B };
                    s.v(form.upper(upper), &[v])
                };
                let (x, y) = (extend(self, a), extend(self, b));
                [false, true].map(|upper| self.v(form::SMULL.lanes(1).upper(upper), &[x, y]))
            })
            .collect();
        let pairs = form::ADDP.lanes(2);
        let low = self.v(pairs, &[products[0], products[1]]);
        let high = self.v(pairs, &[products[2], products[3]]);
        let sums = self.v(pairs, &[low, high]);
        self.result(form::ADD_V.lanes(2), Class::Vec, &[used(acc), used(sums)])
    }
}

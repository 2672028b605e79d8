//! Addresses: base + index * scale + displacement, with what a loop does not change computed in front of it.

use super::Select;
use crate::x86::mir::{Base, Class, Mem, Opnd, VReg};
use iced_x86::Code;
use sinter_ir::tile::{Addr, Buf, Elem, Reg, Stmt};
use std::collections::BTreeSet;

/// What was known outside of a loop.
pub struct Outer;

impl Select<'_> {
    /// Address of a buffer's first byte.
    pub fn base(&mut self, buf: Buf) -> VReg {
        match self.bases.get(&buf.0) {
            Some(b) => *b,
            // Every buffer in use got its base at entry.
            None => self.int(0, true),
        }
    }
    /// Memory operand of an access to a buffer in elements of a type.
    pub fn address(&mut self, buf: Buf, at: &Addr, elem: Elem) -> Mem {
        let width = i64::from(elem.bytes());
        let mut disp = at.offset.wrapping_mul(width);
        let mut terms: Vec<(Reg, i64)> = Vec::new();
        for (r, s) in &at.terms {
            let scale = s.wrapping_mul(width);
            match self.int_of(*r) {
                Some(v) => disp = disp.wrapping_add(v.wrapping_mul(scale)),
                None => terms.push((*r, scale)),
            }
        }
        let mut base = self.base(buf);
        let mut index = None;
        // The last term varies fastest as a rule: it becomes the index.
        if let Some(n) = terms.iter().rposition(|t| matches!(t.1, 1 | 2 | 4 | 8)) {
            let (r, s) = terms.remove(n);
            index = Some((self.one(r), s as u8));
        }
        for (r, s) in terms {
            let x = self.one(r);
            base = self.plus_scaled(base, x, s);
        }
        // Room for the parts behind the first.
        if i32::try_from(disp).is_err() || i32::try_from(disp + (1 << 20)).is_err() {
            let far = self.int(disp, true);
            base = self.plus_scaled(base, far, 1);
            disp = 0;
        }
        Mem { base: Base::Reg(base), index, disp }
    }
    /// `base + x * scale` in a fresh register.
    pub fn plus_scaled(&mut self, base: VReg, x: VReg, scale: i64) -> VReg {
        let t = self.temp(Class::Gpr);
        let (x, scale) = match scale {
            1 | 2 | 4 | 8 => (x, scale as u8),
            s if s % 8 == 0 => (self.times(x, s / 8), 8),
            s if s % 4 == 0 => (self.times(x, s / 4), 4),
            s if s % 2 == 0 => (self.times(x, s / 2), 2),
            s => (self.times(x, s), 1),
        };
        let m = Mem { base: Base::Reg(base), index: Some((x, scale)), disp: 0 };
        self.f.op(Code::Lea_r64_m, &[Opnd::Def(t, 8), Opnd::Mem(m)]);
        t
    }
    /// A loop begins: what addresses in it need and it does not change is computed here.
    pub(super) fn enter_loop(
        &mut self,
        var: Reg,
        step: i64,
        body: &[Stmt],
        changes: &BTreeSet<Reg>,
    ) -> Outer {
        let _ = (var, step, body, changes);
        Outer
    }
    /// A loop without a variable begins.
    pub(super) fn enter_while(&mut self, changes: &BTreeSet<Reg>) -> Outer {
        let _ = changes;
        Outer
    }
    /// Moves what runs along with the innermost loop's variable.
    pub(super) fn step_loop(&mut self, step: i64) {
        let _ = step;
    }
    /// A loop has ended.
    pub(super) fn leave_loop(&mut self, outer: Outer) {
        let Outer = outer;
    }
}

//! One step of one row: gates, then the new state, in vectors over all (padded) units.

use super::activation::apply;
use super::steps::Row;
use crate::lower::access::constant;
use crate::lower::contract::gemm::scaled;
use crate::lower::index::Idx;
use sinter_ir::Result;
use sinter_ir::op::recurrent::{Activation, CellKind};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, LoopKind, Reg};

/// A step.
pub(super) struct Cell<'a> {
    pub row: &'a Row<'a>,
    /// Offset of the input part of the step's gates.
    pub gates: Reg,
}

const STATE: usize = 0;
const CELL: usize = 1;
const RESET: usize = 2;

/// Code for the units at an offset, with the activations of their direction.
type PerUnit<'a, T> = dyn FnMut(&T, &mut KernelBuilder, &[Activation], Reg) + 'a;

impl Cell<'_> {
    /// Emits the step.
    pub fn step(&self, b: &mut KernelBuilder) -> Result<()> {
        let (p, m) = (self.row.p, self.row.m);
        let input = (m.gates, Idx::reg(self.gates));
        let functions = p.op.functions();
        // Directions share the code unless their functions differ.
        let one = &p.op.activations[..functions];
        let other = p.op.activations.get(functions..).filter(|o| !o.is_empty() && *o != one);
        match p.op.kind {
            CellKind::Rnn | CellKind::Lstm => self.row.product(b, STATE, (0, p.gates), input),
            CellKind::Gru => {
                self.row.product(b, STATE, (0, 2), input.clone());
                if let Some(late) = m.late {
                    // The bias starts the sum; the input part joins after the reset.
                    let at = scaled(b, self.row.direction, p.hp as i64);
                    let before = Idx { offset: -2 * p.hp as i64, ..Idx::reg(at) };
                    self.row.product(b, STATE, (2, 3), (late, before));
                } else {
                    self.both(b, one, other, &mut |c, b, acts, j| c.reset(b, acts, j));
                    self.row.product(b, RESET, (2, 3), input);
                }
            }
        }
        self.both(b, one, other, &mut |c, b, acts, j| match p.op.kind {
            CellKind::Rnn => c.rnn(b, acts, j),
            CellKind::Gru => c.gru(b, acts, j),
            CellKind::Lstm => c.lstm(b, acts, j),
        });
        Ok(())
    }
    /// A vector loop over the units, per direction where the functions differ.
    fn both(
        &self,
        b: &mut KernelBuilder,
        one: &[Activation],
        other: Option<&[Activation]>,
        f: &mut PerUnit<Self>,
    ) {
        let (hp, lanes) = (self.row.p.hp as i64, i64::from(self.row.p.thin.lanes));
        let f = std::cell::RefCell::new(f);
        let units = |b: &mut KernelBuilder, acts: &[Activation]| {
            b.for_(Bound::Const(0), Bound::Const(hp), lanes, LoopKind::Serial, |b, j| {
                f.borrow_mut()(self, b, acts, j)
            });
        };
        match other {
            None => units(b, one),
            Some(other) => {
                let zero = b.i64(0);
                let forward = b.cmp(CmpOp::Eq, self.row.direction, zero);
                b.if_(forward, |b| units(b, one), |b| units(b, other));
            }
        }
    }
    fn get(&self, b: &mut KernelBuilder, unit: usize, j: Reg) -> Reg {
        let at = self.row.at(unit).plus(&Idx::reg(j));
        self.row.p.num.ready().load(b, self.row.p.thin.lanes, self.row.m.state, at.addr(), None)
    }
    fn set(&self, b: &mut KernelBuilder, unit: usize, j: Reg, v: Reg) {
        b.store(self.row.m.state, self.row.at(unit).plus(&Idx::reg(j)).addr(), v, None);
    }
    fn clip(&self, b: &mut KernelBuilder, v: Reg) -> Reg {
        let Some(c) = self.row.p.op.clip else { return v };
        let ty = b.ty(v);
        let (lo, hi) =
            (constant(b, ty.elem, ty.lanes, (-c).into()), constant(b, ty.elem, ty.lanes, c.into()));
        let v = b.bin(BinOp::Max, v, lo);
        b.bin(BinOp::Min, v, hi)
    }
    fn activate(&self, b: &mut KernelBuilder, f: &Activation, v: Reg) -> Reg {
        let v = self.clip(b, v);
        apply(b, f, v)
    }
    fn rnn(&self, b: &mut KernelBuilder, acts: &[Activation], j: Reg) {
        let g = self.get(b, 3, j);
        let h = self.activate(b, &acts[0], g);
        self.set(b, STATE, j, h);
    }
    /// The state as the new-gate sees it.
    fn reset(&self, b: &mut KernelBuilder, acts: &[Activation], j: Reg) {
        let g = self.get(b, 4, j);
        let r = self.activate(b, &acts[0], g);
        let h = self.get(b, STATE, j);
        let v = b.mul(r, h);
        self.set(b, RESET, j, v);
    }
    fn gru(&self, b: &mut KernelBuilder, acts: &[Activation], j: Reg) {
        let p = self.row.p;
        let g = self.get(b, 3, j);
        let z = self.activate(b, &acts[0], g);
        let mut n = self.get(b, 5, j);
        if p.resets_late() {
            let g = self.get(b, 4, j);
            let r = self.activate(b, &acts[0], g);
            let at = Idx { offset: 2 * p.hp as i64, ..Idx::reg(self.gates) }.plus(&Idx::reg(j));
            let x = p.num.ready().load(b, p.thin.lanes, self.row.m.gates, at.addr(), None);
            n = b.mul_add(r, n, x);
        }
        let n = self.activate(b, &acts[1], n);
        let h = self.get(b, STATE, j);
        let ty = b.ty(z);
        let one = constant(b, ty.elem, ty.lanes, 1.0);
        let rest = b.sub(one, z);
        let new = b.mul(rest, n);
        let v = b.mul_add(z, h, new);
        self.set(b, STATE, j, v);
    }
    fn lstm(&self, b: &mut KernelBuilder, acts: &[Activation], j: Reg) {
        let (old, i, f, g) = (self.get(b, CELL, j), self.get(b, 3, j), self.get(b, 5, j), self.get(b, 6, j));
        let i = self.peep(b, 0, j, i, old);
        let i = self.activate(b, &acts[0], i);
        let f = if self.row.p.op.input_forget {
            let ty = b.ty(i);
            let one = constant(b, ty.elem, ty.lanes, 1.0);
            b.sub(one, i)
        } else {
            let f = self.peep(b, 2, j, f, old);
            self.activate(b, &acts[0], f)
        };
        let g = self.activate(b, &acts[1], g);
        let kept = b.mul(f, old);
        let new = b.mul_add(i, g, kept);
        self.set(b, CELL, j, new);
        let o = self.get(b, 4, j);
        let o = self.peep(b, 1, j, o, new);
        let o = self.activate(b, &acts[0], o);
        let c = apply(b, &acts[2], new);
        let h = b.mul(o, c);
        self.set(b, STATE, j, h);
    }
    /// Adds the cell's part in a gate. Padded units have no weight.
    fn peep(&self, b: &mut KernelBuilder, k: usize, j: Reg, gate: Reg, cell: Reg) -> Reg {
        let (p, Some(buf)) = (self.row.p, self.row.m.peephole) else { return gate };
        let lanes = p.thin.lanes;
        let at = scaled(b, self.row.direction, 3 * p.h as i64);
        let at = Idx { offset: (k * p.h) as i64, ..Idx::reg(at) }.plus(&Idx::reg(j));
        let (h, zero, most) = (b.i64(p.h as i64), b.i64(0), b.i64(lanes.into()));
        let left = b.sub(h, j);
        let left = b.bin(BinOp::MaxS, left, zero);
        let left = b.bin(BinOp::MinS, left, most);
        let w = p.num.load(b, lanes, buf, at.addr(), Some(left));
        b.mul_add(w, cell, gate)
    }
}

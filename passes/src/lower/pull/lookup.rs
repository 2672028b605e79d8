//! Elements at positions that the data gives.

use super::{Puller, not_vector};
use crate::lower::access;
use crate::lower::index::{Idx, dim, int};
use sinter_ir::op::{Lookup, ReverseSequence};
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{Addr, CmpOp, CvtOp, Elem, Inst, Reg};
use sinter_ir::{Expr, Result, ValueId};

impl Puller<'_> {
    /// An index read from data: negative counts from the end, outside leaves the kernel with an error.
    fn position(&mut self, b: &mut KernelBuilder, indices: ValueId, at: &[Idx], len: &Expr) -> Result<Idx> {
        if at.iter().any(|i| i.step != 0) {
            return Err(not_vector());
        }
        let raw = self.at(b, indices, at, 1)?;
        let v = if b.ty(raw).elem == Elem::I64 { raw } else { b.cvt(CvtOp::SExt, Elem::I64, raw) };
        Ok(Idx::reg(checked(b, v, len)))
    }
    pub(super) fn gather(
        &mut self,
        b: &mut KernelBuilder,
        axis: usize,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let k = self.dims(x[1]).len();
        let p = self.position(b, x[1], &idx[axis..axis + k], &self.dims(x[0])[axis])?;
        let own = [&idx[..axis], &[p], &idx[axis + k..]].concat();
        self.at(b, x[0], &own, lanes)
    }
    /// A byte of a table at the place that a byte says.
    pub(super) fn lookup(
        &mut self,
        b: &mut KernelBuilder,
        op: &Lookup,
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let from = self.ty(x).dtype;
        let x = self.at(b, x, idx, lanes)?;
        let x = access::narrow(b, from, x);
        let index = b.cvt(CvtOp::ZExt, Elem::I32, x);
        let table = self.params.pack(b, op.table.clone().into(), op.to);
        let y = b.reg(Elem::I8, b.ty(index).lanes);
        b.set(y, Inst::LoadGather { buf: table, at: Addr::at(0), index, tail: None });
        Ok(access::widen(b, op.to, y))
    }
    pub(super) fn gather_elements(
        &mut self,
        b: &mut KernelBuilder,
        axis: usize,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let mut own = idx.to_vec();
        own[axis] = self.position(b, x[1], idx, &self.dims(x[0])[axis])?;
        self.at(b, x[0], &own, lanes)
    }
    pub(super) fn gather_nd(
        &mut self,
        b: &mut KernelBuilder,
        batch: usize,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dims = self.dims(x[1]);
        let lead = dims.len() - 1;
        let depth = dims[lead].as_const().unwrap_or(0);
        let mut own = idx[..batch].to_vec();
        for j in 0..depth {
            let mut at = idx[..lead].to_vec();
            at.push(Idx::at(j));
            own.push(self.position(b, x[1], &at, &self.dims(x[0])[batch + j as usize])?);
        }
        own.extend_from_slice(&idx[lead..]);
        self.at(b, x[0], &own, lanes)
    }
    /// Time `t` below the row's length reads `length - 1 - t`.
    pub(super) fn reverse(
        &mut self,
        b: &mut KernelBuilder,
        op: &ReverseSequence,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let row = &idx[op.batch_axis];
        if row.step != 0 || idx[op.time_axis].step != 0 {
            return Err(not_vector());
        }
        let len = self.at(b, x[1], std::slice::from_ref(row), 1)?;
        let most = dim(b, &self.dims(x[0])[op.time_axis]);
        let outside = b.cmp(CmpOp::GtU, len, most);
        b.fail_if(outside, code::INDEX);
        let (t, one) = (idx[op.time_axis].materialise(b), int(b, 1));
        let last = b.sub(len, one);
        let back = b.sub(last, t);
        let early = b.cmp(CmpOp::Lt, t, len);
        let mut own = idx.to_vec();
        own[op.time_axis] = Idx::reg(b.select(early, back, t));
        self.at(b, x[0], &own, lanes)
    }
}

/// An i64 index brought into `0..len`, or an error exit.
pub fn checked(b: &mut KernelBuilder, v: Reg, len: &Expr) -> Reg {
    let (n, zero) = (dim(b, len), int(b, 0));
    let low = b.cmp(CmpOp::Lt, v, zero);
    let up = b.add(v, n);
    let p = b.select(low, up, v);
    let outside = b.cmp(CmpOp::GeU, p, n);
    b.fail_if(outside, code::INDEX);
    p
}

//! The walk over the steps.
//!
//! Memory per row and direction, in units of `hp`: state, cell, reset state, then the gates of the step.

use super::cell::Cell;
use super::{Data, Plan, ready};
use crate::lower::body::Params;
use crate::lower::contract::gemm::{scaled, unravel};
use crate::lower::contract::micro::{Depth, Operand, Step, contract, copy};
use crate::lower::index::{Idx, linear};
use crate::lower::{Arg, access, parallel_if};
use sinter_ir::op::recurrent::{CellKind, Direction};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, CvtOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result, TensorType};

/// Buffers of the kernel.
pub(super) struct Memory {
    /// Input parts of all steps; of a single step only what they start from.
    pub gates: Buf,
    /// Input and its weights, of a single step.
    pub input: Option<(Buf, Buf)>,
    pub weights: Buf,
    pub late: Option<Buf>,
    pub state: Buf,
    pub lens: Buf,
    pub first: Vec<Buf>,
    pub peephole: Option<Buf>,
    pub results: Vec<Buf>,
}

/// One row of one direction.
pub(super) struct Row<'a> {
    pub p: &'a Plan<'a>,
    pub m: &'a Memory,
    pub direction: Reg,
    /// Row of the batch.
    pub row: Reg,
    /// Offset of the row's memory.
    pub base: Reg,
}

/// Emits the kernel.
pub fn emit(p: &Plan, data: &mut Data, gates: Arg) -> Result<()> {
    let (mut b, mut params) = (KernelBuilder::new(p.name("steps")), Params::default());
    let rows = p.b.clone() * p.directions.into();
    let m = declare(p, data, gates, &rows, &mut b, &mut params)?;
    let mut done = Ok(());
    // Multiply-adds in vectors.
    let work = p.cx.symbols.max(&(p.t.clone() * rows.clone())).max(0) as u64;
    let work = work.saturating_mul((p.columns() * p.h / 4) as u64);
    parallel_if(&mut b, work, &rows, |b, r| {
        let at = unravel(b, r, &[p.directions.into(), p.b.clone()]);
        let base = scaled(b, r, units(p) * p.hp as i64);
        let row = Row { p, m: &m, direction: at[0], row: at[1], base };
        done = row.walk(b, r, at[1]);
    });
    done?;
    data.push(b, params);
    Ok(())
}

fn units(p: &Plan) -> i64 {
    p.gates as i64 + 3
}

fn declare(
    p: &Plan,
    data: &mut Data,
    gates: Arg,
    rows: &Expr,
    b: &mut KernelBuilder,
    params: &mut Params,
) -> Result<Memory> {
    let columns = Expr::from(p.columns());
    let state = data.scratch(&(rows.clone() * (units(p) * p.hp as i64).into()), p.num.acc);
    let weights = TensorType::new(p.num.dtype, vec![columns.clone() * (p.h * p.directions).into()]);
    let zero = |v: usize| {
        p.body.const_of(p.inputs[v]).is_some_and(|t| t.to_f64().is_ok_and(|v| v.iter().all(|x| *x == 0.0)))
    };
    let lstm = p.op.kind == CellKind::Lstm;
    let root = p.body.root_node()?;
    let starts = match p.single {
        true => columns.clone() * p.directions.into(),
        false => p.t.clone() * rows.clone() * columns.clone(),
    };
    let mut m = Memory {
        gates: ready(b, params, gates, Access::Read, p.num, &starts),
        input: None,
        weights: params.buf(b, data.packed[1], Access::Read, &weights),
        late: p
            .resets_late()
            .then(|| ready(b, params, data.packed[3], Access::Read, p.num, &(p.directions * p.hp).into())),
        state: ready(
            b,
            params,
            state,
            Access::ReadWrite,
            p.num,
            &(rows.clone() * (units(p) * p.hp as i64).into()),
        ),
        lens: params.value(b, p.body, p.inputs[4])?,
        first: vec![params.value(b, p.body, p.inputs[5])?],
        peephole: None,
        results: vec![],
    };
    if lstm {
        m.first.push(params.value(b, p.body, p.inputs[6])?);
        if !zero(7) {
            m.peephole = Some(params.value(b, p.body, p.inputs[7])?);
        }
    }
    if p.single {
        let count = p.i.clone() * columns * p.directions.into();
        let w = params.buf(b, data.packed[0], Access::Read, &TensorType::new(p.num.dtype, vec![count]));
        m.input = Some((params.value(b, p.body, p.inputs[0])?, w));
    }
    for (i, &v) in root.outputs.iter().enumerate() {
        m.results.push(params.buf(b, Arg::Output(i), Access::Write, p.body.ty(v)));
    }
    Ok(m)
}

impl Row<'_> {
    /// Memory of unit `u`: 0 state, 1 cell, 2 reset state, 3.. gates.
    pub fn at(&self, u: usize) -> Idx {
        Idx { offset: (u * self.p.hp) as i64, ..Idx::reg(self.base) }
    }
    fn walk(&self, b: &mut KernelBuilder, number: Reg, row: Reg) -> Result<()> {
        let p = self.p;
        let own = scaled(b, number, p.h as i64);
        for (u, &from) in self.m.first.iter().enumerate() {
            self.copy(
                b,
                (from, p.num.dtype, &Idx::reg(own)),
                (self.m.state, p.num.ready().dtype, &self.at(u)),
            );
        }
        let len = b.load(Elem::I32, 1, self.m.lens, Idx::reg(row).addr(), None);
        let len = b.cvt(CvtOp::SExt, Elem::I64, len);
        let (t, zero, one) = (b.dim(&p.t), b.i64(0), b.i64(1));
        let len = b.bin(BinOp::MaxS, len, zero);
        let len = b.bin(BinOp::MinS, len, t);
        let backwards = match p.op.direction {
            Direction::Forward => b.bool(1, false),
            Direction::Reverse => b.bool(1, true),
            Direction::Bidirectional => b.cmp(CmpOp::Eq, self.direction, one),
        };
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Reg(len), 1, LoopKind::Serial, |b, step| {
            let back = b.sub(len, step);
            let back = b.sub(back, one);
            let time = b.select(backwards, back, step);
            done = (|| {
                let at = match p.single {
                    true => Idx::reg(self.direction),
                    false => linear(
                        b,
                        &[Idx::reg(self.direction), Idx::reg(time), Idx::reg(row)],
                        &[p.directions.into(), p.t.clone(), p.b.clone()],
                    )?,
                };
                let gates = at.times(p.columns() as i64).materialise(b);
                Cell { row: self, gates }.step(b)?;
                let y = self.result(b, time, row)?;
                self.copy(
                    b,
                    (self.m.state, p.num.ready().dtype, &self.at(0)),
                    (self.m.results[0], p.num.dtype, &y),
                );
                Ok(())
            })();
        });
        done?;
        let mut done = Ok(());
        b.for_(Bound::Reg(len), Bound::Reg(t), 1, LoopKind::Serial, |b, time| {
            done = self.result(b, time, row).map(|y| {
                let none = access::constant(b, p.num.acc, 1, 0.0);
                let none = access::narrow(b, p.num.dtype, none);
                b.range(&p.h.into(), |b, j| {
                    b.store(self.m.results[0], y.plus(&Idx::reg(j)).addr(), none, None)
                });
            });
        });
        done?;
        for (u, &to) in self.m.results[1..].iter().enumerate() {
            self.copy(b, (self.m.state, p.num.ready().dtype, &self.at(u)), (to, p.num.dtype, &Idx::reg(own)));
        }
        Ok(())
    }
    /// Offset of the row in the sequence of results.
    fn result(&self, b: &mut KernelBuilder, time: Reg, row: Reg) -> Result<Idx> {
        let p = self.p;
        let dims = [p.t.clone(), p.directions.into(), p.b.clone()];
        Ok(linear(b, &[Idx::reg(time), Idx::reg(self.direction), Idx::reg(row)], &dims)?.times(p.h as i64))
    }
    /// Copies the units of one row between forms.
    fn copy(
        &self,
        b: &mut KernelBuilder,
        (from, ft, fi): (Buf, DType, &Idx),
        (to, tt, ti): (Buf, DType, &Idx),
    ) {
        let (fi, ti) = (Idx::reg(fi.materialise(b)), Idx::reg(ti.materialise(b)));
        let lanes = i64::from(self.p.thin.lanes);
        let whole = self.p.h as i64 / lanes * lanes;
        for (lo, hi, l) in [(0, whole, lanes), (whole, self.p.h as i64, 1)] {
            if lo == hi {
                continue;
            }
            b.for_(Bound::Const(lo), Bound::Const(hi), l, LoopKind::Serial, |b, j| {
                let v = b.load(access::memory(ft), l as u16, from, fi.plus(&Idx::reg(j)).addr(), None);
                let v = access::widen(b, ft, v);
                let v = access::narrow(b, tt, v);
                b.store(to, ti.plus(&Idx::reg(j)).addr(), v, None);
            });
        }
    }
    /// `gates[lo .. hi] = start + state * weights` for gates `lo .. hi`; the state is unit `from`. A single step adds
    /// the input part.
    pub fn product(
        &self,
        b: &mut KernelBuilder,
        from: usize,
        (lo, hi): (usize, usize),
        (start, start_at): (Buf, Idx),
    ) {
        let p = self.p;
        let nr = p.thin.nr();
        let x = self.at(from).materialise(b);
        let x = Operand {
            buf: self.m.state,
            num: p.num.ready(),
            starts: vec![x],
            parts: vec![(0, 0)],
            step: Step::Const(1),
        };
        let depth = Depth::whole(b, &p.h.into());
        let first = scaled(b, self.direction, (p.columns() * p.h) as i64);
        let (start_at, to) = (start_at.materialise(b), self.at(3).materialise(b));
        let input = self.m.input.map(|(buf, w)| {
            let width = b.dim(&p.i);
            let start = b.mul(self.row, width);
            let x =
                Operand { buf, num: p.num, starts: vec![start], parts: vec![(0, 0)], step: Step::Const(1) };
            let columns = b.i64(p.columns() as i64);
            let first = b.mul(self.direction, columns);
            (x, w, first, width, Depth::whole(b, &p.i))
        });
        b.for_(
            Bound::Const((lo * p.hp) as i64),
            Bound::Const((hi * p.hp) as i64),
            nr as i64,
            LoopKind::Serial,
            |b, column| {
                let panel = scaled(b, column, p.h as i64);
                let panel = b.add(first, panel);
                let y = Operand {
                    buf: self.m.weights,
                    num: p.num,
                    starts: vec![panel],
                    parts: vec![(0, 0)],
                    step: Step::Const(nr as i64),
                };
                let part = |v: usize| (v * usize::from(p.thin.lanes)) as i64;
                let acc: Vec<Reg> = (0..p.thin.nv)
                    .map(|v| {
                        let at = Idx::reg(start_at).plus(&Idx::reg(column)).addr().offset(part(v));
                        let a = p.num.ready().load(b, p.thin.lanes, start, at, None);
                        copy(b, a)
                    })
                    .collect();
                if let Some((x, buf, first, width, depth)) = &input {
                    let panel = b.add(*first, column);
                    let panel = b.mul(panel, *width);
                    let y = Operand { buf: *buf, starts: vec![panel], ..y.clone() };
                    contract(b, p.thin, depth, x, &y, &acc);
                }
                contract(b, p.thin, &depth, &x, &y, &acc);
                for (v, &a) in acc.iter().enumerate() {
                    b.store(
                        self.m.state,
                        Idx::reg(to).plus(&Idx::reg(column)).addr().offset(part(v)),
                        a,
                        None,
                    );
                }
            },
        );
    }
}

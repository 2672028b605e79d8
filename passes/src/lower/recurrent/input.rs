//! The input part of all gates: `[direction][step, row][gate][hp] = x * w^T + bias`.

use super::{Data, Plan, ready};
use crate::lower::Arg;
use crate::lower::body::Params;
use crate::lower::contract::gemm::{Cols, Finish, Gemm, Rows, block_bytes};
use crate::lower::contract::slots;
use crate::lower::index::Idx;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Buf};
use sinter_ir::{Expr, Result, TensorType};

/// Emits the product; gives the memory that holds it.
pub fn emit(p: &Plan, data: &mut Data) -> Result<Arg> {
    let columns = Expr::from(p.columns());
    let rows = p.t.clone() * p.b.clone();
    let count = rows.clone() * columns.clone() * p.directions.into();
    let gates = data.scratch(&count, p.num.acc);
    let (mut b, mut params) = (KernelBuilder::new(p.name("input")), Params::default());
    let x = params.value(&mut b, p.body, p.inputs[0])?;
    let weights = p.i.clone() * columns.clone();
    let packed = TensorType::new(p.num.dtype, vec![weights.clone() * p.directions.into()]);
    let w = params.buf(&mut b, data.packed[0], Access::Read, &packed);
    let bias = ready(
        &mut b,
        &mut params,
        data.packed[2],
        Access::Read,
        p.num,
        &(columns.clone() * p.directions.into()),
    );
    let to = ready(&mut b, &mut params, gates, Access::Write, p.num, &count);
    let gemm = Gemm {
        batch: vec![p.directions.into()],
        a_batch: vec![0.into()],
        b_batch: vec![weights],
        m: rows.clone(),
        n: columns.clone(),
        k: p.i.clone(),
        a: (Rows::Strided { row: p.i.clone(), step: 1.into() }, p.num, x),
        b: (Cols::Panels, p.num, w),
        tile: p.wide,
        block: block_bytes(p.cx.target),
        start: None,
        finish: Finish::Registers,
    };
    let slots = slots::for_work(p.cx.target, &gemm.trips(), gemm.vector_ops().as_ref());
    let spill: Option<Buf> = gemm.spills().then(|| {
        let count = Expr::from(gemm.spill_elems() * slots);
        let arg = data.scratch(&count, p.num.acc);
        ready(&mut b, &mut params, arg, Access::ReadWrite, p.num, &count)
    });
    gemm.emit(&mut b, slots, spill, &mut |b, at, v| {
        let (n, m) = (b.dim(&columns), b.dim(&rows));
        let own = b.mul(at.batch[0], n);
        let own = b.add(own, at.col);
        let lanes = b.ty(v).lanes;
        let add = p.num.ready().load(b, lanes, bias, Idx::reg(own).addr(), at.tail);
        let sum = b.add(v, add);
        let row = b.mul(at.batch[0], m);
        let row = b.add(row, at.row);
        let row = b.mul(row, n);
        b.store(to, Idx::reg(row).plus(&Idx::reg(at.col)).addr(), sum, at.tail);
        Ok(())
    })?;
    data.push(b, params);
    Ok(gates)
}

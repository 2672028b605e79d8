//! Weights that are known only at run time: a kernel of their own brings them into the packed order.

use super::phases::Phases;
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::scaled;
use crate::lower::contract::kernel::name;
use crate::lower::index::Idx;
use crate::lower::{Arg, KernelCall, Lowered, access};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Elem};
use sinter_ir::{DType, Result, TensorType, ValueId};

/// Puts the packing of `w` into `to` in front of the other kernels. Rows that pad the last panel stay as they are:
/// their sums are never stored.
pub fn prepend(
    l: &mut Lowered,
    body: &Body,
    w: ValueId,
    phases: &Phases,
    group: usize,
    (mr, to): (usize, Arg),
) -> Result<()> {
    let wt = body.ty(w);
    let dims: Vec<usize> = wt.dims.iter().map(|d| d.as_const().unwrap_or(0).max(0) as usize).collect();
    let (channels, per) = (dims[0] / group.max(1), dims[1]);
    let taps: usize = dims[2..].iter().product();
    let stride = phases.distances(channels, per, mr);
    let elem = access::memory(wt.dtype);
    let (mut b, mut p) = (KernelBuilder::new(name("convt_pack", wt.dtype, &wt.dims)), Params::default());
    let x = p.value(&mut b, body, w)?;
    let packed = TensorType::new(wt.dtype, vec![(stride.group * group as i64).into()]);
    let y = p.buf(&mut b, to, Access::Write, &packed);
    let table: Vec<u8> = (0..taps)
        .map(|t| phases.place(t))
        .flat_map(|[phase, count, place]| [phase * stride.phase, count, place])
        .flat_map(i64::to_le_bytes)
        .collect();
    let table = p.pack(&mut b, table.into(), DType::I64);
    b.parallel(&dims[0].into(), |b, c| {
        let all = b.i64(channels as i64);
        let (g, own) = (b.bin(BinOp::DivU, c, all), b.bin(BinOp::RemU, c, all));
        b.range(&per.into(), |b, m| {
            let width = b.i64(mr as i64);
            let (panel, lane) = (b.bin(BinOp::DivU, m, width), b.bin(BinOp::RemU, m, width));
            let home = Idx::reg(g)
                .times(stride.group)
                .plus(&Idx::reg(panel).times((channels * phases.most() * mr) as i64))
                .plus(&Idx::reg(lane));
            let row = scaled(b, c, per as i64);
            let row = b.add(row, m);
            let first = scaled(b, row, taps as i64);
            b.range(&taps.into(), |b, t| {
                let entry = |b: &mut KernelBuilder, i: i64| {
                    b.load(Elem::I64, 1, table, Idx::reg(t).times(3).addr().offset(i), None)
                };
                let (phase, count, place) = (entry(b, 0), entry(b, 1), entry(b, 2));
                let step = b.mul(own, count);
                let step = b.add(step, place);
                let v = b.load(elem, 1, x, Idx::reg(first).plus(&Idx::reg(t)).addr(), None);
                let at = home.plus(&Idx::reg(phase)).plus(&Idx::reg(step).times(mr as i64));
                b.store(y, at.addr(), v, None);
            });
        });
    });
    let (mut args, packed) = p.into_parts();
    // The table goes behind what the other kernels have.
    for a in &mut args {
        if let Arg::Packed(i) = a {
            *i += l.packed.len();
        }
    }
    l.packed.extend(packed);
    l.calls.insert(0, KernelCall { kernel: b.finish(), args });
    Ok(())
}

//! Weights and biases in the layout of the kernels: at compile time where they are constants, else by a kernel.
//!
//! Weights: `[direction][gate][h / nr][k][nr]`, each gate padded to whole tiles. Biases: `[direction][gate][hp]`,
//! already added up, but for the state bias of a gate that is reset after its product.

use super::{Data, Plan, ready};
use crate::lower::body::Params;
use crate::lower::contract::gemm::{scaled, unravel};
use crate::lower::contract::pack;
use crate::lower::index::Idx;
use crate::lower::{Arg, Lowered, access};
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, CmpOp, Elem};
use sinter_ir::{Diag, Expr, Result, Tensor, TensorType};

/// Everything packed.
pub fn run(p: &Plan) -> Result<Data> {
    let mut data = Data { packed: [Arg::Packed(0); 4], lowered: Lowered::default() };
    data.packed[0] = weights(p, &mut data, 1, p.wide.nr())?;
    data.packed[1] = weights(p, &mut data, 2, p.thin.nr())?;
    data.packed[2] = biases(p, &mut data, false)?;
    data.packed[3] = if p.resets_late() { biases(p, &mut data, true)? } else { data.packed[2] };
    Ok(data)
}

/// Operand `i` in panels.
fn weights(p: &Plan, data: &mut Data, i: usize, nr: usize) -> Result<Arg> {
    let k = p.ty(i).dims[2].clone();
    let outer = p.directions * p.gates;
    if let Some(t) = p.body.const_of(p.inputs[i]) {
        let depth = t.shape()[2];
        let bytes = pack::panels(t, (outer, depth, p.hp), nr, |o, k, j| {
            (j < p.h).then_some((o * p.h + j) * depth + k)
        })?;
        return Ok(data.pack(bytes));
    }
    let mem = access::memory(p.num.dtype);
    let count = k.clone() * (outer * p.hp).into();
    let arg = data.scratch(&count, mem);
    let (mut b, mut params) =
        (KernelBuilder::new(p.name(if i == 1 { "packw" } else { "packr" })), Params::default());
    let from = params.value(&mut b, p.body, p.inputs[i])?;
    let to = params.buf(&mut b, arg, Access::Write, &TensorType::new(p.num.dtype, vec![count]));
    b.parallel(&outer.into(), |b, o| {
        let dims: [Expr; 3] = [(p.hp / nr).into(), k.clone(), nr.into()];
        b.range(&product(&dims), |b, e| {
            let at = unravel(b, e, &dims);
            let (column, first, depth) = (scaled(b, at[0], nr as i64), scaled(b, o, p.h as i64), b.dim(&k));
            let j = b.add(column, at[2]);
            let row = b.add(first, j);
            let row = b.mul(row, depth);
            let source = b.add(row, at[1]);
            let all = b.dim(&product(&dims));
            let place = b.mul(o, all);
            let place = b.add(place, e);
            let ty = sinter_ir::tile::Ty { elem: mem, lanes: 1 };
            let value = b.zero(ty);
            let h = b.i64(p.h as i64);
            let inside = b.cmp(CmpOp::Lt, j, h);
            b.if_(
                inside,
                |b| {
                    let v = b.load(mem, 1, from, Idx::reg(source).addr(), None);
                    b.copy_to(value, v);
                },
                |_| {},
            );
            b.store(to, Idx::reg(place).addr(), value, None);
        });
    });
    data.push(b, params);
    Ok(arg)
}

/// Gate biases; `late`: the state bias of the last gate alone.
fn biases(p: &Plan, data: &mut Data, late: bool) -> Result<Arg> {
    let gates = if late { 1 } else { p.gates };
    if let Some(t) = p.body.const_of(p.inputs[3]) {
        return Ok(data.pack(constant_biases(p, t, late)?));
    }
    let count = Expr::from(p.directions * gates * p.hp);
    let arg = data.scratch(&count, p.num.acc);
    let (mut b, mut params) =
        (KernelBuilder::new(p.name(if late { "latebias" } else { "bias" })), Params::default());
    let from = params.value(&mut b, p.body, p.inputs[3])?;
    let to = ready(&mut b, &mut params, arg, Access::Write, p.num, &count);
    let all = (p.gates * p.h) as i64;
    b.parallel(&(p.directions * gates).into(), |b, o| {
        let at = unravel(b, o, &[p.directions.into(), gates.into()]);
        let zero = access::constant(b, p.num.acc, 1, 0.0);
        let place = scaled(b, o, p.hp as i64);
        b.range(&p.hp.into(), |b, j| {
            b.store(to, Idx::reg(place).plus(&Idx::reg(j)).addr(), zero, None);
        });
        let first = Idx::reg(at[0]).times(2 * all).plus(&Idx::reg(at[1]).times(p.h as i64));
        b.range(&p.h.into(), |b, j| {
            let input = first.plus(&Idx::reg(j));
            let state = Idx { offset: if late { all + 2 * p.h as i64 } else { all }, ..input.clone() };
            let s = p.num.load(b, 1, from, state.addr(), None);
            let value = if late {
                s
            } else {
                let w = p.num.load(b, 1, from, input.addr(), None);
                let both = b.add(w, s);
                if p.resets_late() {
                    let last = b.i64(2);
                    let last = b.cmp(CmpOp::Eq, at[1], last);
                    b.select(last, w, both)
                } else {
                    both
                }
            };
            b.store(to, Idx::reg(place).plus(&Idx::reg(j)).addr(), value, None);
        });
    });
    data.push(b, params);
    Ok(arg)
}

fn constant_biases(p: &Plan, t: &Tensor, late: bool) -> Result<Bytes> {
    let v = t.to_f64()?;
    let all = p.gates * p.h;
    let mut out = vec![];
    for d in 0..p.directions {
        for g in if late { 2..3 } else { 0..p.gates } {
            for j in 0..p.hp {
                let at = d * 2 * all + g * p.h + j;
                let (Some(w), Some(s)) = (v.get(at), v.get(at + all)) else {
                    if j < p.h {
                        return Err(Diag::bug("recurrent biases are too short"));
                    }
                    out.push(0.0);
                    continue;
                };
                out.push(match () {
                    () if j >= p.h => 0.0,
                    () if late => *s,
                    () if p.resets_late() && g == 2 => *w,
                    () => w + s,
                });
            }
        }
    }
    Ok(match p.num.acc {
        Elem::F64 => out.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => out.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
    })
}

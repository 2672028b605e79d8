//! Groups without a root: a loop nest over the outputs' dims.

use super::access;
use super::body::Body;
use super::epilogue::store_outputs;
use super::index::{Idx, dim, int, unravel};
use super::pull::{Puller, vector_or_scalar};
use super::{LowerCx, Lowered};
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, CvtOp, Elem, LoopKind, Reg};
use sinter_ir::{Diag, Expr, Op, Result, ValueId};

/// Elements per step of the parallel loop.
const CHUNK: i64 = 4096;

/// Lowers a group of pulled ops; all outputs have the same dims, or there is only one.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    let outs = &body.graph.outputs;
    let first = *outs.first().ok_or_else(|| Diag::bug("a group without outputs"))?;
    let dims = body.ty(first).dims.clone();
    if outs.iter().any(|&v| body.ty(v).dims != dims) {
        return Err(Diag::bug("outputs of a group differ in their dims"));
    }
    if outs.iter().any(|&v| body.ty(v).dtype.bits() < 8) {
        return packed(cx, body, first);
    }
    let lanes = cx.target.lanes(32);
    let flat = is_flat(cx, body, &dims);
    vector_or_scalar(lanes, |lanes| {
        let mut b = KernelBuilder::new(name(body, if flat { "map" } else { "move" }));
        let mut p = Puller::new(cx, body);
        p.flat = flat;
        let (rows, row) = match (flat, dims.split_last()) {
            (false, Some((last, outer))) => (outer.to_vec(), last.clone()),
            _ => (vec![], product(&dims)),
        };
        nest(&mut b, &mut p, &rows, &row, lanes, flat, &mut |b, p, idx, lanes| {
            store_outputs(b, p, idx, lanes, None)
        })?;
        Ok(p.params.finish(b))
    })
}

/// Kernel name: family, ops and output type.
pub fn name(body: &Body, family: &str) -> String {
    let mut ops: Vec<&str> =
        body.graph.iter().map(|(_, n)| n.op.name()).filter(|n| *n != "Constant").collect();
    ops.dedup();
    ops.truncate(4);
    let ty = body.graph.outputs.first().map(|&v| body.ty(v).to_string()).unwrap_or_default();
    let ty: String =
        ty.chars().filter(|c| *c != ' ').map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let mut name = format!("{family}_{}_{ty}", ops.join("_").to_ascii_lowercase());
    name.truncate(96);
    name
}

/// Whether every value has the output's dims or one element, so that one linear index serves all.
fn is_flat(cx: &LowerCx, body: &Body, dims: &[Expr]) -> bool {
    let simple = |op: &Op| {
        op.is_pointwise()
            || matches!(op, Op::Identity(_) | Op::Constant(_) | Op::Quantize(_) | Op::Dequantize(_))
    };
    let n = product(dims);
    let fits = |v: &ValueId| {
        let ty = body.ty(*v);
        ty.numel().is(1)
            || (ty.dims.len() == dims.len()
                && ty.dims.iter().zip(dims).all(|(a, b)| cx.symbols.known_eq(a, b)))
    };
    !n.is(1)
        && body
            .graph
            .iter()
            .all(|(_, node)| simple(&node.op) && node.inputs.iter().chain(&node.outputs).all(fits))
}

type Emit<'e> = dyn FnMut(&mut KernelBuilder, &mut Puller, &[Idx], u16) -> Result<()> + 'e;

/// Parallel loop over rows (or chunks of one long row), vector loop inside, scalar rest.
fn nest(
    b: &mut KernelBuilder,
    p: &mut Puller,
    rows: &[Expr],
    row: &Expr,
    lanes: u16,
    flat: bool,
    emit: &mut Emit,
) -> Result<()> {
    let rank = rows.len() + usize::from(!(row.is(1) && rows.is_empty() && !flat));
    let scalar =
        rank == 0 || (rows.is_empty() && row.is(1) && !flat && p.dims(p.body.graph.outputs[0]).is_empty());
    if scalar {
        let idx = vec![Idx::default(); p.dims(p.body.graph.outputs[0]).len()];
        return emit(b, p, &idx, 1);
    }
    let total = product(rows);
    let mut done = Ok(());
    // Rows are grouped so that one step of the parallel loop is worth handing to a thread.
    let per_row = row.as_const().unwrap_or(64).max(1);
    let (steps, in_rows) = match rows.is_empty() {
        true => (row.ceil_div(&CHUNK.into()), false),
        false => (total.ceil_div(&(CHUNK / per_row).max(1).into()), true),
    };
    b.parallel(&steps, |b, step| {
        done = (|| {
            if !in_rows {
                let (c, n) = (int(b, CHUNK), dim(b, row));
                let lo = b.mul(step, c);
                let hi = b.add(lo, c);
                let hi = b.bin(BinOp::MinS, hi, n);
                return line(b, p, &[], Bound::Reg(lo), Bound::Reg(hi), aligned(row, lanes), lanes, emit);
            }
            let group = (CHUNK / per_row).max(1);
            let (c, n) = (int(b, group), dim(b, &total));
            let lo = b.mul(step, c);
            let hi = b.add(lo, c);
            let hi = b.bin(BinOp::MinS, hi, n);
            let mut inner = Ok(());
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, r| {
                inner = unravel(b, &Idx::reg(r), rows).and_then(|at| {
                    let hi = b.bound(row);
                    line(b, p, &at, Bound::Const(0), hi, aligned(row, lanes), lanes, emit)
                });
                p.forget();
            });
            inner
        })();
        p.forget();
    });
    done
}

fn aligned(row: &Expr, lanes: u16) -> bool {
    row.modulo(&i64::from(lanes).into()).is(0) && CHUNK % i64::from(lanes) == 0
}

/// One row from `lo` to `hi`: vectors, then what is left one by one.
#[allow(clippy::too_many_arguments)]
fn line(
    b: &mut KernelBuilder,
    p: &mut Puller,
    outer: &[Idx],
    lo: Bound,
    hi: Bound,
    aligned: bool,
    lanes: u16,
    emit: &mut Emit,
) -> Result<()> {
    let mut done = Ok(());
    if lanes == 1 {
        b.for_(lo, hi, 1, LoopKind::Serial, |b, i| {
            done = emit(b, p, &[outer, &[Idx::reg(i)]].concat(), 1);
            p.forget();
        });
        return done;
    }
    let reg = |b: &mut KernelBuilder, x: &Bound| match x {
        Bound::Const(c) => int(b, *c),
        Bound::Reg(r) => *r,
    };
    let (start, end) = (reg(b, &lo), reg(b, &hi));
    let split = if aligned {
        hi.clone()
    } else {
        let n = b.sub(end, start);
        let mask = int(b, -i64::from(lanes));
        let whole = b.bin(BinOp::And, n, mask);
        Bound::Reg(b.add(start, whole))
    };
    let before = p.snapshot();
    b.for_(lo, split.clone(), lanes.into(), LoopKind::Serial, |b, i| {
        done = emit(b, p, &[outer, &[Idx::lanes(i)]].concat(), lanes);
    });
    p.restore(&before);
    done?;
    let mut done = Ok(());
    if !aligned {
        b.for_(split, hi, 1, LoopKind::Serial, |b, i| {
            done = emit(b, p, &[outer, &[Idx::reg(i)]].concat(), 1);
        });
        p.restore(&before);
    }
    done
}

/// Sub-byte results: one byte at a time, so that no two threads share one.
fn packed(cx: &LowerCx, body: &Body, v: ValueId) -> Result<Lowered> {
    if body.graph.outputs.len() != 1 {
        return Err(Diag::bug("several sub-byte outputs in one group"));
    }
    let ty = body.ty(v).clone();
    let per = 8 / ty.dtype.bits() as i64;
    let n = ty.numel();
    let mut b = KernelBuilder::new(name(body, "pack"));
    let mut p = Puller::new(cx, body);
    let out = p.output(&mut b, 0);
    let bytes = n.ceil_div(&per.into());
    let mut done = Ok(());
    b.range(&bytes, |b, byte| {
        let acc = b.reg(Elem::I32, 1);
        let zero = access::whole(b, Elem::I32, 1, 0);
        b.copy_to(acc, zero);
        for j in 0..per {
            let at = Idx::reg(byte).times(per).plus(&Idx::at(j));
            let (x, n) = (at.materialise(b), dim(b, &n));
            let inside = b.cmp(CmpOp::Lt, x, n);
            let before = p.snapshot();
            b.if_(
                inside,
                |b| {
                    let r = unravel(b, &Idx::reg(x), &ty.dims).and_then(|idx| p.at(b, v, &idx, 1));
                    match r {
                        Ok(r) => {
                            let raw = code_of(b, ty.dtype, r);
                            let mask = access::whole(b, Elem::I32, 1, (1 << ty.dtype.bits()) - 1);
                            let raw = b.bin(BinOp::And, raw, mask);
                            let shift = access::whole(b, Elem::I32, 1, j * ty.dtype.bits() as i64);
                            let up = b.bin(BinOp::Shl, raw, shift);
                            let sum = b.bin(BinOp::Or, acc, up);
                            b.copy_to(acc, sum);
                        }
                        Err(d) => done = Err(d),
                    }
                },
                |_| {},
            );
            p.restore(&before);
        }
        let raw = b.cvt(CvtOp::Narrow, Elem::I8, acc);
        b.store(out, Idx::reg(byte).addr(), raw, None);
    });
    done?;
    Ok(p.params.finish(b))
}

/// The storage code of a sub-byte compute register as I32.
fn code_of(b: &mut KernelBuilder, dtype: sinter_ir::DType, r: Reg) -> Reg {
    if dtype.is_float() {
        let byte = access::narrow(b, dtype, r);
        return b.cvt(CvtOp::ZExt, Elem::I32, byte);
    }
    r
}

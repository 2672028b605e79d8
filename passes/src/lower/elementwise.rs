//! Groups without a root: a loop nest over the outputs' dims.

use super::access;
use super::body::Body;
use super::epilogue::store_outputs;
use super::index::{Idx, dim, int, unravel};
use super::line::{self, Line, Place};
use super::merge::{Merge, spread};
use super::pull::{Puller, vector_or_scalar};
use super::{LowerCx, Lowered, join, parallel_if, turn};
use crate::fuse::policy;
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
    if let Some(lowered) = turn::lower(cx, body)? {
        return Ok(lowered);
    }
    if let Some(lowered) = join::lower(cx, body)? {
        return Ok(lowered);
    }
    let lanes = cx.target.lanes(32);
    let flat = is_flat(cx, body, &dims);
    let merge = Merge { body, dims: &dims, stop: &|_| false };
    let first = if flat { 0 } else { merge.run(outs) };
    let all = [product(&dims)];
    let (rows, row) = if flat { (&[][..], &all[..]) } else { dims.split_at(first) };
    let cost = body.graph.iter().map(|(_, n)| policy::cost(&n.op)).sum();
    vector_or_scalar(lanes, |lanes| {
        let mut b = KernelBuilder::new(name(body, if flat { "map" } else { "move" }));
        let mut p = Puller::new(cx, body);
        p.flat = flat;
        let line = Line { lanes, unroll: if lanes > 1 { line::unroll(body) } else { 1 } };
        let nest = Nest { cx, rows, row, line, cost };
        nest.emit(&mut b, &mut p, &mut |b, p, idx, at| store_outputs(b, p, idx, at.lanes, at.tail))?;
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

pub(super) type Emit<'e> = dyn FnMut(&mut KernelBuilder, &mut Puller, &[Idx], Place) -> Result<()> + 'e;

/// The loop nest of a group.
pub(super) struct Nest<'a> {
    pub cx: &'a LowerCx<'a>,
    /// Axes in front of the contiguous ones.
    pub rows: &'a [Expr],
    /// Axes walked as one line.
    pub row: &'a [Expr],
    pub line: Line,
    /// Arithmetic per element.
    pub cost: u64,
}

impl Nest<'_> {
    /// Parallel loop over rows (or chunks of one long row), lines inside.
    pub fn emit(&self, b: &mut KernelBuilder, p: &mut Puller, f: &mut Emit) -> Result<()> {
        if self.rows.is_empty() && self.row.is_empty() {
            let zero = int(b, 0);
            return f(b, p, &[], Place { at: zero, offset: 0, lanes: 1, tail: None });
        }
        let (total, row) = (product(self.rows), product(self.row));
        // Rows are grouped so that one step of the parallel loop is worth handing to a thread.
        let per_row = row.as_const().unwrap_or(64).max(1);
        let in_rows = !self.rows.is_empty();
        let (count, per_step) = match in_rows {
            true => (&total, (CHUNK / per_row).max(1)),
            false => (&row, CHUNK),
        };
        let steps = count.ceil_div(&per_step.into());
        let work = self.cx.symbols.max(&(total.clone() * row.clone())).max(0) as u64;
        let mut done = Ok(());
        parallel_if(b, work.saturating_mul(self.cost + 1), &steps, |b, step| {
            let whole = steps.is(1);
            let (lo, hi) = match whole {
                true => (Bound::Const(0), b.bound(count)),
                false => {
                    let (c, n) = (int(b, per_step), dim(b, count));
                    let lo = b.mul(step, c);
                    let hi = b.add(lo, c);
                    (Bound::Reg(lo), Bound::Reg(b.bin(BinOp::MinS, hi, n)))
                }
            };
            if !in_rows {
                done = self.line(b, p, &[], (lo, hi), f);
            } else {
                b.for_(lo, hi, 1, LoopKind::Serial, |b, r| {
                    done = unravel(b, &Idx::reg(r), self.rows).and_then(|outer| {
                        let hi = b.bound(&row);
                        self.line(b, p, &outer, (Bound::Const(0), hi), f)
                    });
                    p.forget();
                });
            }
            p.forget();
        });
        done
    }
    fn line(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        outer: &[Idx],
        range: (Bound, Bound),
        f: &mut Emit,
    ) -> Result<()> {
        self.line.emit(b, range, &product(self.row), &mut |b, at| {
            let before = p.snapshot();
            p.tail = at.tail;
            let done = f(b, p, &[outer, &spread(&at.idx(), self.row)].concat(), at);
            p.tail = None;
            p.restore(&before);
            done
        })
    }
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

//! Pooling over windows: of one channel, or with channels last of many channels at once.

mod last;

use super::body::Body;
use super::contract::gemm::{add_const, unravel};
use super::contract::kernel::{Kernel, Source, build, name};
use super::contract::num::Num;
use super::index::{Idx, linear};
use super::out::Index;
use super::window::{Axis, Span, Tap, Window, for_each_tap, for_each_window};
use super::{LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::Pool;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, CvtOp, Elem, Inst, Reg};
use sinter_ir::{DType, Diag, Expr, Result, TensorType};

/// Lowers a pooling with its epilogue.
pub fn lower(cx: &LowerCx, body: &Body, op: &Pool) -> Result<Lowered> {
    let root = body.root_node()?;
    let (x, xt, yt) = (root.inputs[0], body.ty(root.inputs[0]), body.ty(root.outputs[0]));
    let num = Num::of(xt.dtype)?;
    if op.kind == PoolKind::Average && !num.acc.is_float() {
        return Err(Diag::unsupported(format!("average pooling of {}", xt.dtype))
            .help("cast the operand to f32 in the model"));
    }
    let spatial = if op.channels_last { 1 } else { 2 };
    let axis = |i: usize| Axis {
        size: xt.dims[spatial + i].clone(),
        points: yt.dims[spatial + i].clone(),
        taps: op.kernel[i].clone(),
        stride: op.strides[i] as i64,
        dilation: op.dilations[i] as i64,
        before: op.pads_before[i].clone(),
    };
    let axes: Vec<Axis> = (0..xt.rank() - 2).map(axis).collect();
    if op.channels_last {
        return last::lower(cx, body, op, &axes, num);
    }
    let family = if op.kind == PoolKind::Max { "maxpool" } else { "avgpool" };
    build(cx, body, &name(family, xt.dtype, &xt.dims), |k| {
        let from = k.source(Source::Value(x))?;
        let Kernel { b, out, .. } = k;
        let lanes = match op.indices || out.is_scalar() {
            true => 1,
            false => cx.target.lanes(num.acc.bits()),
        };
        let mut done = Ok(());
        b.parallel(&product(&xt.dims[..2]), |b, p| {
            let plane = b.dim(&product(&xt.dims[2..]));
            let p = Pooling { op, xt, axes: &axes, num, from, origin: b.mul(p, plane), plane: p };
            done = for_each_window(b, &axes, lanes, &mut |b, w: &Window| {
                let (values, places) = p.window(b, w)?;
                let at = unravel(b, p.plane, &xt.dims[..2]);
                for (v, value) in values.into_iter().enumerate() {
                    if let Some(&i) = places.get(v) {
                        out.end.puller.give(b, root.outputs[1], i);
                    }
                    let mut index: Vec<Index> =
                        at.iter().chain(w.at).map(|&at| Index { at, axes: 1 }).collect();
                    if let Some(last) = index.last_mut() {
                        last.at = add_const(b, last.at, (v * usize::from(w.lanes)) as i64);
                    }
                    out.put(b, &index, value, None)?;
                }
                Ok(())
            });
        });
        done
    })
}

struct Pooling<'a> {
    op: &'a Pool,
    xt: &'a TensorType,
    axes: &'a [Axis],
    num: Num,
    from: Buf,
    /// Offset of the channel.
    origin: Reg,
    /// Number of the channel, over all images.
    plane: Reg,
}

impl Pooling<'_> {
    /// Results of a window and, where asked for, the positions of the maxima.
    fn window(&self, b: &mut KernelBuilder, w: &Window) -> Result<(Vec<Reg>, Vec<Reg>)> {
        let start = start(self.op, self.xt.dtype);
        let acc: Vec<Reg> = (0..w.vectors)
            .map(|_| {
                let s = access::constant(b, self.num.acc, w.lanes, start);
                super::contract::micro::copy(b, s)
            })
            .collect();
        let none = b.i64(-1);
        let best: Vec<Reg> =
            acc.iter().filter(|_| self.op.indices).map(|_| super::contract::micro::copy(b, none)).collect();
        let mut done = Ok(());
        for_each_tap(b, self.axes, w.spans, (Idx::reg(self.origin), Idx::default()), &mut |b, t| {
            for (v, &a) in acc.iter().enumerate() {
                let value =
                    self.num.load(b, w.lanes, self.from, t.input.addr().offset(v as i64 * w.pitch), None);
                match best.get(v) {
                    Some(&best) => {
                        done = done
                            .clone()
                            .and_then(|()| self.keep(b, (value, a), best, (t, v as i64 * w.pitch)))
                    }
                    None => b.set(a, Inst::Bin(operation(self.op, self.num, self.xt.dtype), a, value)),
                }
            }
        });
        done?;
        if self.op.kind == PoolKind::Average {
            let count = count(b, self.op, self.axes, w.spans);
            let count = b.cvt(CvtOp::SToF, self.num.acc, count);
            let count = b.splat(count, w.lanes);
            acc.iter().for_each(|&a| b.set(a, Inst::Bin(BinOp::Div, a, count)));
        }
        let mut place = |best: Reg| {
            let zero = b.i64(0);
            let empty = b.cmp(CmpOp::Lt, best, zero);
            b.select(empty, zero, best)
        };
        let places = best.into_iter().map(&mut place).collect();
        Ok((acc, places))
    }
    /// Takes a value and its position when it is the first or larger than the best; NaN wins over numbers.
    fn keep(
        &self,
        b: &mut KernelBuilder,
        (value, acc): (Reg, Reg),
        best: Reg,
        (t, ahead): (&Tap, i64),
    ) -> Result<()> {
        let zero = b.i64(0);
        let first = b.cmp(CmpOp::Lt, best, zero);
        let larger = match operation(self.op, self.num, self.xt.dtype) {
            BinOp::MaxU => b.cmp(CmpOp::GtU, value, acc),
            _ => b.cmp(CmpOp::Gt, value, acc),
        };
        let mut take = b.bin(BinOp::Or, first, larger);
        if self.num.acc.is_float() {
            let (nan, number) = (b.cmp(CmpOp::Ne, value, value), b.cmp(CmpOp::Eq, acc, acc));
            let nan = b.bin(BinOp::And, nan, number);
            take = b.bin(BinOp::Or, take, nan);
        }
        let at = match self.op.column_major {
            false => t.input.plus(&Idx::at(ahead)),
            true => {
                let mut back: Vec<Idx> = t.pos.iter().rev().cloned().collect();
                if let Some(row) = back.first_mut() {
                    *row = row.plus(&Idx::at(ahead));
                }
                let dims: Vec<Expr> = self.xt.dims[2..].iter().rev().cloned().collect();
                linear(b, &back, &dims)?.plus(&Idx::reg(self.origin))
            }
        };
        let at = at.materialise(b);
        let (v, i) = (b.select(take, value, acc), b.select(take, at, best));
        b.copy_to(acc, v);
        b.copy_to(best, i);
        Ok(())
    }
}

/// What a window without elements gives.
fn start(op: &Pool, dtype: DType) -> f64 {
    match op.kind {
        PoolKind::Average => 0.0,
        PoolKind::Max => dtype.int_range().map_or(f64::NEG_INFINITY, |r| r.0 as f64),
    }
}

/// How an element joins the others.
fn operation(op: &Pool, num: Num, dtype: DType) -> BinOp {
    match (op.kind, num.acc) {
        (PoolKind::Average, _) => BinOp::Add,
        (_, Elem::F32 | Elem::F64) => BinOp::Max,
        _ if dtype.bits() >= 32 && dtype.is_unsigned_int() => BinOp::MaxU,
        _ => BinOp::MaxS,
    }
}

/// Number of elements that an average divides by.
fn count(b: &mut KernelBuilder, op: &Pool, axes: &[Axis], spans: &[Span]) -> Reg {
    let mut all = b.i64(1);
    for (i, (axis, span)) in axes.iter().zip(spans).enumerate() {
        let n = match (&span.lo, &span.hi) {
            (Bound::Const(lo), Bound::Const(hi)) => b.i64(hi - lo),
            _ if op.count_include_pad => {
                let end = b.dim(&(axis.size.clone() + op.pads_after[i].clone()));
                axis.taps_below(b, span.start, end)
            }
            (lo, hi) => {
                let (lo, hi) = (bound(b, lo), bound(b, hi));
                let n = b.sub(hi, lo);
                let zero = b.i64(0);
                b.bin(BinOp::MaxS, n, zero)
            }
        };
        all = b.mul(all, n);
    }
    all
}

fn bound(b: &mut KernelBuilder, x: &Bound) -> Reg {
    match x {
        Bound::Const(c) => b.i64(*c),
        Bound::Reg(r) => *r,
    }
}

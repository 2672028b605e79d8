//! Roots that work along one axis, one element at a time: arg-reductions, running sums.

use super::access;
use super::body::Body;
use super::elementwise::name;
use super::epilogue::Epilogue;
use super::index::{Idx, dim, int, unravel};
use super::pull::Puller;
use super::pull::elementwise::arithmetic;
use super::{LowerCx, Lowered};
use sinter_ir::expr::product;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::{ArgReduce, Cumulate};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CmpOp, LoopKind};
use sinter_ir::{DType, Expr, Result};

/// Calls `f` with the coordinates of every row along an axis, in parallel.
fn each_row(
    b: &mut KernelBuilder,
    dims: &[Expr],
    axis: usize,
    f: &mut dyn FnMut(&mut KernelBuilder, Vec<Idx>) -> Result<()>,
) -> Result<()> {
    let others: Vec<usize> = (0..dims.len()).filter(|&i| i != axis).collect();
    let outer: Vec<Expr> = others.iter().map(|&i| dims[i].clone()).collect();
    let mut done = Ok(());
    b.parallel(&product(&outer), |b, r| {
        done = unravel(b, &Idx::reg(r), &outer).and_then(|parts| {
            let mut at = vec![Idx::default(); dims.len()];
            others.iter().zip(parts).for_each(|(&i, p)| at[i] = p);
            f(b, at)
        });
    });
    done
}

/// Index of the extreme element; NaN wins, ties go to the first or last.
pub fn arg(cx: &LowerCx, body: &Body, op: &ArgReduce) -> Result<Lowered> {
    let x = body.root_node()?.inputs[0];
    let ty = body.ty(x).clone();
    let elem = access::compute(ty.dtype)?;
    let mut b = KernelBuilder::new(name(body, "arg"));
    let mut e = Epilogue::new(Puller::new(cx, body))?;
    each_row(&mut b, &ty.dims, op.axis, &mut |b, mut at| {
        at[op.axis] = Idx::at(0);
        let first = e.puller.at(b, x, &at, 1)?;
        e.puller.forget();
        let best = b.reg(elem, 1);
        b.copy_to(best, first);
        let place = b.i64(0);
        let n = dim(b, &ty.dims[op.axis]);
        let unsigned = matches!(ty.dtype, DType::U32 | DType::U64);
        let cmp = match (op.largest, unsigned) {
            (true, false) => CmpOp::Gt,
            (true, true) => CmpOp::GtU,
            (false, false) => CmpOp::Lt,
            (false, true) => CmpOp::LtU,
        };
        let mut done = Ok(());
        b.for_(Bound::Const(1), Bound::Reg(n), 1, LoopKind::Serial, |b, i| {
            done = (|| {
                at[op.axis] = Idx::reg(i);
                let v = e.puller.at(b, x, &at, 1)?;
                let mut better = b.cmp(cmp, v, best);
                if op.last {
                    let same = b.cmp(CmpOp::Eq, v, best);
                    better = b.bin(BinOp::Or, better, same);
                }
                if elem.is_float() {
                    let (vn, bn) = (b.cmp(CmpOp::Ne, v, v), b.cmp(CmpOp::Eq, best, best));
                    let new_nan = b.bin(BinOp::And, vn, bn);
                    better = b.bin(BinOp::Or, better, new_nan);
                }
                let (nb, np) = (b.select(better, v, best), b.select(better, i, place));
                b.copy_to(best, nb);
                b.copy_to(place, np);
                Ok(())
            })();
            e.puller.forget();
        });
        done?;
        let out: Vec<Idx> = match op.keepdims {
            true => at
                .iter()
                .enumerate()
                .map(|(i, a)| if i == op.axis { Idx::at(0) } else { a.clone() })
                .collect(),
            false => at.iter().enumerate().filter(|(i, _)| *i != op.axis).map(|(_, a)| a.clone()).collect(),
        };
        e.emit(b, &out, place, None)
    })?;
    Ok(e.puller.params.finish(b))
}

/// Running sum or product along an axis.
pub fn cumulate(cx: &LowerCx, body: &Body, op: &Cumulate) -> Result<Lowered> {
    let x = body.root_node()?.inputs[0];
    let ty = body.ty(x).clone();
    let elem = access::compute(ty.dtype)?;
    let mut b = KernelBuilder::new(name(body, "cumulate"));
    let mut e = Epilogue::new(Puller::new(cx, body))?;
    each_row(&mut b, &ty.dims, op.axis, &mut |b, mut at| {
        let acc = b.reg(elem, 1);
        let start = access::constant(b, elem, 1, f64::from(u8::from(op.product)));
        b.copy_to(acc, start);
        let n = dim(b, &ty.dims[op.axis]);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Reg(n), 1, LoopKind::Serial, |b, i| {
            done = (|| {
                let k = match op.reverse {
                    false => i,
                    true => {
                        let one = int(b, 1);
                        let last = b.sub(n, one);
                        b.sub(last, i)
                    }
                };
                at[op.axis] = Idx::reg(k);
                let v = e.puller.at(b, x, &at, 1)?;
                let old = b.reg(elem, 1);
                b.copy_to(old, acc);
                let next = arithmetic(b, if op.product { B::Mul } else { B::Add }, ty.dtype, acc, v, 1)?;
                let next = access::result(b, ty.dtype, next);
                b.copy_to(acc, next);
                e.emit(b, &at, if op.exclusive { old } else { next }, None)
            })();
            e.puller.forget();
        });
        done
    })?;
    Ok(e.puller.params.finish(b))
}

//! Reductions over any axes, with computed operands and consumers.

use super::access;
use super::body::Body;
use super::elementwise::name;
use super::epilogue::Epilogue;
use super::index::{Idx, dim, int, unravel};
use super::pull::elementwise::arithmetic;
use super::pull::{Puller, not_vector, vector_or_scalar};
use super::{LowerCx, Lowered};
use sinter_ir::expr::product;
use sinter_ir::op::Reduce;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CvtOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result, ValueId};

/// Lowers a group whose root is a reduction.
pub fn lower(cx: &LowerCx, body: &Body, op: &Reduce) -> Result<Lowered> {
    let root = body.root_node()?;
    let x = root.inputs[0];
    let dims = body.ty(x).dims.clone();
    let last = dims.len().saturating_sub(1);
    let along = op.axes.contains(&last);
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let mut b = KernelBuilder::new(name(body, "reduce"));
        let mut e = Epilogue::new(Puller::new(cx, body))?;
        let own = body.ty(x).dtype;
        // The sum behind a mean may be larger than its elements.
        let dtype = if op.kind == R::Mean && own.is_int() && own != DType::U64 { DType::I64 } else { own };
        if lanes > 1 && dtype != own {
            return Err(not_vector());
        }
        let n = Nest { op, x, dims: &dims, dtype };
        match along || lanes == 1 || dims.is_empty() {
            true => n.rows(&mut b, &mut e, if along { lanes } else { 1 })?,
            false => n.columns(&mut b, &mut e, lanes)?,
        }
        Ok(e.puller.params.finish(b))
    })
}

struct Nest<'a> {
    op: &'a Reduce,
    x: ValueId,
    dims: &'a [Expr],
    dtype: DType,
}

/// Where elements are collected.
#[derive(Clone, Copy)]
struct Into {
    acc: Reg,
    lanes: u16,
    rest: Option<Reg>,
}

impl Nest<'_> {
    fn kept(&self) -> Vec<usize> {
        (0..self.dims.len()).filter(|i| !self.op.axes.contains(i)).collect()
    }
    /// Result coordinates of kept operand coordinates.
    fn out(&self, at: &[Idx]) -> Vec<Idx> {
        match self.op.keepdims {
            true => at.to_vec(),
            false => self.kept().into_iter().map(|i| at[i].clone()).collect(),
        }
    }
    /// One result per step of the outer loop; vectors along the last (reduced) axis.
    fn rows(&self, b: &mut KernelBuilder, e: &mut Epilogue, lanes: u16) -> Result<()> {
        let kept = self.kept();
        let outer: Vec<Expr> = kept.iter().map(|&i| self.dims[i].clone()).collect();
        let mut done = Ok(());
        b.parallel(&product(&outer), |b, r| {
            done = (|| {
                let mut at = vec![Idx::default(); self.dims.len()];
                let parts = unravel(b, &Idx::reg(r), &outer)?;
                kept.iter().zip(parts).for_each(|(&i, p)| at[i] = p);
                let acc = self.start(b, lanes)?;
                // Scalars collect what does not fill a vector.
                let rest = if lanes > 1 { Some(self.start(b, 1)?) } else { None };
                self.loops(b, e, &self.op.axes, &mut at, Into { acc, lanes, rest })?;
                let mut v = if lanes > 1 { self.fold(b, acc)? } else { acc };
                if let Some(rest) = rest {
                    v = self.combine(b, v, rest, 1)?;
                }
                let v = self.finish(b, e, v, 1)?;
                let out = self.out(&at);
                e.emit(b, &out, v, None)
            })();
        });
        done
    }
    /// Vectors along the last (kept) axis; a scalar rest.
    fn columns(&self, b: &mut KernelBuilder, e: &mut Epilogue, lanes: u16) -> Result<()> {
        let kept = self.kept();
        let (&last, outer) = kept.split_last().ok_or_else(|| sinter_ir::Diag::bug("no kept axis"))?;
        let rows: Vec<Expr> = outer.iter().map(|&i| self.dims[i].clone()).collect();
        let n = self.dims[last].clone();
        let mut done = Ok(());
        b.parallel(&product(&rows), |b, r| {
            done = (|| {
                let mut at = vec![Idx::default(); self.dims.len()];
                let parts = unravel(b, &Idx::reg(r), &rows)?;
                outer.iter().zip(parts).for_each(|(&i, p)| at[i] = p);
                let end = dim(b, &n);
                let mask = int(b, -i64::from(lanes));
                let whole = b.bin(BinOp::And, end, mask);
                let mut inner = Ok(());
                for (lo, hi, l) in
                    [(Bound::Const(0), Bound::Reg(whole), lanes), (Bound::Reg(whole), Bound::Reg(end), 1)]
                {
                    if l == 1 && n.modulo(&i64::from(lanes).into()).is(0) {
                        continue;
                    }
                    b.for_(lo, hi, l.into(), LoopKind::Serial, |b, i| {
                        inner = (|| {
                            let mut at = at.clone();
                            at[last] = if l > 1 { Idx::lanes(i) } else { Idx::reg(i) };
                            let acc = self.start(b, l)?;
                            self.loops(b, e, &self.op.axes, &mut at, Into { acc, lanes: l, rest: None })?;
                            let v = self.finish(b, e, acc, l)?;
                            let out = self.out(&at);
                            e.emit(b, &out, v, None)
                        })();
                    });
                    std::mem::replace(&mut inner, Ok(()))?;
                }
                inner
            })();
        });
        done
    }
    /// Serial loops over the reduced axes; `at` keeps the loop variables. With `rest`, the last axis is taken in
    /// vectors and what does not fill one goes to `rest`.
    fn loops(
        &self,
        b: &mut KernelBuilder,
        e: &mut Epilogue,
        axes: &[usize],
        at: &mut Vec<Idx>,
        into: Into,
    ) -> Result<()> {
        let Some((&axis, more)) = axes.split_first() else {
            return self.step(b, e, at, into.acc, into.lanes);
        };
        let mut done = Ok(());
        match into.rest.filter(|_| axis + 1 == self.dims.len()) {
            Some(rest) => {
                let lanes = i64::from(into.lanes);
                let end = dim(b, &self.dims[axis]);
                let mask = int(b, -lanes);
                let whole = b.bin(BinOp::And, end, mask);
                let vectors = (Bound::Const(0), Bound::Reg(whole), into.acc, into.lanes);
                let left = (Bound::Reg(whole), Bound::Reg(end), rest, 1);
                for (lo, hi, acc, l) in [vectors, left] {
                    if l == 1 && self.dims[axis].modulo(&lanes.into()).is(0) {
                        continue;
                    }
                    b.for_(lo, hi, l.into(), LoopKind::Serial, |b, i| {
                        at[axis] = if l > 1 { Idx::lanes(i) } else { Idx::reg(i) };
                        done = self.step(b, e, at, acc, l);
                        e.puller.forget();
                    });
                    std::mem::replace(&mut done, Ok(()))?;
                }
            }
            None => {
                let hi = b.bound(&self.dims[axis]);
                b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, i| {
                    at[axis] = Idx::reg(i);
                    done = self.loops(b, e, more, at, into);
                    e.puller.forget();
                });
            }
        }
        at[axis] = Idx::default();
        done
    }
    fn step(&self, b: &mut KernelBuilder, e: &mut Epilogue, at: &[Idx], acc: Reg, lanes: u16) -> Result<()> {
        let v = e.puller.at(b, self.x, at, lanes)?;
        let v = e.puller.convert(b, e.puller.ty(self.x).dtype, self.dtype, v, true)?;
        let v = b.splat(v, lanes);
        let sum = self.combine(b, acc, v, lanes)?;
        b.copy_to(acc, sum);
        Ok(())
    }
    fn combine(&self, b: &mut KernelBuilder, x: Reg, y: Reg, lanes: u16) -> Result<Reg> {
        let kind = match self.op.kind {
            R::Sum | R::Mean => B::Add,
            R::Prod => B::Mul,
            R::Max => B::Max,
            R::Min => B::Min,
        };
        arithmetic(b, kind, self.dtype, x, y, lanes)
    }
    fn fold(&self, b: &mut KernelBuilder, acc: Reg) -> Result<Reg> {
        let (float, unsigned) = (b.ty(acc).elem.is_float(), self.dtype.is_unsigned_int());
        let truth = b.ty(acc).elem == Elem::B1;
        let op = match self.op.kind {
            R::Sum | R::Mean => BinOp::Add,
            R::Prod => BinOp::Mul,
            R::Max if truth => BinOp::Or,
            R::Min if truth => BinOp::And,
            R::Max if float => BinOp::Max,
            R::Min if float => BinOp::Min,
            R::Max if unsigned => BinOp::MaxU,
            R::Min if unsigned => BinOp::MinU,
            R::Max => BinOp::MaxS,
            R::Min => BinOp::MinS,
        };
        Ok(b.fold(op, acc))
    }
    /// An accumulator with the neutral element.
    fn start(&self, b: &mut KernelBuilder, lanes: u16) -> Result<Reg> {
        let elem = access::compute(self.dtype)?;
        let (lo, hi) = self.dtype.int_range().unwrap_or((0, 1));
        let v = match (self.op.kind, elem.is_float()) {
            (R::Sum | R::Mean, _) => access::constant(b, elem, lanes, 0.0),
            (R::Prod, _) => access::constant(b, elem, lanes, 1.0),
            (R::Max, true) => access::constant(b, elem, lanes, f64::NEG_INFINITY),
            (R::Min, true) => access::constant(b, elem, lanes, f64::INFINITY),
            (R::Max, _) if elem == Elem::B1 => access::constant(b, elem, lanes, 0.0),
            (R::Min, _) if elem == Elem::B1 => access::constant(b, elem, lanes, 1.0),
            (R::Max, _) => access::whole(b, elem, lanes, lo as i64),
            (R::Min, _) => access::whole(b, elem, lanes, hi as u64 as i64),
        };
        let acc = b.reg(elem, lanes);
        b.copy_to(acc, v);
        Ok(acc)
    }
    /// Division of a mean, and back to the operand's type.
    fn finish(&self, b: &mut KernelBuilder, e: &mut Epilogue, v: Reg, lanes: u16) -> Result<Reg> {
        if self.op.kind != R::Mean {
            return Ok(v);
        }
        let count = product(self.op.axes.iter().map(|&a| &self.dims[a]));
        let n = dim(b, &count);
        let n = match b.ty(v).elem {
            t if t.is_float() => b.cvt(CvtOp::SToF, t, n),
            _ => n,
        };
        let n = b.splat(n, lanes);
        let mean = arithmetic(b, B::Div, self.dtype, v, n, lanes)?;
        e.puller.convert(b, self.dtype, e.dtype(), mean, true)
    }
}

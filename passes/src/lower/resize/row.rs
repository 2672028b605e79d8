//! The operand rows that make up a row of the result.

use super::table::Table;
use crate::lower::access;
use crate::lower::index::{Idx, dim, int};
use crate::lower::out::Out;
use sinter_ir::expr::product;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result, TensorType};

/// Rows of the operand that are summed without a loop over them.
pub const FEW: i64 = 4;

/// What the rows of a result are made of.
pub struct Row<'a> {
    /// Operand.
    pub xt: &'a TensorType,
    /// Its memory.
    pub x: Buf,
    /// Arithmetic.
    pub elem: Elem,
    /// Its type.
    pub real: DType,
    /// Axes in front of the columns that change.
    pub tables: &'a [Table],
    /// Vector lanes for neighbouring elements.
    pub lanes: u16,
    /// Elements of an operand row.
    pub length: &'a Expr,
}

/// A row of operand elements, or of their sums.
pub struct Elements {
    /// Memory.
    pub buf: Buf,
    /// Type there.
    pub dtype: DType,
    /// First element.
    pub origin: Idx,
}

impl Row<'_> {
    /// Distance between neighbours along an axis of the operand.
    fn stride(&self, axis: usize) -> Expr {
        product(&self.xt.dims[axis + 1..])
    }
    fn table(&self, axis: usize) -> Option<&Table> {
        self.tables.iter().find(|t| t.axis == axis)
    }
    /// Offset from the axes that do not change.
    fn fixed(&self, b: &mut KernelBuilder, at: &[Idx]) -> Result<Idx> {
        let mut origin = Idx::default();
        for (axis, i) in at.iter().enumerate().filter(|(i, _)| self.table(*i).is_none()) {
            origin = origin.plus(&i.times_expr(b, &self.stride(axis))?);
        }
        Ok(origin)
    }
    /// The one operand row, where every axis has one tap.
    pub fn single(&self, b: &mut KernelBuilder, at: &[Idx]) -> Result<Elements> {
        let mut origin = self.fixed(b, at)?;
        for t in self.tables {
            let o = at[t.axis].materialise(b);
            let i = t.index(b, &Idx::default(), o)?;
            origin = origin.plus(&i.times_expr(b, &self.stride(t.axis))?);
        }
        let origin = Idx::reg(origin.materialise(b));
        Ok(Elements { buf: self.x, dtype: self.xt.dtype, origin })
    }
    /// The weighted sum of operand rows, in scratch memory.
    pub fn sum(&self, b: &mut KernelBuilder, out: &mut Out, at: &[Idx], to: (Buf, Reg)) -> Result<Elements> {
        let fixed = self.fixed(b, at)?;
        let count = product(&self.tables.iter().map(|t| t.taps.clone()).collect::<Vec<_>>());
        if count.as_const().is_some_and(|c| c <= FEW) {
            let mut rows = vec![(fixed, None)];
            for t in self.tables {
                let o = at[t.axis].materialise(b);
                let mut next = vec![];
                for j in 0..t.taps.as_const().unwrap_or(0) {
                    let i = t.index(b, &Idx::at(j), o)?.times_expr(b, &self.stride(t.axis))?;
                    let w = t.weight(b, &Idx::at(j), o)?;
                    for (base, weight) in &rows {
                        next.push((Idx::reg(base.plus(&i).materialise(b)), times(b, *weight, w)));
                    }
                }
                rows = next;
            }
            self.along(b, self.length, &mut |b, e, lanes| {
                let mut sum = None;
                for (base, w) in &rows {
                    sum = Some(self.term(b, out, (base, &e, *w, lanes), sum)?);
                }
                let v = sum.unwrap_or_else(|| access::constant(b, self.elem, lanes, 0.0));
                b.store(to.0, Idx::reg(to.1).plus(&e).addr(), v, None);
                Ok(())
            })?;
        } else {
            self.along(b, self.length, &mut |b, e, lanes| {
                let zero = access::constant(b, self.elem, lanes, 0.0);
                b.store(to.0, Idx::reg(to.1).plus(&e).addr(), zero, None);
                Ok(())
            })?;
            self.collect(b, out, at, (self.tables, &fixed, None), to)?;
        }
        Ok(Elements { buf: to.0, dtype: self.real, origin: Idx::reg(to.1) })
    }
    /// Adds the rows of all taps of the tables to scratch memory.
    fn collect(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        at: &[Idx],
        (tables, base, weight): (&[Table], &Idx, Option<Reg>),
        to: (Buf, Reg),
    ) -> Result<()> {
        let Some((t, rest)) = tables.split_first() else {
            return self.along(b, self.length, &mut |b, e, lanes| {
                let place = Idx::reg(to.1).plus(&e).addr();
                let so_far = b.load(self.elem, lanes, to.0, place.clone(), None);
                let v = self.term(b, out, (base, &e, weight, lanes), Some(so_far))?;
                b.store(to.0, place, v, None);
                Ok(())
            });
        };
        let mut done = Ok(());
        let o = at[t.axis].materialise(b);
        each_tap(b, t, o, &mut |b, i, w| {
            done = i.times_expr(b, &self.stride(t.axis)).and_then(|i| {
                let base = Idx::reg(base.plus(&i).materialise(b));
                let w = times(b, weight, w);
                self.collect(b, out, at, (rest, &base, w), to)
            });
        })?;
        done
    }
    /// An operand element times its weight, plus a sum.
    fn term(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        (base, e, w, lanes): (&Idx, &Idx, Option<Reg>, u16),
        sum: Option<Reg>,
    ) -> Result<Reg> {
        let v = access::load(b, self.xt.dtype, self.x, &base.plus(e), lanes, None)?;
        let v = out.end.puller.convert(b, self.xt.dtype, self.real, v, false)?;
        let w = w.map(|w| b.splat(w, lanes));
        Ok(add(b, v, w, sum))
    }
    /// Whether the row lies outside along any of the axes in front.
    pub fn outside(&self, b: &mut KernelBuilder, at: &[Idx]) -> Option<Reg> {
        let mut any = None;
        for t in self.tables {
            let o = at[t.axis].materialise(b);
            let own = t.outside(b, o);
            any = either(b, any, own);
        }
        any
    }
    /// Calls `f` for the elements `0..n`: vectors, then what is left one by one.
    pub fn along(
        &self,
        b: &mut KernelBuilder,
        n: &Expr,
        f: &mut dyn FnMut(&mut KernelBuilder, Idx, u16) -> Result<()>,
    ) -> Result<()> {
        let (lanes, mut done) = (self.lanes, Ok(()));
        let hi = b.bound(n);
        if lanes == 1 || n.as_const().is_some_and(|n| n < i64::from(lanes)) {
            b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, i| done = f(b, Idx::reg(i), 1));
            return done;
        }
        let (all, mask) = (dim(b, n), int(b, -i64::from(lanes)));
        let whole = Bound::Reg(b.bin(BinOp::And, all, mask));
        b.for_(Bound::Const(0), whole.clone(), lanes.into(), LoopKind::Serial, |b, i| {
            done = f(b, Idx::lanes(i), lanes);
        });
        if n.modulo(&i64::from(lanes).into()).is(0) {
            return done;
        }
        done?;
        let mut done = Ok(());
        b.for_(whole, hi, 1, LoopKind::Serial, |b, i| done = f(b, Idx::reg(i), 1));
        done
    }
}

/// Loops over the taps of a position that count.
pub fn each_tap(
    b: &mut KernelBuilder,
    t: &Table,
    o: Reg,
    f: &mut dyn FnMut(&mut KernelBuilder, Idx, Option<Reg>),
) -> Result<()> {
    let hi = b.bound(&t.taps);
    let mut done = Ok(());
    b.for_(Bound::Const(0), hi, 1, LoopKind::Serial, |b, j| {
        done = (|| {
            let j = Idx::reg(j);
            let Some(w) = t.weight(b, &j, o)? else {
                let i = t.index(b, &j, o)?;
                f(b, i, None);
                return Ok(());
            };
            let ty = b.ty(w);
            let zero = b.zero(ty);
            let counts = b.cmp(CmpOp::Ne, w, zero);
            let mut inner = Ok(());
            b.if_(counts, |b| inner = t.index(b, &j, o).map(|i| f(b, i, Some(w))), |_| {});
            inner
        })();
    });
    done
}

fn times(b: &mut KernelBuilder, x: Option<Reg>, y: Option<Reg>) -> Option<Reg> {
    match (x, y) {
        (Some(x), Some(y)) => Some(b.mul(x, y)),
        (x, y) => x.or(y),
    }
}

/// Either of two conditions.
pub fn either(b: &mut KernelBuilder, x: Option<Reg>, y: Option<Reg>) -> Option<Reg> {
    match (x, y) {
        (Some(x), Some(y)) => Some(b.bin(BinOp::Or, x, y)),
        (x, y) => x.or(y),
    }
}

/// `v * w + sum`. In f64 both are rounded, as in the evaluator.
pub fn add(b: &mut KernelBuilder, v: Reg, w: Option<Reg>, sum: Option<Reg>) -> Reg {
    match (w, sum) {
        (Some(w), Some(s)) if b.ty(v).elem == Elem::F32 => b.mul_add(v, w, s),
        (Some(w), s) => {
            let p = b.mul(v, w);
            s.map_or(p, |s| b.add(s, p))
        }
        (None, Some(s)) => b.add(s, v),
        (None, None) => v,
    }
}

//! The columns of a row of the result.

use super::row::{Elements, FEW, Row, add, each_tap, either};
use super::table::Table;
use crate::lower::access;
use crate::lower::index::{Idx, int};
use crate::lower::out::{Index, Out};
use sinter_ir::op::Resize;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Reg, Ty};
use sinter_ir::{Expr, Result};

/// The columns of a row of the result.
pub struct Columns<'a> {
    /// The operation.
    pub op: &'a Resize,
    /// What they come from.
    pub source: Elements,
    /// The row.
    pub row: &'a Row<'a>,
    /// Taps along the last axis that changes; none: a copy.
    pub table: Option<&'a Table>,
    /// Elements behind that axis.
    pub inner: &'a Expr,
    /// Whether the whole row lies outside.
    pub outside: Option<Reg>,
}

impl Columns<'_> {
    /// Hands all elements on. `count`: the columns, where there is an axis of them; `behind`: axes behind it.
    pub fn emit(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        at: &[Idx],
        count: Option<&Expr>,
        behind: usize,
    ) -> Result<()> {
        let lead: Vec<Index> = at.iter().map(|i| Index { at: i.materialise(b), axes: 1 }).collect();
        let Some(count) = count else {
            return self.column(b, out, (&lead, None), behind);
        };
        let mut done = Ok(());
        if let Some(t) = self.table.filter(|t| t.repeats > 1 && self.inner.is(1)) {
            b.range(&count.div(&t.repeats.into()), |b, i| {
                done = self.repeat(b, out, &lead, (i, t.repeats), behind);
            });
            return done;
        }
        b.range(count, |b, o| done = self.column(b, out, (&lead, Some(o)), behind));
        done
    }
    /// Writes element `i` of the source several times.
    fn repeat(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        lead: &[Index],
        (i, times): (Reg, i64),
        behind: usize,
    ) -> Result<()> {
        let v = self.load(b, out, &self.source.origin.plus(&Idx::reg(i)), 1, false)?;
        let first = Idx::reg(i).times(times).materialise(b);
        let put = |b: &mut KernelBuilder, out: &mut Out, o: Reg| {
            let mut index = lead.to_vec();
            index.push(Index { at: o, axes: 1 });
            index.push(Index { at: int(b, 0), axes: behind });
            out.put(b, &index, v, None)
        };
        if times <= FEW {
            return (0..times).try_for_each(|k| {
                let o = Idx::reg(first).plus(&Idx::at(k)).materialise(b);
                put(b, out, o)
            });
        }
        let mut done = Ok(());
        b.range(&times.into(), |b, k| {
            let o = b.add(first, k);
            done = put(b, out, o);
        });
        done
    }
    fn column(
        &self,
        b: &mut KernelBuilder,
        out: &mut Out,
        (lead, o): (&[Index], Option<Reg>),
        behind: usize,
    ) -> Result<()> {
        let mut outside = self.outside;
        if let (Some(t), Some(o)) = (self.table, o) {
            let own = t.outside(b, o);
            outside = either(b, outside, own);
        }
        let few = self.table.filter(|t| t.taps.as_const().is_some_and(|c| c <= FEW)).zip(o);
        let mut taps = vec![];
        if let Some((t, o)) = few {
            for j in 0..t.taps.as_const().unwrap_or(0) {
                let (i, w) = (t.index(b, &Idx::at(j), o)?, t.weight(b, &Idx::at(j), o)?);
                taps.push(self.tap(b, i, w)?);
            }
        }
        self.row.along(b, self.inner, &mut |b, e, lanes| {
            let mut v = match (self.table, o) {
                (Some(t), Some(o)) if few.is_none() => {
                    let sum = b.zero(Ty { elem: self.row.elem, lanes });
                    let mut done = Ok(());
                    each_tap(b, t, o, &mut |b, i, w| {
                        done = self.tap(b, i, w).and_then(|(base, w)| {
                            let v = self.load(b, out, &base.plus(&e), lanes, w.is_some())?;
                            let w = w.map(|w| b.splat(w, lanes));
                            let v = add(b, v, w, Some(sum));
                            b.copy_to(sum, v);
                            Ok(())
                        });
                    })?;
                    done?;
                    sum
                }
                (Some(_), Some(_)) => {
                    let mut sum = None;
                    for (base, w) in &taps {
                        let v = self.load(b, out, &base.plus(&e), lanes, w.is_some())?;
                        let w = w.map(|w| b.splat(w, lanes));
                        sum = Some(add(b, v, w, sum));
                    }
                    sum.unwrap_or_else(|| access::constant(b, self.row.elem, lanes, 0.0))
                }
                _ => self.load(b, out, &self.source.origin.plus(&e), lanes, false)?,
            };
            let dtype = self.row.xt.dtype;
            let weighted = self.table.is_some_and(|t| t.weighs());
            if weighted {
                v = out.end.puller.convert(b, self.row.real, dtype, v, true)?;
            }
            if let Some(outside) = outside {
                let (lo, hi) =
                    dtype.int_range().map_or((f64::MIN, f64::MAX), |(lo, hi)| (lo as f64, hi as f64));
                let fill = f64::from(self.op.extrapolation).clamp(lo, hi);
                let fill = access::constant(b, access::compute(dtype)?, lanes, fill);
                v = b.select(outside, fill, v);
            }
            let mut index = lead.to_vec();
            index.extend(o.map(|at| Index { at, axes: 1 }));
            index.push(Index { at: e.materialise(b), axes: behind });
            out.put(b, &index, v, None)
        })
    }
    /// Offset and weight of a tap.
    fn tap(&self, b: &mut KernelBuilder, i: Idx, w: Option<Reg>) -> Result<(Idx, Option<Reg>)> {
        let own = i.times_expr(b, self.inner)?;
        Ok((Idx::reg(self.source.origin.plus(&own).materialise(b)), w))
    }
    /// A source element, as a number to weigh where asked for.
    fn load(&self, b: &mut KernelBuilder, out: &mut Out, at: &Idx, lanes: u16, weigh: bool) -> Result<Reg> {
        let v = access::load(b, self.source.dtype, self.source.buf, at, lanes, None)?;
        if !weigh {
            return Ok(v);
        }
        out.end.puller.convert(b, self.source.dtype, self.row.real, v, false)
    }
}

//! Re-indexing.

use super::{Puller, access, not_vector};
use crate::lower::index::{Idx, dim, int, linear, unravel};
use sinter_ir::expr::product;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::{FromDims, Pad};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, CmpOp, Elem, Reg};
use sinter_ir::{Expr, Result, ValueId};

impl Puller<'_> {
    /// Dims are matched in groups with equal products; only groups that really change are linearised.
    pub(super) fn reshape(
        &mut self,
        b: &mut KernelBuilder,
        out: &[Expr],
        x: ValueId,
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let own = self.dims(x);
        if self.flat {
            return self.at(b, x, idx, lanes);
        }
        let mut at = vec![Idx::default(); own.len()];
        for (from, to) in groups(out, own) {
            let inner: Vec<usize> = from.clone().filter(|&i| !out[i].is(1)).collect();
            let outer: Vec<usize> = to.clone().filter(|&i| !own[i].is(1)).collect();
            match (inner.as_slice(), outer.as_slice()) {
                (&[i], &[o]) => at[o] = idx[i].clone(),
                (_, []) => {}
                _ => {
                    let at_once = linear(b, &idx[from.clone()], &out[from])?;
                    match outer.as_slice() {
                        &[o] => at[o] = at_once,
                        _ => {
                            let parts = unravel(b, &at_once, &own[to.clone()])?;
                            to.zip(parts).for_each(|(o, p)| at[o] = p);
                        }
                    }
                }
            }
        }
        self.at(b, x, &at, lanes)
    }

    pub(super) fn pad(
        &mut self,
        b: &mut KernelBuilder,
        op: &Pad,
        x: [ValueId; 2],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let dims = self.dims(x[0]);
        let mut at = Vec::with_capacity(idx.len());
        let mut inside: Option<Reg> = None;
        for (i, d) in idx.iter().enumerate().map(|(k, i)| (i, &dims[k])).collect::<Vec<_>>() {
            let k = at.len();
            let (before, after) = (&op.before[k], &op.after[k]);
            let moved = i.plus_expr(b, &-before.clone());
            let symbols = self.cx.symbols;
            let grows = symbols.range(before).1 > 0 || symbols.range(after).1 > 0;
            if !grows {
                at.push(moved);
                continue;
            }
            if moved.step != 0 {
                return Err(not_vector());
            }
            let (p, n, zero) = (moved.materialise(b), dim(b, d), int(b, 0));
            if op.mode == PadMode::Constant {
                let ok = b.cmp(CmpOp::LtU, p, n);
                inside = Some(inside.map_or(ok, |a| b.bin(BinOp::And, a, ok)));
                at.push(Idx::reg(p));
                continue;
            }
            let one = int(b, 1);
            let last = b.sub(n, one);
            let q = match op.mode {
                PadMode::Edge => {
                    let up = b.bin(BinOp::MaxS, p, zero);
                    b.bin(BinOp::MinS, up, last)
                }
                PadMode::Wrap => floor_mod(b, p, n),
                _ => {
                    // Period 2 (n - 1); a single element repeats.
                    let period = b.add(last, last);
                    let period = b.bin(BinOp::MaxS, period, one);
                    let m = floor_mod(b, p, period);
                    let back = b.sub(period, m);
                    let q = b.bin(BinOp::MinS, m, back);
                    b.bin(BinOp::MinS, q, last)
                }
            };
            at.push(Idx::reg(q));
        }
        let Some(inside) = inside else { return self.at(b, x[0], &at, lanes) };
        let elem = access::compute(self.ty(x[0]).dtype)?;
        self.either(
            b,
            inside,
            (elem, lanes),
            |s, b| s.at(b, x[0], &at, lanes),
            |s, b| {
                let v = s.at(b, x[1], &vec![Idx::default(); s.dims(x[1]).len()], 1)?;
                Ok(b.splat(v, lanes))
            },
        )
    }

    /// The part that holds the index along the axis, by halving: as deep as the logarithm of their number.
    pub(super) fn concat(
        &mut self,
        b: &mut KernelBuilder,
        axis: usize,
        x: &[ValueId],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        if idx[axis].step != 0 {
            return Err(not_vector());
        }
        let mut end = Expr::from(0);
        let mut parts = Vec::with_capacity(x.len());
        for &v in x {
            let start = end.clone();
            end = end + self.dims(v)[axis].clone();
            parts.push((v, start));
        }
        self.part(b, axis, &parts, idx, lanes)
    }
    /// `parts`: values and where they start.
    fn part(
        &mut self,
        b: &mut KernelBuilder,
        axis: usize,
        parts: &[(ValueId, Expr)],
        idx: &[Idx],
        lanes: u16,
    ) -> Result<Reg> {
        let Some((first, start)) = parts.first() else {
            return Err(sinter_ir::Diag::bug("Concat of nothing"));
        };
        let (low, high) = parts.split_at(parts.len().div_ceil(2));
        let Some((_, limit)) = high.first() else {
            let mut own = idx.to_vec();
            own[axis] = idx[axis].plus_expr(b, &-start.clone());
            return self.at(b, *first, &own, lanes);
        };
        let (p, limit) = (idx[axis].materialise(b), dim(b, limit));
        let below = b.cmp(CmpOp::Lt, p, limit);
        let elem = access::compute(self.ty(*first).dtype)?;
        self.either(
            b,
            below,
            (elem, lanes),
            |s, b| s.part(b, axis, low, idx, lanes),
            |s, b| s.part(b, axis, high, idx, lanes),
        )
    }

    /// Symbolic integers by position: a chain of choices.
    pub(super) fn dims_tensor(&mut self, b: &mut KernelBuilder, op: &FromDims, idx: &[Idx]) -> Result<Reg> {
        let values: Vec<Reg> = op.values.iter().map(|e| dim(b, e)).collect();
        let (Some((&last, rest)), Some(i)) = (values.split_last(), idx.first()) else {
            // A scalar, or nothing at all, which no element is ever asked of.
            return Ok(values.first().copied().unwrap_or_else(|| int(b, 0)));
        };
        let p = i.materialise(b);
        let mut out = last;
        for (k, &v) in rest.iter().enumerate() {
            let k = int(b, k as i64);
            let hit = b.cmp(CmpOp::Eq, p, k);
            out = b.select(hit, v, out);
        }
        debug_assert_eq!(b.ty(out).elem, Elem::I64);
        Ok(out)
    }
}

/// Floor remainder for a positive divisor.
fn floor_mod(b: &mut KernelBuilder, x: Reg, n: Reg) -> Reg {
    let zero = int(b, 0);
    let r = b.bin(BinOp::RemS, x, n);
    let low = b.cmp(CmpOp::Lt, r, zero);
    let up = b.add(r, n);
    b.select(low, up, r)
}

type Span = std::ops::Range<usize>;

/// Smallest runs of dims on both sides whose products are equal, from the last to the first.
pub(crate) fn groups(a: &[Expr], c: &[Expr]) -> Vec<(Span, Span)> {
    let (mut i, mut j) = (a.len(), c.len());
    let mut out = Vec::new();
    while i > 0 || j > 0 {
        let (mut p, mut q) = (i, j);
        loop {
            let (x, y) = (product(&a[p..i]), product(&c[q..j]));
            if x == y && (p < i || q < j) {
                break;
            }
            // Grow the side that is known to be smaller; when unknown, both to the end.
            match (x.as_const(), y.as_const()) {
                _ if p == 0 && q == 0 => break,
                (Some(x), Some(y)) if x < y && p > 0 => p -= 1,
                (Some(_), Some(_)) if q > 0 => q -= 1,
                _ => match (y.exact_div(&x), x.exact_div(&y)) {
                    (Some(_), _) if p > 0 && !(x.is(1) && y.is(1)) => p -= 1,
                    (_, Some(_)) if q > 0 => q -= 1,
                    _ if p > 0 => p -= 1,
                    _ => q -= 1,
                },
            }
        }
        out.push((p..i, q..j));
        (i, j) = (p, q);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_are_matched_in_groups() {
        let e = |d: &[i64]| d.iter().map(|&v| Expr::from(v)).collect::<Vec<_>>();
        assert_eq!(groups(&e(&[2, 3, 4]), &e(&[6, 4])), vec![(2..3, 1..2), (0..2, 0..1)]);
        assert_eq!(groups(&e(&[24]), &e(&[2, 3, 4])), vec![(0..1, 0..3)]);
        let n: Expr = sinter_ir::Sym(0).into();
        let a = [n.clone(), 4.into()];
        let c = [n, 2.into(), 2.into()];
        assert_eq!(groups(&a, &c), vec![(1..2, 1..3), (0..1, 0..1)]);
    }
}

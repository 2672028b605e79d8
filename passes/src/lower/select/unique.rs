//! Unique: sorts the numbers of the slices, marks for each the first of its equals, numbers the groups, copies.

use super::heap::order_key;
use super::{addressable, finish, guard, words};
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::add_const;
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::Idx;
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::expr::product;
use sinter_ir::op::Unique;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, Bound, Buf, CmpOp, Elem, Inst, LoopKind, Reg};
use sinter_ir::{DType, Expr, Result};

/// Lowers a Unique.
pub fn lower(cx: &LowerCx, body: &Body, op: &Unique) -> Result<Lowered> {
    let root = body.root_node()?;
    let xt = body.ty(root.inputs[0]);
    addressable(xt.dtype, "Unique")?;
    let (mut l, mut b, mut p) =
        (Lowered::default(), KernelBuilder::new(name(body, "unique")), Params::default());
    let x = p.value(&mut b, body, root.inputs[0])?;
    let out: Vec<Buf> = root
        .outputs
        .iter()
        .enumerate()
        .map(|(i, &v)| p.buf(&mut b, Arg::Output(i), Access::ReadWrite, body.ty(v)))
        .collect();
    let (outer, len, inner) = match op.axis {
        Some(a) => (product(&xt.dims[..a]), xt.dims[a].clone(), product(&xt.dims[a + 1..])),
        None => (1.into(), xt.numel(), 1.into()),
    };
    let memory = words(&mut l, &mut b, &mut p, &(len.clone() * 2.into()));
    let (zero, n) = (b.i64(0), b.dim(&len));
    let s = Slices { dtype: xt.dtype, x, outer: &outer, len: &len, inner: &inner, memory };
    let order = s.sort(&mut b)?;
    // The other half of the memory: for each slice the first of its equals.
    let first_of = b.sub(n, order);
    let head = copy(&mut b, zero);
    let (out_first, out_inverse, out_count) = (out[1], out[2], out[3]);
    let groups = copy(&mut b, zero);
    let word = |r: Reg, i: Reg| Idx::reg(r).plus(&Idx::reg(i)).addr();
    let open = |b: &mut KernelBuilder, slice: Reg| {
        guard(cx, b, op.count, &len, groups);
        b.store(out_first, Idx::reg(groups).addr(), slice, None);
        b.store(out_count, Idx::reg(groups).addr(), zero, None);
        let next = add_const(b, groups, 1);
        b.copy_to(groups, next);
    };
    let join = |b: &mut KernelBuilder, slice: Reg, group: Reg| {
        b.store(out_inverse, Idx::reg(slice).addr(), group, None);
        let c = b.load(Elem::I64, 1, out_count, Idx::reg(group).addr(), None);
        let c = add_const(b, c, 1);
        b.store(out_count, Idx::reg(group).addr(), c, None);
    };
    let mut done = Ok(());
    b.range(&len, |b, i| {
        done = (|| {
            let slice = b.load(Elem::I64, 1, memory, word(order, i), None);
            let first = b.cmp(CmpOp::Eq, i, zero);
            let sign = s.compare(b, head, slice)?;
            let differs = b.cmp(CmpOp::Ne, sign, zero);
            let new = b.bin(BinOp::Or, first, differs);
            let h = b.select(new, slice, head);
            b.copy_to(head, h);
            if op.sorted {
                b.if_(new, |b| open(b, slice), |_| {});
                let group = add_const(b, groups, -1);
                join(b, slice, group);
            } else {
                b.store(memory, word(first_of, slice), head, None);
            }
            Ok(())
        })();
    });
    done?;
    if !op.sorted {
        // Groups in the order of their first slices.
        b.range(&len, |b, slice| {
            let head = b.load(Elem::I64, 1, memory, word(first_of, slice), None);
            let own = b.cmp(CmpOp::Eq, head, slice);
            let group = copy(b, groups);
            b.if_(
                own,
                |b| open(b, slice),
                |b| {
                    let g = b.load(Elem::I64, 1, out_inverse, Idx::reg(head).addr(), None);
                    b.copy_to(group, g);
                },
            );
            join(b, slice, group);
        });
    }
    b.set_sym(op.count, groups);
    s.pick(&mut b, out[0], out_first, groups)?;
    Ok(finish(l, b, p))
}

struct Slices<'a> {
    dtype: DType,
    x: Buf,
    outer: &'a Expr,
    len: &'a Expr,
    inner: &'a Expr,
    memory: Buf,
}

impl Slices<'_> {
    /// Offset of the first element of a slice in an outer block.
    fn row(&self, b: &mut KernelBuilder, outer: Reg, len: Reg, slice: Reg) -> Reg {
        let inner = b.dim(self.inner);
        let r = b.mul(outer, len);
        let r = b.add(r, slice);
        b.mul(r, inner)
    }
    /// Sign of the comparison of two slices, element by element.
    fn compare(&self, b: &mut KernelBuilder, p: Reg, q: Reg) -> Result<Reg> {
        let (zero, one, less) = (b.i64(0), b.i64(1), b.i64(-1));
        let (sign, i) = (copy(b, zero), copy(b, zero));
        let (cells, inner, len) =
            (b.dim(&(self.outer.clone() * self.inner.clone())), b.dim(self.inner), b.dim(self.len));
        let mut done = Ok(());
        b.while_(
            |b| {
                let (more, equal) = (b.cmp(CmpOp::Lt, i, cells), b.cmp(CmpOp::Eq, sign, zero));
                b.bin(BinOp::And, more, equal)
            },
            |b| {
                done = (|| {
                    let (o, e) = (b.bin(BinOp::DivS, i, inner), b.bin(BinOp::RemS, i, inner));
                    let key = |b: &mut KernelBuilder, slice: Reg| -> Result<Reg> {
                        let at = Idx::reg(self.row(b, o, len, slice)).plus(&Idx::reg(e));
                        let v = access::load(b, self.dtype, self.x, &at, 1, None)?;
                        Ok(order_key(b, self.dtype, v))
                    };
                    let (x, y) = (key(b, p)?, key(b, q)?);
                    let (lt, gt) = (b.cmp(CmpOp::Lt, x, y), b.cmp(CmpOp::Gt, x, y));
                    let s = b.select(gt, one, zero);
                    let s = b.select(lt, less, s);
                    b.copy_to(sign, s);
                    b.set(i, Inst::Bin(BinOp::Add, i, one));
                    Ok(())
                })();
            },
        );
        done?;
        Ok(sign)
    }
    /// Merge sort, bottom up and stable; gives the offset of the half of the memory with the sorted numbers.
    fn sort(&self, b: &mut KernelBuilder) -> Result<Reg> {
        let (zero, one, n) = (b.i64(0), b.i64(1), b.dim(self.len));
        b.range(self.len, |b, i| b.store(self.memory, Idx::reg(i).addr(), i, None));
        let (width, from) = (copy(b, one), copy(b, zero));
        let mut done = Ok(());
        b.while_(
            |b| b.cmp(CmpOp::Lt, width, n),
            |b| {
                let to = b.sub(n, from);
                let lo = copy(b, zero);
                b.while_(
                    |b| b.cmp(CmpOp::Lt, lo, n),
                    |b| {
                        let mid = b.add(lo, width);
                        let mid = b.bin(BinOp::MinS, mid, n);
                        let hi = b.add(mid, width);
                        let hi = b.bin(BinOp::MinS, hi, n);
                        done = self.merge(b, (from, to), (lo, mid, hi));
                        b.copy_to(lo, hi);
                    },
                );
                b.copy_to(from, to);
                let twice = b.add(width, width);
                b.copy_to(width, twice);
            },
        );
        done?;
        Ok(from)
    }
    /// Merges the runs `lo .. mid` and `mid .. hi`.
    fn merge(
        &self,
        b: &mut KernelBuilder,
        (from, to): (Reg, Reg),
        (lo, mid, hi): (Reg, Reg, Reg),
    ) -> Result<()> {
        let (i, j) = (copy(b, lo), copy(b, mid));
        let zero = b.i64(0);
        let word = |r: Reg, i: Reg| Idx::reg(r).plus(&Idx::reg(i)).addr();
        let mut done = Ok(());
        b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, place| {
            let (some, rest) = (b.cmp(CmpOp::Lt, i, mid), b.cmp(CmpOp::Lt, j, hi));
            let left = copy(b, some);
            let both = b.bin(BinOp::And, some, rest);
            b.if_(
                both,
                |b| {
                    let p = b.load(Elem::I64, 1, self.memory, word(from, i), None);
                    let q = b.load(Elem::I64, 1, self.memory, word(from, j), None);
                    done = self.compare(b, p, q).map(|sign| {
                        let first = b.cmp(CmpOp::Le, sign, zero);
                        b.copy_to(left, first);
                    });
                },
                |_| {},
            );
            let at = b.select(left, i, j);
            let v = b.load(Elem::I64, 1, self.memory, word(from, at), None);
            b.store(self.memory, word(to, place), v, None);
            let next = add_const(b, at, 1);
            let (ni, nj) = (b.select(left, next, i), b.select(left, j, next));
            b.copy_to(i, ni);
            b.copy_to(j, nj);
        });
        done
    }
    /// Copies the first slice of each group.
    fn pick(&self, b: &mut KernelBuilder, y: Buf, first: Buf, groups: Reg) -> Result<()> {
        let len = b.dim(self.len);
        let mut done = Ok(());
        b.range(self.outer, |b, o| {
            b.for_(Bound::Const(0), Bound::Reg(groups), 1, LoopKind::Serial, |b, g| {
                let slice = b.load(Elem::I64, 1, first, Idx::reg(g).addr(), None);
                let (from, to) = (self.row(b, o, len, slice), self.row(b, o, groups, g));
                b.range(self.inner, |b, e| {
                    done = access::load(b, self.dtype, self.x, &Idx::reg(from).plus(&Idx::reg(e)), 1, None)
                        .and_then(|v| {
                            access::store(b, self.dtype, y, &Idx::reg(to).plus(&Idx::reg(e)), v, None)
                        });
                });
            });
        });
        done
    }
}

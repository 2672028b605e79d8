//! Scatters: a copy of the operand, then updates one after the other.

use super::access;
use super::body::Body;
use super::index::{Idx, dim, linear, unravel};
use super::pull::Puller;
use super::pull::elementwise::arithmetic;
use super::{LowerCx, Lowered};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::scatter_elements::ScatterKind;
use sinter_ir::op::{ScatterElements, ScatterNd};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Bound, Buf, CvtOp, Elem, LoopKind, Reg};
use sinter_ir::{Diag, Expr, Result, ValueId};

/// Indices, updates and where an update goes.
struct Scatter<'a> {
    cx: &'a LowerCx<'a>,
    body: &'a Body,
    kind: ScatterKind,
}

/// Lowers ScatterElements.
pub fn elements(cx: &LowerCx, body: &Body, op: &ScatterElements) -> Result<Lowered> {
    let s = Scatter { cx, body, kind: op.reduction };
    s.lower("scatter_elements", &mut |b, p, at, [_, indices], dims| {
        let i = p.at(b, indices, at, 1)?;
        let i = wide(b, i);
        let mut own = at.to_vec();
        own[op.axis] = Idx::reg(super::pull::checked(b, i, &dims[op.axis]));
        Ok(own)
    })
}

/// Lowers ScatterNd.
pub fn nd(cx: &LowerCx, body: &Body, op: &ScatterNd) -> Result<Lowered> {
    let s = Scatter { cx, body, kind: op.reduction };
    s.lower("scatter_nd", &mut |b, p, at, [_, indices], dims| {
        let lead = p.dims(indices).len() - 1;
        let depth = p.dims(indices)[lead].as_const().unwrap_or(0);
        let mut own = vec![];
        for j in 0..depth {
            let mut where_ = at[..lead].to_vec();
            where_.push(Idx::at(j));
            let i = p.at(b, indices, &where_, 1)?;
            let i = wide(b, i);
            own.push(Idx::reg(super::pull::checked(b, i, &dims[j as usize])));
        }
        own.extend_from_slice(&at[lead..]);
        Ok(own)
    })
}

fn wide(b: &mut KernelBuilder, i: Reg) -> Reg {
    if b.ty(i).elem == Elem::I64 { i } else { b.cvt(CvtOp::SExt, Elem::I64, i) }
}

type Target<'t> =
    dyn FnMut(&mut KernelBuilder, &mut Puller, &[Idx], [ValueId; 2], &[Expr]) -> Result<Vec<Idx>> + 't;

impl Scatter<'_> {
    /// One kernel: copy, then the updates in order, so that the last of equal targets wins.
    fn lower(&self, family: &str, target: &mut Target) -> Result<Lowered> {
        let root = self.body.root_node()?;
        let (x, indices, updates, y) = (root.inputs[0], root.inputs[1], root.inputs[2], root.outputs[0]);
        let ty = self.body.ty(y).clone();
        if self.body.graph.outputs.as_slice() != [y] || ty.dtype.bits() < 8 {
            return Err(Diag::unsupported(format!("machine code for scatter of {} elements", ty.dtype)));
        }
        let mut b = KernelBuilder::new(super::elementwise::name(self.body, family));
        let mut p = Puller::new(self.cx, self.body);
        let out = p.params.buf(&mut b, super::Arg::Output(0), sinter_ir::tile::Access::ReadWrite, p.ty(y));
        let from = p.params.value(&mut b, self.body, x)?;
        copy(&mut b, ty.dtype, out, from, &ty.numel());
        let n = self.body.ty(updates).numel();
        let end = dim(&mut b, &n);
        let mut done = Ok(());
        b.for_(Bound::Const(0), Bound::Reg(end), 1, LoopKind::Serial, |b, i| {
            done = (|| {
                let at = unravel(b, &Idx::reg(i), p.dims(updates))?;
                let u = p.at(b, updates, &at, 1)?;
                let own = target(b, &mut p, &at, [x, indices], &ty.dims)?;
                let place = linear(b, &own, &ty.dims)?;
                let v = match self.kind {
                    ScatterKind::Set => u,
                    kind => {
                        let old = access::load(b, ty.dtype, out, &place, 1, None)?;
                        let op = match kind {
                            ScatterKind::Mul => B::Mul,
                            ScatterKind::Max => B::Max,
                            ScatterKind::Min => B::Min,
                            _ => B::Add,
                        };
                        let v = arithmetic(b, op, ty.dtype, old, u, 1)?;
                        access::result(b, ty.dtype, v)
                    }
                };
                access::store(b, ty.dtype, out, &place, v, None)
            })();
            p.forget();
        });
        done?;
        Ok(p.params.finish(b))
    }
}

/// Copies elements as they lie in memory.
fn copy(b: &mut KernelBuilder, dtype: sinter_ir::DType, to: Buf, from: Buf, n: &Expr) {
    let elem = access::memory(dtype);
    b.range(n, |b, i| {
        let v = b.load(elem, 1, from, Idx::reg(i).addr(), None);
        b.store(to, Idx::reg(i).addr(), v, None);
    });
}

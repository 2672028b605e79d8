//! NonZero: counts, which gives the result's second dim, then writes coordinates.

use super::{addressable, finish, guard};
use crate::lower::body::{Body, Params};
use crate::lower::contract::gemm::add_const;
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::{Idx, linear};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::op::NonZero;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Buf, CmpOp, Elem, Reg};
use sinter_ir::{Result, TensorType};

/// Lowers a NonZero.
pub fn lower(cx: &LowerCx, body: &Body, op: &NonZero) -> Result<Lowered> {
    let root = body.root_node()?;
    let xt = body.ty(root.inputs[0]);
    addressable(xt.dtype, "NonZero")?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "nonzero")), Params::default());
    let x = p.value(&mut b, body, root.inputs[0])?;
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, body.ty(root.outputs[0]));
    let zero = b.i64(0);
    let count = copy(&mut b, zero);
    let mut done = Ok(());
    b.range(&xt.numel(), |b, i| {
        done = is_set(b, xt, x, &Idx::reg(i)).map(|on| {
            let more = add_const(b, count, 1);
            let n = b.select(on, more, count);
            b.copy_to(count, n);
        });
    });
    done?;
    let last = add_const(&mut b, count, -1);
    guard(cx, &mut b, op.count, &xt.numel(), last);
    b.set_sym(op.count, count);
    let place = copy(&mut b, zero);
    nest(&mut b, &mut vec![], xt, x, (y, place, count))?;
    Ok(finish(Lowered::default(), b, p))
}

fn is_set(b: &mut KernelBuilder, xt: &TensorType, x: Buf, at: &Idx) -> Result<Reg> {
    let v = access::load(b, xt.dtype, x, at, 1, None)?;
    if b.ty(v).elem == Elem::B1 {
        return Ok(v);
    }
    let ty = b.ty(v);
    let zero = b.zero(ty);
    Ok(b.cmp(CmpOp::Ne, v, zero))
}

/// Loops over all axes; writes the coordinates of elements that are set.
fn nest(
    b: &mut KernelBuilder,
    at: &mut Vec<Idx>,
    xt: &TensorType,
    x: Buf,
    (y, place, count): (Buf, Reg, Reg),
) -> Result<()> {
    let mut done = Ok(());
    if let Some(d) = xt.dims.get(at.len()) {
        b.range(d, |b, i| {
            at.push(Idx::reg(i));
            done = nest(b, at, xt, x, (y, place, count));
            at.pop();
        });
        return done;
    }
    let from = linear(b, at, &xt.dims)?;
    let on = is_set(b, xt, x, &from)?;
    b.if_(
        on,
        |b| {
            let to = copy(b, place);
            for c in at.iter() {
                let c = c.materialise(b);
                b.store(y, Idx::reg(to).addr(), c, None);
                let next = b.add(to, count);
                b.copy_to(to, next);
            }
            let next = add_const(b, place, 1);
            b.copy_to(place, next);
        },
        |_| {},
    );
    Ok(())
}

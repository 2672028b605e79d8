//! Equality of strings.

use super::{View, order};
use crate::lower::body::{Body, Params};
use crate::lower::elementwise::name;
use crate::lower::index::int;
use crate::lower::{Arg, Lowered};
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, CmpOp, CvtOp, Elem};

/// Lowers a StringEqual.
pub fn lower(body: &Body) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_equal")), Params::default());
    let (x, z) = (p.value(&mut b, body, root.inputs[0])?, p.value(&mut b, body, root.inputs[1])?);
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let zero = int(&mut b, 0);
    b.range(&ty.numel(), |b, i| {
        let (v, w) = (View::load(b, x, i), View::load(b, z, i));
        let same = b.cmp(CmpOp::Eq, v.size, w.size);
        // Different sizes need no look at the bytes.
        let out = b.reg(Elem::B1, 1);
        b.copy_to(out, same);
        b.if_(
            same,
            |b| {
                let d = order(b, v, w);
                let same = b.cmp(CmpOp::Eq, d, zero);
                b.copy_to(out, same);
            },
            |_| {},
        );
        let byte = b.cvt(CvtOp::ZExt, Elem::I8, out);
        b.store(y, Addr::reg(i), byte, None);
    });
    Ok(p.finish(b))
}

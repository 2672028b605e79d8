//! Strings one behind the other.

use super::{View, Writer};
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::{Arg, LowerCx, Lowered};
use sinter_ir::Result;
use sinter_ir::tile::Access;
use sinter_ir::tile::build::KernelBuilder;

/// Lowers a StringConcat.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_concat")), Params::default());
    let (x, z) = (p.value(&mut b, body, root.inputs[0])?, p.value(&mut b, body, root.inputs[1])?);
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let w = Writer::new(cx, &mut b, &mut p)?;
    b.range(&ty.numel(), |b, i| {
        let (first, second) = (View::load(b, x, i), View::load(b, z, i));
        // One after the other: the sum of two sizes could wrap.
        w.need(b, first.size);
        let start = copy(b, w.used);
        w.append(b, first);
        w.need(b, second.size);
        w.append(b, second);
        w.since(b, start).store(b, y, i);
    });
    w.finish(&mut b);
    Ok(p.finish(b))
}

//! Strings known at compile time: their views.

use super::{pack, packed};
use crate::lower::body::{Body, Params};
use crate::lower::elementwise::name;
use crate::lower::{Arg, Lowered};
use sinter_ir::op::Texts;
use sinter_ir::tile::Access;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{DType, Result};

/// Lowers the views of constant strings.
pub fn lower(body: &Body, op: &Texts) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "texts")), Params::default());
    let data = p.pack(&mut b, pack(op.items.iter().map(String::as_str)), DType::U8);
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let base = b.address(data);
    b.range(&ty.numel(), |b, i| packed(b, data, base, i).store(b, y, i));
    Ok(p.finish(b))
}

//! Strings through an automaton.

use super::View;
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::int;
use crate::lower::{Arg, Lowered};
use sinter_ir::op::StringMatch;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, Bound, CvtOp, Elem, LoopKind};
use sinter_ir::{DType, Result};

/// Lowers a StringMatch.
pub fn lower(body: &Body, op: &StringMatch) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_match")), Params::default());
    let next: Vec<u8> = op.next.iter().flat_map(|n| n.to_le_bytes()).collect();
    let next = p.pack(&mut b, next.into(), DType::U16);
    let classes = p.pack(&mut b, op.classes.clone().into(), DType::U8);
    let accepts: Vec<u8> = op.accepts.iter().map(|&a| u8::from(a)).collect();
    let accepts = p.pack(&mut b, accepts.into(), DType::U8);
    let x = p.value(&mut b, body, root.inputs[0])?;
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let zero = int(&mut b, 0);
    let width = op.width() as i64;
    b.range(&ty.numel(), |b, i| {
        let v = View::load(b, x, i);
        let state = copy(b, zero);
        b.for_(Bound::Const(0), Bound::Reg(v.size), 1, LoopKind::Serial, |b, j| {
            let c = v.byte(b, j);
            let class = b.load(Elem::I8, 1, classes, Addr::reg(c), None);
            let class = b.cvt(CvtOp::ZExt, Elem::I64, class);
            let to = b.load(Elem::I16, 1, next, Addr::reg(class).plus(state, width), None);
            let to = b.cvt(CvtOp::ZExt, Elem::I64, to);
            b.copy_to(state, to);
        });
        let ok = b.load(Elem::I8, 1, accepts, Addr::reg(state), None);
        b.store(y, Addr::reg(i), ok, None);
    });
    Ok(p.finish(b))
}

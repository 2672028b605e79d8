//! Indices of strings in a sorted list of words, by bisection.

use super::{View, order, pack, packed};
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::int;
use crate::lower::{Arg, Lowered};
use sinter_ir::op::StringFind;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, CmpOp};
use sinter_ir::{DType, Result};

/// Lowers a StringFind.
pub fn lower(body: &Body, op: &StringFind) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_find")), Params::default());
    let words = p.pack(&mut b, pack(op.words.iter().map(String::as_str)), DType::U8);
    let x = p.value(&mut b, body, root.inputs[0])?;
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let base = b.address(words);
    let (zero, one, none) = (int(&mut b, 0), int(&mut b, 1), int(&mut b, -1));
    let count = int(&mut b, op.words.len() as i64);
    b.range(&ty.numel(), |b, i| {
        let v = View::load(b, x, i);
        let (low, high, found) = (copy(b, zero), copy(b, count), copy(b, none));
        b.while_(
            |b| b.cmp(CmpOp::Lt, low, high),
            |b| {
                let sum = b.add(low, high);
                let middle = b.bin(BinOp::ShrU, sum, one);
                let word = packed(b, words, base, middle);
                let d = order(b, v, word);
                let above = b.cmp(CmpOp::Ge, d, zero);
                let hit = b.cmp(CmpOp::Eq, d, zero);
                let next = b.add(middle, one);
                let (l, h) = (b.select(above, next, low), b.select(above, high, middle));
                let f = b.select(hit, middle, found);
                // A hit ends the search.
                let h = b.select(hit, l, h);
                b.copy_to(low, l);
                b.copy_to(high, h);
                b.copy_to(found, f);
            },
        );
        b.store(y, Addr::reg(i), found, None);
    });
    Ok(p.finish(b))
}

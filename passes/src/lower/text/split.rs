//! Parts of strings between delimiters: counted first, which gives the result's last dim, then viewed.

use super::{View, order, pack, packed};
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::int;
use crate::lower::{Arg, LowerCx, Lowered};
use sinter_ir::op::StringSplit;
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{Access, Addr, BinOp, Bound, CmpOp, Elem, Inst, LoopKind, Reg};
use sinter_ir::{DType, Result};

/// Lowers a StringSplit.
pub fn lower(cx: &LowerCx, body: &Body, op: &StringSplit) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_split")), Params::default());
    let x = p.value(&mut b, body, root.inputs[0])?;
    let parts = p.buf(&mut b, Arg::Output(0), Access::Write, body.ty(root.outputs[0]));
    let counts = p.buf(&mut b, Arg::Output(1), Access::Write, body.ty(root.outputs[1]));
    let data = p.pack(&mut b, pack([op.delimiter.as_str()].into_iter()), DType::U8);
    let base = b.address(data);
    let zero = int(&mut b, 0);
    let delimiter = packed(&mut b, data, base, zero);
    let max = int(&mut b, op.max.and_then(|m| i64::try_from(m).ok()).unwrap_or(i64::MAX));
    let cutter = Cutter { delimiter: (!op.delimiter.is_empty()).then_some(delimiter), max };
    let rows = body.ty(root.inputs[0]).numel();
    let most = copy(&mut b, zero);
    b.range(&rows, |b, i| {
        let v = View::load(b, x, i);
        let n = cutter.cut(b, v, &mut |_, _, _| {});
        b.store(counts, Addr::reg(i), n, None);
        b.set(most, Inst::Bin(BinOp::MaxS, most, n));
    });
    let planned = int(&mut b, cx.symbols.range(&op.count.into()).1);
    let beyond = b.cmp(CmpOp::Gt, most, planned);
    b.fail_if(beyond, code::RANGE);
    b.set_sym(op.count, most);
    b.range(&rows, |b, i| {
        let v = View::load(b, x, i);
        let row = b.mul(i, most);
        let n = cutter.cut(b, v, &mut |b, k, part| {
            let at = b.add(row, k);
            part.store(b, parts, at);
        });
        b.for_(Bound::Reg(n), Bound::Reg(most), 1, LoopKind::Serial, |b, k| {
            let at = b.add(row, k);
            View { data: zero, size: zero }.store(b, parts, at);
        });
    });
    Ok(p.finish(b))
}

/// How strings are cut.
struct Cutter {
    /// `None`: white space.
    delimiter: Option<View>,
    /// Most delimiters that cut.
    max: Reg,
}

type Emit<'e> = &'e mut dyn FnMut(&mut KernelBuilder, Reg, View);

impl Cutter {
    /// Emits code for every part with its number; gives how many there are.
    fn cut(&self, b: &mut KernelBuilder, v: View, f: Emit) -> Reg {
        match self.delimiter {
            Some(d) => self.by(b, v, d, f),
            None => self.by_space(b, v, f),
        }
    }
    fn by(&self, b: &mut KernelBuilder, v: View, d: View, f: Emit) -> Reg {
        let (zero, one) = (int(b, 0), int(b, 1));
        let (count, start, j) = (copy(b, zero), copy(b, zero), copy(b, zero));
        let last = b.sub(v.size, d.size);
        b.while_(
            |b| {
                let inside = b.cmp(CmpOp::Le, j, last);
                let more = b.cmp(CmpOp::Lt, count, self.max);
                b.bin(BinOp::And, inside, more)
            },
            |b| {
                let here = b.add(v.data, j);
                let differs = order(b, View { data: here, size: d.size }, d);
                let hit = b.cmp(CmpOp::Eq, differs, zero);
                b.if_(
                    hit,
                    |b| {
                        part(b, v, start, j, count, f);
                        b.set(j, Inst::Bin(BinOp::Add, j, d.size));
                        b.copy_to(start, j);
                    },
                    |b| b.set(j, Inst::Bin(BinOp::Add, j, one)),
                );
            },
        );
        part(b, v, start, v.size, count, f);
        count
    }
    fn by_space(&self, b: &mut KernelBuilder, v: View, f: Emit) -> Reg {
        let zero = int(b, 0);
        let (count, start, j) = (copy(b, zero), copy(b, zero), copy(b, zero));
        run(b, v, j, true);
        b.while_(
            |b| b.cmp(CmpOp::Lt, j, v.size),
            |b| {
                b.copy_to(start, j);
                let rest = b.cmp(CmpOp::Ge, count, self.max);
                b.if_(rest, |b| b.copy_to(j, v.size), |b| run(b, v, j, false));
                part(b, v, start, j, count, f);
                run(b, v, j, true);
            },
        );
        count
    }
}

/// Hands over the bytes from `start` to `end` and counts them.
fn part(b: &mut KernelBuilder, v: View, start: Reg, end: Reg, count: Reg, f: Emit) {
    let view = View { data: b.add(v.data, start), size: b.sub(end, start) };
    f(b, count, view);
    let one = int(b, 1);
    b.set(count, Inst::Bin(BinOp::Add, count, one));
}

/// Moves `j` over bytes that are white space, or over those that are not.
fn run(b: &mut KernelBuilder, v: View, j: Reg, space: bool) {
    let one = int(b, 1);
    let go = b.reg(Elem::B1, 1);
    b.while_(
        |b| {
            let inside = b.cmp(CmpOp::Lt, j, v.size);
            b.copy_to(go, inside);
            b.if_(
                inside,
                |b| {
                    let c = v.byte(b, j);
                    let (blank, tab, controls) = (int(b, 32), int(b, 9), int(b, 5));
                    let from_tab = b.sub(c, tab);
                    let (x, y) = (b.cmp(CmpOp::Eq, c, blank), b.cmp(CmpOp::LtU, from_tab, controls));
                    let is = b.bin(BinOp::Or, x, y);
                    let is = if space { is } else { b.un(sinter_ir::tile::UnOp::Not, is) };
                    b.copy_to(go, is);
                },
                |_| {},
            );
            go
        },
        |b| b.set(j, Inst::Bin(BinOp::Add, j, one)),
    );
}

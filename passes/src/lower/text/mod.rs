//! Strings. An element is a view: the address of its bytes and their number. Ops that only move elements move the
//! two words ([`words`]); ops that look inside have kernels here. Texts that are made while running go to one space
//! that a run fills from its start and that lasts until the next run, so views into it stay good wherever they go.

mod case;
mod concat;
mod digits;
mod equal;
mod find;
mod matches;
mod split;
mod views;
pub mod words;

pub use case::lower as case;
pub use concat::lower as concat;
pub use digits::lower as digits;
pub use equal::lower as equal;
pub use find::lower as find;
pub use matches::lower as matches;
pub use split::lower as split;
pub use views::lower as views;

use super::body::Params;
use super::contract::micro::copy;
use super::index::int;
use super::{Arg, LowerCx};
use bytes::Bytes;
use sinter_ir::tile::build::{KernelBuilder, code};
use sinter_ir::tile::{Access, Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Inst, Reg};
use sinter_ir::{DType, Diag, Op, Result, Sym, TensorType};

/// Bytes behind the space that a letter may be written to before the check.
pub const SLACK: u64 = 8;

/// Where texts that are made while running go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSpace {
    /// Holds the number of bytes taken so far in this run.
    pub used: Sym,
    /// Bytes that may be taken.
    pub bytes: u64,
}

/// Whether an op writes texts.
pub fn makes_texts(op: &Op) -> bool {
    matches!(op, Op::StringCase(_) | Op::StringConcat(_)) || is_cast(op)
}

/// Whether an op turns numbers into strings.
pub fn is_cast(op: &Op) -> bool {
    matches!(op, Op::Cast(c) if c.to == DType::Str)
}

/// Whether an op reads or makes strings, rather than move them.
pub fn looks_inside(op: &Op) -> bool {
    matches!(
        op,
        Op::Texts(_)
            | Op::StringCase(_)
            | Op::StringConcat(_)
            | Op::StringEqual(_)
            | Op::StringFind(_)
            | Op::StringMatch(_)
            | Op::StringSplit(_)
    ) || is_cast(op)
}

/// A string in registers.
#[derive(Debug, Clone, Copy)]
struct View {
    data: Reg,
    size: Reg,
}

impl View {
    /// Element `i` of a buffer of views.
    fn load(b: &mut KernelBuilder, buf: Buf, i: Reg) -> Self {
        let word = |b: &mut KernelBuilder, k| b.load(Elem::I64, 1, buf, Addr::at(k).plus(i, 2), None);
        Self { data: word(b, 0), size: word(b, 1) }
    }
    fn store(self, b: &mut KernelBuilder, buf: Buf, i: Reg) {
        b.store(buf, Addr::at(0).plus(i, 2), self.data, None);
        b.store(buf, Addr::at(1).plus(i, 2), self.size, None);
    }
    /// Byte `j` as I64.
    fn byte(self, b: &mut KernelBuilder, j: Reg) -> Reg {
        let at = b.add(self.data, j);
        let c = b.load_at(Elem::I8, at);
        b.cvt(CvtOp::ZExt, Elem::I64, c)
    }
}

/// Compares bytes: an I64 below, at or above 0.
fn order(b: &mut KernelBuilder, x: View, y: View) -> Reg {
    let zero = int(b, 0);
    let one = int(b, 1);
    let common = b.bin(BinOp::MinS, x.size, y.size);
    let (i, d) = (copy(b, zero), copy(b, zero));
    b.while_(
        |b| {
            let inside = b.cmp(CmpOp::Lt, i, common);
            let same = b.cmp(CmpOp::Eq, d, zero);
            b.bin(BinOp::And, inside, same)
        },
        |b| {
            let (p, q) = (x.byte(b, i), y.byte(b, i));
            b.set(d, Inst::Bin(BinOp::Sub, p, q));
            b.set(i, Inst::Bin(BinOp::Add, i, one));
        },
    );
    let same = b.cmp(CmpOp::Eq, d, zero);
    let longer = b.sub(x.size, y.size);
    b.select(same, longer, d)
}

/// Strings as compile-time data: offset and size of each as I64 pairs, then their bytes.
fn pack<'a>(items: impl ExactSizeIterator<Item = &'a str> + Clone) -> Bytes {
    let mut at = items.len() as u64 * 16;
    let mut out = Vec::new();
    for s in items.clone() {
        out.extend(at.to_le_bytes());
        out.extend((s.len() as u64).to_le_bytes());
        at += s.len() as u64;
    }
    items.for_each(|s| out.extend(s.as_bytes()));
    out.into()
}

/// Element `i` of packed strings.
fn packed(b: &mut KernelBuilder, buf: Buf, base: Reg, i: Reg) -> View {
    let v = View::load(b, buf, i);
    View { data: b.add(base, v.data), ..v }
}

/// The space for texts while a kernel is emitted.
struct Writer {
    space: TextSpace,
    buf: Buf,
    base: Reg,
    /// Bytes taken.
    used: Reg,
}

impl Writer {
    fn new(cx: &LowerCx, b: &mut KernelBuilder, p: &mut Params) -> Result<Self> {
        let space = cx.texts.ok_or_else(|| Diag::bug("no space for texts"))?;
        let ty = TensorType::new(DType::U8, vec![((space.bytes + SLACK) as usize).into()]);
        let buf = p.buf(b, Arg::Texts, Access::ReadWrite, &ty);
        let base = b.address(buf);
        let before = b.dim(&space.used.into());
        Ok(Self { space, buf, base, used: copy(b, before) })
    }
    /// Writes the low byte of a register.
    fn push(&self, b: &mut KernelBuilder, byte: Reg) {
        let c = b.cvt(CvtOp::Narrow, Elem::I8, byte);
        b.store(self.buf, Addr::reg(self.used), c, None);
        let one = int(b, 1);
        b.set(self.used, Inst::Bin(BinOp::Add, self.used, one));
    }
    /// Fails unless `more` bytes are free.
    fn need(&self, b: &mut KernelBuilder, more: Reg) {
        let cap = int(b, self.space.bytes as i64);
        let free = b.sub(cap, self.used);
        let full = b.cmp(CmpOp::GtU, more, free);
        b.fail_if(full, code::TEXTS);
    }
    /// Fails when more than the space was taken: at most [`SLACK`] bytes may have been written since the last check.
    fn check(&self, b: &mut KernelBuilder) {
        let cap = int(b, self.space.bytes as i64);
        let full = b.cmp(CmpOp::Gt, self.used, cap);
        b.fail_if(full, code::TEXTS);
    }
    /// Copies a string whose room was checked.
    fn append(&self, b: &mut KernelBuilder, v: View) {
        b.for_(
            sinter_ir::tile::Bound::Const(0),
            sinter_ir::tile::Bound::Reg(v.size),
            1,
            sinter_ir::tile::LoopKind::Serial,
            |b, j| {
                let c = v.byte(b, j);
                self.push(b, c);
            },
        );
    }
    /// The text written since `start`.
    fn since(&self, b: &mut KernelBuilder, start: Reg) -> View {
        View { data: b.add(self.base, start), size: b.sub(self.used, start) }
    }
    /// Ends the kernel.
    fn finish(self, b: &mut KernelBuilder) {
        b.set_sym(self.space.used, self.used);
    }
}

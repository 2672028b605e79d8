//! Letters in upper or lower case, by a table that is packed at compile time.

use super::{View, Writer};
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::int;
use crate::lower::{Arg, LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::op::StringCase;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Buf, CmpOp, CvtOp, Elem, Inst, Reg};
use sinter_ir::{DType, Result};

/// Code points from here on have no case.
const LIMIT: u32 = 0x2_0000;
/// Code points per page of the table.
const PAGE: u32 = 128;

/// Differences to the mapped letters: distinct pages of i32, and for every page of code points its number.
fn table(op: &StringCase) -> (Bytes, Bytes) {
    let delta = |c: u32| char::from_u32(c).map_or(0, |l| op.map(l) as i32 - l as i32);
    let mut pages: Vec<Vec<i32>> = Vec::new();
    let mut numbers = Vec::new();
    for first in (0..LIMIT).step_by(PAGE as usize) {
        let page: Vec<i32> = (first..first + PAGE).map(delta).collect();
        let number = pages.iter().position(|p| *p == page).unwrap_or_else(|| {
            pages.push(page);
            pages.len() - 1
        });
        numbers.extend((number as u16).to_le_bytes());
    }
    let deltas: Vec<u8> = pages.iter().flatten().flat_map(|d| d.to_le_bytes()).collect();
    (deltas.into(), numbers.into())
}

/// Lowers a StringCase. Strings that do not change keep their view.
pub fn lower(cx: &LowerCx, body: &Body, op: &StringCase) -> Result<Lowered> {
    let root = body.root_node()?;
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_case")), Params::default());
    let (deltas, numbers) = table(op);
    let deltas = p.pack(&mut b, deltas, DType::I32);
    let numbers = p.pack(&mut b, numbers, DType::U16);
    let x = p.value(&mut b, body, root.inputs[0])?;
    let ty = body.ty(root.outputs[0]);
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, ty);
    let w = Writer::new(cx, &mut b, &mut p)?;
    let zero = int(&mut b, 0);
    b.range(&ty.numel(), |b, i| {
        let v = View::load(b, x, i);
        let (start, changed, j) = (copy(b, w.used), copy(b, zero), copy(b, zero));
        b.while_(
            |b| b.cmp(CmpOp::Lt, j, v.size),
            |b| {
                let l = letter(b, v, j);
                let mapped = map(b, l, deltas, numbers);
                let differs = b.bin(BinOp::Xor, mapped, l.code);
                b.set(changed, Inst::Bin(BinOp::Or, changed, differs));
                let same = b.cmp(CmpOp::Eq, differs, zero);
                b.if_(
                    same,
                    |b| {
                        let at = b.add(v.data, j);
                        w.append(b, View { data: at, size: l.len });
                    },
                    |b| encode(b, &w, mapped),
                );
                w.check(b);
                b.set(j, Inst::Bin(BinOp::Add, j, l.len));
            },
        );
        let same = b.cmp(CmpOp::Eq, changed, zero);
        let new = w.since(b, start);
        let out = View { data: b.select(same, v.data, new.data), size: b.select(same, v.size, new.size) };
        out.store(b, y, i);
        let used = b.select(same, start, w.used);
        b.copy_to(w.used, used);
    });
    w.finish(&mut b);
    Ok(p.finish(b))
}

/// A decoded code point; bytes that are not UTF-8 stand for themselves, one by one.
#[derive(Clone, Copy)]
struct Letter {
    code: Reg,
    len: Reg,
    /// It is UTF-8.
    sound: Reg,
}

fn letter(b: &mut KernelBuilder, v: View, j: Reg) -> Letter {
    let (zero, one) = (int(b, 0), int(b, 1));
    let lead = v.byte(b, j);
    let len = copy(b, one);
    for (from, n) in [(0xc2, 2), (0xe0, 3), (0xf0, 4)] {
        let (from, n) = (int(b, from), int(b, n));
        let more = b.cmp(CmpOp::Ge, lead, from);
        let longer = b.select(more, n, len);
        b.copy_to(len, longer);
    }
    let left = b.sub(v.size, j);
    let cut = b.cmp(CmpOp::Gt, len, left);
    let whole = b.select(cut, one, len);
    b.copy_to(len, whole);
    let ascii_end = int(b, 0x80);
    let ascii = b.cmp(CmpOp::Lt, lead, ascii_end);
    let sound = b.reg(Elem::B1, 1);
    b.copy_to(sound, ascii);
    let code = copy(b, lead);
    let several = b.cmp(CmpOp::Gt, len, one);
    b.if_(
        several,
        |b| {
            let low = int(b, 0x7f);
            let mask = b.bin(BinOp::ShrU, low, len);
            let bits = b.bin(BinOp::And, lead, mask);
            b.copy_to(code, bits);
            let (k, bad) = (copy(b, one), copy(b, zero));
            let (six, tail, mark, kind) = (int(b, 6), int(b, 0x3f), int(b, 0x80), int(b, 0xc0));
            b.while_(
                |b| b.cmp(CmpOp::Lt, k, len),
                |b| {
                    let at = b.add(j, k);
                    let c = v.byte(b, at);
                    let top = b.bin(BinOp::And, c, kind);
                    let wrong = b.bin(BinOp::Xor, top, mark);
                    b.set(bad, Inst::Bin(BinOp::Or, bad, wrong));
                    let up = b.bin(BinOp::Shl, code, six);
                    let low = b.bin(BinOp::And, c, tail);
                    b.set(code, Inst::Bin(BinOp::Or, up, low));
                    b.set(k, Inst::Bin(BinOp::Add, k, one));
                },
            );
            let fine = b.cmp(CmpOp::Eq, bad, zero);
            b.copy_to(sound, fine);
            let n = b.select(fine, len, one);
            b.copy_to(len, n);
        },
        |_| {},
    );
    Letter { code, len, sound }
}

/// The code point for a letter.
fn map(b: &mut KernelBuilder, l: Letter, deltas: Buf, numbers: Buf) -> Reg {
    let out = copy(b, l.code);
    let limit = int(b, i64::from(LIMIT));
    let inside = b.cmp(CmpOp::LtU, l.code, limit);
    let look = b.bin(BinOp::And, inside, l.sound);
    b.if_(
        look,
        |b| {
            let (shift, rest) = (int(b, i64::from(PAGE.trailing_zeros())), int(b, i64::from(PAGE) - 1));
            let page = b.bin(BinOp::ShrU, l.code, shift);
            let number = b.load(Elem::I16, 1, numbers, Addr::reg(page), None);
            let number = b.cvt(CvtOp::ZExt, Elem::I64, number);
            let within = b.bin(BinOp::And, l.code, rest);
            let at = Addr::reg(within).plus(number, i64::from(PAGE));
            let delta = b.load(Elem::I32, 1, deltas, at, None);
            let delta = b.cvt(CvtOp::SExt, Elem::I64, delta);
            b.set(out, Inst::Bin(BinOp::Add, l.code, delta));
        },
        |_| {},
    );
    out
}

/// Writes a code point as UTF-8.
fn encode(b: &mut KernelBuilder, w: &Writer, code: Reg) {
    let tail = int(b, 0x3f);
    let mark = int(b, 0x80);
    // Bits above the lowest `6 * n`, with a lead mark.
    let lead = |b: &mut KernelBuilder, n: i64, mark: i64| {
        let (shift, mark) = (int(b, 6 * n), int(b, mark));
        let bits = b.bin(BinOp::ShrU, code, shift);
        let byte = b.bin(BinOp::Or, bits, mark);
        w.push(b, byte);
    };
    let follow = |b: &mut KernelBuilder, n: i64| {
        for i in (0..n).rev() {
            let shift = int(b, 6 * i);
            let bits = b.bin(BinOp::ShrU, code, shift);
            let low = b.bin(BinOp::And, bits, tail);
            let byte = b.bin(BinOp::Or, low, mark);
            w.push(b, byte);
        }
    };
    let below = |b: &mut KernelBuilder, end: i64| {
        let end = int(b, end);
        b.cmp(CmpOp::Lt, code, end)
    };
    let one = below(b, 0x80);
    b.if_(
        one,
        |b| lead(b, 0, 0),
        |b| {
            let two = below(b, 0x800);
            b.if_(
                two,
                |b| {
                    lead(b, 1, 0xc0);
                    follow(b, 1);
                },
                |b| {
                    let three = below(b, 0x1_0000);
                    b.if_(
                        three,
                        |b| {
                            lead(b, 2, 0xe0);
                            follow(b, 2);
                        },
                        |b| {
                            lead(b, 3, 0xf0);
                            follow(b, 3);
                        },
                    );
                },
            );
        },
    );
}

//! Integers as decimal strings.

use super::Writer;
use crate::lower::body::{Body, Params};
use crate::lower::contract::micro::copy;
use crate::lower::elementwise::name;
use crate::lower::index::{Idx, int};
use crate::lower::{Arg, LowerCx, Lowered, access};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, BinOp, CmpOp, CvtOp, Elem, Inst, Reg};
use sinter_ir::{Diag, Result};

/// Lowers a Cast of integers to strings.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    let root = body.root_node()?;
    let xt = body.ty(root.inputs[0]);
    if !xt.dtype.is_int() || xt.dtype.bits() < 8 {
        return Err(Diag::unsupported(format!("machine code for Cast of {} to strings", xt.dtype)));
    }
    let (mut b, mut p) = (KernelBuilder::new(name(body, "text_digits")), Params::default());
    let x = p.value(&mut b, body, root.inputs[0])?;
    let y = p.buf(&mut b, Arg::Output(0), Access::Write, body.ty(root.outputs[0]));
    let w = Writer::new(cx, &mut b, &mut p)?;
    let unsigned = xt.dtype.is_unsigned_int();
    let mut done = Ok(());
    b.range(&xt.numel(), |b, i| {
        done = access::load(b, xt.dtype, x, &Idx::reg(i), 1, None).map(|v| {
            let v = match b.ty(v).elem {
                Elem::I64 => v,
                _ => b.cvt(if unsigned { CvtOp::ZExt } else { CvtOp::SExt }, Elem::I64, v),
            };
            let start = copy(b, w.used);
            write(b, &w, v, unsigned);
            w.since(b, start).store(b, y, i);
        });
    });
    done?;
    w.finish(&mut b);
    Ok(p.finish(b))
}

/// Writes a number: sign, then digits from the highest power of ten on.
fn write(b: &mut KernelBuilder, w: &Writer, v: Reg, unsigned: bool) {
    let (zero, one, ten) = (int(b, 0), int(b, 1), int(b, 10));
    let left = copy(b, v);
    let power = copy(b, one);
    // Digits, counted along with the powers.
    let room = copy(b, one);
    if !unsigned {
        let negative = b.cmp(CmpOp::Lt, v, zero);
        b.if_(
            negative,
            |b| {
                w.need(b, one);
                let minus = int(b, i64::from(b'-'));
                w.push(b, minus);
                // As unsigned the smallest number has its own magnitude.
                b.set(left, Inst::Bin(BinOp::Sub, zero, v));
            },
            |_| {},
        );
    }
    b.while_(
        |b| {
            let rest = b.bin(BinOp::DivU, left, power);
            b.cmp(CmpOp::GeU, rest, ten)
        },
        |b| {
            b.set(power, Inst::Bin(BinOp::Mul, power, ten));
            b.set(room, Inst::Bin(BinOp::Add, room, one));
        },
    );
    w.need(b, room);
    b.while_(
        |b| b.cmp(CmpOp::Ne, power, zero),
        |b| {
            let digit = b.bin(BinOp::DivU, left, power);
            let code = int(b, i64::from(b'0'));
            let byte = b.add(digit, code);
            w.push(b, byte);
            b.set(left, Inst::Bin(BinOp::RemU, left, power));
            b.set(power, Inst::Bin(BinOp::DivU, power, ten));
        },
    );
}

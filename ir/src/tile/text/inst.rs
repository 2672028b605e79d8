//! Parser of right-hand sides.

use super::{BINARY, COMPARE, CONVERT, UNARY, named};
use crate::Result;
use crate::lex::Cursor;
use crate::tile::{Addr, BinOp, Buf, Inst, Reg, Scalar};

pub(super) fn reg(c: &mut Cursor) -> Result<Reg> {
    c.id('r').map(Reg)
}

/// A register behind a comma.
fn next(c: &mut Cursor) -> Result<Reg> {
    c.expect(",")?;
    reg(c)
}

pub(super) fn place(c: &mut Cursor) -> Result<(Buf, Addr)> {
    let buf = Buf(c.id('b')?);
    c.expect("[")?;
    let mut at = Addr::default();
    loop {
        if !c.peek_word().starts_with('r') {
            at.offset = c.number()?;
            break;
        }
        let r = reg(c)?;
        at.terms.push((r, if c.eat("*") { c.number()? } else { 1 }));
        if !c.eat("+") {
            break;
        }
    }
    c.expect("]")?;
    Ok((buf, at))
}

pub(super) fn tail(c: &mut Cursor) -> Result<Option<Reg>> {
    c.eat_word("tail").then(|| reg(c)).transpose()
}

/// A float: `bits` and an integer, or Rust's notation.
fn float<T: std::str::FromStr, B: std::str::FromStr>(c: &mut Cursor, of_bits: fn(B) -> T) -> Result<T> {
    if c.eat_word("bits") {
        return c.number().map(of_bits);
    }
    let text = c.until("\n")?;
    text.parse().map_err(|_| c.error(format!("bad number `{text}` in front of this")))
}

fn scalar(c: &mut Cursor) -> Result<Scalar> {
    let word = c.peek_word();
    let is_word = matches!(word, "true" | "false" | "f32" | "f64");
    if !is_word {
        return c.number().map(Scalar::Int);
    }
    c.word()?;
    match word {
        "f32" => float(c, f32::from_bits).map(Scalar::F32),
        "f64" => float(c, f64::from_bits).map(Scalar::F64),
        word => Ok(Scalar::B1(word == "true")),
    }
}

fn dot4(c: &mut Cursor, a_signed: bool, b_signed: bool) -> Result<Inst> {
    let (acc, a, b) = (reg(c)?, next(c)?, next(c)?);
    let within = if c.eat_word("within") { Some(c.number()?) } else { None };
    Ok(Inst::Dot4 { acc, a, b, a_signed, b_signed, within })
}

fn mat8(c: &mut Cursor, a_signed: bool) -> Result<Inst> {
    Ok(Inst::Mat8 { acc: reg(c)?, a: next(c)?, b: next(c)?, a_signed })
}

fn binary(c: &mut Cursor) -> Result<BinOp> {
    let word = c.word()?;
    named(BINARY, word).ok_or_else(|| c.error(format!("unknown operation `{word}` in front of this")))
}

pub(super) fn inst(c: &mut Cursor) -> Result<Inst> {
    let word = c.word()?;
    Ok(match word {
        "const" => Inst::Const(scalar(c)?),
        "copy" => Inst::Copy(reg(c)?),
        "dim" => Inst::Dim(c.expr("\n")?),
        "select" => Inst::Select(reg(c)?, next(c)?, next(c)?),
        "muladd" => Inst::MulAdd(reg(c)?, next(c)?, next(c)?),
        "dot2" => Inst::Dot2 { acc: reg(c)?, a: next(c)?, b: next(c)? },
        "dot4ss" => dot4(c, true, true)?,
        "dot4su" => dot4(c, true, false)?,
        "dot4us" => dot4(c, false, true)?,
        "dot4uu" => dot4(c, false, false)?,
        "mat8s" => mat8(c, true)?,
        "mat8u" => mat8(c, false)?,
        "mat4" => Inst::Mat4 { acc: reg(c)?, a: next(c)?, b: next(c)? },
        "lows" => Inst::Halves { a: reg(c)?, b: next(c)?, high: false },
        "highs" => Inst::Halves { a: reg(c)?, b: next(c)?, high: true },
        "load" => {
            let (buf, at) = place(c)?;
            Inst::Load { buf, at, tail: tail(c)? }
        }
        "gather" => {
            let (buf, at) = place(c)?;
            let index = if c.eat_word("index") { reg(c)? } else { return Err(c.error("expected `index`")) };
            Inst::LoadGather { buf, at, index, tail: tail(c)? }
        }
        "address" => Inst::Address(Buf(c.id('b')?)),
        "loadat" => Inst::LoadAt(reg(c)?),
        "splat" => Inst::Splat(reg(c)?),
        "lane" => {
            let a = reg(c)?;
            c.expect(",")?;
            Inst::Lane(a, c.number()?)
        }
        "laneindex" => Inst::LaneIndex,
        "fold" => Inst::Fold(binary(c)?, reg(c)?),
        word => {
            if let Some(op) = named(UNARY, word) {
                Inst::Un(op, reg(c)?)
            } else if let Some(op) = named(CONVERT, word) {
                Inst::Cvt(op, reg(c)?)
            } else if let Some(op) = named(BINARY, word) {
                Inst::Bin(op, reg(c)?, next(c)?)
            } else if let Some(op) = named(COMPARE, word) {
                Inst::Cmp(op, reg(c)?, next(c)?)
            } else {
                return Err(c.error(format!("unknown operation `{word}` in front of this")));
            }
        }
    })
}

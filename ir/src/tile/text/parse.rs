//! Parser.

use super::inst::{inst, place, reg, tail};
use super::{ACCESSES, ELEMS, KINDS, named};
use crate::lex::Cursor;
use crate::tile::verify::MAX_DEPTH;
use crate::tile::{Bound, Buffer, Kernel, Reg, Stmt, Ty};
use crate::{Result, Sym};
use std::collections::BTreeMap;

/// Takes one kernel.
pub(crate) fn kernel(c: &mut Cursor) -> Result<Kernel> {
    if !c.eat_word("kernel") {
        return Err(c.error("expected `kernel`"));
    }
    let mut k = Kernel { name: c.string()?, bufs: vec![], regs: vec![], body: vec![], parallel: None };
    c.expect("{")?;
    if c.eat_word("parallel") {
        k.parallel = Some(c.expr("\n")?);
    }
    while c.eat_word("buf") {
        if c.id('b')? as usize != k.bufs.len() {
            return Err(c.error("buffers are numbered in order, this is another"));
        }
        let name = c.string()?;
        let access = c.word()?;
        let access = named(ACCESSES, access)
            .ok_or_else(|| c.error(format!("unknown access `{access}` in front of this")))?;
        k.bufs.push(Buffer { name, access, bytes: c.expr("\n")? });
    }
    let mut p = Parser { c, types: BTreeMap::new() };
    while p.c.eat_word("reg") {
        let r = reg(p.c)?;
        p.c.expect(":")?;
        p.declare(r)?;
    }
    k.body = p.block(0)?;
    for (i, (r, ty)) in p.types.into_iter().enumerate() {
        if r as usize != i {
            return Err(c.error(format!("r{i} has no type in kernel `{}` in front of this", k.name)));
        }
        k.regs.push(ty);
    }
    Ok(k)
}

struct Parser<'a, 't> {
    c: &'a mut Cursor<'t>,
    types: BTreeMap<u32, Ty>,
}

impl Parser<'_, '_> {
    fn declare(&mut self, r: Reg) -> Result<()> {
        let word = self.c.word()?;
        let (elem, lanes) = match word.split_once('x') {
            Some((elem, lanes)) => (elem, lanes.parse().ok()),
            None => (word, Some(1)),
        };
        let (Some(elem), Some(lanes)) = (named(ELEMS, elem), lanes) else {
            return Err(self.c.error(format!("unknown register type `{word}` in front of this")));
        };
        if self.types.insert(r.0, Ty { elem, lanes }).is_some() {
            return Err(self.c.error(format!("{r} has two types, the second in front of this")));
        }
        Ok(())
    }
    /// A register that is assigned, with its type the first time.
    fn target(&mut self) -> Result<Reg> {
        let r = reg(self.c)?;
        if self.c.eat(":") {
            self.declare(r)?;
        }
        self.c.expect("=")?;
        Ok(r)
    }
    fn bound(&mut self) -> Result<Bound> {
        if self.c.peek_word().starts_with('r') {
            return reg(self.c).map(Bound::Reg);
        }
        self.c.number().map(Bound::Const)
    }
    /// Statements up to the closing brace, which is taken.
    fn block(&mut self, depth: usize) -> Result<Vec<Stmt>> {
        // The verifier refuses such nesting too; here it protects the parser's own stack.
        if depth > 2 * MAX_DEPTH {
            return Err(self.c.error(format!("nesting deeper than {}", 2 * MAX_DEPTH)));
        }
        let mut body = vec![];
        while !self.c.eat("}") {
            body.push(self.stmt(depth)?);
        }
        Ok(body)
    }
    fn braces(&mut self, depth: usize) -> Result<Vec<Stmt>> {
        self.c.expect("{")?;
        self.block(depth + 1)
    }
    fn stmt(&mut self, depth: usize) -> Result<Stmt> {
        match self.c.peek_word() {
            "store" => {
                self.c.word()?;
                let (buf, at) = place(self.c)?;
                self.c.expect(",")?;
                Ok(Stmt::Store { buf, at, value: reg(self.c)?, tail: tail(self.c)? })
            }
            "for" => {
                self.c.word()?;
                self.for_(depth)
            }
            "while" => {
                self.c.word()?;
                let test = self.braces(depth)?;
                self.c.expect("holds")?;
                Ok(Stmt::While { test, cond: reg(self.c)?, body: self.braces(depth)? })
            }
            "if" => {
                self.c.word()?;
                let cond = reg(self.c)?;
                let then = self.braces(depth)?;
                let els = if self.c.eat_word("else") { self.braces(depth)? } else { vec![] };
                Ok(Stmt::If { cond, then, els })
            }
            "setsym" => {
                self.c.word()?;
                Ok(Stmt::SetSym { sym: Sym(self.c.id('s')?), value: reg(self.c)? })
            }
            "failif" => {
                self.c.word()?;
                Ok(Stmt::FailIf { cond: reg(self.c)?, code: self.c.number()? })
            }
            _ => Ok(Stmt::Let { dst: self.target()?, inst: inst(self.c)? }),
        }
    }
    fn for_(&mut self, depth: usize) -> Result<Stmt> {
        let var = self.target()?;
        let lo = self.bound()?;
        self.c.expect("..")?;
        let hi = self.bound()?;
        self.c.expect("step")?;
        let step = self.c.number()?;
        let word = self.c.word()?;
        let kind = named(KINDS, word)
            .ok_or_else(|| self.c.error(format!("unknown kind of loop `{word}` in front of this")))?;
        Ok(Stmt::For { var, lo, hi, step, kind, body: self.braces(depth)? })
    }
}

//! Parser.

use super::super::{BufferLife, Loc, Port, Program, Step};
use crate::graph::text::{ConstSource, hex_bytes, parse};
use crate::lex::Cursor;
use crate::tile::text::parse_kernel;
use crate::{Diag, Result, Sym};
use bytes::Bytes;

/// Steps nest at most this deep.
const MAX_DEPTH: usize = 64;
/// Weights that were left out of the text have at most this many bytes each.
const MAX_ELIDED: usize = 1 << 30;

impl Program {
    /// Parses a program; `source` has the data of large weights. Checks only the grammar;
    /// [`crate::program::verify`] does the rest.
    pub fn from_text(text: &str, source: &dyn ConstSource) -> Result<Program> {
        let mut c = Cursor::new(text);
        c.expect(super::HEADER)?;
        word(&mut c, "program")?;
        let mut p = Program { name: c.string()?, ..Program::default() };
        p.symbols = parse::symbols(&mut c)?;
        p.inputs = ports(&mut c, "input")?;
        p.outputs = ports(&mut c, "output")?;
        p.states = ports(&mut c, "state")?;
        word(&mut c, "arena")?;
        p.arena_bytes = c.number()?;
        word(&mut c, "live")?;
        p.live_bytes = c.number()?;
        p.weights = weights(&mut c, source)?;
        p.timeline = buffers(&mut c)?;
        while c.peek_word() == "kernel" {
            p.kernels.push(parse_kernel(&mut c)?);
        }
        word(&mut c, "run")?;
        p.steps = block(&mut c, &p, 0)?;
        if c.at_end() { Ok(p) } else { Err(c.error("expected the end")) }
    }
}

fn word(c: &mut Cursor, w: &str) -> Result<()> {
    if c.eat_word(w) { Ok(()) } else { Err(c.error(format!("expected `{w}`"))) }
}

fn ports(c: &mut Cursor, kind: &str) -> Result<Vec<Port>> {
    let mut ports = vec![];
    while c.eat_word(kind) {
        let name = c.string()?;
        let ty = c.tensor_type()?;
        word(c, "max")?;
        ports.push(Port { name, dtype: ty.dtype, dims: ty.dims, max_bytes: c.number()? });
    }
    Ok(ports)
}

fn weights(c: &mut Cursor, source: &dyn ConstSource) -> Result<Vec<(u64, Bytes)>> {
    let mut sections = vec![];
    // Sections that were left out share their zeros.
    let mut zeros = Bytes::new();
    while c.eat_word("weights") {
        let at: u64 = c.number()?;
        c.expect(":")?;
        let len: usize = c.number()?;
        word(c, "bytes")?;
        let data = if c.eat("@") {
            let offset = c.number()?;
            c.at_line(source.get(offset, len))?
        } else if c.eat("x\"") {
            let digits = c.until("\"")?;
            c.at_line(hex_bytes(digits))?.into()
        } else {
            word(c, "elided")?;
            if len > MAX_ELIDED {
                return Err(Diag::limit(format!("{len} bytes of weights were left out of the text")));
            }
            if len > zeros.len() {
                zeros = vec![0; len].into();
            }
            zeros.slice(..len)
        };
        if data.len() != len {
            return Err(c.error(format!("{} bytes in front of this are not {len}", data.len())));
        }
        if at.checked_add(len as u64).is_none() {
            return Err(c.error("the weights in front of this end beyond 2^64"));
        }
        sections.push((at, data));
    }
    Ok(sections)
}

fn buffers(c: &mut Cursor) -> Result<Vec<BufferLife>> {
    let mut all = vec![];
    while c.eat_word("buffer") {
        let name = c.string()?;
        word(c, "at")?;
        let offset = c.number()?;
        c.expect(":")?;
        let bytes = c.number()?;
        word(c, "bytes")?;
        word(c, "in")?;
        let first = c.number()?;
        c.expect("..")?;
        all.push(BufferLife { name, offset, bytes, first, last: c.number()? });
    }
    Ok(all)
}

fn loc(c: &mut Cursor) -> Result<Loc> {
    if c.eat("arena+") {
        return c.number().map(Loc::Arena);
    }
    if c.eat("weights+") {
        return c.number().map(Loc::Weights);
    }
    let port = if c.eat("input") {
        Loc::Input
    } else if c.eat("state") {
        Loc::State
    } else if c.eat("output") {
        Loc::Output
    } else {
        return Err(c.error("expected a location"));
    };
    c.number().map(port)
}

fn sym(c: &mut Cursor) -> Result<Sym> {
    c.id('s').map(Sym)
}

fn block(c: &mut Cursor, p: &Program, depth: usize) -> Result<Vec<Step>> {
    if depth > MAX_DEPTH {
        return Err(c.error(format!("steps nest deeper than {MAX_DEPTH}")));
    }
    c.expect("{")?;
    let mut steps = vec![];
    while !c.eat("}") {
        steps.push(step(c, p, depth)?);
    }
    Ok(steps)
}

fn step(c: &mut Cursor, p: &Program, depth: usize) -> Result<Step> {
    let word_here = c.peek_word();
    if !matches!(word_here, "call" | "copy" | "setsym" | "readsym" | "require" | "if" | "loop") {
        return Err(c.error("expected a step"));
    }
    c.word()?;
    Ok(match word_here {
        "call" => call(c, p)?,
        "copy" => {
            let dst = loc(c)?;
            c.expect("=")?;
            let src = loc(c)?;
            word(c, "bytes")?;
            Step::Copy { dst, src, bytes: c.expr("\n")? }
        }
        "setsym" => {
            let sym = sym(c)?;
            c.expect("=")?;
            Step::SetSym { sym, value: c.expr("\n")? }
        }
        "readsym" => {
            let sym = sym(c)?;
            c.expect("=")?;
            let dtype = c.word()?;
            let dtype = c.at_line(dtype.parse())?;
            let from = loc(c)?;
            word(c, "index")?;
            Step::ReadSym { sym, from, index: c.number()?, dtype }
        }
        "require" => {
            let (a, b) = (c.expr("==")?, c.expr(";")?);
            Step::Require { a, b, why: c.string()? }
        }
        "if" => {
            let cond = loc(c)?;
            let then = block(c, p, depth + 1)?;
            let els = if c.eat_word("else") { block(c, p, depth + 1)? } else { vec![] };
            Step::If { cond, then, els }
        }
        _ => {
            let count = sym(c)?;
            word(c, "iter")?;
            let iter = loc(c)?;
            let trip = c.eat_word("trip").then(|| loc(c)).transpose()?;
            let cond = c.eat_word("while").then(|| loc(c)).transpose()?;
            Step::Loop { trip, cond, iter, count, body: block(c, p, depth + 1)? }
        }
    })
}

fn call(c: &mut Cursor, p: &Program) -> Result<Step> {
    let kernel: u32 = c.number()?;
    let name = c.string()?;
    if p.kernels.get(kernel as usize).is_none_or(|k| k.name != name) {
        return Err(c.error(format!("kernel {kernel} is not called {}", crate::lex::quoted(&name))));
    }
    c.expect("(")?;
    let mut args = vec![];
    while !c.eat(")") {
        if !args.is_empty() {
            c.expect(",")?;
        }
        args.push(loc(c)?);
    }
    let mut sizes = vec![];
    if c.eat_word("sizes") {
        for _ in &args {
            sizes.push(c.expr("|")?);
        }
    }
    c.expect(";")?;
    Ok(Step::Call { kernel, args, sizes, label: c.string()? })
}

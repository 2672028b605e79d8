//! Parser.

use super::consts::{self, ConstSource};
use crate::graph::{
    Constraint, Graph, Module, Node, NodeId, State, SymKind, SymbolInfo, Symbols, TensorType, Value, ValueId,
};
use crate::lex::Cursor;
use crate::op::{Constant, Op};
use crate::{Diag, Result, Tensor};
use std::collections::BTreeMap;

/// Regions nest at most this deep.
const MAX_DEPTH: usize = 32;

impl Module {
    /// Parses and verifies a module; `source` has the data of large constants.
    pub fn from_text(text: &str, source: &dyn ConstSource) -> Result<Module> {
        let m = Self::from_text_unverified(text, source)?;
        match m.verify().into_iter().next() {
            // What is a defect when a pass makes it is a wrong file here.
            Some(d) => Err(Diag { fault: crate::Fault::Input, ..d }),
            None => Ok(m),
        }
    }
    /// Parses a module without [`Module::verify`]: types are taken as they are written.
    pub fn from_text_unverified(text: &str, source: &dyn ConstSource) -> Result<Module> {
        let mut p = Parser { c: Cursor::new(text), source };
        let m = p.module()?;
        if p.c.at_end() { Ok(m) } else { Err(p.c.error("expected the end")) }
    }
}

struct Parser<'a> {
    c: Cursor<'a>,
    source: &'a dyn ConstSource,
}

/// Takes symbols and constraints.
pub(crate) fn symbols(c: &mut Cursor) -> Result<Symbols> {
    let mut symbols = Symbols::default();
    while c.eat("sym ") {
        let want = format!("s{}", symbols.table.len());
        if c.word()? != want {
            return Err(c.error(format!("symbols are numbered in order, {want} is next")));
        }
        let name = c.string()?;
        let kind = match c.word()? {
            "input" => SymKind::Input,
            "run" => SymKind::Run,
            _ => return Err(c.error("a symbol is `input` or `run`")),
        };
        let min = c.number()?;
        c.expect("..")?;
        symbols.table.push(SymbolInfo { name, min, max: c.number()?, kind });
    }
    while c.eat("require ") {
        let (a, b) = (c.expr("==")?, c.expr(";")?);
        symbols.constraints.push(Constraint { a, b, why: c.string()? });
    }
    Ok(symbols)
}

/// A graph under construction.
#[derive(Default)]
struct Body {
    g: Graph,
    /// Value of each number in the text.
    ids: BTreeMap<u32, ValueId>,
}

impl Parser<'_> {
    fn module(&mut self) -> Result<Module> {
        self.c.expect(super::HEADER)?;
        self.c.expect("module")?;
        let mut m = Module { name: self.c.string()?, ..Module::default() };
        m.symbols = symbols(&mut self.c)?;
        while self.c.eat("state input ") {
            let input = self.c.number()?;
            self.c.expect("output")?;
            m.states.push(State { input, output: self.c.number()? });
        }
        while self.c.eat("output ") {
            m.output_names.push(self.c.string()?.into());
        }
        m.graph = self.graph("graph", 0)?;
        Ok(m)
    }
    fn graph(&mut self, title: &str, depth: usize) -> Result<Graph> {
        if depth > MAX_DEPTH {
            return Err(Diag::limit(format!("regions nest deeper than {MAX_DEPTH}")));
        }
        self.c.expect(title)?;
        self.c.expect("(")?;
        let mut body = Body::default();
        while !self.c.eat(")") {
            let v = self.definition(&mut body, None)?;
            body.g.inputs.push(v);
            self.comma(")")?;
        }
        self.c.expect("{")?;
        while !self.c.eat("return") {
            self.node(&mut body, depth)?;
        }
        while !self.c.eat("}") {
            let v = self.operand(&body, body.g.values.len())?;
            body.g.outputs.push(v);
            self.comma("}")?;
        }
        Ok(body.g)
    }
    /// A comma unless the list ends.
    fn comma(&mut self, end: &str) -> Result<()> {
        if self.c.eat(",") || self.c.sees(end) {
            Ok(())
        } else {
            Err(self.c.error(format!("expected `,` or `{end}`")))
        }
    }
    fn node(&mut self, body: &mut Body, depth: usize) -> Result<()> {
        let id = NodeId(u32::try_from(body.g.nodes.len()).map_err(|_| Diag::limit("2^32 nodes or more"))?);
        let mut outputs = Vec::new();
        // Results come before operands in the text, but no node may use its own.
        let earlier = body.g.values.len();
        if self.c.sees("%") {
            while !self.c.eat("=") {
                let v = self.definition(body, Some((id, outputs.len() as u32)))?;
                outputs.push(v);
                self.comma("=")?;
            }
        }
        let name = self.c.word()?;
        let mut op = if name == "Constant" {
            let ty = outputs.first().and_then(|v| body.g.values.get(v.0 as usize)).map(|v| v.ty.clone());
            Op::Constant(Constant { tensor: self.data(ty)? })
        } else {
            let attributes = if self.c.sees("{") { self.c.json()? } else { serde_json::json!({}) };
            self.c.at_line(Op::from_attributes(name, attributes))?
        };
        self.c.expect("(")?;
        let mut inputs = Vec::new();
        while !self.c.eat(")") {
            inputs.push(self.operand(body, earlier)?);
            self.comma(")")?;
        }
        let mut origin = Vec::new();
        if self.c.eat(";") {
            origin.push(self.c.string()?.into());
            while self.c.eat(",") {
                origin.push(self.c.string()?.into());
            }
        }
        let titles: Vec<&str> = op.regions().into_iter().map(|r| r.0).collect();
        for (title, slot) in titles.into_iter().zip(op.regions_mut()) {
            *slot = self.graph(title, depth + 1)?;
        }
        body.g.nodes.push(Node { op, inputs, outputs, origin });
        body.g.order.push(id);
        Ok(())
    }
    /// A use of one of the first `earlier` values.
    fn operand(&mut self, body: &Body, earlier: usize) -> Result<ValueId> {
        self.c.expect("%")?;
        let n: u32 = self.c.number()?;
        let v = body.ids.get(&n).copied().filter(|v| (v.0 as usize) < earlier);
        v.ok_or_else(|| self.c.error(format!("%{n} is not defined before its use")))
    }
    /// `%3 "name": f32[s0, 3]`
    fn definition(&mut self, body: &mut Body, def: Option<(NodeId, u32)>) -> Result<ValueId> {
        self.c.expect("%")?;
        let n: u32 = self.c.number()?;
        let name = if self.c.sees("\"") { Some(self.c.string()?.into()) } else { None };
        self.c.expect(":")?;
        let ty = self.c.tensor_type()?;
        let id = ValueId(u32::try_from(body.g.values.len()).map_err(|_| Diag::limit("2^32 values or more"))?);
        if body.ids.insert(n, id).is_some() {
            return Err(self.c.error(format!("%{n} is defined twice")));
        }
        body.g.values.push(Value { ty, name, def });
        Ok(id)
    }
    /// The data of a constant; its type is that of the result.
    fn data(&mut self, ty: Option<TensorType>) -> Result<Tensor> {
        let ty = ty.ok_or_else(|| self.c.error("a Constant has one result"))?;
        let shape =
            ty.const_dims().ok_or_else(|| self.c.error(format!("a Constant cannot have the type {ty}")))?;
        let dtype = ty.dtype;
        let tensor = if dtype == crate::DType::Str {
            let strings = serde_json::from_value(self.c.json()?);
            strings.map_err(|e| Diag::input(e.to_string())).and_then(|s| Tensor::from_strings(shape, s))
        } else if self.c.eat("[") {
            consts::elements(dtype, &shape, self.c.until("]")?)
        } else if self.c.eat("x\"") {
            consts::hex(dtype, &shape, self.c.until("\"")?)
        } else if self.c.eat("@") {
            let at = self.c.number()?;
            let bytes = crate::tensor::storage_bytes(dtype, &shape).and_then(|len| self.source.get(at, len));
            bytes.and_then(|b| Tensor::from_bytes(dtype, shape, b))
        } else if self.c.eat("elided") {
            Err(Diag::input("the data of this constant was left out of the text"))
        } else {
            return Err(self.c.error("expected the data of a constant"));
        };
        self.c.at_line(tensor)
    }
}

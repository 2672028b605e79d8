//! Printer.

use super::consts::{self, ConstSink, Elide};
use crate::graph::{Graph, Module, Node, SymKind, Symbols, ValueId};
use crate::lex::quoted;
use crate::op::Op;
use std::fmt::{self, Write};

impl Module {
    /// The module as text for reading: data of large constants is left out.
    pub fn dump_text(&self) -> String {
        self.to_text(&mut Elide)
    }
    /// The module as text; `sink` takes the data of large constants.
    pub fn to_text(&self, sink: &mut dyn ConstSink) -> String {
        let mut p = Printer { out: String::new(), sink };
        // Writing to a String cannot fail.
        let _ = p.module(self);
        p.out
    }
}

/// Appends symbols and constraints.
pub(crate) fn symbols(out: &mut String, symbols: &Symbols) -> fmt::Result {
    for (i, s) in symbols.table.iter().enumerate() {
        let kind = if s.kind == SymKind::Input { "input" } else { "run" };
        writeln!(out, "sym s{i} {} {kind} {}..{}", quoted(&s.name), s.min, s.max)?;
    }
    for c in &symbols.constraints {
        writeln!(out, "require {} == {} ; {}", c.a, c.b, quoted(&c.why))?;
    }
    Ok(())
}

struct Printer<'a> {
    out: String,
    sink: &'a mut dyn ConstSink,
}

/// Printed number of every value slot; `None` for dead ones.
struct Numbers<'a> {
    g: &'a Graph,
    of: Vec<Option<usize>>,
}

impl<'a> Numbers<'a> {
    fn new(g: &'a Graph) -> Self {
        let mut of = vec![None; g.values.len()];
        let results = g.order.iter().filter_map(|n| g.nodes.get(n.0 as usize)).flat_map(|n| &n.outputs);
        for (k, v) in g.inputs.iter().chain(results).enumerate() {
            if let Some(slot) = of.get_mut(v.0 as usize) {
                *slot = Some(k);
            }
        }
        Self { g, of }
    }
    /// `%3`, or with its slot where a wrong graph uses a value that nothing defines.
    fn show(&self, v: ValueId) -> String {
        match self.of.get(v.0 as usize).copied().flatten() {
            Some(k) => format!("%{k}"),
            None => format!("%undefined{}", v.0),
        }
    }
    fn uses(&self, list: &[ValueId]) -> String {
        list.iter().map(|&v| self.show(v)).collect::<Vec<_>>().join(", ")
    }
    fn definitions(&self, list: &[ValueId]) -> String {
        let one = |&v: &ValueId| match self.g.values.get(v.0 as usize) {
            Some(value) => match &value.name {
                Some(name) => format!("{} {}: {}", self.show(v), quoted(name), value.ty),
                None => format!("{}: {}", self.show(v), value.ty),
            },
            None => self.show(v),
        };
        list.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Printer<'_> {
    fn module(&mut self, m: &Module) -> fmt::Result {
        writeln!(self.out, "{}\nmodule {}", super::HEADER, quoted(&m.name))?;
        symbols(&mut self.out, &m.symbols)?;
        for s in &m.states {
            writeln!(self.out, "state input {} output {}", s.input, s.output)?;
        }
        for name in &m.output_names {
            writeln!(self.out, "output {}", quoted(name))?;
        }
        self.graph(&m.graph, 0, "graph")
    }
    fn graph(&mut self, g: &Graph, depth: usize, title: &str) -> fmt::Result {
        let pad = "  ".repeat(depth);
        let numbers = Numbers::new(g);
        writeln!(self.out, "{pad}{title}({}) {{", numbers.definitions(&g.inputs))?;
        for n in g.order.iter().filter_map(|n| g.nodes.get(n.0 as usize)) {
            self.node(n, &numbers, depth + 1)?;
        }
        let results = numbers.uses(&g.outputs);
        writeln!(self.out, "{pad}  return{}{results}", if results.is_empty() { "" } else { " " })?;
        writeln!(self.out, "{pad}}}")
    }
    fn node(&mut self, n: &Node, numbers: &Numbers, depth: usize) -> fmt::Result {
        write!(self.out, "{}", "  ".repeat(depth))?;
        if !n.outputs.is_empty() {
            write!(self.out, "{} = ", numbers.definitions(&n.outputs))?;
        }
        write!(self.out, "{}", n.op.name())?;
        match &n.op {
            Op::Constant(c) => write!(self.out, " {}", consts::print(&c.tensor, self.sink))?,
            op => match op.attributes() {
                serde_json::Value::Object(m) if m.is_empty() => {}
                v => write!(self.out, " {v}")?,
            },
        }
        write!(self.out, " ({})", numbers.uses(&n.inputs))?;
        for (i, name) in n.origin.iter().enumerate() {
            write!(self.out, "{} {}", if i == 0 { " ;" } else { "," }, quoted(name))?;
        }
        self.out.write_char('\n')?;
        for (name, body) in n.op.regions() {
            self.graph(body, depth + 1, name)?;
        }
        Ok(())
    }
}

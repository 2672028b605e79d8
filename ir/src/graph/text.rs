//! Text form of modules: printer.
//!
//! ```text
//! module name
//! sym s0 "batch" input 1..8
//! require s0 == s1 ; why
//! graph(%0: f32[s0, 3]) {
//!   %1: f32[s0, 3] = Unary {"kind":"exp"} (%0) ; exp1 (Exp)
//!   return %1
//! }
//! ```

use super::{Graph, Module, SymKind, ValueId};
use crate::op::Op;
use std::fmt::{self, Write};

/// Constants up to this many bytes are printed in full.
const INLINE_BYTES: usize = 64;

impl Module {
    /// The module as text.
    pub fn dump_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }
    fn write_text(&self, o: &mut String) -> fmt::Result {
        writeln!(o, "module {}", self.name)?;
        for (i, s) in self.symbols.table.iter().enumerate() {
            let kind = if s.kind == SymKind::Input { "input" } else { "run" };
            writeln!(o, "sym s{i} {:?} {kind} {}..{}", s.name, s.min, s.max)?;
        }
        for c in &self.symbols.constraints {
            writeln!(o, "require {} == {} ; {}", c.a, c.b, c.why)?;
        }
        graph(o, &self.graph, 0, "graph")
    }
}

fn list(g: &Graph, ids: &[ValueId], typed: bool) -> String {
    let one = |v: &ValueId| if typed { format!("%{}: {}", v.0, g.ty(*v)) } else { format!("%{}", v.0) };
    ids.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn graph(o: &mut String, g: &Graph, depth: usize, title: &str) -> fmt::Result {
    let pad = "  ".repeat(depth);
    writeln!(o, "{pad}{title}({}) {{", list(g, &g.inputs, true))?;
    for (_, n) in g.iter() {
        write!(
            o,
            "{pad}  {} = {}{} ({})",
            list(g, &n.outputs, true),
            n.op.name(),
            attributes(&n.op),
            list(g, &n.inputs, false)
        )?;
        if let Some(first) = n.origin.first() {
            write!(o, " ; {first}")?;
        }
        o.write_char('\n')?;
        for (name, body) in n.op.regions() {
            graph(o, body, depth + 2, name)?;
        }
    }
    writeln!(o, "{pad}  return {}", list(g, &g.outputs, false))?;
    writeln!(o, "{pad}}}")
}

fn attributes(op: &Op) -> String {
    if let Op::Constant(c) = op {
        let t = &c.tensor;
        let data = t.bytes();
        if data.len() > INLINE_BYTES {
            return format!(" <{} bytes>", data.len());
        }
        let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
        return format!(" <{hex}>");
    }
    match op.attributes() {
        serde_json::Value::Object(m) if m.is_empty() => String::new(),
        v => format!(" {v}"),
    }
}

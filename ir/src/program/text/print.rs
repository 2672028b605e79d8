//! Printer.

use super::super::{Program, Step};
use crate::graph::text::{ConstSink, Elide, print, print_bytes};
use crate::lex::quoted;
use crate::tile::text::print_kernel;
use std::fmt::{self, Write};

impl Program {
    /// The program as text for reading: large weights are left out.
    pub fn dump_text(&self) -> String {
        self.to_text(&mut Elide)
    }
    /// The program as text; `sink` takes large weights.
    pub fn to_text(&self, sink: &mut dyn ConstSink) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = program(&mut out, self, sink);
        out
    }
}

fn program(o: &mut String, p: &Program, sink: &mut dyn ConstSink) -> fmt::Result {
    writeln!(o, "{}\nprogram {}", super::HEADER, quoted(&p.name))?;
    print::symbols(o, &p.symbols)?;
    for (kind, ports) in [("input", &p.inputs), ("output", &p.outputs), ("state", &p.states)] {
        for port in ports {
            let dims: Vec<String> = port.dims.iter().map(ToString::to_string).collect();
            let (name, dims) = (quoted(&port.name), dims.join(", "));
            writeln!(o, "{kind} {name} {}[{dims}] max {}", port.dtype, port.max_bytes)?;
        }
    }
    writeln!(o, "arena {} live {}", p.arena_bytes, p.live_bytes)?;
    for (at, data) in &p.weights {
        writeln!(o, "weights {at}: {} bytes {}", data.len(), print_bytes(data, sink))?;
    }
    for b in &p.timeline {
        let name = quoted(&b.name);
        writeln!(o, "buffer {name} at {}: {} bytes in {}..{}", b.offset, b.bytes, b.first, b.last)?;
    }
    p.kernels.iter().for_each(|k| print_kernel(o, k));
    writeln!(o, "run {{")?;
    steps(o, p, &p.steps, 1)?;
    writeln!(o, "}}")
}

fn steps(o: &mut String, p: &Program, steps: &[Step], depth: usize) -> fmt::Result {
    steps.iter().try_for_each(|s| step(o, p, s, depth))
}

fn step(o: &mut String, p: &Program, step: &Step, depth: usize) -> fmt::Result {
    let pad = "  ".repeat(depth);
    match step {
        Step::Call { kernel, args, sizes, label } => {
            let name = p.kernels.get(*kernel as usize).map_or("", |k| &k.name);
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            let (name, args, label) = (quoted(name), args.join(", "), quoted(label));
            let start = if sizes.is_empty() { "" } else { "sizes " };
            let sizes: String = sizes.iter().map(|e| format!("{e} | ")).collect();
            writeln!(o, "{pad}call {kernel} {name} ({args}) {start}{sizes}; {label}")
        }
        Step::Copy { dst, src, bytes } => writeln!(o, "{pad}copy {dst} = {src} bytes {bytes}"),
        Step::SetSym { sym, value } => writeln!(o, "{pad}setsym s{} = {value}", sym.0),
        Step::ReadSym { sym, from, index, dtype } => {
            writeln!(o, "{pad}readsym s{} = {dtype} {from} index {index}", sym.0)
        }
        Step::Require { a, b, why } => writeln!(o, "{pad}require {a} == {b} ; {}", quoted(why)),
        Step::If { cond, then, els } => {
            writeln!(o, "{pad}if {cond} {{")?;
            steps(o, p, then, depth + 1)?;
            if !els.is_empty() {
                writeln!(o, "{pad}}} else {{")?;
                steps(o, p, els, depth + 1)?;
            }
            writeln!(o, "{pad}}}")
        }
        Step::Loop { trip, cond, iter, count, body } => {
            write!(o, "{pad}loop s{} iter {iter}", count.0)?;
            for (word, loc) in [("trip", trip), ("while", cond)] {
                if let Some(loc) = loc {
                    write!(o, " {word} {loc}")?;
                }
            }
            writeln!(o, " {{")?;
            steps(o, p, body, depth + 1)?;
            writeln!(o, "{pad}}}")
        }
    }
}

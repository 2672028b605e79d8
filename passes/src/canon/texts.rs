//! `texts`: constant strings become [`Texts`], of which machine code makes views while running. Last in its phase:
//! before it they are constants like any other.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::op::Texts;
use sinter_ir::{DType, Graph, Module, Op, Result, Symbols};

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut rb = Rebuild::new(g, symbols, report);
    for (_, node) in g.iter() {
        let op = match &node.op {
            Op::Constant(c) if c.tensor.dtype() == DType::Str => {
                rb.report.fired("texts/constant");
                Texts { dims: c.tensor.shape().to_vec(), items: c.tensor.strings().to_vec() }.into()
            }
            op => map_regions(op, &mut |r| graph(r, rb.symbols, rb.report, false))?,
        };
        rb.copy_as(node, op)?;
    }
    rb.finish(main)
}

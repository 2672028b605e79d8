//! `captures`: constants that regions capture move into the regions, where folding and the packing of weights
//! see them. The tensors are shared, not copied.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::Constant;
use sinter_ir::{Graph, Module, Op, Result, Symbols, Tensor};

/// Runs the pass. Captures that nothing reads any more are left to `dce`.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &[], &mut module.symbols, report, true)?;
    Ok(())
}

/// Rebuilds a graph whose inputs are known where `known` says so; they stay inputs.
fn graph(
    g: &Graph,
    known: &[Option<Tensor>],
    symbols: &mut Symbols,
    report: &mut PassReport,
    main: bool,
) -> Result<Graph> {
    let mut used = vec![false; g.value_count()];
    g.iter().flat_map(|(_, n)| &n.inputs).chain(&g.outputs).for_each(|v| used[v.0 as usize] = true);
    let mut rb = Rebuild::new(g, symbols, report);
    for (&v, tensor) in g.inputs.iter().zip(known) {
        if let Some(tensor) = tensor.clone().filter(|_| used[v.0 as usize]) {
            let new = rb.add1(Constant { tensor }, &[], &Origin::new())?;
            rb.bind(v, new);
            rb.report.fired("captures/constant");
        }
    }
    for (_, node) in g.iter() {
        let inputs = rb.operands(node)?;
        let constant = |i: usize| inputs.get(i).and_then(|&v| rb.graph.constant(v)).cloned();
        // For each input of the regions, the constant it is bound to.
        let known: Vec<Option<Tensor>> = match &node.op {
            Op::If(_) => (1..inputs.len()).map(constant).collect(),
            // The iteration number and carried values change.
            Op::Loop(l) => {
                (0..1 + l.carried).map(|_| None).chain((2 + l.carried..inputs.len()).map(constant)).collect()
            }
            _ => vec![],
        };
        let op = map_regions(&node.op, &mut |r| graph(r, &known, rb.symbols, rb.report, false))?;
        rb.copy_as(node, op)?;
    }
    rb.finish(main)
}
